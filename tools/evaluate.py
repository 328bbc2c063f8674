"""How well a model set converses: run the rows of a manifest through it, without a network, and report.

    python -m tools.evaluate MANIFEST.jsonl --config configs/nano.toml --json OUT.json [--feedback]

One JSON object a line: {"id", "turns": [{"speech" | "text", "expect_heard"?, "expect_any"?: [words],
"expect_output"?: "speech"}], ...}. Paths are absolute or relative to the manifest; the turns of one line share one
conversation. Further keys of a row are passed through; for the values of `voice` (who spoke) and `intent`, of a row or
of one turn, the figures are also given one by one.

The report: {"rows": [{"id", "turns": [{"heard", "heard_wer", "reply", "outputs": [{"kind", "file"}], "milestones_ms",
...}]}], "summary": {"word_error_rate", "expected_words", "expected_outputs", ...}}, figures null where nothing was
expected. The replies' sounds lie beside the report, in a folder named after it.

With --feedback the model also listens to its own replies, as a quiet room's microphone and the server's detector would
hand them to it; what it hears then, against the reply's text, is `own_speech_wer`.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import time
import unicodedata
import wave
from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import av
import numpy as np
import soxr

from streaming.conversation import Conversation, Item, Part, turn_of
from streaming.types import (
    SPEECH_RATE,
    Failed,
    Finished,
    Output,
    Request,
    Responder,
    SpeechDelta,
    TranscriptDone,
    Turn,
)

BEFORE_S, AFTER_S, ROOM = 0.3, 0.2, 0.0005
"""The server hands on so much of what came before speech and after it; a room is never quieter than that."""


class EvaluationError(Exception):
    """Something in the manifest or a file of it cannot be used; the message is a sentence for its author."""


# ---- the manifest


@dataclass(frozen=True, slots=True)
class Said:
    """One turn of the user, and what should come of it."""

    speech: Path | None
    text: str
    expect_heard: str | None
    expect_any: tuple[str, ...]
    expect_output: str | None
    labels: dict[str, str] = field(default_factory=dict)  # of this turn alone, see LABELS


@dataclass(frozen=True, slots=True)
class Row:
    """One conversation of the manifest."""

    id: str
    turns: tuple[Said, ...]
    extra: dict[str, Any]  # further keys, passed through to the report


LABELS = ("voice", "intent")
"""The extra keys by whose values the figures are grouped. A turn's own wins over its row's."""
TURN_KEYS = {"speech", "text", "expect_heard", "expect_any", "expect_output", *LABELS}
LATER = {"image", "music"}


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
    if given := LATER & value.keys():
        raise EvaluationError(f"this model set takes speech and text in, not {' or '.join(sorted(given))}")
    if unknown := value.keys() - TURN_KEYS:
        raise EvaluationError(f"a turn has no key {sorted(unknown)[0]!r}")
    if ("speech" in value) == ("text" in value):
        raise EvaluationError('a turn has either "speech" or "text"')
    for key in ("speech", "text", "expect_heard", "expect_output", *LABELS):
        if not isinstance(value.get(key, ""), str):
            raise EvaluationError(f"{key!r} must be a string")
    words = value.get("expect_any", [])
    if not isinstance(words, list) or not all(isinstance(word, str) and word_list(word) for word in words):
        raise EvaluationError('"expect_any" must be a list of words')
    speech = folder / value["speech"] if "speech" in value else None
    if speech is not None and not speech.is_file():
        raise EvaluationError(f"there is no file {speech}")
    labels = {label: value[label] for label in LABELS if label in value}
    return Said(
        speech, value.get("text", ""), value.get("expect_heard"), tuple(words), value.get("expect_output"), labels
    )


# ---- words


def word_list(text: str) -> list[str]:
    """Lower case without punctuation: apostrophes vanish, all other marks part words."""
    text = unicodedata.normalize("NFKC", text).lower()
    text = re.sub(r"['’ʼ`]", "", text)
    return re.findall(r"[^\W_]+", text)


def word_errors(expected: Sequence[str], heard: Sequence[str]) -> int:
    """Substitutions, insertions and deletions of the cheapest way from one to the other (Levenshtein 1966)."""
    row = list(range(len(heard) + 1))
    for i, word in enumerate(expected, 1):
        diagonal, row[0] = row[0], i
        for j, other in enumerate(heard, 1):
            diagonal, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, diagonal + (word != other))
    return row[-1]


@dataclass(slots=True)
class WordErrors:
    """Errors over the words that were to be heard; a rate of None where there were none."""

    errors: int = 0
    words: int = 0

    @classmethod
    def between(cls, expected: str, heard: str) -> WordErrors:
        wanted = word_list(expected)
        return cls(word_errors(wanted, word_list(heard)), len(wanted))

    def add(self, other: WordErrors | None) -> None:
        if other is not None:
            self.errors += other.errors
            self.words += other.words

    @property
    def rate(self) -> float | None:
        return round(self.errors / self.words, 4) if self.words else None


def says_any(reply: str, wanted: Iterable[str]) -> bool:
    """Whether any of the words (or phrases) stands in the reply as whole words."""
    said = f" {' '.join(word_list(reply))} "
    return any(f" {' '.join(word_list(words))} " in said for words in wanted)


# ---- sound


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


def write_speech(path: Path, pcm: np.ndarray) -> None:
    """[samples] float32 at SPEECH_RATE -> a 16-bit WAV file."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(SPEECH_RATE)
        file.writeframes((np.clip(pcm, -1.0, 1.0) * 32767.0).astype("<i2").tobytes())


