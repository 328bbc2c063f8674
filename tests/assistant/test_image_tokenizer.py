"""Pictures in, codes out; files that lack something are refused in words. Tiny random models."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from assistant.checkpoints import CheckpointError
from assistant.models.seed import PUBLISHED, SeedTokenizer
from assistant.tokenizers.image import TOWER, ImageEyes, load_seed, normalized

CONFIG = {
    **PUBLISHED,
    "vit": PUBLISHED["vit"] | {"image_size": 12, "patch_size": 4, "width": 8, "depth": 1, "heads": 2},
    "qformer": PUBLISHED["qformer"] | {"hidden": 12, "layers": 2, "heads": 2, "intermediate": 8},
    "codebook_embed_dim": 4,
    "n_embed": 64,
    "decode_depth": 1,
    "image_features_dim": 6,
}


def files(folder: Path, without: str = "", dtype: torch.dtype = torch.float32) -> tuple[Path, Path, Path]:
    """Configuration, quantizer and tower of a random model, with keys that nobody needs."""
    torch.manual_seed(4)
    state = {key: tensor.to(dtype) for key, tensor in SeedTokenizer.from_config(CONFIG).state_dict().items()}
    state.pop(without, None)
    tower = {key.removeprefix(TOWER): tensor for key, tensor in state.items() if key.startswith(TOWER)}
    rest = {key: tensor for key, tensor in state.items() if not key.startswith(TOWER)}
    extra = {"head.weight": torch.zeros(3), "blocks.9.norm1.weight": torch.zeros(3)}
    config, quantizer, vision = folder / "seed.json", folder / "quantizer.safetensors", folder / "eva_vit.pth"
    config.write_text(json.dumps(CONFIG))
    save_file(rest | {"distill_text_proj.weight": torch.zeros(2)}, quantizer)
    torch.save(tower | extra, vision)
    return config, quantizer, vision


def picture(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(height).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize("size", [(1, 1), (11, 300), (12, 12), (480, 640)])
def test_a_picture_of_any_size_has_as_many_codes(tmp_path: Path, size: tuple[int, int]) -> None:
    eyes = ImageEyes(load_seed(*files(tmp_path)))
    codes = eyes.look(picture(*size))
    assert len(codes) == eyes.n_codes == 32
    assert all(0 <= code < 64 for code in codes)
    assert codes == eyes.look(picture(*size))


def test_weights_are_those_of_the_files(tmp_path: Path) -> None:
    model = load_seed(*files(tmp_path, dtype=torch.float16))
    torch.manual_seed(4)
    for key, tensor in SeedTokenizer.from_config(CONFIG).state_dict().items():
        assert torch.equal(model.state_dict()[key], tensor.half().float()), key


@pytest.mark.parametrize(
    ("key", "file"),
    [("visual_encoder.cls_token", "eva_vit.pth"), ("quantize.embedding.weight", "quantizer.safetensors")],
)
def test_a_missing_key_is_named_with_its_file(tmp_path: Path, key: str, file: str) -> None:
    with pytest.raises(CheckpointError, match=f"{file} .*missing: {key.removeprefix(TOWER)}"):
        load_seed(*files(tmp_path, without=key))


def test_normalization() -> None:
    white = normalized(np.full((5, 7, 3), 255, np.uint8), 4)
    assert white.shape == (3, 4, 4)
    wanted = (1 - torch.tensor([0.48145466, 0.4578275, 0.40821073])) / torch.tensor(
        [0.26862954, 0.26130258, 0.27577711]
    )
    assert torch.allclose(white, wanted.view(3, 1, 1).expand(3, 4, 4))


@pytest.mark.parametrize(
    "wrong",
    [
        np.zeros((0, 4, 3), np.uint8),
        np.zeros((4, 4), np.uint8),
        np.zeros((4, 4, 4), np.uint8),
        np.zeros((4, 4, 3), np.float32),
    ],
    ids=["empty", "grey", "alpha", "float"],
)
def test_what_is_no_picture_is_refused(wrong: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"\[H, W, 3\] uint8"):
        normalized(wrong, 4)
