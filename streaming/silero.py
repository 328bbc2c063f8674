"""The silero voice activity model (its ONNX file from the package `silero-vad`, without that package's torch).

The model takes a window with the 64 samples before it and a state of its own. One run takes about 0.1 ms, so it may
happen in the event loop.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import onnxruntime

from streaming.types import SPEECH_RATE
from streaming.vad import WINDOW

_CONTEXT = 64
_FILE = "data/silero_vad_16k_op15.onnx"


class SileroMissing(Exception):
    """The model's file is not installed."""


def load() -> onnxruntime.InferenceSession:
    """The model, to be shared by all streams. Raises SileroMissing."""
    package = find_spec("silero_vad")  # finds without importing: an import would bring torch along
    path = Path(package.origin).parent / _FILE if package is not None and package.origin else None
    if path is None or not path.is_file():
        raise SileroMissing("The voice activity model is missing: install the package 'silero-vad'.")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


class Silero:
    """A SpeechProbability: one stream's memory beside the shared model."""

    def __init__(self, model: onnxruntime.InferenceSession) -> None:
        self._model = model
        self._rate = np.array(SPEECH_RATE, np.int64)
        self.reset()

    def __call__(self, window: np.ndarray) -> float:
        assert window.shape == (WINDOW,)
        self._input[0, :_CONTEXT] = self._input[0, -_CONTEXT:]
        self._input[0, _CONTEXT:] = window
        feed = {"input": self._input, "state": self._state, "sr": self._rate}
        probability, self._state = self._model.run(None, feed)
        return float(probability[0, 0])

    def reset(self) -> None:
        self._input = np.zeros((1, _CONTEXT + WINDOW), np.float32)
        self._state = np.zeros((2, 1, 128), np.float32)
