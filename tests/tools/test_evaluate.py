"""The evaluation tool: its manifest, its figures and its report, with a responder that says what it is told."""

from __future__ import annotations

import json
import wave
from pathlib import Path

import numpy as np
import pytest

from streaming.types import (
    SPEECH_RATE,
    Failed,
    Finished,
    Output,
    Request,
    SpeechDelta,
    TextDelta,
    TranscriptDelta,
    TranscriptDone,
)
from tools.evaluate import (
    EvaluationError,
    Manner,
    evaluate,
    in_a_room,
    main,
    read_manifest,
    read_speech,
    says_any,
    table,
    word_errors,
    word_list,
    write_speech,
)


class Scripted:
    """Hears `heard[response_id]` and replies `replies[response_id]`; fails where there is no reply."""

    voices = ("one",)

    def __init__(self, heard: dict[str, str], replies: dict[str, str]):
        self.heard, self.replies = heard, replies
        self.requests: list[Request] = []
        self.closed: list[str] = []
        self.pending: list[Request] = []

    def submit(self, request: Request) -> None:
        self.requests.append(request)
        self.pending.append(request)

    def cancel(self, response_id: str) -> None:
        raise AssertionError("the tool cancels nothing")

    def close_session(self, session_id: str) -> None:
        self.closed.append(session_id)

    @property
    def idle(self) -> bool:
        return not self.pending

    def step(self) -> list[Output]:
        request = self.pending.pop()  # the newest first: rows must not depend on the order
        name, outputs = request.response_id, list[Output]()
        if name in self.heard:
            outputs += [TranscriptDelta(name, self.heard[name]), TranscriptDone(name, self.heard[name], (1, 2))]
        if request.transcript_only:
            return [*outputs, Finished(name, "completed", "", (1, 2), ())]
        if name not in self.replies:
            return [*outputs, Failed(name, "server_error", "a fault")]
        pcm = np.full(1_600, 0.25, np.float32)
        outputs += [TextDelta(name, self.replies[name]), SpeechDelta(name, pcm), SpeechDelta(name, pcm)]
        done = Finished(name, "completed", self.replies[name], (1, 2), (3, 4), milestones_ms={"first_chunk": 80.04})
        return [*outputs, done]


def manifest(folder: Path, *rows: object) -> Path:
    path = folder / "manifest.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return path


@pytest.fixture
def question(tmp_path: Path) -> Path:
    path = tmp_path / "question.wav"
    write_speech(path, 0.1 * np.sin(np.arange(SPEECH_RATE) / 10).astype(np.float32))
    return path


def test_words_are_compared_without_case_and_punctuation() -> None:
    assert word_list("Don't stop: it’s twenty-one, Zoë!") == ["dont", "stop", "its", "twenty", "one", "zoë"]
    assert word_errors("the cat sat".split(), "a cat sat down".split()) == 2
    assert word_errors([], ["noise"]) == 1
    assert word_errors(["lost", "words"], []) == 2


def test_expected_words_are_whole_words() -> None:
    assert says_any("It is RED.", ["blue", "red"])
    assert not says_any("A hundred.", ["red"])
    assert says_any("I did not understand.", ["did not understand"])


