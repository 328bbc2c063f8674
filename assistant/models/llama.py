"""LLaMA (arXiv 2302.13971, grouped-query attention as in LLaMA-2, arXiv 2307.09288).

State dicts carry the key names of transformers' LlamaForCausalLM. In memory the projections that read the same input
are one matrix each, `qkv_proj` and `gate_up_proj`: fewer and larger products in training and in decoding.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from assistant.layers.attention import Attend, causal_attention
from assistant.layers.linear import Linear
from assistant.layers.rotary import apply_rotary, rotary_tables


@dataclass(frozen=True, slots=True)
class LlamaConfig:
    """Sizes of a LLaMA under the keys of the published `config.json`."""

    vocab_size: int
    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int
    head_dim: int
    max_position_embeddings: int = 4096
    rms_norm_eps: float = 1e-5
    rope_theta: float = 10_000.0
    tie_word_embeddings: bool = False
    initializer_range: float = 0.02

    @classmethod
    def from_dict(cls, config: Mapping[str, Any]) -> LlamaConfig:
        """Read a published config; fields of training and of other tools are ignored.

        Raises ValueError where the config asks for a variant that this model is not, KeyError for a missing size.
        """
        for key in ("attention_bias", "mlp_bias"):
            if config.get(key):
                raise ValueError(f"{key} is not supported")
        if config.get("hidden_act", "silu") != "silu":
            raise ValueError(f"hidden_act {config['hidden_act']!r} is not supported")
        rope = config.get("rope_parameters") or config.get("rope_scaling") or {}
        if rope.get("rope_type", rope.get("type", "default")) != "default":
            raise ValueError(f"scaled rotary embedding is not supported: {rope}")
        heads = config["num_attention_heads"]
        sizes = ("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads")
        options = (
            "max_position_embeddings",
            "rms_norm_eps",
            "tie_word_embeddings",
            "initializer_range",
        )
        return cls(
            **{key: config[key] for key in sizes},
            num_key_value_heads=config.get("num_key_value_heads") or heads,
            head_dim=config.get("head_dim") or config["hidden_size"] // heads,
            rope_theta=config.get("rope_theta") or rope.get("rope_theta", 10_000.0),
            **{key: config[key] for key in options if key in config},
        )


class RMSNorm(nn.Module):
    """x / rms(x) * weight, over the last dimension."""

    def __init__(self, size: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.eps = eps
        self._shrink = torch.tensor(size**-0.5, device="cpu")
        self._root_eps = torch.tensor(eps**0.5, device="cpu")

    def forward(self, x: Tensor) -> Tensor:
        if x.is_cuda or x.dtype != torch.float32 or torch.is_grad_enabled():
            return F.rms_norm(x, self.weight.shape, self.weight, self.eps)
        # The same in fewer calls: on the CPU they, and not the sums, are the cost of one token.
        norm = torch.linalg.vector_norm(x, 2, -1, True).mul_(self._shrink)
        return (x / torch.hypot(norm, self._root_eps)).mul_(self.weight)


def _name_parts(module: nn.Module, fused: str, parts: dict[str, int]) -> None:
    """Let state dicts of `module` hold the rows of `module.fused.weight` as `name.weight`, one for each part.

    `parts` gives the number of rows of each. Saved parts are views of the fused weight.
    """

    def save(_: nn.Module, state: dict[str, Tensor], prefix: str, metadata: object) -> None:
        weight = state.pop(f"{prefix}{fused}.weight")
        for name, rows in zip(parts, weight.split(list(parts.values())), strict=True):
            state[f"{prefix}{name}.weight"] = rows

    def load(_: nn.Module, state: dict[str, Tensor], prefix: str, *rest: object) -> None:
        keys = [f"{prefix}{name}.weight" for name in parts]
        if all(key in state for key in keys):
            state[f"{prefix}{fused}.weight"] = torch.cat([state.pop(key) for key in keys])

    module.register_state_dict_post_hook(save)
    module.register_load_state_dict_pre_hook(load)


class Attention(nn.Module):
    def __init__(self, config: LlamaConfig, layer: int) -> None:
        super().__init__()
        self.layer = layer
        self.heads = config.num_attention_heads
        self.kv_heads = config.num_key_value_heads
        self.head_dim = config.head_dim
        q_rows, kv_rows = self.heads * self.head_dim, self.kv_heads * self.head_dim
        self.qkv_proj = Linear(config.hidden_size, q_rows + 2 * kv_rows)
        self.o_proj = Linear(q_rows, config.hidden_size)
        _name_parts(self, "qkv_proj", {"q_proj": q_rows, "k_proj": kv_rows, "v_proj": kv_rows})

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, attend: Attend) -> Tensor:
        heads = self.qkv_proj(x).view(*x.shape[:-1], -1, self.head_dim)
        qk, v = heads.split_with_sizes((self.heads + self.kv_heads, self.kv_heads), dim=-2)
        q, k = apply_rotary(qk, cos, sin).split_with_sizes((self.heads, self.kv_heads), dim=-2)
        return self.o_proj(attend(self.layer, q, k, v).flatten(-2))


class MLP(nn.Module):
    def __init__(self, config: LlamaConfig) -> None:
        super().__init__()
        width = config.intermediate_size
        self.gate_up_proj = Linear(config.hidden_size, 2 * width)
        self.down_proj = Linear(width, config.hidden_size)
        _name_parts(self, "gate_up_proj", {"gate_proj": width, "up_proj": width})

    def forward(self, x: Tensor) -> Tensor:
        gate, up = self.gate_up_proj(x).chunk(2, dim=-1)
        return self.down_proj(F.silu(gate) * up)


class Block(nn.Module):
    def __init__(self, config: LlamaConfig, layer: int) -> None:
        super().__init__()
        self.input_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.self_attn = Attention(config, layer)
        self.post_attention_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.mlp = MLP(config)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, attend: Attend) -> Tensor:
        x = x + self.self_attn(self.input_layernorm(x), cos, sin, attend)
        return x + self.mlp(self.post_attention_layernorm(x))


class Decoder(nn.Module):
    def __init__(self, config: LlamaConfig) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList(Block(config, layer) for layer in range(config.num_hidden_layers))
        self.norm = RMSNorm(config.hidden_size, config.rms_norm_eps)


class Llama(nn.Module):
    """The language model. `hidden` runs the layers, `logits` the output rows that are wanted."""

    def __init__(self, config: LlamaConfig) -> None:
        super().__init__()
        self.config = config
        self.model = Decoder(config)
        self.lm_head = Linear(config.hidden_size, config.vocab_size)
        self.apply(self._initialize)
        if config.tie_word_embeddings:
            self.lm_head.weight = self.model.embed_tokens.weight
            self.register_load_state_dict_pre_hook(_fill_tied_head)

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Llama:
        """An untrained model from a published config."""
        return cls(LlamaConfig.from_dict(config))

    def forward(self, tokens: Tensor) -> Tensor:
        """Logits [..., T, vocab_size] of whole sequences of tokens [..., T] that start at position 0."""
        return self.logits(self.hidden(tokens))

    def hidden(
        self, tokens: Tensor, rotary: tuple[Tensor, Tensor] | None = None, attend: Attend = causal_attention
    ) -> Tensor:
        """Normalized states [..., T, hidden_size] of tokens [..., T].

        `rotary`, the tables of the tokens' positions, by default 0 to T - 1, and `attend` let an engine run parts of
        sequences over its own cache.
        """
        x = self.model.embed_tokens(tokens)
        cos, sin = rotary or self.rotary(torch.arange(tokens.shape[-1], device=tokens.device))
        for block in self.model.layers:
            x = block(x, cos, sin, attend)
        return self.model.norm(x)

    @property
    def device(self) -> torch.device:
        return self.model.embed_tokens.weight.device

    @property
    def attention_dtype(self) -> torch.dtype:
        """Of the keys and values, and of all that flows between the layers."""
        return self.model.embed_tokens.weight.dtype

    def rotary(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Tables [T, 1, head_dim] float32 that rotate heads [..., T, heads, head_dim] at positions [T]."""
        return rotary_tables(positions.unsqueeze(-1), self.config.head_dim, self.config.rope_theta)

    def logits(self, hidden: Tensor, rows: slice | None = None) -> Tensor:
        """Scores [..., rows] of states [..., hidden_size]: of the whole vocabulary, or of one range of it."""
        return self.lm_head(hidden, rows)

    def _initialize(self, module: nn.Module) -> None:
        """Normal weights, smaller where a matrix writes to the residual stream (GPT-2's scaling by depth)."""
        if isinstance(module, nn.Linear | nn.Embedding):
            nn.init.normal_(module.weight, std=self.config.initializer_range)
        elif isinstance(module, Block):
            for output in (module.self_attn.o_proj, module.mlp.down_proj):
                with torch.no_grad():
                    output.weight.mul_((2 * self.config.num_hidden_layers) ** -0.5)


def _fill_tied_head(model: Llama, state: dict[str, Tensor], prefix: str, *rest: object) -> None:
    """Files of models with tied embeddings may leave the output layer out."""
    state.setdefault(f"{prefix}lm_head.weight", state[f"{prefix}model.embed_tokens.weight"])
