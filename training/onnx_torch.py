"""Runs an ONNX graph with torch on any device: the operators that Kokoro's graphs use, and no more.

Shape arithmetic stays on the CPU, whatever the device: a value lives where its inputs live, integers and small
constants begin on the CPU, and a value goes to the device when it first meets one that is there. So nothing waits for
the device. Three chains that an export spells out become single nodes: normalization over time, multiply-add, and
affine maps.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F

_SMALL = 64
"""Constants of up to this many numbers take part in shape arithmetic."""
_SHAPES = {
    "ConstantOfShape": {0},
    "CumSum": {1},
    "Expand": {1},
    "Gather": {1},
    "Pad": {1},
    "ReduceMean": {1},
    "ReduceSum": {1},
    "Reshape": {1},
    "Resize": {2},
    "STFT": {1, 2, 3},
    "Slice": {1, 2, 3, 4},
    "Split": {1},
    "Squeeze": {1},
    "Unsqueeze": {1},
}
"""Inputs that an operator reads on the CPU, wherever it computes."""
_TYPES = {1: torch.float32, 6: torch.int32, 7: torch.int64, 9: torch.bool}

Value = torch.Tensor | None


@dataclass(frozen=True)
class Node:
    kind: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: dict[str, Any]


class Program:
    """A graph from the named inputs to one output. Call it with a tensor for each input.

    An input may be any value inside the graph: what is only needed to compute it is left out.
    """

    def __init__(self, model: Any, inputs: Sequence[str], output: str, device: torch.device | str) -> None:
        from onnx import helper, numpy_helper

        nodes = []
        for n in model.graph.node:
            attributes = {a.name: helper.get_attribute_value(a) for a in n.attribute}
            nodes.append(Node(n.op_type, tuple(n.input), tuple(n.output), attributes))
        constants = {i.name: torch.from_numpy(numpy_helper.to_array(i).copy()) for i in model.graph.initializer}
        nodes = _live(_fused(_live(nodes, inputs, output), constants), inputs, output)
        self._inputs, self._output = tuple(inputs), output
        self._compile(nodes, constants, torch.device(device))

    def _compile(self, nodes: list[Node], constants: dict[str, torch.Tensor], device: torch.device) -> None:
        """Decide where each value lives, fold what is constant, and say after which step a value is dead."""
        here = {name for name, value in constants.items() if not value.is_floating_point() or value.numel() <= _SMALL}
        here -= {name for name, value in constants.items() if value.dtype in (torch.int8, torch.uint8)}
        known, there = {name: constants[name] for name in here}, dict[str, torch.Tensor]()
        steps: list[tuple[Callable[..., Any], tuple[str, ...], tuple[str, ...]]] = []
        moved: set[str] = set()

        for node in nodes:
            operator, read = _operator(node, constants, device), []
            inputs = node.inputs[:1] if node.kind == "DynamicQuantizeLSTM" else node.inputs
            on_cpu = node.kind == "Shape" or all(name in here for name in inputs if name)
            for position, name in enumerate(inputs):
                if not name or on_cpu or name not in here and name not in constants:
                    read.append(name)
                elif name in here and position in _SHAPES.get(node.kind, ()):
                    read.append(name)
                else:  # a constant or a value from the CPU that is needed on the device
                    weight = node.kind in ("Affine", "Conv", "ConvTranspose")
                    moving = partial(_moved, device=device) if weight else partial(_operand, device=device)
                    read.append(f"{name}@{'weight' if weight else 'operand'}")
                    if name in constants:
                        there[read[-1]] = moving(constants[name])
                    elif read[-1] not in moved:
                        moved.add(read[-1])
                        steps.append((moving, (name,), (read[-1],)))
            if on_cpu:
                here.update(node.outputs)
                if len(node.outputs) == 1 and all(not name or name in known for name in read):
                    found = operator(*(known[name] if name else None for name in read))
                    known[node.outputs[0]] = constants[node.outputs[0]] = found
                    continue
            steps.append((operator, tuple(read), node.outputs))

        last = {name: index for index, (_, read, _) in enumerate(steps) for name in read}
        known |= there
        self._constants = {name: known[name] for name in last if name in known} | {"": None}
        self._steps = [
            (operator, read, made, [n for n in read if last[n] == index and n not in self._constants])
            for index, (operator, read, made) in enumerate(steps)
        ]

    @torch.inference_mode()
    def __call__(self, *inputs: torch.Tensor) -> torch.Tensor:
        values: dict[str, Any] = {**self._constants, **dict(zip(self._inputs, inputs, strict=True))}
        for operator, read, made, dead in self._steps:
            found = operator(*[values[name] for name in read])
            if len(made) == 1:
                values[made[0]] = found
            else:
                values.update(zip(made, found, strict=True))
            for name in dead:
                values.pop(name, None)
        return values[self._output]


def _moved(value: torch.Tensor, device: torch.device) -> torch.Tensor:
    return value.to(device, non_blocking=True)


def _operand(value: torch.Tensor, device: torch.device) -> torch.Tensor:
    """Moved, but for single numbers, which take part in the device's arithmetic as they are."""
    return value.reshape(()) if value.numel() == 1 and value.is_floating_point() else _moved(value, device)


