"""Non-causal 1-D convolutions of SEANet (arXiv 2009.02095) with the padding of the published SpeechTokenizer.

Published files nest each convolution (`conv.conv.weight`, `convtr.convtr.weight`); the modules here keep those names,
with plain weights in place of the weight-norm pairs.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


def reflect_pad(x: Tensor, left: int, right: int) -> Tensor:
    """Mirror both ends of x [..., S]. An input too short to mirror is first extended with zeros on its right."""
    zeros = max(max(left, right) - x.shape[-1] + 1, 0)
    padded = F.pad(F.pad(x, (0, zeros)), (left, right), mode="reflect")
    return padded[..., : padded.shape[-1] - zeros]


class Conv1d(nn.Module):
    """[B, C_in, S] -> [B, C_out, ceil(S / stride)], edges mirrored; the last window is always full."""

    def __init__(self, channels_in: int, channels_out: int, kernel: int, stride: int = 1, dilation: int = 1):
        super().__init__()
        self.conv = nn.ModuleDict({"conv": nn.Conv1d(channels_in, channels_out, kernel, stride, dilation=dilation)})
        total = (kernel - 1) * dilation - (stride - 1)
        self.left, self.right, self.stride = total - total // 2, total // 2, stride

    def forward(self, x: Tensor) -> Tensor:
        return self.conv["conv"](reflect_pad(x, self.left, self.right + -x.shape[-1] % self.stride))

    def reach(self, first: int, last: int) -> tuple[int, int]:
        """First and last input sample that output samples first..last may depend on, mirrored ones included."""
        return first * self.stride - self.left, (last + 1) * self.stride - 1 + self.left


class ConvTranspose1d(nn.Module):
    """[B, C_in, T] -> [B, C_out, stride * T]: kernel 2 * stride, the surplus stride trimmed off both ends."""

    def __init__(self, channels_in: int, channels_out: int, stride: int):
        super().__init__()
        self.convtr = nn.ModuleDict({"convtr": nn.ConvTranspose1d(channels_in, channels_out, 2 * stride, stride)})
        self.left, self.right = stride - stride // 2, stride // 2

    def forward(self, x: Tensor) -> Tensor:
        y = self.convtr["convtr"](x)
        return y[..., self.left : y.shape[-1] - self.right]

    def reach(self, first: int, last: int) -> tuple[int, int]:
        """First and last input sample that output samples first..last depend on."""
        stride = self.left + self.right
        return (first + self.left) // stride - 1, (last + self.left) // stride