def test_a_row_is_a_conversation_and_becomes_a_report(tmp_path: Path, question: Path) -> None:
    path = manifest(
        tmp_path,
        {
            "id": "colours",
            "voice": "ann",
            "intent": "colour",
            "turns": [
                {
                    "speech": "question.wav",
                    "expect_heard": "What colour is snow?",
                    "expect_any": ["white"],
                    "expect_output": "speech",
                },
                {"text": "and grass?", "expect_any": ["green"], "expect_output": "image", "intent": "and"},
            ],
        },
        {"id": "bye", "voice": "bob", "turns": [{"text": "bye"}]},
    )
    responder = Scripted(
        {"colours-1": "what colour is smoke", "colours-1-own": "snow is bright", "colours-2-own": "grass is red"},
        {"colours-1": "Snow is white.", "colours-2": "Grass is red.", "bye-1": "Bye."},
    )
    report = evaluate(read_manifest(path), responder, Manner(tmp_path / "out", feedback=True))

    first, second = report["rows"][0]["turns"]
    assert (first["heard"], first["heard_wer"], first["reply"]) == ("what colour is smoke", 0.25, "Snow is white.")
    assert first["milestones_ms"] == {"first_chunk": 80.0}
    assert first["own_speech_wer"] == pytest.approx(1 / 3, abs=1e-4)
    assert second["heard"] is None and second["heard_wer"] is None
    with wave.open(first["outputs"][0]["file"]) as sound:
        assert (sound.getframerate(), sound.getnframes()) == (SPEECH_RATE, 3_200)

    summary = report["summary"]
    assert (summary["word_error_rate"], summary["expected_words"], summary["expected_outputs"]) == (0.25, 0.5, 0.5)
    assert summary["own_speech_wer"] == pytest.approx(2 / 7, abs=1e-4)  # "Bye." came back as nothing
    assert report["rows"][0]["intent"] == "colour"
    assert report["by_voice"]["ann"]["expected_words"] == 0.5
    assert report["by_voice"]["bob"]["expected_words"] is None
    assert {name: figures["expected_words"] for name, figures in report["by_intent"].items()} == {"and": 0, "colour": 1}
    assert "colour" in table(report) and "25.0 %" in table(report)

    followed = next(request for request in responder.requests if request.response_id == "colours-2")
    assert [turn.tokens for turn in followed.turns] == [(1, 2), (3, 4), ()]
    assert followed.session_id == "colours"
    assert set(responder.closed) >= {"colours", "bye", "colours-1-own"}


def test_nothing_expected_gives_null(tmp_path: Path) -> None:
    report = evaluate(
        read_manifest(manifest(tmp_path, {"id": 1, "turns": [{"text": "hi"}]})),
        Scripted({}, {"1-1": "Hi."}),
        Manner(tmp_path / "out"),
    )
    summary = report["summary"]
    assert summary["word_error_rate"] is summary["expected_words"] is summary["expected_outputs"] is None
    assert "own_speech_wer" not in summary


def test_many_rows_at_once_keep_their_order(tmp_path: Path) -> None:
    rows = [{"id": f"r{n}", "turns": [{"text": "a"}, {"text": "b"}]} for n in range(5)]
    replies = {f"r{n}-{turn}": f"{n} {turn}" for n in range(5) for turn in (1, 2)}
    responder = Scripted({}, replies)
    report = evaluate(read_manifest(manifest(tmp_path, *rows)), responder, Manner(tmp_path / "out", sessions=3))
    assert [[turn["reply"] for turn in row["turns"]] for row in report["rows"]] == [
        [f"{n} 1", f"{n} 2"] for n in range(5)
    ]


def test_a_failed_turn_counts_as_nothing_heard_and_the_conversation_goes_on(tmp_path: Path, question: Path) -> None:
    (tmp_path / "broken.wav").write_bytes(b"not a sound")
    turns = [
        {"speech": "broken.wav", "expect_heard": "one two"},
        {"speech": "question.wav", "expect_heard": "three", "expect_any": ["three"]},
        {"text": "four"},
    ]
    responder = Scripted({}, {"r-3": "Four."})
    report = evaluate(
        read_manifest(manifest(tmp_path, {"id": "r", "turns": turns})), responder, Manner(tmp_path / "out")
    )
    broken, failed, fine = report["rows"][0]["turns"]
    assert "broken.wav is not a sound file" in broken["error"] and broken["heard_wer"] == 1.0
    assert failed["error"] == "server_error: a fault" and failed["expected_words"] is False
    assert fine["reply"] == "Four." and "error" not in fine
    assert report["summary"]["word_error_rate"] == 1.0 and report["summary"]["errors"] == 2
    assert [len(request.turns) for request in responder.requests] == [1, 1]


