"""What is measured when somebody speaks into a reply, from what was heard and told."""

from __future__ import annotations

import numpy as np
import pytest

from streaming.types import SPEECH_RATE
from tools.barge_in import AGREEMENT, KINDS, Spoken, Trial, coughs, silences, spoken, summary, table, trials
from tools.latency import LatencyError, Record, Told
from tools.soak import SPEECH, Repertoire


def pieces(*times: float) -> list[tuple[float, float]]:
    """Loud pieces of 20 ms that begin at these times (s)."""
    return [(at, at + 0.02) for at in times]


def test_the_sound_that_lasted_at_the_onset_falls_silent_once() -> None:
    assert silences(pieces(1.0, 1.02, 1.04), onset=1.01, before=9.0) == pytest.approx((1.06, 1.06))


def test_sound_that_came_again_is_told_apart() -> None:
    heard = pieces(1.0, 1.02, 1.5, 1.52, 5.0)
    assert silences(heard, onset=1.01, before=2.0) == pytest.approx((1.04, 1.54))


def test_a_pause_between_words_is_no_silence() -> None:
    assert silences(pieces(1.0, 1.08, 1.1), onset=1.01, before=9.0) == pytest.approx((1.12, 1.12))


def test_what_was_silent_already_has_no_end() -> None:
    assert silences(pieces(0.5), onset=1.0, before=9.0) is None


TRIAL = Trial("agreement", "yeah", np.zeros(1, np.float32))


def record(**seconds: float) -> Record:
    """The playout's words of a reply, in their order."""
    kinds = {kind: f"output_audio_buffer.{kind.rstrip('_')}" for kind in seconds}
    return Record([Told(at, {"type": kinds[kind], "response_id": "r"}) for kind, at in seconds.items()])


def test_a_reply_that_went_on_was_held_as_long_as_it_was_paused() -> None:
    told = record(started=0.5, paused=1.1, resumed=1.6, paused_=1.8, resumed_=2.1, stopped=3.0)
    row = spoken(TRIAL, 1.0, told, pieces(1.0))
    assert (row.cut, row.failure) == (False, None)
    assert (row.noticed_ms, row.paused_ms) == pytest.approx((100, 800))


def test_a_reply_that_was_cut_off_fell_silent() -> None:
    told = record(started=0.5, paused=1.1, cleared=1.8)
    row = spoken(TRIAL, 1.0, told, pieces(1.0, 1.02, 1.1))
    assert row.cut and (row.silent_ms, row.silent_for_good_ms) == pytest.approx((120, 120))


@pytest.mark.parametrize("told", [record(started=0.5, stopped=0.9), record(started=2.0, stopped=3.0)])
def test_a_reply_that_was_not_being_heard_tells_nothing(told: Record) -> None:
    assert spoken(TRIAL, 1.0, told, []).failure == "no reply was being heard"


def test_the_figures_of_each_kind() -> None:
    rows = [
        Spoken("interruption", "a", None, True, 80.0, 120.0, 120.0),
        Spoken("interruption", "b", "no reply was heard"),
        Spoken("cough", "c", None, False, 90.0, None, None, 400.0),
    ]
    figures = summary(rows)
    assert (figures["interruption"]["said"], figures["interruption"]["cut_off"]) == (1, 1)
    assert figures["interruption"]["silent_ms"]["p95"] == 120 and figures["cough"]["cut_off"] == 0
    about = {"device": "a processor", "commit": "abc", "load_before": 1.0, "loss_percent": 0.0}
    shown = table(about | {"summary": figures})
    assert "cough: 0 of 1 cut the reply off" in shown and "paused" in shown


def test_a_cough_is_short_and_ends_in_silence() -> None:
    for seed in range(5):
        pcm = coughs(seed)
        assert 0.2 < len(pcm) / SPEECH_RATE < 0.9 and 0.1 < np.abs(pcm).max() < 0.5
        assert not pcm[-SPEECH_RATE // 10 :].any()


def test_what_is_said_comes_in_turn(tmp_path) -> None:
    repertoire = Repertoire.read(SPEECH)
    made = trials(3, KINDS, repertoire, AGREEMENT, seed=0)
    assert [trial.kind for trial in made] == list(KINDS) * 3
    assert {trial.kind for trial in trials(3, ["cough"], repertoire, AGREEMENT, seed=0)} == {"cough"}
    with pytest.raises(LatencyError, match="nothing to say"):
        trials(1, KINDS, repertoire, tmp_path, seed=0)
