"""SoundStorm (arXiv 2305.09636): from SpeechTokenizer's semantic tokens to its acoustic levels, all frames in parallel.

A Conformer reads the sum of a frame's semantic embedding and its acoustic token embeddings, masked ones included, and
predicts every acoustic level. Generation fills the first level in confidence order (MaskGIT), each further level in one
pass. Q counts the acoustic levels, V the entries of a codebook; id V is the mask, in every level.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from assistant.layers.rotary import apply_rotary, rotary_tables

KEPT_SHARE = 1 - 0.7
"""The share of the codebook, the likeliest entries, that a first-level token is drawn from."""

Noise = Callable[[torch.Size], Tensor]


def gumbel_noise(shape: torch.Size, generator: torch.Generator | None = None) -> Tensor:
    """Fresh standard Gumbel noise: argmax(x + noise) draws from softmax(x)."""
    return -torch.rand(shape, generator=generator).log_().neg_().log_()


class FeedForward(nn.Module):
    """LayerNorm, Linear, SiLU, Linear."""

    def __init__(self, dim: int, multiple: int):
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.up = nn.Linear(dim, dim * multiple)
        self.down = nn.Linear(dim * multiple, dim)

    def forward(self, x: Tensor) -> Tensor:
        return self.down(F.silu(self.up(self.norm(x))))


class Attention(nn.Module):
    """LayerNorm and full attention, both directions, with rotary positions."""

    def __init__(self, dim: int, heads: int, dim_head: int):
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(dim)
        self.to_q = nn.Linear(dim, heads * dim_head, bias=False)
        self.to_kv = nn.Linear(dim, 2 * heads * dim_head, bias=False)
        self.to_out = nn.Linear(heads * dim_head, dim)

    def forward(self, x: Tensor, rotary: tuple[Tensor, Tensor], mask: Tensor | None) -> Tensor:
        x = self.norm(x)
        q, k, v = (
            t.unflatten(-1, (self.heads, -1)).transpose(1, 2) for t in (self.to_q(x), *self.to_kv(x).chunk(2, dim=-1))
        )
        keys = None if mask is None else mask[:, None, None, :]
        attended = F.scaled_dot_product_attention(apply_rotary(q, *rotary), apply_rotary(k, *rotary), v, attn_mask=keys)
        return self.to_out(attended.transpose(1, 2).flatten(2))


class ConvolutionModule(nn.Module):
    """Conformer's convolution (arXiv 2005.08100): gated expansion, depthwise convolution, channel norm, contraction."""

    def __init__(self, dim: int, expansion: int, kernel: int):
        super().__init__()
        channels = dim * expansion
        self.padding = (kernel // 2, (kernel - 1) // 2)
        self.norm = nn.LayerNorm(dim)
        self.expand = nn.Linear(dim, 2 * channels)
        self.depthwise = nn.Conv1d(channels, channels, kernel, groups=channels)
        self.gamma = nn.Parameter(torch.ones(channels))
        self.contract = nn.Linear(channels, dim)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        x = F.glu(self.expand(self.norm(x)), dim=-1)
        frames = 1 if mask is None else mask.unsqueeze(-1)
        x = self.depthwise(F.pad((x * frames).transpose(1, 2), self.padding)).transpose(1, 2) * frames
        return self.contract(self.channel_norm(F.silu(x)))

    def channel_norm(self, x: Tensor) -> Tensor:
        """As published: the variance is clamped from below where a LayerNorm would add to it."""
        x = x - x.mean(-1, keepdim=True)
        floor = 1e-6 if x.dtype == torch.float32 else 1e-4
        return x * x.square().mean(-1, keepdim=True).clamp(min=floor).rsqrt() * self.gamma


class Block(nn.Module):
    """One Conformer block; x [B, N, dim], mask [B, N] True where a frame counts."""

    def __init__(self, dim: int, heads: int, dim_head: int, ff_mult: int, expansion: int, kernel: int):
        super().__init__()
        self.ff1 = FeedForward(dim, ff_mult)
        self.attn = Attention(dim, heads, dim_head)
        self.conv = ConvolutionModule(dim, expansion, kernel)
        self.ff2 = FeedForward(dim, ff_mult)
        self.post_norm = nn.LayerNorm(dim)

    def forward(self, x: Tensor, rotary: tuple[Tensor, Tensor], mask: Tensor | None) -> Tensor:
        x = x + self.ff1(x) / 2
        x = x + self.attn(x, rotary, mask)
        x = x + self.conv(x, mask)
        x = x + self.ff2(x) / 2
        return self.post_norm(x)


class SoundStorm(nn.Module):
    """Semantic tokens and a voice to all code levels, with `generate`; load weights first.

    Calling the module is one network pass over masked tokens: what training needs.
    """

    def __init__(
        self,
        codebook_size: int,
        num_quantizers: int,
        dim: int,
        depth: int,
        heads: int,
        dim_head: int,
        num_semantic_token_ids: int,
        ff_mult: int,
        conv_expansion_factor: int,
        conv_kernel_size: int,
    ):
        super().__init__()
        self.codebook_size, self.num_quantizers, self.dim, self.dim_head = codebook_size, num_quantizers, dim, dim_head
        self.semantic_embedding = nn.Embedding(num_semantic_token_ids, dim)
        self.code_embedding = nn.Embedding(num_quantizers * (codebook_size + 1), dim)
        self.blocks = nn.ModuleList(
            Block(dim, heads, dim_head, ff_mult, conv_expansion_factor, conv_kernel_size) for _ in range(depth)
        )
        self.heads = nn.Linear(dim, num_quantizers * dim)
        self.head_norm = nn.LayerNorm(dim)
        self.logit_weight = nn.Parameter(torch.randn(num_quantizers, dim, codebook_size) / math.sqrt(dim))
        self.logit_bias = nn.Parameter(torch.zeros(num_quantizers, codebook_size))
        offsets = torch.arange(num_quantizers) * (codebook_size + 1)
        self.level_offsets: Tensor
        self.register_buffer("level_offsets", offsets, persistent=False)

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> SoundStorm:
        """Build from `soundstorm.json`. Fields that only training reads are ignored; KeyError names a missing one."""
        return cls(
            codebook_size=config["codebook_size"],
            num_quantizers=config["num_quantizers"],
            dim=config["dim"],
            depth=config["depth"],
            heads=config["heads"],
            dim_head=config["dim_head"],
            num_semantic_token_ids=config["num_semantic_token_ids"],
            ff_mult=config["ff_mult"],
            conv_expansion_factor=config["conv_expansion_factor"],
            conv_kernel_size=config["conv_kernel_size"],
        )

    def forward(self, tokens: Tensor, semantic: Tensor, mask: Tensor | None = None) -> Tensor:
        """Logits [B, N*Q, V], levels of a frame side by side, for tokens [B, N, Q] (id V = masked) and semantic [B, N].

        `mask` [B, N], True where a frame counts, keeps the padding of a batch out of attention and convolutions.
        """
        return self.logits(self.embeds(tokens, self.semantic_embedding(semantic), mask)).flatten(1, 2)

    def embeds(self, tokens: Tensor, condition: Tensor, mask: Tensor | None = None, first_level: int = 0) -> Tensor:
        """What the heads of levels first_level.. see, [B, N, Q - first_level, dim]; condition is [B, N, dim]."""
        batch, frames, _ = tokens.shape
        codes = F.embedding_bag((tokens + self.level_offsets).flatten(0, 1), self.code_embedding.weight, mode="sum")
        x = condition + codes.view(batch, frames, self.dim)
        rotary = rotary_tables(torch.arange(frames, device=x.device), self.dim_head)
        for block in self.blocks:
            x = block(x, rotary, mask)
        start = first_level * self.dim
        return F.linear(x, self.heads.weight[start:], self.heads.bias[start:]).unflatten(-1, (-1, self.dim))

    def logits(self, embeds: Tensor, first_level: int = 0) -> Tensor:
        """[B, N, Q - first_level, dim] -> [B, N, Q - first_level, V]."""
        weight, bias = self.logit_weight[first_level:], self.logit_bias[first_level:]
        return torch.einsum("bnqd,qdv->bnqv", self.head_norm(embeds), weight) + bias

    @torch.inference_mode()
    def generate(
        self,
        semantic: Tensor,
        prompt: Tensor | None = None,
        steps: int = 3,
        greedy: bool = True,
        full_sampling_levels: int = 1,
        noise: Noise | None = None,
    ) -> Tensor:
        """All levels, semantic first, [B, N, Q + 1], for semantic tokens [B, N] in the voice of prompt [B, P, Q + 1].

        The first `full_sampling_levels` levels take `steps` + 1 passes each, the others one. The result is random by
        `noise` alone (None: Gumbel noise from torch's generator), which is asked for [B, P + N, Q, V] in passes
        1..steps-1 of those levels, and in the last one too unless `greedy`. Without a prompt, so is the voice.
        """
        batch, frames = semantic.shape
        mask_id, levels = self.codebook_size, self.num_quantizers
        grid = semantic.new_full((batch, frames, levels), mask_id)
        open_ = torch.ones_like(grid, dtype=torch.bool)
        tokens = semantic
        if prompt is not None:
            tokens = torch.cat((prompt[..., 0], semantic), dim=1)
            grid = torch.cat((prompt[..., 1:], grid), dim=1)
            open_ = torch.cat((torch.zeros_like(prompt[..., 1:], dtype=torch.bool), open_), dim=1)
        condition = self.semantic_embedding(tokens)
        schedule = mask_schedule(tokens.shape[1], steps)
        pending = open_
        for level in range(full_sampling_levels):
            for i, masked in enumerate(schedule):
                logits = self.logits(self.embeds(grid, condition))
                if masked == 0 and greedy:
                    ids = logits.argmax(-1)
                else:
                    logits = keep_likeliest(logits)
                    ids = draw(logits, i / steps, noise or gumbel_noise)
                grid = torch.where(pending, ids, grid)
                if masked == 0:
                    continue
                pending = open_ & least_certain(logits, ids, masked)
                pending[:, :, level + 1 :] = open_[:, :, level + 1 :]
                grid = grid.masked_fill(pending, mask_id)
        for level in range(full_sampling_levels, levels):
            # As published: the pass sees its own guesses for this level and later ones, and overwrites them in the
            # prompt's frames too.
            logits = self.logits(self.embeds(grid, condition, first_level=level), level)
            grid = torch.cat((grid[..., :level], logits.argmax(-1)), dim=-1)
        return torch.cat((semantic.unsqueeze(-1), grid[:, -frames:]), dim=-1)


def mask_schedule(frames: int, steps: int) -> list[int]:
    """How many tokens stay masked after each of steps + 1 passes: a cosine from all frames to none.

    In float32, because the published model rounds there: cos(pi/3) must fall on the same side of a half.
    """
    times = torch.linspace(0.0, 1.0, steps + 1)
    return (torch.cos(times * math.pi / 2) * frames).long().tolist()


def keep_likeliest(logits: Tensor) -> Tensor:
    """Logits with all but the likeliest share of the codebook at -inf."""
    values, indices = logits.topk(math.ceil(KEPT_SHARE * logits.shape[-1]), dim=-1, sorted=False)
    return torch.full_like(logits, -math.inf).scatter_(-1, indices, values)


def draw(logits: Tensor, temperature: float, noise: Noise) -> Tensor:
    """Ids [...] from logits [..., V]: the likeliest at temperature 0."""
    if temperature == 0:
        return logits.argmax(-1)
    return (logits / temperature + noise(logits.shape).to(logits.device)).argmax(-1)


def least_certain(logits: Tensor, ids: Tensor, count: int) -> Tensor:
    """A mask of the shape of ids [B, F, Q], True for the `count` ids of each row that are the least probable."""
    doubt = 1 - logits.softmax(-1).gather(-1, ids.unsqueeze(-1)).squeeze(-1)
    worst = doubt.flatten(1).topk(count, dim=-1, sorted=False).indices
    return torch.zeros_like(doubt, dtype=torch.bool).flatten(1).scatter_(1, worst, True).view_as(ids)
