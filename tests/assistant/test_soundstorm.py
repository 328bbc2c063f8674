"""SoundStorm at a size of its own: masking, randomness, the prompt, and what training needs."""

from __future__ import annotations

import pytest
import torch

from assistant.models.soundstorm import (
    ConvolutionModule,
    SoundStorm,
    draw,
    keep_likeliest,
    least_certain,
    mask_schedule,
)

CONFIG = {
    "codebook_size": 20,
    "num_quantizers": 3,
    "dim": 24,
    "depth": 2,
    "heads": 3,
    "dim_head": 8,
    "num_semantic_token_ids": 12,
    "ff_mult": 2,
    "conv_expansion_factor": 1,
    "conv_kernel_size": 6,
}


@pytest.fixture(scope="module")
def model() -> SoundStorm:
    torch.manual_seed(0)
    return SoundStorm.from_config(CONFIG).eval().requires_grad_(False)


def tokens(*shape: int, below: int = 20) -> torch.Tensor:
    return torch.randint(below, shape, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("frames", [1, 2, 17])
@pytest.mark.parametrize("prompted", [False, True])
@pytest.mark.parametrize("steps", [1, 3])
def test_generation_fills_every_level(model, frames, prompted, steps):
    semantic = tokens(2, frames, below=12)
    prompt = tokens(2, 5, 4, below=12) if prompted else None
    grid = model.generate(semantic, prompt, steps=steps)
    assert grid.shape == (2, frames, 4) and grid.dtype == torch.int64
    assert torch.equal(grid[..., 0], semantic)
    assert 0 <= grid[..., 1:].min() and grid[..., 1:].max() < 20


def test_the_prompt_changes_the_voice(model):
    semantic = tokens(1, 12, below=12)
    prompt = tokens(1, 6, 4, below=12)
    other = torch.cat((prompt[..., :1], prompt[..., 1:] + 5), dim=-1)
    assert not torch.equal(*(model.generate(semantic, voice, noise=torch.zeros) for voice in (prompt, other)))


def test_noise_is_the_only_randomness(model):
    semantic = tokens(1, 12, below=12)

    def noise(seed):
        generator = torch.Generator().manual_seed(seed)
        return lambda shape: torch.randn(shape, generator=generator)

    def same(steps, greedy, *seeds):
        first, second = (model.generate(semantic, steps=steps, greedy=greedy, noise=noise(seed)) for seed in seeds)
        return torch.equal(first, second)

    assert same(3, True, 5, 5) and same(3, False, 5, 5)
    assert not same(3, True, 5, 6)
    assert same(1, True, 5, 6) and not same(1, False, 5, 6)


def test_noise_is_asked_for_in_the_passes_that_draw(model):
    asked = []

    def noise(shape):
        asked.append(shape)
        return torch.zeros(shape)

    model.generate(tokens(1, 12, below=12), tokens(1, 4, 4, below=12), steps=4, noise=noise)
    assert asked == [torch.Size((1, 16, 3, 20))] * 3


def test_padding_changes_nothing(model):
    codes, semantic = tokens(2, 9, 3, below=21), tokens(2, 9, below=12)
    mask = torch.arange(9) < torch.tensor([[6], [9]])
    padded = model(codes, semantic, mask).view(2, 9, 3, 20)
    alone = model(codes[:1, :6], semantic[:1, :6]).view(1, 6, 3, 20)
    assert torch.allclose(padded[:1, :6], alone, atol=1e-5)
    assert torch.allclose(padded[1:].flatten(1, 2), model(codes[1:], semantic[1:]), atol=1e-5)


def test_later_levels_alone_give_the_same_logits(model):
    codes, condition = tokens(1, 9, 3, below=21), model.semantic_embedding(tokens(1, 9, below=12))
    whole = model.logits(model.embeds(codes, condition))
    assert torch.allclose(model.logits(model.embeds(codes, condition, first_level=1), 1), whole[:, :, 1:], atol=1e-5)


def test_training_reaches_every_parameter():
    trained = SoundStorm.from_config(CONFIG)
    logits = trained(tokens(2, 9, 3, below=21), tokens(2, 9, below=12))
    torch.nn.functional.cross_entropy(logits.flatten(0, 1), tokens(2 * 9 * 3)).backward()
    assert [name for name, p in trained.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_the_schedule_ends_with_nothing_masked():
    assert mask_schedule(45, 3) == [45, 38, 22, 0]
    assert mask_schedule(1, 1) == [1, 0]
    assert all(mask_schedule(n, steps)[-1] == 0 for n in (1, 65, 4000) for steps in (1, 2, 8))


def test_the_least_probable_tokens_are_masked_again():
    logits = torch.tensor([[5.0, 0.0], [0.0, 0.0], [1.0, 0.0], [3.0, 0.0]]).view(1, 2, 2, 2)
    mask = least_certain(logits, torch.zeros(1, 2, 2, dtype=torch.long), 2)
    assert mask.flatten().tolist() == [False, True, True, False]


def test_only_the_likeliest_are_drawn_from():
    kept = keep_likeliest(torch.randn(1, 4, 3, 40))
    assert (kept.isfinite().sum(-1) == 13).all()  # ceil(0.3 * 40) as the published code computes it: 1 - 0.7 > 0.3
    noise = torch.zeros(40).index_fill(0, kept[0, 0, 0].isinf().nonzero().flatten(), 1e9)
    assert kept[0, 0, 0].isfinite()[draw(kept, 1.0, lambda shape: noise.expand(shape))[0, 0, 0]]


def test_an_even_kernel_looks_further_back():
    module = ConvolutionModule(dim=4, expansion=1, kernel=6)
    module.depthwise.weight.data.fill_(1)
    impulse = torch.zeros(1, 4, 20).index_fill(2, torch.tensor([10]), 1.0)
    heard = module.depthwise(torch.nn.functional.pad(impulse, module.padding)) - module.depthwise.bias[:, None]
    assert (heard[0, 0].abs() > 0.5).nonzero().flatten().tolist() == [8, 9, 10, 11, 12, 13]