def _live(nodes: list[Node], inputs: Iterable[str], output: str) -> list[Node]:
    """The nodes that the output depends on, in their order, when the inputs are given."""
    wanted, kept, given = {output}, [], set(inputs)
    for node in reversed(nodes):
        if wanted & set(node.outputs) and not given & set(node.outputs):
            kept.append(node)
            wanted.update(node.inputs)
    return kept[::-1]


def _fused(nodes: list[Node], constants: dict[str, torch.Tensor]) -> list[Node]:
    """Replace three chains by one node each. Nodes that nothing reads any more are left for `_live` to drop."""
    producer = {name: node for node in nodes for name in node.outputs}
    readers = Counter(name for node in nodes for name in node.inputs)
    fused = []
    for node in nodes:
        new = node
        if node.kind == "Div":
            new = _normalization(node, producer, constants) or node
        elif node.kind == "Add":
            for product, other in (node.inputs, node.inputs[::-1]):
                made = producer.get(product)
                if made is None or readers[product] > 1:
                    continue
                fixed = [constants[name] for name in (*made.inputs, other) if name in constants]
                if made.kind == "Mul" and all(value.numel() > 1 for value in fixed):
                    new = Node("MultiplyAdd", (*made.inputs, other), node.outputs, {})
                elif made.kind == "MatMul" and [value.ndim for value in fixed] == [2, 1]:
                    new = Node("Affine", (*made.inputs, other), node.outputs, {})
        fused.append(new)
    return fused


def _normalization(node: Node, producer: dict[str, Node], constants: dict[str, torch.Tensor]) -> Node | None:
    """(x - mean) / sqrt(mean((x - mean)²) + ε) over the last of three axes, if `node` is the end of that."""

    def made_by(name: str, kind: str) -> Node | None:
        made = producer.get(name)
        return made if made is not None and made.kind == kind else None

    centred, root = made_by(node.inputs[0], "Sub"), made_by(node.inputs[1], "Sqrt")
    mean = centred and made_by(centred.inputs[1], "ReduceMean")
    shifted = root and made_by(root.inputs[0], "Add")
    variance = shifted and made_by(shifted.inputs[0], "ReduceMean")
    square = variance and made_by(variance.inputs[0], "Mul")
    if not (centred and mean and shifted and square) or square.inputs != (node.inputs[0],) * 2:
        return None
    if constants[mean.inputs[1]].tolist() != [2]:
        return None
    return Node("Normalize", (centred.inputs[0],), node.outputs, {"epsilon": float(constants[shifted.inputs[1]])})


def _operator(node: Node, constants: dict[str, torch.Tensor], device: torch.device) -> Callable[..., Any]:
    """What computes a node."""
    a = node.attributes
    if node.kind in _SIMPLE:
        return _SIMPLE[node.kind]
    if node.kind == "DynamicQuantizeLSTM":
        return _lstm([constants.get(name) for name in node.inputs], a["hidden_size"], device)
    if node.kind == "ConstantOfShape":
        from onnx import numpy_helper

        filled = float(numpy_helper.to_array(a["value"])[0])
        return lambda shape: torch.full(shape.tolist(), filled)
    return _WITH_ATTRIBUTES[node.kind](a)


