"""Linear layers whose weights are read in part, or in 8 bits: a step of decoding reads every weight once, and a
weight's size is its cost."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

FEW = 8
"""Up to so many rows the product with 8-bit weights is the faster one."""
ROUND = 16
"""On a CPU products of more rows are computed with a multiple of so many: oneDNN compiles one for each number of rows
and keeps it, some 100 kB each, and every length of a prompt is another number."""
WIDE = torch.bfloat16 if torch.cpu._is_avx512_bf16_supported() else torch.float32
"""What products of more rows are computed in on a CPU. One without bfloat16 needs 7 times as long for it."""


class Linear(nn.Linear):
    """x @ weight.T without bias, optionally of a range of the weight's rows only."""

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__(in_features, out_features, bias=False)

    def forward(self, x: Tensor, rows: slice | None = None) -> Tensor:
        return F.linear(x, self.weight if rows is None else self.weight[rows])


class Int8Linear(nn.Module):
    """A Linear whose weight is rounded to 8 bits, with a scale for each row. For inference.

    A batch [T, in] of few rows (on the CPU at most FEW) uses it, in bfloat16 everywhere: in float32 torch has no fast
    path for it. All others use the weight in full: on the CPU one that is kept in WIDE, on a GPU, where memory is what
    8 bits save, one that is made anew in bfloat16. The result has the type of x.
    """

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        weight = linear.weight.detach().float()
        scales = (weight.abs().amax(dim=1) / 127).clamp(min=1e-12).bfloat16()
        quantized = (weight / scales.float().unsqueeze(1)).round().clamp(-127, 127)
        self.quantized = quantized.to(torch.int8)  # [out, in]
        self.scales = scales  # [out]
        self._kept = weight.to(WIDE) if weight.device.type == "cpu" else None
        self._few, self._product = FEW, torch._weight_int8pack_mm
        if weight.is_cuda:
            from assistant.layers.int8_product import MOST_ROWS, int8_product  # Triton comes with torch for CUDA alone

            self._few, self._product = MOST_ROWS, int8_product

    @property
    def weight(self) -> Tensor:
        """[out, in], in the type for products of many rows."""
        return self._weight(slice(None))

    def forward(self, x: Tensor, rows: slice | None = None) -> Tensor:
        rows = slice(None) if rows is None else rows
        if x.dim() != 2 or x.shape[0] > self._few:
            weight = self._weight(rows)
            return self._wide(x.to(weight.dtype), weight).to(x.dtype)
        return self._product(x.bfloat16(), self.quantized[rows], self.scales[rows]).to(x.dtype)

    def _wide(self, x: Tensor, weight: Tensor) -> Tensor:
        spare = -len(x) % ROUND if x.dim() == 2 and not x.is_cuda else 0
        return F.linear(F.pad(x, (0, 0, 0, spare)), weight)[: len(x)] if spare else F.linear(x, weight)

    def _weight(self, rows: slice) -> Tensor:
        return self.quantized[rows] * self.scales[rows].unsqueeze(1) if self._kept is None else self._kept[rows]


def quantize(model: nn.Module) -> None:
    """Replace every linear layer by its 8-bit form. The rest keeps its type on the CPU: best float32. On a GPU it
    becomes bfloat16, as attention there wants it."""
    for parent in list(model.modules()):
        for name, child in parent.named_children():
            if isinstance(child, nn.Linear):
                setattr(parent, name, Int8Linear(child))
    if any(parameter.is_cuda for parameter in model.parameters()):
        model.bfloat16()
