"""The real server with a scripted model that takes its time: `python -m tests.browser.thoughtful --port 0`."""

from __future__ import annotations

import sys
import time

import server
from configuration import Configuration
from streaming.types import FirstSpeechToken, Output, SpeechDelta, TextDelta, TranscriptDone
from tests.browser.scripted import Script

TAKES_S = {TranscriptDone: 0.08, TextDelta: 0.005, FirstSpeechToken: 0.03, SpeechDelta: 0.09}


class Thoughtful(Script):
    """A script whose outputs take as long as a small model's."""

    def step(self) -> list[Output]:
        outputs = super().step()
        time.sleep(sum(TAKES_S.get(type(output), 0.0) for output in outputs))
        return outputs


def make_responder(configuration: Configuration) -> Thoughtful:
    return Thoughtful()


if __name__ == "__main__":
    server.make_responder = make_responder
    sys.exit(server.main())