@pytest.mark.parametrize("rate, channels", [(8_000, 1), (44_100, 2), (48_000, 1)])
def test_sound_of_any_rate_becomes_16_khz_mono(tmp_path: Path, rate: int, channels: int) -> None:
    tone = 0.5 * np.sin(2 * np.pi * 440 * np.arange(rate) / rate)
    path = tmp_path / "tone.wav"
    with wave.open(str(path), "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(np.repeat((tone * 32767).astype("<i2"), channels).tobytes())
    pcm = read_speech(path)
    assert pcm.dtype == np.float32 and abs(pcm.size - SPEECH_RATE) <= 2
    expected = 0.5 * np.sin(2 * np.pi * 440 * np.arange(pcm.size) / SPEECH_RATE)
    assert np.abs(pcm - expected)[1_000:-1_000].max() < 5e-3


@pytest.mark.parametrize(
    "line, sentence",
    [
        ("{", "line 1: not JSON"),
        ('{"id": "a"}', '"turns" must be a list'),
        ('{"id": "a", "turns": [{"speech": "gone.wav"}]}', "no file"),
        ('{"id": "a", "turns": [{"text": "x", "speech": "y"}]}', 'either "speech" or "text"'),
        ('{"id": "a", "turns": [{"text": "x", "expected_any": ["y"]}]}', "no key 'expected_any'"),
        ('{"id": "a", "turns": [{"text": "x", "expect_any": "y"}]}', "must be a list of words"),
        ('{"id": "a", "turns": [{"text": "x", "image": "y.png"}]}', "not image"),
        ('{"id": "a", "turns": [{"text": "x"}]}\n{"id": "a", "turns": [{"text": "x"}]}', "'a' occurs twice"),
        ("", "holds no rows"),
    ],
)
def test_a_manifest_that_cannot_be_used_is_refused_with_its_line(tmp_path: Path, line: str, sentence: str) -> None:
    path = tmp_path / "manifest.jsonl"
    path.write_text(line, "utf-8")
    with pytest.raises(EvaluationError, match=sentence):
        read_manifest(path)


def test_the_command_says_what_is_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path / "none.jsonl"), "--json", str(tmp_path / "out.json")]) == 2
    assert "cannot be read" in capsys.readouterr().err


def test_the_command_runs_a_model_set(
    tmp_path: Path, question: Path, tiny_config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = manifest(
        tmp_path,
        {"id": "a", "turns": [{"speech": str(question), "expect_heard": "one"}, {"text": "and?"}]},
        {"id": "b", "turns": [{"text": "hello", "expect_output": "speech"}]},
    )
    out = tmp_path / "reports" / "out.json"
    arguments = [str(path), "--config", str(tiny_config), "--json", str(out), "--feedback", "--sessions", "2"]
    assert main(arguments) == 0
    report = json.loads(out.read_text("utf-8"))
    heard, typed = report["rows"][0]["turns"]
    assert heard["heard_wer"] is not None and typed["heard"] is None
    assert report["summary"]["expected_outputs"] == 1.0
    with wave.open(report["rows"][1]["turns"][0]["outputs"][0]["file"]) as sound:
        assert sound.getnframes() % 320 == 0 and sound.getnframes() > 0
    assert "own speech wrong" in capsys.readouterr().out
    assert main([*arguments, "--voice", "nobody"]) == 2
    assert "there are ann, bob" in capsys.readouterr().err


def test_own_speech_is_heard_with_the_room_around_it() -> None:
    pcm = np.full(1600, 0.5, np.float32)
    heard = in_a_room(pcm)
    assert len(heard) == 1600 + 4800 + 3200 and heard.dtype == np.float32
    assert 0 < np.abs(heard[:4800]).max() < 0.005 and 0 < np.abs(heard[-3200:]).max() < 0.005
    assert np.abs(heard[4800:-3200] - pcm).max() < 0.005
