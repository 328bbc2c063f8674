"""SEED-2 (arXiv 2310.01218): a picture as a short causal sequence of codes, and back to an image embedding for unCLIP.

EVA ViT (arXiv 2303.15389), causal Q-Former, vector quantizer; backwards through a small transformer and a projection.
Parameter names are those of the published checkpoints; the vision tower, published on its own, is `visual_encoder`.
Pictures are [B, 3, S, S], normalized; n counts the codes of a picture, which are [B, n].
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

PUBLISHED: Mapping[str, Any] = {
    "vit": {
        "image_size": 224,
        "patch_size": 14,
        "width": 1408,
        "depth": 39,
        "heads": 16,
        "mlp_ratio": 4.3637,
        "layer_norm_eps": 1e-6,
    },
    "qformer": {
        "hidden": 768,
        "layers": 12,
        "heads": 12,
        "intermediate": 3072,
        "cross_attention_freq": 2,
        "num_query_token": 32,
        "layer_norm_eps": 1e-12,
        "hidden_act": "gelu",
    },
    "ln_vision_eps": 1e-5,
    "codebook_embed_dim": 32,
    "n_embed": 8192,
    "decode_depth": 4,
    "decode_heads": 12,
    "decode_mlp_ratio": 4.0,
    "decode_layer_norm_eps": 1e-6,
    "image_down": [256, 128, 32],
    "image_features_dim": 1024,
    "use_qformer_image": False,
}
"""The sizes of `AILab-CVC/seed-tokenizer-2`, whose release has them in code alone."""

MEAN = (0.48145466, 0.4578275, 0.40821073)
"""Of red, green and blue, as CLIP has it (arXiv 2103.00020)."""
DEVIATION = (0.26862954, 0.26130258, 0.27577711)

CAUSAL_QUERIES = 32
"""The published Q-Former masks later queries if, and only if, there are exactly this many."""

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {"gelu": F.gelu, "relu": F.relu, "silu": F.silu}


def attend(q: Tensor, k: Tensor, v: Tensor, heads: int, causal: bool = False) -> Tensor:
    """Multi-head attention of q [B, n, C] to k and v [B, m, C]."""
    q, k, v = (x.unflatten(-1, (heads, -1)).transpose(1, 2) for x in (q, k, v))
    return F.scaled_dot_product_attention(q, k, v, is_causal=causal).transpose(1, 2).flatten(2)


class Attention(nn.Module):
    """Self-attention of a ViT block. EVA's has no bias for the keys, and keeps the other two apart."""

    def __init__(self, width: int, heads: int, key_bias: bool):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width, bias=key_bias)
        if not key_bias:
            self.q_bias = nn.Parameter(torch.zeros(width))
            self.v_bias = nn.Parameter(torch.zeros(width))
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        bias = self.qkv.bias
        if bias is None:
            bias = torch.cat((self.q_bias, torch.zeros_like(self.q_bias), self.v_bias))
        q, k, v = F.linear(x, self.qkv.weight, bias).chunk(3, dim=-1)
        return self.proj(attend(q, k, v, self.heads))


class Mlp(nn.Module):
    def __init__(self, width: int, hidden: int):
        super().__init__()
        self.fc1 = nn.Linear(width, hidden)
        self.fc2 = nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(x)))


