"""Where the time goes from a question to its sound: the milestones of spoken answers, and each part's share.

    python -m tools.bench pipeline [--config configs/nano.toml] [--question QUESTION.wav] [--answers 20] [--json OUT]

Two measurements. *Answers*: a spoken question, one session, again and again; milestones since submit, p50 and p95.
*Speech*: ten seconds of a reply, token by token and chunk by chunk; what each part takes for a second of sound, by the
clock and in processor time (which other programs on the machine hardly change).
"""

from __future__ import annotations

import argparse
import platform
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from assistant.engine import grammar
from assistant.responder import AnyGPTResponder
from configuration import load
from streaming.types import SPEECH_RATE, Finished, Output, Request, SpeechDelta, Turn
from tools.manifest import read_speech


@dataclass(slots=True)
class Spent:
    """Seconds that a part took so far."""

    wall: float = 0.0
    processor: float = 0.0

    @contextmanager
    def during(self) -> Iterator[None]:
        wall, processor = time.perf_counter(), time.process_time()
        yield
        self.wall += time.perf_counter() - wall
        self.processor += time.process_time() - processor

    def timing(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*arguments: Any, **options: Any) -> Any:
            with self.during():
                return function(*arguments, **options)

        return timed


def answer(responder: AnyGPTResponder, request: Request) -> list[Output]:
    responder.submit(request)
    outputs: list[Output] = []
    while not responder.idle:
        outputs += responder.step()
    responder.close_session(request.session_id)
    responder.step()
    return outputs


def own_question(responder: AnyGPTResponder) -> np.ndarray:
    """Something to ask, said by the model itself."""
    outputs = answer(responder, Request("question", "question", (Turn("user", "hello, who are you?"),)))
    return np.concatenate([output.pcm for output in outputs if isinstance(output, SpeechDelta)])


def measure_answers(responder: AnyGPTResponder, question: np.ndarray, count: int) -> dict[str, Any]:
    passed: dict[str, list[float]] = {}
    for number in range(count):
        last = answer(responder, Request("bench", f"bench-{number}", (Turn("user", speech=question),)))[-1]
        if not isinstance(last, Finished):
            raise SystemExit(f"the answer failed: {last}")
        for name, ms in last.milestones_ms.items():
            passed.setdefault(name, []).append(ms)
    figures = {name: np.percentile(ms, (50, 95)).round(1).tolist() for name, ms in passed.items()}
    milestones = {name: {"p50": p50, "p95": p95} for name, (p50, p95) in figures.items()}
    return {"answers": count, "question_s": round(len(question) / SPEECH_RATE, 2), "milestones_ms": milestones}


def measure_speech(responder: AnyGPTResponder, seconds: float) -> dict[str, Any]:
    """Decode and speak a reply of that length, and nothing beside it."""
    engine, mouth, vocabulary = responder.engine, responder.mouth, responder.vocabulary
    frames = round(seconds * SPEECH_RATE / mouth.tokenizer.hop_length)
    spent = {name: Spent() for name in ("language model", "SoundStorm", "speech decoder")}
    segment = grammar.Segment(
        "speech", (vocabulary.speech.tokens,), ((vocabulary.speech.end, None),), minimum=frames, maximum=frames
    )
    sequence = engine.open("bench")
    engine.set_prompt(sequence, [vocabulary.bos, *([vocabulary.speech.start] * 256)])
    engine.generate(sequence, grammar.GrammarState(segment), responder.sampling, frames + 1, seed=0)
    stream = mouth.open(responder.voices[0])
    generate = mouth.soundstorm.generate
    mouth.soundstorm.generate = spent["SoundStorm"].timing(generate)  # type: ignore[method-assign]
    chunks, first = 0, None
    started = time.perf_counter()
    try:
        while not stream.finished:
            with spent["language model"].during():
                said = engine.step() if sequence.active else []
            stream.feed(vocabulary.speech.to_codes(token for _, token in said if token in vocabulary.speech.tokens))
            if sequence.finished and not stream.ended:
                stream.end()
            if stream.due:
                with spent["speech decoder"].during():
                    mouth.speak(stream)
                chunks += 1
                first = first or time.perf_counter() - started
    finally:
        mouth.soundstorm.generate = generate  # type: ignore[method-assign]
        engine.close(sequence)
    total = time.perf_counter() - started
    spent["speech decoder"].wall -= spent["SoundStorm"].wall
    spent["speech decoder"].processor -= spent["SoundStorm"].processor
    everything = sum(part.wall for part in spent.values())
    return {
        "seconds": seconds,
        "chunks": chunks,
        "first_chunk_ms": round(1000 * (first or 0.0), 1),
        "of_real_time": round(total / seconds, 3),
        "of_real_time_processor": round(sum(part.processor for part in spent.values()) / seconds, 3),
        "parts": {
            name: {f"{key}_ms_per_s": round(1000 * value / seconds, 1) for key, value in asdict(part).items()}
            | {"share": round(part.wall / everything, 3)}
            for name, part in spent.items()
        },
    }


def table(report: dict[str, Any]) -> str:
    answers, speech = report["answers"], report["speech"]
    lines = [f"{answers['answers']} answers to a question of {answers['question_s']} s (ms since submit)"]
    for name, at in answers["milestones_ms"].items():
        lines.append(f"  {name:20} p50 {at['p50']:8.1f}   p95 {at['p95']:8.1f}")
    seconds, chunks = speech["seconds"], speech["chunks"]
    lines.append(f"{seconds} s of speech in {chunks} chunks: {speech['of_real_time']:.3f} of real time")
    for name, part in speech["parts"].items():
        wall, processor = part["wall_ms_per_s"], part["processor_ms_per_s"]
        lines.append(f"  {name:20} {wall:8.1f} ms/s   processor {processor:8.1f} ms/s   {100 * part['share']:5.1f} %")
    return "\n".join(lines)


def add_arguments(parser: Any) -> None:
    parser.add_argument("--question", type=Path, help="a sound file with a question (default: one the model says)")
    parser.add_argument("--answers", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=10.0, help="of speech")


def run(options: argparse.Namespace) -> dict[str, Any]:
    configuration = load(options.config)
    responder = AnyGPTResponder.from_configuration(configuration, seed=0)
    question = read_speech(options.question) if options.question else own_question(responder)
    return {
        "model": configuration.model.name,
        "device": configuration.model.device,
        "machine": platform.processor() or platform.machine(),
        "threads": torch.get_num_threads(),
        "answers": measure_answers(responder, question, options.answers),
        "speech": measure_speech(responder, options.seconds),
    }
