"""A LLaMA's blocks for decoding on a CPU: 8-bit weights, and few calls.

One token through a small model costs less in arithmetic than in calls: torch makes some thirty a layer. So what lies
between two attentions is one graph of ONNX Runtime, with 8-bit products and fused norms; attention itself stays at its
seam (assistant/layers/attention.py), whatever the layout of the cache. Weights and activations are rounded to 8 bits in
blocks of 32 with a scale each, as llama.cpp's q8_0 does.
"""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from assistant.layers.attention import Attend
from assistant.models.llama import Attention, Block, Llama

MOST_TOKENS = 8
"""Beyond so many at once, whole products in torch are faster."""
BLOCK = 32
"""Neighbouring weights that share a scale."""

_ACTIVATIONS_TOO = 4  # MatMulNBits' accuracy level that rounds activations to 8 bits
_OPSETS = [helper.make_opsetid("", 21), helper.make_opsetid("com.microsoft", 1)]
_IR_VERSION = 10


class Int8Blocks:
    """Owns the graphs of a model's blocks. `hidden` does for at most MOST_TOKENS tokens what Llama.hidden does.

    Not for two threads at once: graphs hand their results on in buffers of their own.
    """

    def __init__(self, model: Llama) -> None:
        """Rounds a copy of the weights as they are now. The model's attention must be in float32."""
        self.config = model.config
        self._embedding = model.model.embed_tokens
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = torch.get_num_threads(), 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self.graphs = [
            onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"]) for graph in graphs(model)
        ]
        self._buffers: dict[int, _Buffers] = {}

    def hidden(self, tokens: Tensor, rotary: tuple[Tensor, Tensor], attend: Attend) -> Tensor:
        """Normalized states [T, hidden_size] float32 of tokens [T]; `rotary` and `attend` as for Llama.hidden."""
        if len(tokens) not in self._buffers:
            self._buffers[len(tokens)] = _Buffers(self, len(tokens))
        buffers = self._buffers[len(tokens)]
        torch.index_select(self._embedding.weight, 0, tokens, out=buffers.embedded)
        buffers.turn(*rotary)
        buffers.run(0)
        for layer, (heads, attended) in enumerate(zip(buffers.heads, buffers.attended, strict=True)):
            attended.copy_(attend(layer, *heads))
            buffers.run(layer + 1)
        return buffers.final.clone()


