"""Training examples say what the dialogue template says: who typed, who spoke, and what is learned where."""

from __future__ import annotations

import ctypes.util
from pathlib import Path

import numpy as np
import pytest

from training import dialogues as examples
from training.codes import write_codes
from training.dialogues import IGNORE, Dialogues, Example

pytestmark = pytest.mark.skipif(ctypes.util.find_library("espeak-ng") is None, reason="espeak-ng is for training alone")

NANO = Path(__file__).parents[2] / "models" / "nano"
SAID = {"words": "hello dog", "train": "what is your name", "reply": "I am Nano."}
LABELS = {"words": "_hhəəllOO_ddɑɑɡɡ_", "train": "_wwʌʌtɪzjʊɹnnAAmm_", "reply": "_IIææmmnnæænnOO_"}


@pytest.fixture(scope="module")
def dialogues(tmp_path_factory: pytest.TempPathFactory) -> Dialogues:
    folder = tmp_path_factory.mktemp("codes")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(examples, "KEPT_BACK", 50)
        patch.setattr(examples, "SENTENCES", 50)
        for part, text in SAID.items():
            codes = np.arange(3 * len(LABELS[part])).reshape(3, -1) % 512
            record = {"text": text, "labels": LABELS[part], "voices": {"af_heart": 1.0}, "frames": codes.shape[1]}
            for name in (part, f"{part}-augmented"):
                write_codes(folder / f"{name}.npz", [(record, codes)], "none")
        return Dialogues(folder, NANO, seed=1)


def spoken(dialogues: Dialogues) -> Example:
    return dialogues.turn(dialogues.user_speech("hello"), "hello", "I am Nano.", dialogues.reply_speech("I am Nano."))


def test_what_is_typed_has_no_transcript(dialogues: Dialogues) -> None:
    typed = dialogues.turn(None, "hello", "I am Nano.", dialogues.reply_speech("I am Nano."))
    text = dialogues.dialogue.tokenizer.decode(t for t in typed.tokens if t not in dialogues.words.speech.tokens)
    assert dialogues.words.transcript_mark not in typed.tokens
    assert "hello" in text and "I am Nano." in text and "None" not in text


def test_what_is_spoken_is_written_down_once_and_after_it_was_heard(dialogues: Dialogues) -> None:
    tokens = spoken(dialogues).tokens
    before, after = tokens[: (mark := tokens.index(dialogues.words.transcript_mark))], tokens[mark:]
    decode = dialogues.dialogue.tokenizer.decode
    assert "hello" not in decode(t for t in before if t in dialogues.words.text)
    assert "hello" in decode(after[: after.index(dialogues.words.reply_mark)])


def test_no_token_of_the_users_speech_is_learned(dialogues: Dialogues) -> None:
    example, codes = spoken(dialogues), dialogues.words.speech.tokens
    end = example.tokens.index(dialogues.words.speech.end)
    assert not any(target in codes for target in example.targets[:end] if target != IGNORE)
    assert any(target in codes for target in example.targets[end:] if target != IGNORE)
