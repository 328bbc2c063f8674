"""One-shot tasks from the shell: any of text, speech, pictures and music in, any of them out."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import numpy as np

from assistant import files
from assistant.files import FileFault, Making
from configuration import ROOT, ConfigurationError, load
from streaming.types import (
    SPEECH_RATE,
    AttachmentFailed,
    AttachmentProgress,
    AttachmentStarted,
    Failed,
    Finished,
    MusicDone,
    Output,
    PictureDone,
    SpeechDelta,
    TextDelta,
    TranscriptDelta,
    Turn,
)

if TYPE_CHECKING:
    from assistant.tasks import Tasks

PROGRAM = "python -m assistant"

EXAMPLES = """
examples:
  python -m assistant ask question.wav -o answer.wav
  python -m assistant ask photo.jpg "what is this?"
  python -m assistant say "Hello" --voice heart -o hello.wav
  python -m assistant transcribe question.wav
  python -m assistant draw "a red apple" -o apple.png
  python -m assistant compose "happy piano" -o tune.wav
  python -m assistant describe picture.png

`VERB --help` lists the options of a verb; every verb takes --config, --seed and --json.

Sounds are read from WAV, FLAC, MP3, Ogg, M4A and WebM, pictures from PNG, JPEG and WebP; sounds are written as WAV,
pictures as PNG or WebP. Text goes to standard output, all else that is said to standard error.

exit status: 0 done, 1 the model could not do it, 2 the command or a file of it is wrong, 130 interrupted
"""
BAR = 24
"""Characters of the progress bar."""


@dataclass(slots=True)
class Result:
    """What came of a task."""

    heard: str = ""
    text: str = ""
    speech: list[np.ndarray] = field(default_factory=list)
    music: MusicDone | None = None
    image: PictureDone | None = None
    error: tuple[str, str] | None = None  # code, sentence
    cut: bool = False

    def add(self, output: Output) -> None:
        match output:
            case TranscriptDelta(text=text):
                self.heard += text
            case TextDelta(text=text):
                self.text += text
            case SpeechDelta(pcm=pcm):
                self.speech.append(pcm)
            case MusicDone():
                self.music = output
            case PictureDone():
                self.image = output
            case Failed(code=code, message=message) | AttachmentFailed(code=code, message=message):
                self.error = (code, message)
            case Finished(reason=reason):
                self.cut = reason != "completed"


class Progress:
    """One line on a terminal that rewrites itself; silent elsewhere."""

    def __init__(self, stream: TextIO, shown: bool) -> None:
        self._stream, self._shown, self._seconds = stream, shown, 0.0

    def show(self, what: str, share: float | None = None) -> None:
        if not self._shown:
            return
        bar = ""
        if share is not None:
            done = round(BAR * min(1.0, max(0.0, share)))
            bar = f" [{'#' * done}{'.' * (BAR - done)}] {share:4.0%}"
        print(f"\r\x1b[K{what}{bar}", end="", file=self._stream, flush=True)

    def add(self, output: Output) -> None:
        match output:
            case AttachmentStarted(kind=kind):
                self.show("drawing" if kind == "image" else "composing", 0.0)
            case AttachmentProgress(attachment_id=name, progress=share):
                self.show("drawing" if name.endswith("image") else "composing", share)
            case SpeechDelta(pcm=pcm):
                self._seconds += len(pcm) / SPEECH_RATE
                self.show(f"speaking, {self._seconds:.1f} s")
            case TranscriptDelta():
                self.show("listening")
            case TextDelta():
                self.show("writing")

    def clear(self) -> None:
        if self._shown:
            print("\r\x1b[K", end="", file=self._stream, flush=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the exit status."""
    options = _parser().parse_args(arguments)
    began = time.monotonic()
    progress = Progress(sys.stderr, sys.stderr.isatty() and not options.json)
    try:
        result, written = _do(options, progress)
    except (FileFault, ConfigurationError) as fault:
        return _refuse(options, "invalid_input", str(fault), 2)
    except _Unable as fault:
        return _refuse(options, "unable", str(fault), 1)
    except KeyboardInterrupt:
        progress.clear()
        return 130
    if options.json:
        report = _report(options, result, written, time.monotonic() - began)
        print(json.dumps(report, ensure_ascii=False, indent=1))
    else:
        _tell(options, result, written)
    return 1 if result.error else 0


