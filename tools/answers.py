"""What became of the turns of a manifest: what was heard, answered and made, and whether it is what was expected."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from streaming.types import (
    AttachmentFailed,
    Failed,
    Finished,
    Kind,
    Output,
    SpeechDelta,
    TranscriptDone,
)
from tools.manifest import Said
from tools.words import WordErrors, says_any


@dataclass(slots=True)
class Made:
    """A drawing or a tune, in a file."""

    kind: Kind
    file: Path
    took_ms: float  # from its first token to the whole
    lasts_s: float | None = None  # a tune
    again: list[Answered] = field(default_factory=list)  # what the model says of it

    def as_json(self) -> dict[str, Any]:
        report: dict[str, Any] = {"kind": self.kind, "file": str(self.file), "took_ms": round(self.took_ms, 1)}
        if self.lasts_s is not None:
            report["lasts_s"] = round(self.lasts_s, 2)
        return report | {"again": [answer.as_json() for answer in self.again]}


@dataclass(slots=True)
class Answered:
    """What became of one turn."""

    said: Said
    heard: str | None = None
    reply: str = ""
    pcm: np.ndarray = field(default_factory=lambda: np.zeros(0, np.float32))
    file: Path | None = None  # of the reply's sound
    made: list[Made] = field(default_factory=list)
    milestones_ms: dict[str, float] = field(default_factory=dict)
    own_speech: str | None = None
    error: str | None = None
    heard_errors: WordErrors | None = None
    own_errors: WordErrors | None = None
    expected_words: bool | None = None
    expected_output: bool | None = None

    def gather(self, outputs: Sequence[Output]) -> Finished | None:
        """All the outputs of the response, but for what is made beside it; its Finished, or None when it failed."""
        finished = None
        self.heard = next((out.text for out in outputs if isinstance(out, TranscriptDone)), None)
        self.pcm = np.concatenate([self.pcm, *(out.pcm for out in outputs if isinstance(out, SpeechDelta))])
        for output in outputs:
            if isinstance(output, Failed | AttachmentFailed):
                self.error = f"{output.code}: {output.message}"
            elif isinstance(output, Finished):
                finished = output
                self.reply = output.text
                self.milestones_ms = {name: round(ms, 1) for name, ms in output.milestones_ms.items()}
        return finished

    def judge(self, feedback: bool) -> None:
        said = self.said
        if said.expect_heard is not None:
            self.heard_errors = WordErrors.between(said.expect_heard, self.heard or "")
        if said.expect_any:
            self.expected_words = says_any(self.reply, said.expect_any)
        if said.expect_output is not None:
            self.expected_output = any(output["kind"] == said.expect_output for output in self.outputs)
        if feedback and self.reply and self.error is None:
            self.own_errors = WordErrors.between(self.reply, self.own_speech or "")

    @property
    def outputs(self) -> list[dict[str, Any]]:
        speech = [{"kind": "speech", "file": str(self.file)}] if self.file else []
        return speech + [made.as_json() for made in self.made]

    def as_json(self) -> dict[str, Any]:
        report: dict[str, Any] = {
            **self.said.labels,
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