def _lstm(inputs: list[Value], hidden: int, device: torch.device) -> Callable[..., Any]:
    """A bidirectional LSTM that begins at zero, its 8-bit weights made float, the gates i o f c in torch's order."""
    weights, recurrent, bias = inputs[1:4]
    assert weights is not None and recurrent is not None and bias is not None
    order = torch.cat([torch.arange(hidden) + gate * hidden for gate in (0, 2, 3, 1)])
    lstm = torch.nn.LSTM(weights.shape[1], hidden, bidirectional=True)

    def as_float(quantized: torch.Tensor, scale: Value, zero: Value, direction: int) -> torch.Tensor:
        assert scale is not None and zero is not None
        return ((quantized[direction].float() - float(zero[direction])) * scale[direction]).T[order]

    with torch.no_grad():
        for direction, end in enumerate(("", "_reverse")):
            getattr(lstm, f"weight_ih_l0{end}").copy_(as_float(weights, *inputs[8:10], direction))
            getattr(lstm, f"weight_hh_l0{end}").copy_(as_float(recurrent, *inputs[10:12], direction))
            for name, half in zip(("ih", "hh"), bias[direction].chunk(2), strict=True):
                getattr(lstm, f"bias_{name}_l0{end}").copy_(half[order])
    lstm = lstm.to(device).eval().requires_grad_(False)

    def run(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        y, (h, c) = lstm(x)  # [T, B, 2 hidden]
        return y.unflatten(2, (2, hidden)).transpose(1, 2), h, c

    return run


def _gather(axis: int) -> Callable[..., Any]:
    def run(x: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
        if index.ndim == 0:
            return x.select(axis, int(index))
        return x.index_select(axis, _moved(index.reshape(-1), x.device)).unflatten(axis, index.shape)

    return run


def _slice(x: torch.Tensor, starts: torch.Tensor, ends: torch.Tensor, axes: Value = None, steps: Value = None) -> Value:
    assert steps is None or all(step == 1 for step in steps.tolist())
    where = range(len(starts)) if axes is None else axes.tolist()
    for axis, start, end in zip(where, starts.tolist(), ends.tolist(), strict=True):
        x = x[(slice(None),) * (axis % x.ndim) + (slice(start, end),)]
    return x


def _squeeze(x: torch.Tensor, axes: torch.Tensor) -> torch.Tensor:
    return x.squeeze(tuple(axes.tolist()))


def _unsqueeze(x: torch.Tensor, axes: torch.Tensor) -> torch.Tensor:
    for axis in sorted(axis % (x.ndim + len(axes)) for axis in axes.tolist()):
        x = x.unsqueeze(axis)
    return x


def _reshape(x: torch.Tensor, shape: torch.Tensor) -> torch.Tensor:
    return x.reshape([x.shape[i] if size == 0 else size for i, size in enumerate(shape.tolist())])


def _expand(x: torch.Tensor, shape: torch.Tensor) -> torch.Tensor:
    return x.expand(torch.broadcast_shapes(x.shape, shape.tolist()))


def _convolution(a: dict[str, Any]) -> Callable[..., Any]:
    (stride,), (dilation,), (before, after) = a["strides"], a["dilations"], a["pads"]
    assert before == after
    return lambda x, weight, bias=None: F.conv1d(x, weight, bias, stride, before, dilation, a["group"])


def _transposed_convolution(a: dict[str, Any]) -> Callable[..., Any]:
    (stride,), (before, after), (extra,) = a["strides"], a["pads"], a.get("output_padding", [0])
    assert before == after
    return lambda x, weight, bias=None: F.conv_transpose1d(x, weight, bias, stride, before, extra, a["group"])


def _resize(a: dict[str, Any]) -> Callable[..., Any]:
    if a["mode"] == b"nearest":
        return lambda x, _, scales: x.repeat_interleave(int(scales[2]), dim=2)
    return lambda x, _, scales: F.interpolate(x, scale_factor=float(scales[2]), mode="linear")


def _stft(signal: torch.Tensor, step: torch.Tensor, window: torch.Tensor, length: torch.Tensor) -> torch.Tensor:
    """[B, samples] to [B, frames, bins, 2]: a product with the windowed Fourier basis."""
    basis = torch.view_as_real(torch.fft.rfft(torch.diag(window))).flatten(1)  # [length, bins * 2]
    return (signal.unfold(-1, int(length), int(step)) @ _moved(basis, signal.device)).unflatten(-1, (-1, 2))


def _fused_product(a: dict[str, Any]) -> Callable[..., Any]:
    assert a["alpha"] == 1 and a["transA"] and not a["transB"]
    return lambda x, y: x.mT @ y


def _layer_norm(a: dict[str, Any]) -> Callable[..., Any]:
    return lambda x, weight, bias: F.layer_norm(x, weight.shape, weight, bias, a["epsilon"])


def _skip_layer_norm(a: dict[str, Any]) -> Callable[..., Any]:
    return lambda x, skip, weight, bias: F.layer_norm(x + skip, weight.shape, weight, bias, a["epsilon"])


_SIMPLE: dict[str, Callable[..., Any]] = {
    "Add": torch.add,
    "Affine": lambda x, weight, bias: F.linear(x, weight.T, bias),
    "Atan": torch.atan,
    "Cos": torch.cos,
    "CumSum": lambda x, axis: x.cumsum(int(axis)),
    "DequantizeLinear": lambda x, scale, zero: (x.float() - zero) * scale,
    "Div": torch.div,
    "Equal": torch.eq,
    "Exp": torch.exp,
    "Expand": _expand,
    "FastGelu": lambda x, bias: F.gelu(x + bias, approximate="tanh"),
    "Floor": torch.floor,
    "Greater": torch.gt,
    "Less": torch.lt,
    "MatMul": torch.matmul,
    "Mul": torch.mul,
    "MultiplyAdd": lambda x, y, z: torch.addcmul(z, x, y),
    "Pow": lambda x, power: torch.pow(x, float(power)),
    "ReduceMean": lambda x, axes: x.mean(axes.tolist(), keepdim=True),
    "Reshape": _reshape,
    "Round": torch.round,
    "STFT": _stft,
    "Shape": lambda x: torch.tensor(x.shape),
    "Sigmoid": torch.sigmoid,
    "Sin": torch.sin,
    "Slice": _slice,
    "Sqrt": torch.sqrt,
    "Squeeze": _squeeze,
    "Sub": torch.sub,
    "Tanh": torch.tanh,
    "Unsqueeze": _unsqueeze,
    "Where": torch.where,
}
_WITH_ATTRIBUTES: dict[str, Callable[[dict[str, Any]], Callable[..., Any]]] = {
    "Cast": lambda a: lambda x: x.to(_TYPES[a["to"]]),
    "Concat": lambda a: lambda *parts: torch.cat(parts, a["axis"]),
    "Conv": _convolution,
    "ConvTranspose": _transposed_convolution,
    "FusedMatMul": _fused_product,
    "Gather": lambda a: _gather(a.get("axis", 0)),
    "LayerNormalization": _layer_norm,
    "LeakyRelu": lambda a: lambda x: F.leaky_relu(x, a["alpha"]),
    "Normalize": lambda a: lambda x: F.layer_norm(x, x.shape[2:], eps=a["epsilon"]),
    "Pad": lambda a: lambda x, pads: F.pad(x, (int(pads[2]), int(pads[5])), mode=a["mode"].decode()),
    "Resize": _resize,
    "ReduceSum": lambda a: lambda x, axes: x.sum(axes.tolist(), keepdim=bool(a.get("keepdims", 1))),
    "SkipLayerNormalization": _skip_layer_norm,
    "Softmax": lambda a: lambda x: x.softmax(a["axis"]),
    "Split": lambda a: lambda x, sizes: x.split(sizes.tolist(), a["axis"]),
    "Transpose": lambda a: lambda x: x.permute(a["perm"]),
}
