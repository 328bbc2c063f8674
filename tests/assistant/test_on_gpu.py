"""The whole assistant on a GPU: nano hears a question, answers it in words and speaks them."""

from __future__ import annotations

import wave
from dataclasses import replace

import numpy as np
import pytest
import torch

from assistant.responder import AnyGPTResponder
from configuration import ROOT, load
from streaming.types import Finished, Output, Request, SpeechDelta, Turn

NANO = ROOT / "models" / "nano" / "MANIFEST"


def answered(device: str, dtype: str) -> list[Output]:
    configuration = load(ROOT / "configs" / "nano.toml")
    model = replace(configuration.model, device=device, dtype=dtype)  # type: ignore[arg-type]
    responder = AnyGPTResponder.from_configuration(replace(configuration, model=model), seed=0)
    with wave.open(str(ROOT / "tests" / "browser" / "hello_who_are_you.wav")) as file:
        speech = np.frombuffer(file.readframes(file.getnframes()), np.int16).astype(np.float32) / 32768
    responder.submit(Request("s", "r", (Turn("user", speech=speech),)))
    outputs: list[Output] = []
    while not responder.idle:
        outputs += responder.step()
    return outputs


@pytest.mark.gpu
@pytest.mark.weights
@pytest.mark.skipif(not torch.cuda.is_available() or not NANO.exists(), reason="needs a CUDA GPU and models/nano")
@pytest.mark.parametrize("dtype", ["bfloat16", "int8"])
def test_a_spoken_question_is_answered_in_speech(dtype: str) -> None:
    *outputs, last = answered("cuda", dtype)
    assert isinstance(last, Finished) and last.reason == "completed" and last.text
    assert sum(len(output.pcm) for output in outputs if isinstance(output, SpeechDelta)) > 0
