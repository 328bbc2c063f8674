"""How well a model set converses: run the rows of a manifest through it, without a network, and report.

    python -m tools.evaluate MANIFEST.jsonl --config configs/nano.toml --json OUT.json [--feedback] [--silent]

`tools.manifest` says what a manifest holds, `tools.evaluate_report` what the figures are. The report: {"rows": [{"id",
"turns": [{"heard", "heard_wer", "reply", "outputs": [{"kind", "file", ...}], "milestones_ms", ...}]}], "summary":
{"word_error_rate", "expected_words", "expected_outputs", ...}, ...}, figures null where nothing was expected. Sounds,
drawings and tunes lie beside the report, in a folder named after it; so do sheets of the drawings and of the tunes'
spectrograms.

With --feedback the model also listens to its own replies, as a quiet room's microphone and the server's detector would
hand them to it; what it hears then, against the reply's text, is `own_speech_wer`. With --silent it does not speak.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from streaming.conversation import Conversation, Item, Part, turn_of
from streaming.media import Picture
from streaming.music import wav_file
from streaming.pictures import picture_file
from streaming.types import (
    SPEECH_RATE,
    Abilities,
    AttachmentFailed,
    AttachmentStarted,
    Failed,
    Finished,
    MusicDone,
    Output,
    Perceived,
    PictureDone,
    Request,
    Responder,
    TranscriptDone,
    Turn,
)
from tools.answers import Answered, Made
from tools.evaluate_report import make_report, show, table
from tools.evaluate_sheets import write_sheets
from tools.manifest import EvaluationError, Row, Said, read_manifest, read_shown, read_speech
from tools.words import WordErrors

BEFORE_S, AFTER_S, ROOM = 0.3, 0.2, 0.0005
"""The server hands on so much of what came before speech and after it; a room is never quieter than that."""


@dataclass(frozen=True, slots=True)
class Manner:
    """How the rows are run."""

    folder: Path  # for sounds and pictures
    voice: str = ""
    feedback: bool = False
    silent: bool = False
    sessions: int = 1
    history_tokens: int = 1024  # as in [model] of the configuration


# ---- conversations


@dataclass(slots=True, eq=False)
class Exchange:
    """A request and what comes of it; `over` when the response has ended and all that is made beside it."""

    request: Request
    outputs: list[Output] = field(default_factory=list)
    works: dict[str, PictureDone | MusicDone] = field(default_factory=dict)  # by their ids
    took_s: dict[str, float] = field(default_factory=dict)
    _begun_s: dict[str, float] = field(default_factory=dict)

    def receive(self, output: Output, now_s: float) -> None:
        self.outputs.append(output)
        if isinstance(output, AttachmentStarted):
            self._begun_s[output.attachment_id] = now_s
        elif isinstance(output, PictureDone | MusicDone | AttachmentFailed):
            self.took_s[output.attachment_id] = now_s - self._begun_s.pop(output.attachment_id)
            if not isinstance(output, AttachmentFailed):
                self.works[output.attachment_id] = output

    @property
    def over(self) -> bool:
        return not self._begun_s and any(isinstance(output, Finished | Failed) for output in self.outputs)


Asking = Generator[Exchange, None, list[Answered]]
"""Yields an exchange and goes on when it is over. Returns the answers, one for each turn."""


def converse(row: Row, manner: Manner, makes: bool) -> Asking:
    """makes: pictures and music may come beside the answers."""
    history = Conversation()
    answers: list[Answered] = []
    for number, said in enumerate(row.turns, 1):
        name = f"{row.id}-{number}"
        answer = yield from ask(said, history, row.id, name, manner, makes)
        answers.append(answer)
        for made in answer.made:
            for place, question in enumerate(said.again, 1):
                asked = replace(question, **{made.kind: made.file})
                alone = f"{name}-{made.kind}-{place}"
                own_view = yield from ask(asked, Conversation(), alone, alone, manner, False)
                own_view.judge(False)
                made.again.append(own_view)
        if manner.feedback and answer.pcm.size:
            own = (Turn("user", speech=in_a_room(answer.pcm)),)
            exchange = Exchange(Request(f"{name}-own", f"{name}-own", own, transcript_only=True))
            yield exchange
            answer.own_speech = next((out.text for out in exchange.outputs if isinstance(out, TranscriptDone)), "")
        answer.judge(manner.feedback)
    return answers


def ask(
    said: Said, history: Conversation, session_id: str, name: str, manner: Manner, makes: bool
) -> Generator[Exchange, None, Answered]:
    """One turn, added to the history with the answer to it."""
    answer = Answered(said)
    try:
        new = items_of(said, name)
    except EvaluationError as fault:
        answer.error = str(fault)
        return answer
    for item in new:
        history.add(item)
    told = [(item, turn) for item in history if (turn := turn_of(item)) is not None]
    turns = tuple(turn for _, turn in told)
    exchange = Exchange(
        Request(session_id, name, turns, voice=manner.voice, speak=not manner.silent, attachments=makes)
    )
    yield exchange
    finished = answer.gather(exchange.outputs)
    for output in exchange.outputs:
        if isinstance(output, Perceived):
            told[output.turn][0].settle(output.tokens)
    if finished is None:
        for item in new:
            history.delete(item.id)
    else:
        new[-1].parts[0].text = answer.heard or said.text
        new[-1].settle(finished.user_tokens)
        part = Part("output_text" if manner.silent else "output_audio", answer.reply)
        history.add(Item(f"{name}-reply", role="assistant", parts=[part], tokens=finished.assistant_tokens))
    for work_id, work in exchange.works.items():
        answer.made.append(keep(work, manner.folder / file_name(name), 1000 * exchange.took_s[work_id]))
        part = Part("output_image" if isinstance(work, PictureDone) else "output_audio_file")
        history.add(Item(f"{name}-{work_id}", role="assistant", parts=[part], tokens=work.tokens))
    history.compact(manner.history_tokens)
    if answer.pcm.size:
        answer.file = manner.folder / f"{file_name(name)}.wav"
        answer.file.write_bytes(wav_file(answer.pcm, SPEECH_RATE))
    return answer


def items_of(said: Said, name: str) -> list[Item]:
    """What the user shows, if anything, and his words, which are the last."""
    shown = read_shown(said)
    pcm = read_speech(said.speech) if said.speech else None
    parts = []
    if shown is not None:
        parts.append(Part.of_picture(shown) if isinstance(shown, Picture) else Part.of_music(shown, ""))
    parts.append(Part("input_text", said.text) if pcm is None else Part("input_audio", speech=pcm, samples=len(pcm)))
    names = [f"{name}-shown", name][-len(parts) :]
    return [Item(item_id, role="user", parts=[part]) for item_id, part in zip(names, parts, strict=True)]


def keep(work: PictureDone | MusicDone, path: Path, took_ms: float) -> Made:
    """Write it to a file of this name and a fitting suffix."""
    if isinstance(work, PictureDone):
        made = Made("image", path.with_name(f"{path.name}.png").resolve(), took_ms)
        made.file.write_bytes(picture_file(work.image, "png"))
    else:
        file = path.with_name(f"{path.name}-tune.wav").resolve()
        made = Made("music", file, took_ms, len(work.pcm) / work.sample_rate)
        made.file.write_bytes(wav_file(work.pcm, work.sample_rate))
    return made


def file_name(name: str) -> str:
    return re.sub(r"[^\w.-]", "_", name)


def in_a_room(pcm: np.ndarray) -> np.ndarray:
    """[samples] at SPEECH_RATE as a turn of a microphone's: with what is heard before and after it."""
    whole = np.pad(pcm, (round(BEFORE_S * SPEECH_RATE), round(AFTER_S * SPEECH_RATE)))
    noise = np.random.default_rng(0).standard_normal(len(whole))
    return (whole + ROOM * noise).astype(np.float32)