def _parser() -> argparse.ArgumentParser:
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--config", type=Path, default=ROOT / "configs" / "nano.toml", help="TOML file (default: nano)")
    shared.add_argument("--seed", type=int, help="the same seed, the same result (default: another each time)")
    shared.add_argument("--json", action="store_true", help="report as JSON on standard output")
    voiced = argparse.ArgumentParser(add_help=False)
    voiced.add_argument("--voice", default="", help="one of the model's voices, or a recording of one to imitate")

    parser = argparse.ArgumentParser(
        prog=PROGRAM,
        description=__doc__,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    verbs = parser.add_subparsers(title="verbs", dest="verb", metavar="VERB", required=True)

    def verb(name: str, what: str, *parents: argparse.ArgumentParser) -> argparse.ArgumentParser:
        return verbs.add_parser(name, help=what, description=what, parents=[*parents, shared])

    ask = verb("ask", "ask in text, speech, pictures and music; the answer may hold all of them", voiced)
    ask.add_argument("input", nargs="+", help="text, or a sound file of speech, or a picture file")
    ask.add_argument("--music", type=Path, action="append", default=[], help="a sound file of music to ask about")
    ask.add_argument("-o", "--output", type=Path, help="where the spoken answer goes (.wav), or a drawing (.png)")
    say = verb("say", "text to speech", voiced)
    say.add_argument("text")
    say.add_argument("-o", "--output", type=Path, required=True, help="a .wav file")
    transcribe = verb("transcribe", "speech to text")
    transcribe.add_argument("file", type=Path)
    draw = verb("draw", "text to a picture")
    draw.add_argument("text")
    draw.add_argument("-o", "--output", type=Path, required=True, help="a .png or .webp file")
    compose = verb("compose", "text to music")
    compose.add_argument("text")
    compose.add_argument("-o", "--output", type=Path, required=True, help="a .wav file")
    describe = verb("describe", "a picture or a piece of music to text")
    describe.add_argument("file", type=Path)
    return parser


class _Unable(Exception):
    """The model set cannot do the task; the message says why."""


def _do(options: argparse.Namespace, progress: Progress) -> tuple[Result, list[dict[str, Any]]]:
    """Read what is given, load the models, do the task and write what came of it."""
    configuration = load(options.config)
    turns, recording = _turns(options), _recording(options)
    _check_output(options)
    progress.show(f"loading {configuration.model.name}")
    from assistant.checkpoints import CheckpointError  # torch is not waited for before the command is known to be good
    from assistant.responder import AnyGPTResponder
    from assistant.tasks import CannotDo, Tasks, check_able

    result = Result()
    try:
        check_able(configuration, options.verb, turns)
        responder = AnyGPTResponder.from_configuration(configuration, options.seed, warm=False)
        tasks = Tasks(responder, configuration, options.seed)
        if recording is not None:
            tasks.add_voice(options.voice, recording)
        elif _voice(options) and options.voice not in responder.voices:
            voices = ", ".join(responder.voices)
            raise FileFault(f"--voice {options.voice} is no voice and no file; the voices are {voices}.")
        progress.show("thinking")
        for output in _outputs(tasks, options, turns):
            progress.add(output)
            result.add(output)
    except (CannotDo, CheckpointError) as fault:
        raise _Unable(str(fault)) from None
    finally:
        progress.clear()
    return result, _write(options, result)


def _turns(options: argparse.Namespace) -> tuple[Turn, ...]:
    """What is given, read: what is shown first, the words last. Raises FileFault."""
    match options.verb:
        case "transcribe":
            return (Turn("user", speech=files.read_speech(options.file)),)
        case "describe" if files.kind_of(options.file) == "image":
            return (Turn("user", image=files.read_image(options.file)),)
        case "describe":
            return (Turn("user", music=files.read_music(options.file)),)
        case "ask":
            given = [Path(word) for word in options.input if files.looks_like_a_file(word)]
            text = " ".join(word for word in options.input if not files.looks_like_a_file(word))
            kinds = {path: files.kind_of(path) for path in given}
            turns = [Turn("user", image=files.read_image(path)) for path in given if kinds[path] == "image"]
            turns += [Turn("user", music=files.read_music(path)) for path in options.music]
            speech = [files.read_speech(path) for path in given if kinds[path] == "sound"]
            if text or speech:
                turns.append(Turn("user", text, np.concatenate(speech) if speech else None))
            return tuple(turns)
        case _:
            if not any(character.isalnum() for character in options.text):
                raise FileFault("There are no words in the text.")
            return (Turn("user", options.text),)


def _voice(options: argparse.Namespace) -> str:
    return getattr(options, "voice", "")


def _recording(options: argparse.Namespace) -> np.ndarray | None:
    """The voice to imitate, if a file is given. [samples] float32. Raises FileFault."""
    named = _voice(options)
    return files.read_speech(Path(named)) if named and files.looks_like_a_file(named) else None


def _check_output(options: argparse.Namespace) -> None:
    """Raises FileFault where the output's name does not fit what the verb makes."""
    path: Path | None = getattr(options, "output", None)
    if path is None:
        return
    kinds: dict[str, Making] = {"say": "speech", "compose": "music", "draw": "image"}
    kind = kinds.get(options.verb, "image" if path.suffix.lower() in files.WRITES["image"] else "speech")
    files.check_writable(path, kind)


def _outputs(tasks: Tasks, options: argparse.Namespace, turns: Sequence[Turn]) -> Iterable[Output]:
    match options.verb:
        case "ask":
            return tasks.ask(turns, speak=_spoken(options), voice=options.voice)
        case "say":
            return tasks.say(options.text, options.voice)
        case "transcribe":
            return tasks.transcribe(turns[0])
        case "draw":
            return tasks.draw(options.text)
        case "compose":
            return tasks.compose(options.text)
        case _:
            return tasks.describe(turns[0])


def _spoken(options: argparse.Namespace) -> bool:
    return options.output is not None and options.output.suffix.lower() in files.WRITES["speech"]


def _write(options: argparse.Namespace, result: Result) -> list[dict[str, Any]]:
    """The files of what was made, described. What the output's name is not for goes beside it, as its kind."""
    path: Path | None = getattr(options, "output", None)
    written: list[dict[str, Any]] = []
    if path is None:
        return written
    if result.speech:
        pcm = np.concatenate(result.speech)
        target = path if path.suffix.lower() == ".wav" else path.with_suffix(".wav")
        files.write_sound(target, pcm, SPEECH_RATE)
        written.append({"kind": "speech", "file": str(target), "seconds": round(len(pcm) / SPEECH_RATE, 2)})
    if result.image is not None:
        height, width = result.image.image.shape[:2]
        target = path if path.suffix.lower() in files.WRITES["image"] else path.with_suffix(".png")
        files.write_image(target, result.image.image)
        written.append({"kind": "image", "file": str(target), "width": width, "height": height})
    if result.music is not None:
        pcm, rate = result.music.pcm, result.music.sample_rate
        target = path if options.verb == "compose" else path.with_name(f"{path.stem}-music.wav")
        files.write_sound(target, pcm, rate)
        written.append({"kind": "music", "file": str(target), "seconds": round(len(pcm) / rate, 2)})
    return written


def _report(
    options: argparse.Namespace, result: Result, written: list[dict[str, Any]], seconds: float
) -> dict[str, Any]:
    report: dict[str, Any] = {
        "task": options.verb,
        "heard": result.heard or None,
        "text": result.text or None,
        "outputs": written,
        "complete": not result.cut,
        "seconds": round(seconds, 2),
    }
    if options.verb == "transcribe":
        report |= {"heard": None, "text": _words(options, result)}
    if result.error:
        report["error"] = {"code": result.error[0], "message": result.error[1]}
    return report


def _words(options: argparse.Namespace, result: Result) -> str:
    """What the task has to say: an answer, or what was heard."""
    return (result.text or result.heard) if options.verb == "transcribe" else result.text


def _tell(options: argparse.Namespace, result: Result, written: list[dict[str, Any]]) -> None:
    if options.verb == "ask" and result.heard:
        print(f"heard: {result.heard}", file=sys.stderr)
    if options.verb not in ("say", "draw", "compose") and (words := _words(options, result)):
        print(words)
    for file in written:
        size = f"{file['seconds']} s" if "seconds" in file else f"{file['width']} x {file['height']}"
        print(f"wrote {file['file']} ({file['kind']}, {size})", file=sys.stderr)
    if result.cut:
        print("It was cut off where the configuration's limits are ([generation]).", file=sys.stderr)
    if options.verb == "ask" and options.output is None and (result.image or result.music):
        print("It made something, too: name a file for it with -o.", file=sys.stderr)
    if result.error:
        print(f"{PROGRAM}: {result.error[1]}", file=sys.stderr)


def _refuse(options: argparse.Namespace, code: str, sentence: str, status: int) -> int:
    if options.json:
        print(json.dumps({"task": options.verb, "error": {"code": code, "message": sentence}}, ensure_ascii=False))
    print(f"{PROGRAM}: {sentence}", file=sys.stderr)
    return status


if __name__ == "__main__":
    sys.exit(main())
