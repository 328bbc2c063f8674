"""The hand: picture codes become an image embedding, and unCLIP (arXiv 2204.06125) draws a picture from it.

The pipeline is diffusers' StableUnCLIPImg2ImgPipeline, published or one's own, saved in its format. Its loop is taken
apart here, so that a drawing advances one denoising step at a time between other work.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from assistant.models.seed import SeedTokenizer

NOISE_LEVEL = 0
"""How much the image embedding is blurred before it conditions the UNet; the published setting is the least."""


@dataclass(slots=True, eq=False)
class Drawing:
    """One picture in the making. Call `step` until it is `finished`, then take `picture`; to cancel, let go of it."""

    pipeline: Any
    scheduler: Any
    latents: Tensor  # [1, C, h, w]
    context: Tensor | None  # [1 or 2, tokens, width]: the empty prompt
    labels: Tensor  # [1 or 2, 2 * image_features_dim]: nothing, if there is guidance, and the image embedding
    guidance: float
    generator: torch.Generator
    done: int = 0
    picture: np.ndarray | None = None  # RGB [H, W, 3] uint8

    @property
    def finished(self) -> bool:
        return self.picture is not None

    @property
    def progress(self) -> float:
        """From 0 to 1, which is the finished picture."""
        return self.done / (len(self.scheduler.timesteps) + 1)

    @torch.inference_mode()
    def step(self) -> None:
        """One more denoising step; after the last of them, the picture."""
        assert not self.finished, "a finished drawing takes no more steps"
        if self.done < len(self.scheduler.timesteps):
            self._denoise(self.scheduler.timesteps[self.done])
        else:
            self.picture = self._decoded()
        self.done += 1

    def _denoise(self, time: Tensor) -> None:
        noisy = self.scheduler.scale_model_input(self.latents.expand(len(self.labels), -1, -1, -1), time)
        predicted = self.pipeline.unet(noisy, time, self.context, class_labels=self.labels, return_dict=False)[0]
        if len(self.labels) == 2:
            without, guided = predicted.chunk(2)
            predicted = without + self.guidance * (guided - without)
        options = self.pipeline.prepare_extra_step_kwargs(self.generator, 0.0)
        self.latents = self.scheduler.step(predicted, time, self.latents, **options, return_dict=False)[0]

    def _decoded(self) -> np.ndarray:
        vae = self.pipeline.vae
        decoded = vae.decode(self.latents / vae.config.scaling_factor, return_dict=False)[0]
        shades = self.pipeline.image_processor.postprocess(decoded, output_type="np")[0]
        return (255 * shades).round().astype(np.uint8)


class ImageDecoder:
    """Owns the pipeline and the SEED decoder; call `open` with the codes of a picture.

    The pipeline is read, and diffusers imported, when first asked for: by `open`, or ahead of it by `load`.
    """

    def __init__(
        self,
        tokenizer: SeedTokenizer,
        folder: Path,
        *,
        steps: int = 20,
        guidance: float = 10.0,
        seed: int = 0,
        device: str = "cpu",
        dtype: torch.dtype = torch.float32,
    ):
        """folder: a saved pipeline; steps and guidance: as published; guidance of 1 or less is none, at half the work.

        `seed` is for the noise that every drawing begins with.
        """
        self.tokenizer, self.folder, self.steps, self.guidance, self.seed = tokenizer, folder, steps, guidance, seed
        self.device, self.dtype = torch.device(device), dtype

    def load(self) -> None:
        """Have the pipeline ready."""
        _ = self._pipeline

    @torch.inference_mode()
    def open(self, codes: Sequence[int]) -> Drawing:
        """A drawing of a picture's codes. Raises ValueError unless there are `n_codes` of the codebook's."""
        tokenizer, pipeline = self.tokenizer, self._pipeline
        if len(codes) != tokenizer.n_codes or not all(0 <= code < tokenizer.codebook_size for code in codes):
            raise ValueError(f"a picture is {tokenizer.n_codes} codes below {tokenizer.codebook_size}")
        generator = torch.Generator().manual_seed(self.seed)
        unet = pipeline.unet.config
        noise = torch.randn(1, unet.in_channels, unet.sample_size, unet.sample_size, generator=generator)
        embedding = tokenizer.decode(torch.tensor([codes], device=tokenizer.query_tokens.device))
        labels = pipeline.noise_image_embeddings(embedding.to(self.device, self.dtype), NOISE_LEVEL, None, generator)
        if self.guidance > 1:
            labels = torch.cat((torch.zeros_like(labels), labels))
        scheduler = type(pipeline.scheduler).from_config(pipeline.scheduler.config)
        scheduler.set_timesteps(self.steps, device=self.device)
        latents = noise.to(self.device, self.dtype) * scheduler.init_noise_sigma
        context = None if self._context is None else self._context.expand(len(labels), -1, -1)
        return Drawing(pipeline, scheduler, latents, context, labels, self.guidance, generator)

    @cached_property
    def _pipeline(self) -> Any:
        from transformers.utils.logging import set_verbosity_error

        set_verbosity_error()  # it tells of torchvision, which it misses for an image processor that is not used
        from diffusers import StableUnCLIPImg2ImgPipeline
        from diffusers.utils import logging

        logging.disable_progress_bar()
        index = json.loads((self.folder / "model_index.json").read_text(encoding="utf-8"))
        unused = {name: None for name, part in index.items() if isinstance(part, list) and part[0] is None}
        unused |= {"image_encoder": None, "feature_extractor": None}  # they make embeddings of pictures; we have codes
        options = {"dtype": self.dtype, "use_safetensors": True, "local_files_only": True}
        return StableUnCLIPImg2ImgPipeline.from_pretrained(
            self.folder, **options, **unused, low_cpu_mem_usage=False
        ).to(self.device)

    @cached_property
    def _context(self) -> Tensor | None:
        """The empty prompt, [1, tokens, width]; None for a pipeline that has no words."""
        if self._pipeline.text_encoder is None:
            return None
        return self._pipeline.encode_prompt("", self.device, 1, False)[0]
