from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from streaming.eager import EagerReply
from streaming.types import (
    AttachmentStarted,
    Failed,
    PictureDone,
    Request,
    TranscriptDelta,
    TranscriptDone,
    Turn,
)

SPOKEN = Turn("user", speech=np.ones(320, np.float32))
ASKED = Request("s", "r", (Turn("user", tokens=(1, 2)), Turn("assistant", "yes"), SPOKEN), "Be kind.")


def but_for_the_last(**changes: Any) -> Request:
    return replace(ASKED, turns=(*ASKED.turns[:-1], replace(SPOKEN, **changes)))


def test_the_same_question_under_another_name_is_answered():
    assert EagerReply(ASKED).answers(replace(but_for_the_last(speech=np.ones(320, np.float32)), response_id="later"))


@pytest.mark.parametrize(
    "other",
    [
        but_for_the_last(speech=np.ones(319, np.float32)),
        but_for_the_last(speech=None),
        but_for_the_last(image=np.zeros((2, 2, 3), np.uint8)),
        but_for_the_last(dark_camera=True),
        replace(ASKED, turns=ASKED.turns[1:]),
        replace(ASKED, turns=(Turn("user", tokens=(1, 3)), *ASKED.turns[1:])),
        replace(ASKED, instructions="Be brief."),
        replace(ASKED, voice="ben"),
        replace(ASKED, speak=False),
        replace(ASKED, session_id="other"),
    ],
)
def test_any_other_question_is_not(other):
    assert not EagerReply(ASKED).answers(other)


def test_an_answer_that_failed_is_none():
    eager = EagerReply(ASKED)
    eager.hold(Failed("r", "overloaded", "busy"), 5)
    assert not eager.answers(ASKED)


def test_outputs_are_kept_with_their_times_and_tell_the_words():
    eager = EagerReply(ASKED)
    eager.hold(TranscriptDelta("r", "who are"), 5)
    assert eager.transcript is None, "the last word is what matters"
    eager.hold(TranscriptDone("r", "who are you", ()), 7)
    assert eager.transcript == "who are you" and [came for _, came in eager.outputs] == [5, 7]


def test_attachments_that_are_being_made_are_known():
    eager = EagerReply(ASKED)
    for one in ("a", "b"):
        eager.hold(AttachmentStarted("r", one, "image", "a cat"), 1)
    eager.hold(PictureDone("r", "a", np.zeros((2, 2, 3), np.uint8)), 2)
    assert eager.attachments == {"b"}