# ---- conversations


@dataclass(slots=True)
class Answered:
    """What became of one turn."""

    heard: str | None = None
    reply: str = ""
    pcm: np.ndarray = field(default_factory=lambda: np.zeros(0, np.float32))
    file: str | None = None
    milestones_ms: dict[str, float] = field(default_factory=dict)
    own_speech: str | None = None
    error: str | None = None
    heard_errors: WordErrors | None = None
    own_errors: WordErrors | None = None
    expected_words: bool | None = None
    expected_output: bool | None = None

    @property
    def outputs(self) -> list[dict[str, str]]:
        return [{"kind": "speech", "file": self.file}] if self.file else []

    def judge(self, said: Said, feedback: bool) -> None:
        if said.expect_heard is not None:
            self.heard_errors = WordErrors.between(said.expect_heard, self.heard or "")
        if said.expect_any:
            self.expected_words = says_any(self.reply, said.expect_any)
        if said.expect_output is not None:
            self.expected_output = any(output["kind"] == said.expect_output for output in self.outputs)
        if feedback and self.reply and self.error is None:
            self.own_errors = WordErrors.between(self.reply, self.own_speech or "")

    def as_json(self) -> dict[str, Any]:
        report: dict[str, Any] = {
            "heard": self.heard,
            "heard_wer": self.heard_errors and self.heard_errors.rate,
            "reply": self.reply,
            "outputs": self.outputs,
            "milestones_ms": self.milestones_ms,
            "expected_words": self.expected_words,
            "expected_output": self.expected_output,
        }
        if self.own_errors is not None:
            report |= {"own_speech": self.own_speech, "own_speech_wer": self.own_errors.rate}
        if self.error is not None:
            report["error"] = self.error
        return report


@dataclass(frozen=True, slots=True)
class Manner:
    """How the rows are run."""

    sounds: Path  # the folder for the replies' sounds
    voice: str = ""
    feedback: bool = False
    sessions: int = 1
    history_tokens: int = 1024  # as in [model] of the configuration


Asking = Generator[tuple[Request, list[Output]], None, list[Answered]]


def converse(row: Row, manner: Manner) -> Asking:
    """Yields (request, list that its outputs will be put into) and goes on once the last output is there.

    The value returned is the list of Answered, one for each turn.
    """
    history = Conversation()
    answers: list[Answered] = []
    for number, said in enumerate(row.turns, 1):
        answer = Answered()
        answers.append(answer)
        try:
            pcm = read_speech(said.speech) if said.speech else None
        except EvaluationError as fault:
            answer.error = str(fault)
            answer.judge(said, manner.feedback)
            continue
        name = f"{row.id}-{number}"
        part = Part("input_text", said.text) if pcm is None else Part("input_audio", speech=pcm, samples=len(pcm))
        asked = Item(name, role="user", parts=[part])
        history.add(asked)
        turns = tuple(turn for item in history if (turn := turn_of(item)) is not None)
        outputs: list[Output] = []
        yield Request(row.id, name, turns, voice=manner.voice), outputs
        finished = gather(answer, outputs)
        if finished is None:
            history.delete(name)
        else:
            part.text = answer.heard or said.text
            asked.settle(finished.user_tokens)
            reply = [Part("output_audio", answer.reply)]
            history.add(Item(f"{name}-reply", role="assistant", parts=reply, tokens=finished.assistant_tokens))
            history.compact(manner.history_tokens)
        if answer.pcm.size:
            path = manner.sounds / (re.sub(r"[^\w.-]", "_", name) + ".wav")
            write_speech(path, answer.pcm)
            answer.file = str(path.resolve())
        if manner.feedback and answer.pcm.size:
            outputs = []
            own = (Turn("user", speech=in_a_room(answer.pcm)),)
            yield Request(f"{name}-own", f"{name}-own", own, transcript_only=True), outputs
            answer.own_speech = next((out.text for out in outputs if isinstance(out, TranscriptDone)), "")
        answer.judge(said, manner.feedback)
    return answers


