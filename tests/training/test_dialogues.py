"""Training examples say what the template says: who typed, who spoke, what was shown, and what is learned where.

Those with pictures and music are, token by token, what the responder reads and may answer.
"""

from __future__ import annotations

import copy
import ctypes.util
import json
import random
from collections.abc import Sequence
from dataclasses import asdict, replace
from itertools import islice
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from assistant.media import MediaModels
from assistant.responder import AnyGPTResponder
from assistant.vocabulary import MUSIC_CODEBOOKS, Vocabulary
from configuration import Generation
from streaming.types import Request
from streaming.types import Turn as Told
from training import dialogues as examples
from training import syllabus
from training.codes import write_codes
from training.dialogues import IGNORE, Dialogues, Example, Segment
from training.music.score import all_tags
from training.syllabus.world import COLOURS, PICTURED

pytestmark = pytest.mark.skipif(ctypes.util.find_library("espeak-ng") is None, reason="espeak-ng is for training alone")

NANO = Path(__file__).parents[2] / "models" / "nano"
SAID = {"words": "hello dog", "train": "what is your name", "reply": "I am Nano."}
LABELS = {"words": "_hhəəllOO_ddɑɑɡɡ_", "train": "_wwʌʌtɪzjʊɹnnAAmm_", "reply": "_IIææmmnnæænnOO_"}
ROW = 4096
FRAMES = 250


def write_speech(folder: Path) -> None:
    for part, text in SAID.items():
        codes = np.arange(3 * len(LABELS[part])).reshape(3, -1) % 512
        record = {"text": text, "labels": LABELS[part], "voices": {"af_heart": 1.0}, "frames": codes.shape[1]}
        for name in (part, f"{part}-augmented"):
            write_codes(folder / f"{name}.npz", [(record, codes)], "none")


