"""Linear layers for decoding on a CPU, where a step reads every weight once and a weight's size is its cost."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

FEW = 8
"""Up to so many rows the int8 product is the faster one (AVX-512 with AMX: 3 times for one row; AVX2: 1.5 to 3)."""
WIDE = torch.bfloat16 if torch.cpu._is_avx512_bf16_supported() else torch.float32
"""What products of more rows are computed in. A processor without bfloat16 takes 7 times as long for it."""


class Linear(nn.Linear):
    """x @ weight.T without bias, optionally of a range of the weight's rows only."""

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__(in_features, out_features, bias=False)

    def forward(self, x: Tensor, rows: slice | None = None) -> Tensor:
        return F.linear(x, self.weight if rows is None else self.weight[rows])


class Int8Linear(nn.Module):
    """A Linear whose weight is rounded to 8 bits, with a scale for each row. Computes in WIDE.

    For inference on the CPU. A batch [T, in] of at most FEW rows uses it, all others the weight in WIDE, kept too.
    """

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        weight = linear.weight.detach().float()
        scales = (weight.abs().amax(dim=1) / 127).clamp(min=1e-12).to(WIDE)
        quantized = (weight / scales.float().unsqueeze(1)).round().clamp(-127, 127)
        self.quantized = quantized.to(torch.int8)  # [out, in]
        self.scales = scales  # [out]
        self.weight = weight.to(WIDE)  # [out, in]

    def forward(self, x: Tensor, rows: slice | None = None) -> Tensor:
        x = x.to(WIDE)
        if x.dim() != 2 or x.shape[0] > FEW:
            return F.linear(x, self.weight if rows is None else self.weight[rows])
        quantized, scales = self.quantized, self.scales
        if rows is not None:
            quantized, scales = quantized[rows], scales[rows]
        return torch._weight_int8pack_mm(x, quantized, scales)


def quantize(module: nn.Module) -> None:
    """Replace every linear layer below `module` by its 8-bit form. The rest keeps its type: best float32."""
    for name, child in module.named_children():
        if isinstance(child, nn.Linear):
            setattr(module, name, Int8Linear(child))
        else:
            quantize(child)
