"""Speech that nobody spoke, and speech that is hard to hear, keep their words in order."""

from __future__ import annotations

import ctypes.util
import random

import numpy as np
import pytest

from training.spoken import Recording, Runs, Utterance, disturbed, sounding_alike

needs_espeak = pytest.mark.skipif(ctypes.util.find_library("espeak-ng") is None, reason="espeak-ng is for training")
LABELS = "__hhəəllOO__ddɑɑɡɡ__"
CODES = np.arange(len(LABELS), dtype=np.int16)
ALIKE = sounding_alike([(CODES, LABELS), (CODES[::-1].copy() + 20, LABELS[::-1])], 40)


@needs_espeak
def test_the_words_of_a_recording_are_found() -> None:
    recording = Recording(CODES, LABELS, "hello dog", "us")
    assert recording.whole and recording.speech.words == [(9, "hello"), (17, "dog")]
    assert recording.speech.between(1, 1) == Utterance(list(range(10, 18)), [(7, "dog")])
    assert recording.speech.between(0, 0).words == [(9, "hello")]


@needs_espeak
@pytest.mark.parametrize("foreign", [False, True])
def test_what_is_put_together_is_made_of_what_was_said(foreign: bool) -> None:
    runs, rng = Runs([(CODES, LABELS)]), random.Random(0)
    speech = runs.speak(rng, "dog hello dog", "us", foreign=foreign)
    assert [word for _, word in speech.words] == ["dog", "hello", "dog"]
    assert set(speech.codes) <= set(CODES.tolist()) and speech.words[-1][0] == len(speech) - 1
    if not foreign:
        assert speech.codes[: speech.words[0][0] + 1] == list(range(12, 18))
    assert len(runs.silence(rng, 30)) == 30


def test_tokens_of_one_phoneme_sound_alike() -> None:
    meant = dict(zip((*CODES, *(CODES[::-1] + 20)), (*LABELS, *LABELS[::-1]), strict=True))
    for token in range(len(CODES)):
        others = [meant.get(other) == meant[token] for other in ALIKE[token].tolist()]
        assert sum(others) > 0.9 * len(others) and len({*ALIKE[token].tolist()}) > 1


@pytest.mark.parametrize("share", [0.0, 0.1, 0.3])
@pytest.mark.parametrize("pace", [0.7, 1.0, 1.4])
def test_no_word_is_lost_in_noise(share: float, pace: float) -> None:
    speech = Utterance([k % 20 for k in range(200)], [(9, "one"), (100, "two"), (199, "three")])
    lengths = []
    for seed in range(40):
        heard = disturbed(random.Random(seed), speech, ALIKE, share, pace)
        assert [word for _, word in heard.words] == ["one", "two", "three"]
        ends = [end for end, _ in heard.words]
        assert ends == sorted(ends) and ends[-1] < len(heard)
        lengths.append(len(heard))
    assert np.mean(lengths) == pytest.approx(200 / pace, rel=0.05)
    if share == 0 and pace == 1:
        assert heard == speech
