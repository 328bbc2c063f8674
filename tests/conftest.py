"""One thread for torch: tiny models are no slower with it, and two threads that wait for each other are a hundred times
slower on a machine that has something else to do."""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
