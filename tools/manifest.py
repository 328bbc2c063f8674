"""What `tools.evaluate` asks a model set: conversations, one JSON object a line, and the files that they name.

    {"id", "turns": [{"speech" | "text", "image"?, "music"?, "expect_heard"?, "expect_any"?: [words],
                      "expect_output"?: "speech" | "image" | "music", "again"?: [turns]}], ...}

Paths are absolute or relative to the manifest; the turns of one line share one conversation. A picture is shown before
the words of its turn, as a camera's is, and so is music. Each of the turns in `again` is asked, in a conversation of
its own, about the drawing or the tune that came of the turn. Further keys of a row are passed through; for the values
of LABELS, of a row or of one turn, figures are also given one by one.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import av
import numpy as np
import soxr

from streaming.events import Limits
from streaming.fields import ProtocolError
from streaming.media import Music, Picture
from streaming.music import read_music
from streaming.pictures import read_picture
from streaming.types import SPEECH_RATE
from tools.words import word_list


class EvaluationError(Exception):
    """Something in the manifest or a file of it cannot be used; the message is a sentence for its author."""


@dataclass(frozen=True, slots=True)
class Said:
    """One turn of the user, and what should come of it."""

    speech: Path | None = None
    text: str = ""
    image: Path | None = None
    music: Path | None = None
    expect_heard: str | None = None
    expect_any: tuple[str, ...] = ()
    expect_output: str | None = None
    again: tuple[Said, ...] = ()  # about what it makes
    labels: dict[str, str] = field(default_factory=dict)  # of this turn alone, see LABELS


@dataclass(frozen=True, slots=True)
class Row:
    """One conversation of the manifest."""

    id: str
    turns: tuple[Said, ...]
    extra: dict[str, Any]  # further keys, passed through to the report


LABELS = ("voice", "intent", "phrasing", "artist", "object", "colour", "instrument", "mood", "tempo")
"""The extra keys by whose values the figures are grouped. A turn's own wins over its row's."""
FILES = ("speech", "image", "music")
TEXTS = (*FILES, "text", "expect_heard", "expect_output", *LABELS)
TURN_KEYS = {*TEXTS, "expect_any", "again"}


def read_manifest(path: Path) -> list[Row]:
    """Raises EvaluationError naming the line when one is not as the contract has it or names a missing file."""
    try:
        lines = path.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as fault:
        raise EvaluationError(f"the manifest {path} cannot be read: {fault}") from fault
    rows: list[Row] = []
    seen: set[str] = set()
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = parse_row(json.loads(line), path.parent)
        except json.JSONDecodeError as fault:
            raise EvaluationError(f"{path}, line {number}: not JSON: {fault}") from fault
        except EvaluationError as fault:
            raise EvaluationError(f"{path}, line {number}: {fault}") from None
        if row.id in seen:
            raise EvaluationError(f"{path}, line {number}: the id {row.id!r} occurs twice")
        seen.add(row.id)
        rows.append(row)
    if not rows:
        raise EvaluationError(f"the manifest {path} holds no rows")
    return rows


def parse_row(value: Any, folder: Path) -> Row:
    if not isinstance(value, dict) or not isinstance(value.get("id"), str | int):
        raise EvaluationError('a row is an object with an "id"')
    turns = value.get("turns")
    if not isinstance(turns, list) or not turns:
        raise EvaluationError('"turns" must be a list with at least one turn')
    extra = {name: given for name, given in value.items() if name not in ("id", "turns")}
    return Row(str(value["id"]), tuple(parse_turn(turn, folder) for turn in turns), extra)


def parse_turn(value: Any, folder: Path) -> Said:
    if not isinstance(value, dict):
        raise EvaluationError("a turn is an object")
    if unknown := value.keys() - TURN_KEYS:
        raise EvaluationError(f"a turn has no key {sorted(unknown)[0]!r}")
    if ("speech" in value) == ("text" in value):
        raise EvaluationError('a turn has either "speech" or "text"')
    if "image" in value and "music" in value:
        raise EvaluationError('a turn has "image" or "music", not both')
    for key in TEXTS:
        if not isinstance(value.get(key, ""), str):
            raise EvaluationError(f"{key!r} must be a string")
    words, again = value.get("expect_any", []), value.get("again", [])
    if not isinstance(words, list) or not all(isinstance(word, str) and word_list(word) for word in words):
        raise EvaluationError('"expect_any" must be a list of words')
    if not isinstance(again, list):
        raise EvaluationError('"again" must be a list of turns')
    files = {key: folder / value[key] for key in FILES if key in value}
    for path in files.values():
        if not path.is_file():
            raise EvaluationError(f"there is no file {path}")
    return Said(
        **files,
        text=value.get("text", ""),
        expect_heard=value.get("expect_heard"),
        expect_any=tuple(words),
        expect_output=value.get("expect_output"),
        again=tuple(parse_turn(turn, folder) for turn in again),
        labels={label: value[label] for label in LABELS if label in value},
    )


# ---- files


def read_speech(path: Path) -> np.ndarray:
    """The first audio track of any file that PyAV opens, as [samples] float32 at SPEECH_RATE: the channels' mean."""
    try:
        with av.open(str(path)) as container:
            if not container.streams.audio:
                raise EvaluationError(f"{path} holds no sound")
            rate = container.streams.audio[0].rate
            to_float = av.AudioResampler(format="fltp", rate=rate)
            frames = (out for frame in container.decode(audio=0) for out in to_float.resample(frame))
            pieces = [frame.to_ndarray().mean(axis=0) for frame in frames]
    except (av.FFmpegError, OSError) as fault:
        raise EvaluationError(f"{path} is not a sound file that can be read: {fault}") from fault
    pcm = np.concatenate(pieces) if pieces else np.zeros(0, np.float32)
    if not pcm.size:
        raise EvaluationError(f"{path} holds no samples")
    return soxr.resample(pcm, rate, SPEECH_RATE).astype(np.float32) if rate != SPEECH_RATE else pcm


def read_shown(said: Said) -> Picture | Music | None:
    """The picture or the music of a turn, as the server reads what a client sends."""
    path = said.image or said.music
    if path is None:
        return None
    try:
        data = path.read_bytes()
        return read_picture(data, Limits()) if said.image else read_music(data, Limits())
    except (OSError, ProtocolError) as fault:
        raise EvaluationError(f"{path} cannot be used: {fault}") from fault