def run_rows(
    rows: Sequence[Row], responder: Responder, manner: Manner, done: Callable[[Row, list[Answered]], None]
) -> None:
    """All rows, `manner.sessions` at a time; `done` is called with each row's answers as it ends."""
    makes = bool(abilities_of(responder).makes)
    waiting = list(reversed(rows))
    going: dict[str, tuple[Row, Asking, Exchange]] = {}  # by response

    def proceed(row: Row, conversation: Asking) -> None:
        try:
            exchange = next(conversation)
        except StopIteration as end:
            responder.close_session(row.id)
            done(row, end.value)
        else:
            going[exchange.request.response_id] = (row, conversation, exchange)
            responder.submit(exchange.request)

    while waiting or going:
        while waiting and len(going) < manner.sessions:
            row = waiting.pop()
            proceed(row, converse(row, manner, makes))
        outputs, now_s = responder.step(), time.monotonic()
        for output in outputs:
            row, conversation, exchange = going[output.response_id]
            exchange.receive(output, now_s)
            if exchange.over:
                del going[output.response_id]
                if exchange.request.session_id != row.id:
                    responder.close_session(exchange.request.session_id)
                proceed(row, conversation)


def abilities_of(responder: Responder) -> Abilities:
    """One that does not state them has none."""
    return getattr(responder, "abilities", Abilities())


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
    takes = abilities_of(responder).takes
    for kind in ("image", "music"):
        if kind not in takes and any(getattr(said, kind) for row in rows for said in row.turns):
            raise EvaluationError(f"the manifest shows {kind}, which this model set does not take")
    manner.folder.mkdir(parents=True, exist_ok=True)
    progress = Progress(len(rows))
    answered: dict[str, list[Answered]] = {}

    def done(row: Row, answers: list[Answered]) -> None:
        answered[row.id] = answers
        progress(answers)

    run_rows(rows, responder, manner, done)
    return make_report([(row, answered[row.id]) for row in rows])


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.evaluate", description=__doc__.splitlines()[0])
    parser.add_argument("manifest", type=Path)
    parser.add_argument("--config", type=Path, default=Path("configs/nano.toml"), help="the setup (a TOML file)")
    parser.add_argument("--json", type=Path, required=True, metavar="OUT", help="where the report goes")
    parser.add_argument("--feedback", action="store_true", help="let the model listen to its own replies")
    parser.add_argument("--silent", action="store_true", help="answer in text only")
    parser.add_argument("--voice", default="", help="the voice that replies (default: the model's first)")
    parser.add_argument("--seed", type=int, default=0, help="of the sampling: the same seed, the same replies")
    parser.add_argument("--sessions", type=int, default=1, help="conversations at once (times suffer)")
    options = parser.parse_args(arguments)
    try:
        report = run(options)
    except EvaluationError as fault:
        print(f"evaluate: {fault}", file=sys.stderr)
        return 2
    print(table(report))
    failed = list(faults(report))
    for row_id, fault in failed:
        print(f"evaluate: row {row_id}: {fault}", file=sys.stderr)
    return 1 if failed else 0


def faults(report: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Ids of rows and what went wrong in them."""
    for row in report["rows"]:
        for turn in row["turns"]:
            own_views = (answer for output in turn["outputs"] for answer in output.get("again", ()))
            yield from ((row["id"], answer["error"]) for answer in (turn, *own_views) if "error" in answer)


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
    folder, history_tokens = options.json.with_suffix(""), configuration.model.history_tokens
    manner = Manner(folder, options.voice, options.feedback, options.silent, options.sessions, history_tokens)
    options.json.parent.mkdir(parents=True, exist_ok=True)
    report = evaluate(rows, responder, manner)
    options.json.write_text(json.dumps(report, ensure_ascii=False, indent=1) + "\n", "utf-8")
    write_sheets(report, folder)
    return report


if __name__ == "__main__":
    sys.exit(main())