def in_a_room(pcm: np.ndarray) -> np.ndarray:
    """[samples] at SPEECH_RATE as a turn of a microphone's: with what is heard before and after it."""
    whole = np.pad(pcm, (round(BEFORE_S * SPEECH_RATE), round(AFTER_S * SPEECH_RATE)))
    noise = np.random.default_rng(0).standard_normal(len(whole))
    return (whole + ROOM * noise).astype(np.float32)


def gather(answer: Answered, outputs: list[Output]) -> Finished | None:
    """Fill `answer` from all the outputs of a response; its Finished, or None when it failed."""
    answer.heard = next((out.text for out in outputs if isinstance(out, TranscriptDone)), None)
    answer.pcm = np.concatenate([answer.pcm, *(out.pcm for out in outputs if isinstance(out, SpeechDelta))])
    last = outputs[-1]
    if isinstance(last, Failed):
        answer.error = f"{last.code}: {last.message}"
        return None
    assert isinstance(last, Finished), last
    answer.reply = last.text
    answer.milestones_ms = {name: round(ms, 1) for name, ms in last.milestones_ms.items()}
    return last


def run_rows(
    rows: Sequence[Row], responder: Responder, manner: Manner, done: Callable[[Row, list[Answered]], None]
) -> None:
    """All rows, `manner.sessions` at a time; `done` is called with each row's answers as it ends."""
    waiting = list(reversed(rows))
    open_rows: dict[str, tuple[Row, Asking, list[Output], str]] = {}

    def proceed(row: Row, conversation: Asking) -> None:
        try:
            request, outputs = next(conversation)
        except StopIteration as end:
            responder.close_session(row.id)
            done(row, end.value)
        else:
            open_rows[request.response_id] = (row, conversation, outputs, request.session_id)
            responder.submit(request)

    while waiting or open_rows:
        while waiting and len(open_rows) < manner.sessions:
            row = waiting.pop()
            proceed(row, converse(row, manner))
        for output in responder.step():
            row, conversation, outputs, session_id = open_rows[output.response_id]
            outputs.append(output)
            if isinstance(output, Finished | Failed):
                del open_rows[output.response_id]
                if session_id != row.id:
                    responder.close_session(session_id)
                proceed(row, conversation)


# ---- the report


def share(judged: Iterable[bool | None]) -> float | None:
    known = [hit for hit in judged if hit is not None]
    return round(sum(known) / len(known), 4) if known else None


def summarise(answers: Sequence[Answered], feedback: bool) -> dict[str, Any]:
    heard, own = WordErrors(), WordErrors()
    for answer in answers:
        heard.add(answer.heard_errors)
        own.add(answer.own_errors)
    summary: dict[str, Any] = {
        "word_error_rate": heard.rate,
        "expected_words": share(answer.expected_words for answer in answers),
        "expected_outputs": share(answer.expected_output for answer in answers),
    }
    if feedback:
        summary["own_speech_wer"] = own.rate
    return summary | {"turns": len(answers), "errors": sum(answer.error is not None for answer in answers)}


def milestones(answers: Sequence[Answered]) -> dict[str, dict[str, float]]:
    """p50 and p95 of every milestone, in the order in which they are passed."""
    passed: dict[str, list[float]] = {}
    for answer in answers:
        for name, ms in answer.milestones_ms.items():
            passed.setdefault(name, []).append(ms)
    percentiles = {name: np.percentile(ms, (50, 95)) for name, ms in passed.items()}
    ordered = sorted(percentiles.items(), key=lambda item: item[1][0])
    return {name: {"p50": round(float(p50), 1), "p95": round(float(p95), 1)} for name, (p50, p95) in ordered}


def make_report(judged: Sequence[tuple[Row, list[Answered]]], manner: Manner) -> dict[str, Any]:
    everything = [answer for _, answers in judged for answer in answers]
    report: dict[str, Any] = {
        "rows": [
            {"id": row.id, **row.extra, "turns": [answer.as_json() for answer in answers]}
            for row, answers in judged
        ],
        "summary": summarise(everything, manner.feedback)
        | {"rows": len(judged), "milestones_ms": milestones(everything)},
    }
    for label in LABELS:
        groups: dict[str, list[Answered]] = {}
        for row, answers in judged:
            for said, answer in zip(row.turns, answers, strict=True):
                if (value := said.labels.get(label, row.extra.get(label))) is not None:
                    groups.setdefault(str(value), []).append(answer)
        if groups:
            report[f"by_{label}"] = {
                name: summarise(answers, manner.feedback) for name, answers in sorted(groups.items())
            }
    return report


COLUMNS = {
    "turns": "turns",
    "word_error_rate": "heard wrong",
    "expected_words": "right words",
    "expected_outputs": "right kind",
    "own_speech_wer": "own speech wrong",
    "errors": "errors",
}


