"""The real server with a model that takes for ever to load: `python -m tests.never_ready --port 0`."""

from __future__ import annotations

import os
import sys
import time

import server
from configuration import Configuration


def make_responder(configuration: Configuration) -> None:
    print(f"loading in {os.getpid()}", flush=True)
    time.sleep(600)


if __name__ == "__main__":
    server.make_responder = make_responder
    sys.exit(server.main())