class Block(nn.Module):
    """Pre-norm transformer block: [B, n, width] -> the same."""

    def __init__(self, width: int, heads: int, mlp_ratio: float, eps: float, key_bias: bool):
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps)
        self.attn = Attention(width, heads, key_bias)
        self.norm2 = nn.LayerNorm(width, eps)
        self.mlp = Mlp(width, int(width * mlp_ratio))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class VisionTransformer(nn.Module):
    """EVA ViT without a final norm: [B, 3, S, S] -> [B, 1 + patches, width], the class token first."""

    def __init__(
        self,
        image_size: int,
        patch_size: int,
        width: int,
        depth: int,
        heads: int,
        mlp_ratio: float,
        layer_norm_eps: float,
    ):
        super().__init__()
        self.image_size, self.width = image_size, width
        self.patch_embed = nn.ModuleDict({"proj": nn.Conv2d(3, width, patch_size, patch_size)})
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        patches = (image_size // patch_size) ** 2
        self.pos_embed = nn.Parameter(0.02 * torch.randn(1, 1 + patches, width))
        self.blocks = nn.ModuleList(
            Block(width, heads, mlp_ratio, layer_norm_eps, key_bias=False) for _ in range(depth)
        )

    def forward(self, pictures: Tensor) -> Tensor:
        patches = self.patch_embed["proj"](pictures).flatten(2).transpose(1, 2)
        x = torch.cat((self.cls_token.expand(len(patches), -1, -1), patches), dim=1) + self.pos_embed
        for block in self.blocks:
            x = block(x)
        return x


class BertAttention(nn.Module):
    """Attention to itself (`source` is its own width) or to others, post-norm: x [B, n, C], source [B, m, source]."""

    def __init__(self, hidden: int, source: int, heads: int, eps: float):
        super().__init__()
        self.heads = heads
        widths = {"query": hidden, "key": source, "value": source}
        self.self = nn.ModuleDict({name: nn.Linear(width, hidden) for name, width in widths.items()})
        self.output = nn.ModuleDict({"dense": nn.Linear(hidden, hidden), "LayerNorm": nn.LayerNorm(hidden, eps)})

    def forward(self, x: Tensor, source: Tensor, causal: bool = False) -> Tensor:
        query, key, value = self.self["query"](x), self.self["key"](source), self.self["value"](source)
        attended = attend(query, key, value, self.heads, causal)
        return self.output["LayerNorm"](x + self.output["dense"](attended))


class QFormerLayer(nn.Module):
    """Queries attend to one another, in some layers to the picture, and pass through a feed-forward of their own."""

    def __init__(self, hidden: int, picture: int | None, heads: int, intermediate: int, eps: float, activation: str):
        super().__init__()
        self.activation = ACTIVATIONS[activation]
        self.attention = BertAttention(hidden, hidden, heads, eps)
        self.crossattention = None if picture is None else BertAttention(hidden, picture, heads, eps)
        self.intermediate_query = nn.ModuleDict({"dense": nn.Linear(hidden, intermediate)})
        self.output_query = nn.ModuleDict(
            {"dense": nn.Linear(intermediate, hidden), "LayerNorm": nn.LayerNorm(hidden, eps)}
        )

    def forward(self, queries: Tensor, picture: Tensor) -> Tensor:
        x = self.attention(queries, queries, causal=queries.shape[1] == CAUSAL_QUERIES)
        if self.crossattention is not None:
            x = self.crossattention(x, picture)
        hidden = self.activation(self.intermediate_query["dense"](x))
        return self.output_query["LayerNorm"](x + self.output_query["dense"](hidden))


class QFormer(nn.Module):
    """The query half of BLIP-2's Q-Former (arXiv 2301.12597): queries [B, n, C], picture [B, m, width] -> [B, n, C]."""

    def __init__(
        self,
        width: int,
        hidden: int,
        layers: int,
        heads: int,
        intermediate: int,
        cross_attention_freq: int,
        layer_norm_eps: float,
        hidden_act: str,
    ):
        super().__init__()
        sees = (width if layer % cross_attention_freq == 0 else None for layer in range(layers))
        stack = [QFormerLayer(hidden, seen, heads, intermediate, layer_norm_eps, hidden_act) for seen in sees]
        self.bert = nn.ModuleDict(
            {
                "embeddings": nn.ModuleDict({"LayerNorm": nn.LayerNorm(hidden, layer_norm_eps)}),
                "encoder": nn.ModuleDict({"layer": nn.ModuleList(stack)}),
            }
        )

    def forward(self, queries: Tensor, picture: Tensor) -> Tensor:
        x = self.bert["embeddings"]["LayerNorm"](queries)
        for layer in self.bert["encoder"]["layer"]:
            x = layer(x, picture)
        return x


class VisionTower(Protocol):
    """A module with `forward`: [B, 3, image_size, image_size], normalized -> [B, n, width]."""

    image_size: int
    width: int

    def __call__(self, pictures: Tensor) -> Tensor: ...


class SeedTokenizer(nn.Module):
    """Pictures to codes with `encode`, codes to image embeddings with `decode`; load weights before either.

    `blocks` and `pos_embed` of the published checkpoint serve its training alone and are not here.
    """

    def __init__(
        self,
        visual_encoder: VisionTower,
        qformer: QFormer,
        *,
        hidden: int,
        queries: int,
        ln_vision_eps: float,
        codebook_embed_dim: int,
        n_embed: int,
        decode_blocks: list[Block],
        image_down: list[int],
        image_features_dim: int,
    ):
        super().__init__()
        self.image_size, self.n_codes, self.codebook_size = visual_encoder.image_size, queries, n_embed
        self.image_features_dim = image_features_dim
        self.visual_encoder = visual_encoder
        self.ln_vision = nn.LayerNorm(visual_encoder.width, ln_vision_eps)
        self.query_tokens = nn.Parameter(0.02 * torch.randn(1, queries, hidden))
        self.Qformer = qformer
        self.encode_task_layer = nn.Sequential(
            nn.Linear(hidden, hidden), nn.Tanh(), nn.Linear(hidden, codebook_embed_dim)
        )
        self.quantize = nn.ModuleDict({"embedding": nn.Embedding(n_embed, codebook_embed_dim)})
        self.decode_task_layer = nn.Sequential(
            nn.Linear(codebook_embed_dim, codebook_embed_dim), nn.Tanh(), nn.Linear(codebook_embed_dim, hidden)
        )
        self.pos_embed_image = nn.Parameter(0.02 * torch.randn(1, queries, hidden))
        self.blocks_image = nn.ModuleList(decode_blocks)
        narrowing: list[nn.Module] = []
        for wide, narrow in pairwise([hidden, *image_down]):
            narrowing += [nn.Linear(wide, narrow, bias=False), nn.ReLU()]
        self.image_down = nn.Sequential(*narrowing[:-1])
        self.distill_image_proj = nn.Linear(queries * image_down[-1], image_features_dim)

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> SeedTokenizer:
        """Build from sizes as in `PUBLISHED`.

        `tower` is this project's own key: absent for the published ViT with the sizes of `vit`, or "efficientnet_lite0"
        with the sizes of `efficientnet`. Raises KeyError naming a missing field, ValueError for an activation, a
        decoder or a tower that is not known.
        """
        if config.get("use_qformer_image"):
            raise ValueError("use_qformer_image is not known: SEED-2 decodes by blocks_image")
        tower, qformer = _tower(config), dict(config["qformer"])
        if qformer["hidden_act"] not in ACTIVATIONS:
            raise ValueError(f"unknown hidden_act {qformer['hidden_act']!r}; known are {', '.join(ACTIVATIONS)}")
        hidden, queries = qformer["hidden"], qformer.pop("num_query_token")
        block = (hidden, config["decode_heads"], config["decode_mlp_ratio"], config["decode_layer_norm_eps"])
        sizes = ("ln_vision_eps", "codebook_embed_dim", "n_embed", "image_down", "image_features_dim")
        return cls(
            tower,
            QFormer(tower.width, **qformer),
            hidden=hidden,
            queries=queries,
            decode_blocks=[Block(*block, key_bias=True) for _ in range(config["decode_depth"])],
            **{name: config[name] for name in sizes},
        )

    def image_embeds(self, pictures: Tensor) -> Tensor:
        """What the vision tower sees, [B, 1 + patches, width]; normalized in fp32 whatever the weights are in."""
        seen, norm = self.visual_encoder(pictures), self.ln_vision
        normed = F.layer_norm(seen.float(), norm.normalized_shape, norm.weight.float(), norm.bias.float(), norm.eps)
        return normed.type_as(seen)

    def latents(self, image_embeds: Tensor) -> Tensor:
        """What is quantized, [B, n, codebook_embed_dim]."""
        queries = self.query_tokens.expand(len(image_embeds), -1, -1)
        return self.encode_task_layer(self.Qformer(queries, image_embeds))

    def nearest(self, latents: Tensor) -> Tensor:
        """Codes [B, n] of the codebook's rows closest to latents in Euclidean distance."""
        rows = self.quantize["embedding"].weight
        return (2 * latents @ rows.T - rows.square().sum(1)).argmax(-1)

    def encode(self, pictures: Tensor) -> Tensor:
        """Codes [B, n] of normalized pictures [B, 3, S, S]."""
        return self.nearest(self.latents(self.image_embeds(pictures)))

    def image_embedding(self, rows: Tensor) -> Tensor:
        """The image embedding [B, image_features_dim] of codebook rows [B, n, codebook_embed_dim]."""
        x = self.decode_task_layer(rows) + self.pos_embed_image
        for block in self.blocks_image:
            x = block(x)
        return self.distill_image_proj(self.image_down(x).flatten(1))

    def decode(self, codes: Tensor) -> Tensor:
        """The image embedding [B, image_features_dim] that codes [B, n] stand for."""
        return self.image_embedding(self.quantize["embedding"](codes))


def _tower(config: Mapping[str, Any]) -> VisionTower:
    kind = config.get("tower", "vit")
    if kind == "vit":
        return VisionTransformer(**config["vit"])
    if kind == "efficientnet_lite0":
        from assistant.models.efficientnet import EfficientNetTower

        return EfficientNetTower(**config["efficientnet"])
    raise ValueError(f"unknown tower {kind!r}; known are vit, efficientnet_lite0")