def table(report: dict[str, Any]) -> str:
    """The figures of the report as text, a block for all rows and one for each label."""
    columns = [name for name in COLUMNS if name in report["summary"]]
    blocks = [("", {"all": report["summary"]})]
    blocks += [(label, report[f"by_{label}"]) for label in LABELS if f"by_{label}" in report]
    width = max(len(name) for title, group in blocks for name in (title, *group))
    lines: list[str] = []
    for title, group in blocks:
        lines += ["  ".join([title.ljust(width), *(COLUMNS[name] for name in columns)])]
        for name, figures in group.items():
            cells = [show(figures[column]).rjust(len(COLUMNS[column])) for column in columns]
            lines.append("  ".join([name.ljust(width), *cells]))
        lines.append("")
    for name, at in report["summary"]["milestones_ms"].items():
        lines.append(f"{name.ljust(width)}  p50 {at['p50']:8.1f} ms   p95 {at['p95']:8.1f} ms")
    return "\n".join(lines)


def show(figure: float | int | None) -> str:
    if figure is None:
        return "–"
    return f"{100 * figure:.1f} %" if isinstance(figure, float) else str(figure)


class Progress:
    """One line on a terminal that rewrites itself; elsewhere a line now and then."""

    def __init__(self, total: int):
        self.total = total
        self.started = time.monotonic()
        self.done = 0
        self.heard = WordErrors()
        self.interactive = sys.stderr.isatty()

    def __call__(self, answers: Sequence[Answered]) -> None:
        self.done += 1
        for answer in answers:
            self.heard.add(answer.heard_errors)
        left = (time.monotonic() - self.started) / self.done * (self.total - self.done)
        line = f"{self.done}/{self.total} rows, heard wrong {show(self.heard.rate)}, {left:.0f} s left"
        if self.interactive:
            print(f"\r{line:<70}", end="" if self.done < self.total else "\n", file=sys.stderr, flush=True)
        elif self.done % max(1, self.total // 10) == 0:
            print(line, file=sys.stderr, flush=True)


def evaluate(rows: Sequence[Row], responder: Responder, manner: Manner) -> dict[str, Any]:
    """Run the rows and return the report; rows keep the manifest's order."""
    manner.sounds.mkdir(parents=True, exist_ok=True)
    progress = Progress(len(rows))
    answered: dict[str, list[Answered]] = {}

    def done(row: Row, answers: list[Answered]) -> None:
        answered[row.id] = answers
        progress(answers)

    run_rows(rows, responder, manner, done)
    return make_report([(row, answered[row.id]) for row in rows], manner)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.evaluate", description=__doc__.splitlines()[0])
    parser.add_argument("manifest", type=Path)
    parser.add_argument("--config", type=Path, default=Path("configs/nano.toml"), help="the setup (a TOML file)")
    parser.add_argument("--json", type=Path, required=True, metavar="OUT", help="where the report goes")
    parser.add_argument("--feedback", action="store_true", help="let the model listen to its own replies")
    parser.add_argument("--voice", default="", help="the voice that replies (default: the model's first)")
    parser.add_argument("--seed", type=int, default=0, help="of the sampling: the same seed, the same replies")
    parser.add_argument("--sessions", type=int, default=1, help="conversations at once (milestones suffer)")
    options = parser.parse_args(arguments)
    try:
        report = run(options)
    except EvaluationError as fault:
        print(f"evaluate: {fault}", file=sys.stderr)
        return 2
    print(table(report))
    for row in report["rows"]:
        for turn in row["turns"]:
            if "error" in turn:
                print(f"evaluate: row {row['id']}: {turn['error']}", file=sys.stderr)
    return 1 if report["summary"]["errors"] else 0


def run(options: argparse.Namespace) -> dict[str, Any]:
    rows = read_manifest(options.manifest)
    if options.sessions < 1:
        raise EvaluationError("--sessions must be at least 1")
    from assistant.responder import AnyGPTResponder  # after the manifest is known to be good: this loads torch
    from configuration import load

    configuration = load(options.config)
    responder = AnyGPTResponder.from_configuration(configuration, options.seed)
    if options.voice and options.voice not in responder.voices:
        raise EvaluationError(f"there is no voice {options.voice!r}; there are {', '.join(responder.voices)}")
    sounds, history_tokens = options.json.with_suffix(""), configuration.model.history_tokens
    manner = Manner(sounds, options.voice, options.feedback, options.sessions, history_tokens)
    options.json.parent.mkdir(parents=True, exist_ok=True)
    report = evaluate(rows, responder, manner)
    options.json.write_text(json.dumps(report, ensure_ascii=False, indent=1) + "\n", "utf-8")
    return report


if __name__ == "__main__":
    sys.exit(main())
