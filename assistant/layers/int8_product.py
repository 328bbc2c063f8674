"""Products with weights of 8 bits on a GPU, in Triton: the weights are read as they are and widened on the way."""

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

MOST_ROWS = 64
"""Of x; more are better served by weights that are made anew."""


def int8_product(x: Tensor, weight: Tensor, scales: Tensor) -> Tensor:
    """x [T, in] times weight [out, in] int8 transposed, each output times its scale [out] -> [T, out], of x's type.

    x is in half precision and has at most MOST_ROWS rows.
    """
    rows, columns = x.shape
    x = x.contiguous()
    out = x.new_empty(rows, len(weight))
    block = max(16, triton.next_power_of_2(rows))
    outputs = 16 if block == 16 else 32
    _product[(triton.cdiv(len(weight), outputs),)](
        x, weight, scales, out, rows, len(weight), columns, ROWS=block, OUTPUTS=outputs, STEP=256, num_stages=4
    )
    return out


@triton.jit(do_not_specialize=["rows"])
def _product(
    x,
    weight,
    scales,
    out,
    rows,
    outputs,
    columns,
    ROWS: tl.constexpr,
    OUTPUTS: tl.constexpr,
    STEP: tl.constexpr,
):
    row = tl.arange(0, ROWS)
    output = tl.program_id(0) * OUTPUTS + tl.arange(0, OUTPUTS)
    steps = tl.arange(0, STEP)
    sums = tl.zeros((ROWS, OUTPUTS), tl.float32)
    for start in range(0, columns, STEP):
        column = start + steps
        within = column < columns
        some = tl.load(
            x + row[:, None] * columns + column[None, :], mask=(row < rows)[:, None] & within[None, :], other=0
        )
        at = output[None, :].to(tl.int64) * columns + column[:, None]
        few = tl.load(weight + at, mask=(output < outputs)[None, :] & within[:, None], other=0)
        sums = tl.dot(some, few.to(some.dtype), sums)
    scale = tl.load(scales + output, mask=output < outputs, other=0).to(tl.float32)
    at = row[:, None] * outputs + output[None, :]
    kept = (row < rows)[:, None] & (output < outputs)[None, :]
    tl.store(out + at, (sums * scale[None, :]).to(out.dtype.element_ty), mask=kept)
