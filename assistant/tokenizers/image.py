"""The eyes: a picture as codes of the SEED tokenizer."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from assistant.checkpoints import configured, load_tensors, load_weights
from assistant.models.seed import DEVIATION, MEAN, SeedTokenizer

TOWER = "visual_encoder."


def load_seed(config: Path, quantizer: Path, vision_tower: Path) -> SeedTokenizer:
    """The tokenizer of a configuration and the two published files, or of one's own of the same key names.

    Both files may hold more than is used. Raises CheckpointError naming what is missing or of another shape.
    """
    with torch.device("meta"):  # a billion numbers need not be drawn only to be overwritten
        model = configured(SeedTokenizer.from_config, config)
    model.to_empty(device="cpu")
    tower = model.visual_encoder
    load_weights(tower, known(load_tensors(vision_tower), tower), vision_tower)
    loaded = {TOWER + key: tensor for key, tensor in tower.state_dict().items()}
    load_weights(model, known(load_tensors(quantizer), model) | loaded, quantizer)
    return model


def known(state: Mapping[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    """The part of a state dict that the model has a place for."""
    return {key: state[key] for key in model.state_dict() if key in state}


def normalized(picture: np.ndarray, size: int) -> Tensor:
    """RGB [H, W, 3] uint8 -> [3, size, size] float32, resized without regard to its proportions, as published.

    Raises ValueError for what is not such a picture.
    """
    if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3 or 0 in picture.shape:
        raise ValueError(f"a picture is [H, W, 3] uint8 with H and W at least 1, not {picture.shape} {picture.dtype}")
    resized = Image.fromarray(picture).resize((size, size), Image.Resampling.BICUBIC)
    pixels = torch.from_numpy(np.array(resized)).float() / 255
    return ((pixels - torch.tensor(MEAN)) / torch.tensor(DEVIATION)).permute(2, 0, 1)


class ImageEyes:
    """Owns the SEED encoder; call `look` with a decoded picture."""

    def __init__(self, tokenizer: SeedTokenizer):
        self.tokenizer = tokenizer
        self.n_codes = tokenizer.n_codes

    @torch.inference_mode()
    def look(self, picture: np.ndarray) -> tuple[int, ...]:
        """RGB [H, W, 3] uint8 -> its `n_codes` codes. Raises ValueError for what is not such a picture."""
        pixels = normalized(picture, self.tokenizer.image_size).to(self.tokenizer.query_tokens)
        return tuple(self.tokenizer.encode(pixels.unsqueeze(0))[0].tolist())
