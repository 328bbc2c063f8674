"""SEED's own properties, on tiny random models; the published outputs are in test_parity.py."""

from __future__ import annotations

import pytest
import torch

from assistant.models.efficientnet import SameConv2d
from assistant.models.seed import CAUSAL_QUERIES, PUBLISHED, SeedTokenizer


def tiny(queries: int = CAUSAL_QUERIES, **changed) -> SeedTokenizer:
    torch.manual_seed(2)
    config = {
        **PUBLISHED,
        "vit": PUBLISHED["vit"] | {"image_size": 12, "patch_size": 4, "width": 8, "depth": 1, "heads": 2},
        "qformer": PUBLISHED["qformer"]
        | {"hidden": 12, "layers": 3, "heads": 2, "intermediate": 8, "num_query_token": queries},
        "codebook_embed_dim": 4,
        "n_embed": 16,
        "decode_depth": 1,
        "image_features_dim": 6,
    }
    return SeedTokenizer.from_config(config | changed).eval()


@torch.inference_mode()
def test_codes_depend_on_the_queries_before_them_alone() -> None:
    model = tiny()
    seen = model.image_embeds(torch.randn(2, 3, 12, 12))
    before = model.latents(seen)
    model.query_tokens[:, 20] += torch.randn(12)
    after = model.latents(seen)
    assert torch.equal(before[:, :20], after[:, :20])
    assert not torch.isclose(before[:, 20:], after[:, 20:]).all(-1).any()


@torch.inference_mode()
def test_another_number_of_queries_is_not_causal() -> None:
    model = tiny(queries=8)
    seen = model.image_embeds(torch.randn(1, 3, 12, 12))
    before = model.latents(seen)
    model.query_tokens[:, 5] += torch.randn(12)
    assert not torch.isclose(before[:, :5], model.latents(seen)[:, :5]).all(-1).any()
    assert model.decode(model.encode(torch.randn(2, 3, 12, 12))).shape == (2, 6)


@torch.inference_mode()
def test_codes_are_the_nearest_rows() -> None:
    model = tiny()
    latents = torch.randn(3, 32, 4)
    distances = torch.cdist(latents, model.quantize["embedding"].weight.expand(3, -1, -1))
    assert torch.equal(model.nearest(latents), distances.argmin(-1))


def test_published_sizes() -> None:
    with torch.device("meta"):
        state = SeedTokenizer.from_config(PUBLISHED).state_dict()
    tower = {key: tensor for key, tensor in state.items() if key.startswith("visual_encoder.")}
    unused = 4 * 12 + 1 + 1  # `blocks`, `pos_embed` and the Q-Former's `position_ids` of the release
    assert (len(tower), len(state) - len(tower) + unused) == (511, 370)
    assert round(sum(tensor.numel() for tensor in tower.values()) / 1e6, 1) == 985.9


@torch.inference_mode()
def test_another_vision_tower_sees_the_whole_its_parts_and_their_order() -> None:
    model = tiny(tower="efficientnet_lite0", efficientnet={"image_size": 64, "width": 8})
    assert model.image_size == 64
    model.visual_encoder.train()  # statistics of its own: those of random weights would let nothing through
    pictures = torch.randn(2, 3, 64, 64)
    seen = model.image_embeds(pictures)
    assert seen.shape == (2, 1 + 2**2 + 4**2, 8)
    assert model.encode(pictures).shape == (2, CAUSAL_QUERIES)
    assert not torch.isclose(seen, model.image_embeds(pictures.flip(-1)), atol=1e-2).all(-1).any()


@torch.inference_mode()
def test_the_network_pads_as_it_was_trained() -> None:
    """What is uneven goes to the right and below: the last row and column are padded, the first are not."""
    conv = SameConv2d(1, 1, 3, 2, bias=False)
    conv.weight.fill_(1.0)
    assert conv(torch.ones(1, 1, 4, 4)).tolist() == [[[[9.0, 6.0], [6.0, 4.0]]]]
    assert conv(torch.ones(1, 1, 5, 5))[0, 0, 0].tolist() == [4.0, 6.0, 4.0]


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"use_qformer_image": True}, "use_qformer"),
        ({"qformer": PUBLISHED["qformer"] | {"hidden_act": "sine"}}, "sine"),
        ({"tower": "babel"}, "babel"),
    ],
)
def test_unknown_settings_are_refused(changed, named) -> None:
    with pytest.raises(ValueError, match=named):
        tiny(**changed)
