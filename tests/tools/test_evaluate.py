"""The evaluation tool: its manifest, its figures and its report, with a responder that says what it is told."""

from __future__ import annotations

import json
import wave
from pathlib import Path

import numpy as np
import pytest

from streaming.music import wav_file
from streaming.pictures import picture_file
from streaming.types import (
    MUSIC_RATE,
    SPEECH_RATE,
    Abilities,
    AttachmentFailed,
    AttachmentProgress,
    AttachmentStarted,
    Failed,
    Finished,
    MusicDone,
    Output,
    Perceived,
    PictureDone,
    Request,
    SpeechDelta,
    TextDelta,
    TranscriptDelta,
    TranscriptDone,
)
from tests.assistant.test_works import artist_folder
from tools.evaluate import Manner, evaluate, in_a_room, main
from tools.evaluate_report import replace_figures, table
from tools.evaluate_sheets import spectrogram
from tools.manifest import EvaluationError, read_manifest, read_speech
from tools.words import says_any, word_errors, word_list

RED = np.full((16, 24, 3), (200, 30, 30), np.uint8)


class Scripted:
    """Hears `heard[response_id]` and replies `replies[response_id]`; fails where there is no reply. Beside the reply it
    makes what `makes[response_id]` says."""

    voices = ("one",)
    abilities = Abilities(frozenset({"image", "music"}), frozenset({"image", "music"}))

    def __init__(self, heard: dict[str, str], replies: dict[str, str], makes: dict[str, str] | None = None):
        self.heard, self.replies, self.makes = heard, replies, makes or {}
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
        shown = [(at, turn) for at, turn in enumerate(request.turns) if turn.image is not None and not turn.tokens]
        outputs += [Perceived(name, at, (7, 8)) for at, _ in shown]
        if name not in self.replies:
            return [*outputs, Failed(name, "server_error", "a fault")]
        pcm = np.full(1_600, 0.25, np.float32)
        outputs += [TextDelta(name, self.replies[name]), SpeechDelta(name, pcm), SpeechDelta(name, pcm)]
        done = Finished(name, "completed", self.replies[name], (1, 2), (3, 4), milestones_ms={"first_chunk": 80.04})
        return [*outputs, *self.made(name, done)]

    def made(self, name: str, done: Finished) -> list[Output]:
        """What is made begins before the response ends, and outlives it."""
        kind = self.makes.get(name)
        if kind is None:
            return [done]
        begun = AttachmentStarted(name, f"{name}/x", "music" if kind == "music" else "image", "it")
        ends: dict[str, Output] = {
            "image": PictureDone(name, f"{name}/x", RED, (5, 6)),
            "music": MusicDone(name, f"{name}/x", np.full(3 * 8_000, 0.1, np.float32), 8_000, (5, 6)),
            "fault": AttachmentFailed(name, f"{name}/x", "server_error", "no paint"),
        }
        return [begun, done, AttachmentProgress(name, f"{name}/x", 0.5), ends[kind]]


def manifest(folder: Path, *rows: object) -> Path:
    path = folder / "manifest.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return path


@pytest.fixture
def question(tmp_path: Path) -> Path:
    path = tmp_path / "question.wav"
    path.write_bytes(wav_file(0.1 * np.sin(np.arange(SPEECH_RATE) / 10).astype(np.float32), SPEECH_RATE))
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
    assert summary["own_speech_wer"] is None and "own speech" not in table(report)


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


def test_a_picture_stands_before_the_question_and_stays_in_the_conversation(tmp_path: Path) -> None:
    (tmp_path / "red.png").write_bytes(picture_file(RED, "png"))
    shown = {"image": "red.png", "text": "what is this", "expect_any": ["apple", "apples"], "intent": "object"}
    rows = [
        {"id": "a", "artist": "one", "turns": [{**shown, "object": "apple"}, {"text": "and now"}]},
        {"id": "b", "artist": "two", "turns": [{**shown, "expect_any": ["pear"]}]},
        {"id": "c", "artist": "two", "turns": [shown]},
    ]
    responder = Scripted({}, {"a-1": "That is an apple.", "a-2": "Yes.", "b-1": "Two apples.", "c-1": "No idea."})
    report = evaluate(read_manifest(manifest(tmp_path, *rows)), responder, Manner(tmp_path / "out", silent=True))
    requests = {request.response_id: request for request in responder.requests}
    (picture, words) = requests["a-1"].turns
    assert picture.image is not None and picture.image.shape == RED.shape and words.text == "what is this"
    assert requests["a-1"].attachments and not requests["a-1"].speak
    assert [turn.tokens for turn in requests["a-2"].turns] == [(7, 8), (1, 2), (3, 4), ()]
    assert {name: of["expected_words"] for name, of in report["by_artist"].items()} == {"one": 1.0, "two": 0.0}
    assert report["by_object"]["apple"]["turns"] == 1
    assert report["confusions"] == {"object": {"pear → apple": 1, "apple → none of them": 1}}
    assert "object mistaken: pear → apple, apple → none of them" in table(report)


