"""ONNX graphs in torch: the same numbers as ONNX Runtime, any batch, and nothing that would wait for a device."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from training.onnx_torch import Program

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

CHANNELS, HIDDEN = 6, 5


def constant(name: str, value: Any) -> Any:
    return onnx.numpy_helper.from_array(np.asarray(value), name)


@pytest.fixture(scope="module")
def model() -> Any:
    """What Kokoro does, in small: a normalized and shifted convolution, an LSTM, and shape arithmetic in between."""
    rng, node = np.random.default_rng(0), onnx.helper.make_node

    def floats(*shape: int) -> np.ndarray:
        return rng.normal(size=shape).astype(np.float32)

    constants = {
        "kernel": floats(CHANNELS, CHANNELS, 3),
        "bias": floats(CHANNELS),
        "time": np.array([2]),
        "epsilon": np.float32(1e-5),
        "scales": np.array([1, 1, 3], np.float32),
        "weight": floats(CHANNELS, 4),
        "shift": floats(4),
        "gain": floats(1, CHANNELS, 1),
        "W": rng.integers(-99, 99, (2, CHANNELS, 4 * HIDDEN)).astype(np.int8),
        "R": rng.integers(-99, 99, (2, HIDDEN, 4 * HIDDEN)).astype(np.int8),
        "B": floats(2, 8 * HIDDEN),
        "scale": np.array([0.003, 0.004], np.float32),
        "zero": np.zeros(2, np.int8),
        "first": np.array(0),
        "axis": np.array([0]),
        "rest": np.array([-1]),
    }
    nodes = [
        node("Conv", ["x", "kernel", "bias"], ["c"], pads=[2, 2], dilations=[2], strides=[1], group=1),
        node("ReduceMean", ["c", "time"], ["mean"]),
        node("Sub", ["c", "mean"], ["centred"]),
        node("Mul", ["centred", "centred"], ["square"]),
        node("ReduceMean", ["square", "time"], ["variance"]),
        node("Add", ["variance", "epsilon"], ["shifted"]),
        node("Sqrt", ["shifted"], ["root"]),
        node("Div", ["centred", "root"], ["normal"]),
        node("Mul", ["gain", "normal"], ["scaled"]),
        node("Add", ["scaled", "x"], ["y"]),
        node("Resize", ["y", "", "scales"], ["up"], mode="nearest", nearest_mode="floor",
             coordinate_transformation_mode="asymmetric"),
        node("Transpose", ["up"], ["steps"], perm=[2, 0, 1]),
        node("DynamicQuantizeLSTM", ["steps", "W", "R", "B", "", "", "", "", "scale", "zero", "scale", "zero"],
             ["h", "h_last", "c_last"], hidden_size=HIDDEN, direction="bidirectional", domain="com.microsoft"),
        node("Transpose", ["up"], ["rows"], perm=[0, 2, 1]),
        node("MatMul", ["rows", "weight"], ["product"]),
        node("Add", ["shift", "product"], ["affine"]),
        node("Shape", ["affine"], ["shape"]),
        node("Gather", ["shape", "first"], ["batch"], axis=0),
        node("Unsqueeze", ["batch", "axis"], ["batch_row"]),
        node("Concat", ["batch_row", "rest"], ["flat_shape"], axis=0),
        node("Reshape", ["affine", "flat_shape"], ["flat"]),
    ]  # fmt: skip
    values = [onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["batch", CHANNELS, "time"])]
    outputs = [onnx.helper.make_empty_tensor_value_info(name) for name in ("y", "h", "flat")]
    graph = onnx.helper.make_graph(nodes, "small", values, outputs, [constant(*item) for item in constants.items()])
    sets = [onnx.helper.make_opsetid("", 20), onnx.helper.make_opsetid("com.microsoft", 1)]
    return onnx.helper.make_model(graph, opset_imports=sets, ir_version=9)


@pytest.mark.parametrize(("output", "near"), [("y", 1e-5), ("flat", 1e-4), ("h", 0.03)])
def test_as_onnx_runtime(model: Any, output: str, near: float) -> None:
    """ONNX Runtime rounds what goes into the LSTM to 8 bits, so that one is near only."""
    x = np.random.default_rng(1).normal(size=(2, CHANNELS, 11)).astype(np.float32)
    runtime = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    (expected,) = runtime.run([output], {"x": x})
    found = Program(model, ("x",), output, "cpu")(torch.from_numpy(x))
    assert np.abs(found.numpy() - expected).max() < near


def test_chains_become_one_node(model: Any) -> None:
    assert len(Program(model, ("x",), "y", "cpu")._steps) == 3  # convolution, normalization, multiply-add


def test_a_value_inside_the_graph_may_be_given(model: Any) -> None:
    y = torch.randn(1, CHANNELS, 4)
    rows = y.repeat_interleave(3, dim=2).mT
    weights = {i.name: torch.from_numpy(onnx.numpy_helper.to_array(i).copy()) for i in model.graph.initializer}
    found = Program(model, ("y",), "flat", "cpu")(y)
    torch.testing.assert_close(found, (rows @ weights["weight"] + weights["shift"]).flatten(1))


def test_shapes_are_known_without_asking_the_device(model: Any) -> None:
    """On the meta device no number can be read back, and tensors of two devices cannot meet."""
    assert Program(model, ("x",), "flat", "meta")(torch.empty(3, CHANNELS, 7, device="meta")).shape == (3, 7 * 3 * 4)