class _Buffers:
    """What flows between the graphs for one number of tokens, and the graphs bound to it."""

    def __init__(self, blocks: Int8Blocks, tokens: int) -> None:
        c, last = blocks.config, len(blocks.graphs) - 1
        widths = {
            "stream": c.hidden_size,
            "attended": c.num_attention_heads * c.head_dim,
            "qk": (c.num_attention_heads + c.num_key_value_heads) * c.head_dim,
            "v": c.num_key_value_heads * c.head_dim,
            "next_stream": c.hidden_size,
            "final": c.hidden_size,
        }
        tables = {name: torch.empty(tokens, c.head_dim // 2) for name in ("cos", "sin")}
        stream = torch.empty(1, tokens, c.hidden_size)
        self.embedded = stream[0]
        self.heads: list[tuple[Tensor, Tensor, Tensor]] = []  # q, k and v of each layer, [T, heads, head_dim]
        self.attended: list[Tensor] = []  # of each layer, [T, heads, head_dim]
        self._tables = (tables["cos"], tables["sin"])
        self._bound: list[dict[str, Tensor]] = []  # bindings hold addresses, not tensors
        self._runs = []
        for place, graph in enumerate(blocks.graphs):
            names = [node.name for node in (*graph.get_inputs(), *graph.get_outputs())]
            flows = {name: torch.empty(1, tokens, widths[name]) for name in names if name in widths}
            flows |= {"stream": stream} | tables
            binding = graph.io_binding()
            for nodes, bind in ((graph.get_inputs(), binding.bind_input), (graph.get_outputs(), binding.bind_output)):
                for name in (node.name for node in nodes):
                    bind(name, "cpu", 0, np.float32, list(flows[name].shape), flows[name].data_ptr())
            self._runs.append((graph.run_with_iobinding, binding))
            if place > 0:
                self.attended.append(flows["attended"].view(tokens, -1, c.head_dim))
            if place < last:
                q, k = flows["qk"].view(tokens, -1, c.head_dim).tensor_split((c.num_attention_heads,), dim=1)
                self.heads.append((q, k, flows["v"].view(tokens, -1, c.head_dim)))
            stream = flows.get("next_stream", stream)
            self._bound.append(flows)
        self.final = flows["final"][0]

    def turn(self, cos: Tensor, sin: Tensor) -> None:
        """Positions, as tables [T, 1, head_dim] of layers/rotary.py. Their halves are equal but for the sign of sin."""
        half = cos.shape[-1] // 2
        self._tables[0].copy_(cos[:, 0, :half])
        self._tables[1].copy_(sin[:, 0, half:])

    def run(self, place: int) -> None:
        run, binding = self._runs[place]
        run(binding)


def graphs(model: Llama) -> list[bytes]:
    """ONNX models, one more than the model has layers: up to each attention, and behind the last."""
    blocks = [block for block in model.model.layers if isinstance(block, Block)]
    norms = [block.input_layernorm for block in blocks] + [model.model.norm]
    eps = model.config.rms_norm_eps
    return [
        _between_attentions(before, norm.weight, None if after is None else after.self_attn, eps)
        for before, norm, after in zip([None, *blocks], norms, [*blocks, None], strict=True)
    ]


def _between_attentions(before: Block | None, norm: Tensor, attention: Attention | None, eps: float) -> bytes:
    """What follows the attention of one block, and leads to the next block's; without the one or the other at the ends.

    stream, attended [1, T, ...] -> next_stream, and qk (rotated by cos, sin [T, head_dim / 2]) and v, or final.
    """
    graph = _Graph()
    normed = "final" if attention is None else "normed"
    if before is None:
        weight = graph.constant(norm)
        graph.node("SimplifiedLayerNormalization", ["stream", weight], [normed], axis=-1, epsilon=eps)
    else:
        graph.product("attended", before.self_attn.o_proj, "o")
        graph.add_and_norm("stream", "o", before.post_attention_layernorm.weight, "middle", "mlp", eps)
        graph.product("mlp", before.mlp.gate_up_proj, "gate_up")
        graph.node("Split", ["gate_up"], ["gate", "up"], axis=-1, num_outputs=2)
        graph.node("QuickGelu", ["gate"], ["silu"], domain="com.microsoft", alpha=1.0)
        graph.node("Mul", ["silu", "up"], ["gated"])
        graph.product("gated", before.mlp.down_proj, "down")
        graph.add_and_norm("middle", "down", norm, "" if attention is None else "next_stream", normed, eps)
    if attention is None:
        return graph.serialize(["stream", "attended"], ["final"])
    qk_heads, v_heads = attention.heads + attention.kv_heads, attention.kv_heads
    graph.product("normed", attention.qkv_proj, "qkv")
    sizes = graph.constant(torch.tensor([qk_heads * attention.head_dim, v_heads * attention.head_dim]))
    graph.node("Split", ["qkv", sizes], ["unturned", "v"], axis=-1)
    start = graph.constant(torch.tensor([0]))
    rotary = ["unturned", start, "cos", "sin"]
    graph.node("RotaryEmbedding", rotary, ["qk"], domain="com.microsoft", num_heads=qk_heads)
    if before is None:
        return graph.serialize(["stream", "cos", "sin"], ["qk", "v"])
    return graph.serialize(["stream", "attended", "cos", "sin"], ["next_stream", "qk", "v"])


class _Graph:
    """An ONNX graph under construction. Every value is named by the node that makes it."""

    def __init__(self) -> None:
        self._nodes: list[onnx.NodeProto] = []
        self._constants: list[onnx.TensorProto] = []

    def node(self, kind: str, inputs: list[str], outputs: list[str], domain: str = "", **attributes: float) -> None:
        self._nodes.append(helper.make_node(kind, inputs, outputs, domain=domain, **attributes))

    def constant(self, value: Tensor | np.ndarray) -> str:
        name = f"constant_{len(self._constants)}"
        array = value.detach().cpu().numpy() if isinstance(value, Tensor) else value
        self._constants.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def product(self, x: str, linear: nn.Module, result: str) -> None:
        weight = linear.weight
        assert isinstance(weight, Tensor)
        rounded, scales = round_to_8_bits(weight.detach().float().numpy())
        rows, columns = weight.shape
        self.node(
            "MatMulNBits",
            [x, self.constant(rounded), self.constant(scales)],
            [result],
            domain="com.microsoft",
            N=rows,
            K=columns,
            bits=8,
            block_size=BLOCK,
            accuracy_level=_ACTIVATIONS_TOO,
        )

    def add_and_norm(self, x: str, y: str, weight: Tensor, total: str, normed: str, eps: float) -> None:
        outputs = [normed, "", "", total] if total else [normed]
        inputs = [x, y, self.constant(weight.float())]
        self.node("SkipSimplifiedLayerNormalization", inputs, outputs, domain="com.microsoft", epsilon=eps)

    def serialize(self, inputs: list[str], outputs: list[str]) -> bytes:
        """The model, with float inputs and outputs of any shape."""

        def floats(names: list[str]) -> list[onnx.ValueInfoProto]:
            return [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in names]

        graph = helper.make_graph(self._nodes, "blocks", floats(inputs), floats(outputs), self._constants)
        return helper.make_model(graph, opset_imports=_OPSETS, ir_version=_IR_VERSION).SerializeToString()


def round_to_8_bits(weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """weight [N, K] as MatMulNBits has it: uint8 [N, K / BLOCK, BLOCK], 128 for zero, and scales [N, K / BLOCK]."""
    rows, columns = weight.shape
    blocks = np.pad(weight, ((0, 0), (0, -columns % BLOCK))).reshape(rows, -1, BLOCK)
    scales = np.maximum(np.abs(blocks).max(axis=-1) / 127, np.float32(1e-12))
    rounded = np.rint(blocks / scales[..., None]).clip(-127, 127) + 128
    return rounded.astype(np.uint8), scales.astype(np.float32)