def test_what_it_makes_is_shown_to_it_again(tmp_path: Path) -> None:
    again = [{"text": "what is this", "expect_any": ["apple"], "intent": "object"},
             {"text": "what colour is it", "expect_any": ["red"], "intent": "colour"}]  # fmt: skip
    rows = [
        {"id": "d", "turns": [{"text": "draw an apple", "expect_output": "image", "again": again}, {"text": "thanks"}]},
        {"id": "p", "turns": [{"text": "play", "expect_output": "music", "again": again[:1]}]},
        {"id": "f", "turns": [{"text": "draw", "expect_output": "image", "again": again}]},
    ]
    replies = {"d-1": "Here it is.", "d-2": "Yes.", "p-1": "Here.", "f-1": "Here.",
               "d-1-image-1": "An apple.", "d-1-image-2": "Blue.", "p-1-music-1": "A tune."}  # fmt: skip
    responder = Scripted({}, replies, {"d-1": "image", "p-1": "music", "f-1": "fault"})
    report = evaluate(read_manifest(manifest(tmp_path, *rows)), responder, Manner(tmp_path / "out", sessions=3))
    requests = {request.response_id: request for request in responder.requests}
    assert [turn.tokens for turn in requests["d-2"].turns] == [(1, 2), (3, 4), (5, 6), ()]
    shown = requests["d-1-image-1"].turns[0].image
    assert shown is not None and np.array_equal(shown, RED) and requests["d-1-image-1"].session_id == "d-1-image-1"
    heard = requests["p-1-music-1"].turns[0].music
    assert heard is not None and len(heard) == 3 * MUSIC_RATE
    drawings, tunes = report["made_image"], report["made_music"]
    assert (drawings["asked"], drawings["made"]) == (2, 1) and report["summary"]["expected_outputs"] == 0.6667
    assert {name: of["expected_words"] for name, of in drawings["again"].items()} == {"object": 1.0, "colour": 0.0}
    assert drawings["confusions"] == {"colour": {"red → none of them": 1}}
    assert tunes["shortest_s"] == 3.0 and drawings["took_ms"]["p50"] >= 0
    assert report["rows"][2]["turns"][0]["error"] == "server_error: no paint" and report["summary"]["errors"] == 1
    assert set(responder.closed) == {"d", "p", "f", "d-1-image-1", "d-1-image-2", "p-1-music-1"}
    assert "drawings made" in table(report) and "shown again, colour right" in table(report)


def test_a_model_set_without_eyes_is_not_shown_pictures(tmp_path: Path) -> None:
    (tmp_path / "red.png").write_bytes(picture_file(RED, "png"))
    rows = read_manifest(manifest(tmp_path, {"id": "a", "turns": [{"image": "red.png", "text": "x"}]}))
    blind = Scripted({}, {})
    blind.abilities = Abilities()
    with pytest.raises(EvaluationError, match="shows image"):
        evaluate(rows, blind, Manner(tmp_path / "out"))


def test_figures_take_their_place_in_a_file(tmp_path: Path) -> None:
    path = tmp_path / "README.md"
    path.write_text("# a\n<!-- figures: pictures -->\nold\n<!-- end of figures -->\nb\n")
    replace_figures(path, "pictures", "| new |")
    assert path.read_text() == "# a\n<!-- figures: pictures -->\n\n| new |\n\n<!-- end of figures -->\nb\n"
    with pytest.raises(ValueError, match="figures: music"):
        replace_figures(path, "music", "| new |")


def test_a_spectrogram_shows_a_tone_as_a_line(tmp_path: Path) -> None:
    path = tmp_path / "tone.wav"
    path.write_bytes(wav_file(np.sin(2 * np.pi * 1_000 * np.arange(16_000) / 16_000).astype(np.float32), 16_000))
    pixels = np.asarray(spectrogram(path).convert("L"))
    height, _ = pixels.shape
    row = int(pixels.mean(axis=1).argmin())
    frequency = 60 * (8_000 / 60) ** ((height - 1 - row) / (height - 1))
    assert 950 < frequency < 1050 and pixels[row].max() < 30 and pixels[: row - 20].min() > 100


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
        ('{"id": "a", "turns": [{"text": "x", "image": "y.png"}]}', "no file"),
        ('{"id": "a", "turns": [{"text": "x", "image": "y", "music": "z"}]}', "not both"),
        ('{"id": "a", "turns": [{"text": "x", "again": [{}]}]}', 'either "speech" or "text"'),
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


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")  # of diffusers' imports
def test_the_command_judges_drawings_and_tunes(
    tmp_path: Path, tokenizer_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "artist"
    folder.mkdir()
    artist_folder(folder, tokenizer_folder, ("image", "music"))
    config = tmp_path / "artist.toml"
    config.write_text(
        f"""
[model]
directory = "{folder}"
threads = 1
context_tokens = 512
[generation.text]
temperature = 0.0
max_tokens = 8
[generation.speech]
max_tokens = 40
[generation.music]
max_tokens = 160
[pictures]
steps = 2
"""
    )
    (tmp_path / "red.png").write_bytes(picture_file(RED, "png"))
    again = [{"text": "and this", "expect_any": ["nothing"], "intent": "what"}]
    path = manifest(tmp_path, {"id": "a", "turns": [{"image": "red.png", "text": "draw this", "again": again}]})
    out = tmp_path / "out.json"
    assert main([str(path), "--config", str(config), "--json", str(out)]) == 1
    assert "1,600 Hz" in capsys.readouterr().err, "a tune of the tiny codec is too crude to be heard again"
    report = json.loads(out.read_text("utf-8"))
    _, drawing, tune = report["rows"][0]["turns"][0]["outputs"]
    assert (drawing["kind"], tune["kind"]) == ("image", "music") and Path(drawing["file"]).is_file()
    assert tune["lasts_s"] > 0 and [len(of["again"]) for of in (drawing, tune)] == [1, 1]
    assert (tmp_path / "out" / "drawings.png").is_file() and (tmp_path / "out" / "tunes.png").is_file()


def test_own_speech_is_heard_with_the_room_around_it() -> None:
    pcm = np.full(1600, 0.5, np.float32)
    heard = in_a_room(pcm)
    assert len(heard) == 1600 + 4800 + 3200 and heard.dtype == np.float32
    assert 0 < np.abs(heard[:4800]).max() < 0.005 and 0 < np.abs(heard[-3200:]).max() < 0.005
    assert np.abs(heard[4800:-3200] - pcm).max() < 0.005
