"""The published checkpoints' formats, reproduced: every golden folder of PARITY_DIR against this code.

Sizes, lengths and case names come from the golden files, so any folder of the same layout must pass.
"""

from __future__ import annotations