def write_album(folder: Path) -> Path:
    """Of everything so much that either split has some. Returns where the music is."""
    rng, twice = np.random.default_rng(0), range(2 * 20)
    labels = [(t, c, n) for t in range(len(PICTURED)) for c in range(len(COLOURS)) for n in (1, 2, 3, 4)]
    for name, known in (("camera", [*labels, (-1, -1, 0)]), ("drawing", [label for label in labels if label[2] == 1])):
        rows = np.repeat(np.array(known, np.int16), len(twice), 0)
        codes = rng.integers(1024, size=(len(rows), 32)).astype(np.int16)
        np.savez(folder / f"{name}.npz", codes=codes, labels=rows)
    pieces = [asdict(tags) for tags in all_tags() for _ in twice]
    codes = rng.integers(256, size=(len(pieces), MUSIC_CODEBOOKS, 25)).astype(np.int16)
    np.savez(folder / "music.npz", codes=np.tile(codes, FRAMES // 25), meta=json.dumps(pieces))
    return folder / "music.npz"


def made_of(folder: Path, **more: Any) -> Dialogues:
    """From a little speech, and what more there is."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(examples, "KEPT_BACK", 50)
        patch.setattr(examples, "SENTENCES", 50)
        write_speech(folder)
        return Dialogues(folder, NANO, seed=1, **more)


@pytest.fixture(scope="module")
def dialogues(tmp_path_factory: pytest.TempPathFactory) -> Dialogues:
    folder = tmp_path_factory.mktemp("codes")
    return made_of(folder, music=write_album(folder), row=ROW)


@pytest.fixture(scope="module")
def speech_alone(tmp_path_factory: pytest.TempPathFactory) -> Dialogues:
    folder = tmp_path_factory.mktemp("speech")
    return made_of(folder, music=folder / "none.npz")


def again(dialogues: Dialogues, seed: int, split: syllabus.Split = "train") -> Dialogues:
    others = copy.copy(dialogues)
    others.rng, others.seed, others.split = random.Random(seed), seed, split
    return others


def hello(dialogues: Dialogues, *, spoken: bool) -> Example:
    turn = syllabus.Turn("hello", "hello", "I am Nano.", "greet", ())
    return dialogues.turn(turn, dialogues.user_speech("hello") if spoken else None, dialogues.reply_speech(turn.reply))


def test_what_is_typed_has_no_transcript(dialogues: Dialogues) -> None:
    typed = hello(dialogues, spoken=False)
    text = dialogues.dialogue.tokenizer.decode(t for t in typed.tokens if t not in dialogues.words.speech.tokens)
    assert dialogues.words.transcript_mark not in typed.tokens
    assert "hello" in text.lower() and "I am Nano." in text and "None" not in text


def test_what_is_spoken_is_written_down_once_and_after_it_was_heard(dialogues: Dialogues) -> None:
    tokens = hello(dialogues, spoken=True).tokens
    before, after = tokens[: (mark := tokens.index(dialogues.words.transcript_mark))], tokens[mark:]
    decode = dialogues.dialogue.tokenizer.decode
    assert "hello" not in decode(t for t in before if t in dialogues.words.text)
    assert "hello" in decode(after[: after.index(dialogues.words.reply_mark)])


def test_no_token_of_the_users_is_learned(dialogues: Dialogues) -> None:
    words = dialogues.words
    assert words.image is not None and words.music is not None
    codes = (words.speech.tokens, words.image.tokens, words.music.tokens)
    for example in islice(again(dialogues, 2), 300):
        assert len(example.tokens) == len(example.targets) <= ROW
        users = True
        for token, target in zip(example.tokens, example.targets, strict=True):
            users = users if token not in (words.user, dialogues.dialogue.assistant) else token == words.user
            assert target == IGNORE or not users or not any(target in kind for kind in codes)


def test_what_is_learned_of_the_assistant_is_the_next_token(
    dialogues: Dialogues, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(examples, "SLIPPED", 0.0)
    words, seen = dialogues.words, set()
    for example in islice(again(dialogues, 3), 400):
        for token, following, target in zip(example.tokens, example.tokens[1:], example.targets, strict=False):
            kind = words.kind(token)
            if target in (IGNORE, following):
                seen.add(kind)
            else:
                assert kind in ("speech", "image", "music") or token == words.speech.start, "a word in place of a code"
                assert target in words.text
    assert seen == {"text", "mark", "speech", "image", "music"}


def test_who_slips_into_another_tune_learns_to_come_back(
    dialogues: Dialogues, monkeypatch: pytest.MonkeyPatch
) -> None:
    turn = syllabus.Turn("play", "play", "Here is a tune.", "play_music", (), plays=all_tags()[0])
    music = dialogues.words.music
    assert music is not None

    def learned(slipped: float) -> tuple[np.ndarray, np.ndarray]:
        monkeypatch.setattr(examples, "SLIPPED", slipped)
        ours = again(dialogues, 5)
        made = ours.made(turn)
        assert made is not None
        part = ours.turn(turn, None, None, (), made)
        start = part.tokens.index(music.start)
        frames = slice(start + 1, start + 1 + FRAMES * MUSIC_CODEBOOKS)
        read = np.array(part.tokens[frames]).reshape(-1, MUSIC_CODEBOOKS)
        return read, np.array(part.targets[start : frames.stop - 1]).reshape(-1, MUSIC_CODEBOOKS)

    (whole, targets), (read, back) = learned(0.0), learned(1.0)
    assert (targets == whole).all(), "each code is what is learned at the token before it"
    slips = (read != whole).any(1)
    assert 0 < slips.sum() < FRAMES / 2
    assert (back[:, 0] == whole[:, 0]).all(), "the first of a frame says where the tune goes"
    assert (back[slips, 1:] == IGNORE).all() and (back[~slips] == whole[~slips]).all()


def test_no_tune_is_left_out_where_it_is_learned(dialogues: Dialogues, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(examples, "PLAYED", 0.0)
    tags = all_tags()[0]
    turn = syllabus.Turn("play a tune", "play a tune", "Here is a tune.", "play_music", (), plays=tags)
    made = dialogues.made(turn)
    assert made is not None
    end = dialogues.dialogue.reply_end
    assert end not in dialogues.past(turn, [], made).targets
    assert end in dialogues.turn(turn, None, None, [], made).targets
    assert end in dialogues.past(replace(turn, plays=None), [], []).targets


def test_held_out_dialogues_have_pictures_and_music_of_their_own(dialogues: Dialogues) -> None:
    rng = random.Random(0)
    wanted = syllabus.Picture("cat", "red")
    found = {
        split: {tuple((dialogues.album.camera(rng, split, wanted, True) or ((),))[0]) for _ in range(200)}
        for split in ("train", "held_out")
    }
    assert len(found["train"]) > 30 and len(found["held_out"]) == 2 and not found["train"] & found["held_out"]


def test_without_pictures_and_music_there_is_speech(speech_alone: Dialogues) -> None:
    words, kinds = speech_alone.words, set[str]()
    for example in islice(again(speech_alone, 4), 300):
        kinds |= {words.kind(token) for token in example.tokens}
    assert kinds == {"text", "mark", "speech"}


def test_the_words_for_what_is_shown_are_asked_for_in_it(dialogues: Dialogues) -> None:
    picture = syllabus.Picture("cat", "red", 2)
    turn = syllabus.Turn("what is this", "what is this", "Those are cats.", "what_is_this", (), shown=picture)
    shown = dialogues.shown(syllabus.Dialogue((turn,)), turn)
    assert shown is not None
    example = dialogues.turn(turn, None, None, shown)
    end = example.tokens.index(dialogues.words.image.end)  # type: ignore[union-attr]
    asked = [target for target in example.targets[:end] if target != IGNORE]
    assert set(asked) >= {dialogues.pieces(word)[0] for word in ("cat", "two")}
    assert all(target in dialogues.words.text for target in asked)


# ---- as the responder has it


class Segments(MediaModels):
    """Knows what is shown by its number, without any model."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        super().__init__(Path(), frozenset(("seed", "unclip", "encodec")), vocabulary)
        self.known: list[list[int]] = []

    def see(self, picture: np.ndarray) -> list[int]:
        return self.known[picture[0, 0, 0]]

    def hear(self, pcm: np.ndarray, max_tokens: int) -> list[int]:
        return self.known[int(pcm[0])]


@pytest.fixture(scope="module")
def responder(dialogues: Dialogues) -> AnyGPTResponder:
    words = dialogues.words
    return AnyGPTResponder(
        SimpleNamespace(config=SimpleNamespace(max_context=8 * ROW), idle=True),  # type: ignore[arg-type]
        dialogues.dialogue.tokenizer,
        words,
        dialogues.dialogue,
        SimpleNamespace(listen=lambda pcm: pcm.astype(int).tolist(), frames=int),  # type: ignore[arg-type]
        SimpleNamespace(voices={}),  # type: ignore[arg-type]
        Generation(),
        Segments(words),
    )


def told(turn: syllabus.Turn, shown: Sequence[Segment], media: Segments) -> list[Told]:
    """What the session tells the responder of what was shown."""
    found = []
    for segment in shown:
        media.known.append(segment.tokens)
        number = len(media.known) - 1
        if turn.shown is not None:
            found.append(Told("user", image=np.full((1, 1, 3), number)))
        else:
            found.append(Told("user", music=np.full(1, number)))
    return found


def rich_dialogues() -> list[syllabus.Dialogue]:
    everything = islice(syllabus.generate(11, "train"), 1500)
    rich = [d for d in everything if any(t.shown or t.dark or t.given or t.draws or t.plays for t in d.turns)]
    return [*rich[:250], *islice(syllabus.tasks(1), 50)]


@pytest.mark.parametrize("spoken", [True, False], ids=["spoken", "typed"])
def test_an_example_is_what_the_responder_reads_and_may_answer(
    dialogues: Dialogues, responder: AnyGPTResponder, monkeypatch: pytest.MonkeyPatch, spoken: bool
) -> None:
    monkeypatch.setattr(examples, "PLAYED", 1.0)
    monkeypatch.setattr(examples, "ANNOUNCED", 0.0)
    monkeypatch.setattr(Dialogues, "typed", lambda self, text: text)
    media = responder.media
    assert isinstance(media, Segments)
    system = dialogues.dialogue.system_tokens()
    for dialogue in rich_dialogues():
        if not all(turn.heard for turn in dialogue.turns):
            continue
        turns: list[Told] = []
        tokens = list(system)
        for turn in dialogue.turns[:-1]:
            shown, made = dialogues.shown(dialogue, turn), dialogues.made(turn)
            assert shown is not None and made is not None
            turns += [*told(turn, shown, media), Told("user", turn.heard, dark_camera=turn.dark)]
            turns += [Told("assistant", turn.reply), *(Told("assistant", tokens=tuple(segment)) for segment in made)]
            tokens += dialogues.past(turn, shown, made).tokens
        last = dialogue.turns[-1]
        shown, made = dialogues.shown(dialogue, last), dialogues.made(last)
        assert shown is not None and made is not None
        speech = dialogues.user_speech(last.user) if spoken else None
        asked = np.array(speech.codes, np.float32) if speech else None
        turns += [*told(last, shown, media), Told("user", "" if speech else last.heard, asked, dark_camera=last.dark)]
        example = dialogues.turn(last, speech, dialogues.reply_speech(last.reply) if spoken else None, shown, made)
        tokens += example.tokens

        request = Request("s", "r", tuple(turns), speak=spoken, attachments=True)
        prompt = [*system, *(t for turn in responder._prompt_turns(responder._read(request)[0]) for t in turn)]
        assert tokens[: len(prompt)] == prompt
        state = responder._grammar(request, spoken)
        answer = tokens[len(prompt) : -len(dialogues.dialogue.turn_end)]
        for token in answer[:-1]:
            advanced = state.advance(token)
            assert advanced is not None
            state = advanced
        assert state.advance(answer[-1]) is None
