from __future__ import annotations

import torch

from assistant.layers.rotary import apply_rotary, rotary_tables


def test_pairs_turn_by_their_own_angle() -> None:
    """Dimension i and i + dim / 2 are a point of the plane, turned by position / theta ** (2 i / dim)."""
    x = torch.randn(5, 3, 8, generator=torch.Generator().manual_seed(1))
    positions = torch.tensor([0, 1, 2, 30, 4000])
    cos, sin = rotary_tables(positions.unsqueeze(-1), 8, theta=100.0)
    angles = positions[:, None, None] / 100.0 ** (torch.arange(4) / 4)
    turned = torch.complex(x[..., :4], x[..., 4:]) * torch.polar(torch.ones(()), angles)
    torch.testing.assert_close(apply_rotary(x, cos, sin), torch.cat((turned.real, turned.imag), -1), atol=1e-3, rtol=0)


def test_the_result_keeps_its_type() -> None:
    tables = rotary_tables(torch.arange(4), 8)
    assert apply_rotary(torch.ones(4, 8, dtype=torch.bfloat16), *tables).dtype == torch.bfloat16
