"""Nano's unCLIP: from the SEED image embedding to a drawing of 128 x 128, as a pipeline in diffusers' own format.

`vae` learns to put drawings into latents of 32 x 32, `train` a UNet that removes noise from them, told the image
embedding of the drawing's own codes, some of them wrong. Both learn within `--minutes`, in one go or several.
`export` writes the pipeline, `sheet` draws things with it as the assistant would: a picture to look at, what the eyes
say to it, and what a step costs.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from assistant.decoders.image import NOISE_LEVEL, ImageDecoder
from assistant.models.seed import SeedTokenizer
from assistant.tokenizers.image import normalized
from training.budget import Average, Budget
from training.pictures import NAMES, grid, picture, read_part
from training.recipe import parsed, reduced
from training.seed import CONFIG, load_training
from training.syllabus.world import COLOURS

SIDE = 128
"""Pixels of a drawing."""
VAE = {
    "latent_channels": 4,
    "block_out_channels": (32, 64, 64),
    "down_block_types": ("DownEncoderBlock2D",) * 3,
    "up_block_types": ("UpDecoderBlock2D",) * 3,
    "layers_per_block": 1,
    "norm_num_groups": 8,
    "mid_block_add_attention": False,
    "sample_size": SIDE,
}
UNET = {
    "sample_size": SIDE // 4,
    "in_channels": 4,
    "out_channels": 4,
    "block_out_channels": (64, 128, 192),
    "layers_per_block": 1,
    "down_block_types": ("DownBlock2D", "AttnDownBlock2D", "AttnDownBlock2D"),
    "mid_block_type": "UNetMidBlock2D",
    "up_block_types": ("AttnUpBlock2D", "AttnUpBlock2D", "UpBlock2D"),
    "norm_num_groups": 16,
    "attention_head_dim": 32,
    "class_embed_type": "projection",
    "projection_class_embeddings_input_dim": 2 * CONFIG["image_features_dim"],
}
NOISE = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "prediction_type": "v_prediction"}
"""The noise schedule of the published pipeline; its PNDM needs 20 steps where DPM-Solver++ needs half as many."""
KL_WEIGHT = 1e-5
UNTOLD = 0.1
"""How often the UNet is not told what to draw, so that guidance has something to lead away from."""


class Checkpoint:
    """A model, its average and its optimizer on disk; `open` goes on where the last run stopped."""

    def __init__(self, path: Path, model: nn.Module, options: argparse.Namespace, decay: float) -> None:
        self.path, self.rate, self.step = path, options.rate, 0
        self.model, self.average = model, Average(model, decay)
        self.optimizer = torch.optim.AdamW(model.parameters(), options.rate, betas=(0.9, 0.99), weight_decay=0.01)
        self.budget = Budget(options.minutes)
        if path.exists():
            saved = torch.load(path, map_location=next(model.parameters()).device, weights_only=True)
            for name, part in self._parts.items():
                part.load_state_dict(saved[name])
            self.step = self.average.updates = saved["step"]
            self.budget = Budget(options.minutes, saved["spent"])
            print(f"going on at step {self.step}, {self.budget.spent:.1f} of {self.budget.minutes:.1f} min", flush=True)

    @property
    def _parts(self) -> dict[str, Any]:
        return {"model": self.model, "average": self.average.model, "optimizer": self.optimizer}

    def learn(self, loss: Tensor) -> None:
        """One step of the optimizer; a checkpoint now and then."""
        for group in self.optimizer.param_groups:
            group["lr"] = self.budget.rate * self.rate
        self.optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.average.update(self.model)
        self.step += 1
        if self.step % 200 == 0:
            self.save()

    def save(self) -> None:
        state = {name: part.state_dict() for name, part in self._parts.items()}
        torch.save(state | {"step": self.step, "spent": self.budget.spent}, self.path.with_suffix(".new"))
        self.path.with_suffix(".new").replace(self.path)


def drawings(options: argparse.Namespace) -> tuple[np.ndarray, np.ndarray]:
    """[N, SIDE, SIDE, 3] uint8 and labels [N, 3]."""
    shards = list(read_part(options.data, "drawing", options.shards))
    if not shards:
        raise SystemExit(f"no drawings in {options.data}: make them with training.pictures")
    pictures = [picture(jpeg, SIDE) for shard in shards for jpeg in shard.jpegs]
    return np.stack(pictures), np.concatenate([shard.labels for shard in shards])


def as_pixels(pictures: np.ndarray, device: torch.device) -> Tensor:
    """[B, 3, SIDE, SIDE] in -1..1."""
    return torch.from_numpy(pictures).to(device).permute(0, 3, 1, 2).float() / 127.5 - 1


def edges(x: Tensor) -> tuple[Tensor, Tensor]:
    return x.diff(dim=-1), x.diff(dim=-2)


def new_vae() -> Any:
    from diffusers import AutoencoderKL

    return AutoencoderKL(**VAE)


def train_vae(options: argparse.Namespace) -> None:
    device = torch.device(options.device)
    pictures, _ = drawings(options)
    model = new_vae().to(device)
    progress = Checkpoint(options.run / "vae.pt", model, options, 0.995)
    rng, recent = np.random.default_rng([options.seed, progress.step]), []
    while progress.budget.fraction < 1:
        pixels = as_pixels(pictures[rng.integers(len(pictures), size=options.batch)], device)
        with reduced(device):
            latent = model.encode(pixels).latent_dist
            again = model.decode(latent.sample()).sample.float()
        sharp = sum((F.l1_loss(a, b) for a, b in zip(edges(again), edges(pixels), strict=True)), torch.tensor(0.0))
        loss = F.l1_loss(again, pixels) + sharp + KL_WEIGHT * latent.kl().mean()
        progress.learn(loss)
        recent.append(float(loss.detach()))
        if progress.step % 50 == 0:
            print(f"step {progress.step} {np.mean(recent[-50:]):.4f} {progress.budget.spent:.1f} min", flush=True)
    progress.save()
    print(f"{progress.step} steps, {progress.budget.spent:.1f} min")


def averaged(model: nn.Module, path: Path) -> Any:
    """The model with the average of the last steps of its training."""
    model.load_state_dict(torch.load(path, map_location="cpu", weights_only=True)["average"])
    return model.eval().requires_grad_(False)


class Corpus:
    """Drawings as latents and codes, computed once."""

    @torch.inference_mode()
    def __init__(self, options: argparse.Namespace, vae: Any, tokenizer: SeedTokenizer, device: torch.device) -> None:
        self.tokenizer = tokenizer
        pictures, _ = drawings(options)
        latents, codes = [], []
        for start in range(0, len(pictures), options.batch):
            part = pictures[start : start + options.batch]
            latents.append(vae.encode(as_pixels(part, device)).latent_dist.mean)
            eyes = torch.stack([normalized(p, tokenizer.image_size) for p in part]).to(device)
            codes.append(tokenizer.encode(eyes))
        self.latents, self.codes = torch.cat(latents), torch.cat(codes)
        self.scale = float(1 / self.latents.std())
        embeddings = torch.cat([tokenizer.decode(part) for part in self.codes.split(256)])
        self.mean, self.deviation = embeddings.mean(0), embeddings.std(0).clamp(min=1e-3)

    @torch.no_grad()
    def batch(self, rng: np.random.Generator, size: int, spoilt: float) -> tuple[Tensor, Tensor]:
        """Latents [B, 4, h, w] of unit size and image embeddings [B, D] of codes, some of which are wrong."""
        chosen = torch.from_numpy(rng.integers(len(self.codes), size=size)).to(self.codes.device)
        codes = self.codes[chosen]
        strange = torch.randint_like(codes, self.tokenizer.codebook_size)
        codes = torch.where(torch.rand(codes.shape, device=codes.device) < spoilt, strange, codes)
        return self.scale * self.latents[chosen], self.tokenizer.decode(codes)


def new_pipeline(vae: Any, unet: Any, corpus: Corpus) -> Any:
    """The pipeline without words and without an image encoder: its embeddings come from codes."""
    from diffusers import DDPMScheduler, DPMSolverMultistepScheduler, StableUnCLIPImg2ImgPipeline
    from diffusers.pipelines.stable_diffusion.stable_unclip_image_normalizer import StableUnCLIPImageNormalizer

    normalizer = StableUnCLIPImageNormalizer(CONFIG["image_features_dim"])
    normalizer.load_state_dict({"mean": corpus.mean.cpu()[None], "std": corpus.deviation.cpu()[None]})
    vae.register_to_config(scaling_factor=corpus.scale)
    missing = dict.fromkeys(("feature_extractor", "image_encoder", "tokenizer", "text_encoder"))
    return StableUnCLIPImg2ImgPipeline(
        **missing,
        image_normalizer=normalizer.requires_grad_(False),
        image_noising_scheduler=DDPMScheduler(beta_schedule="squaredcos_cap_v2"),
        unet=unet,
        scheduler=DPMSolverMultistepScheduler(**NOISE, timestep_spacing="trailing"),
        vae=vae,
    )


def trained_parts(options: argparse.Namespace, device: torch.device) -> tuple[Any, Corpus]:
    vae = averaged(new_vae(), options.run / "vae.pt").to(device)
    tokenizer = load_training(options.tokenizer).tokenizer.to(device)
    return vae, Corpus(options, vae, tokenizer, device)


def new_unet() -> Any:
    from diffusers import UNet2DConditionModel

    return UNet2DConditionModel(**UNET)


def train_unet(options: argparse.Namespace) -> None:
    from diffusers import DDPMScheduler

    device = torch.device(options.device)
    vae, corpus = trained_parts(options, device)
    unet, schedule = new_unet().to(device), DDPMScheduler(**NOISE)
    pipeline = new_pipeline(vae, unet, corpus)
    print(
        f"{len(corpus.codes)} drawings, {sum(p.numel() for p in unet.parameters()) / 1e6:.1f} M parameters", flush=True
    )
    progress = Checkpoint(options.run / "unet.pt", unet, options, 0.9995)
    rng, recent = np.random.default_rng([options.seed, progress.step]), []
    while progress.budget.fraction < 1:
        latents, embeddings = corpus.batch(rng, options.batch, options.spoilt)
        labels = pipeline.noise_image_embeddings(embeddings, NOISE_LEVEL)
        labels = labels * (torch.rand(len(labels), 1, device=device) >= UNTOLD)
        noise = torch.randn_like(latents)
        times = torch.randint(schedule.config.num_train_timesteps, (len(latents),), device=device)
        with reduced(device):
            noisy = schedule.add_noise(latents, noise, times)
            predicted = unet(noisy, times, None, class_labels=labels).sample
        loss = F.mse_loss(predicted.float(), schedule.get_velocity(latents, noise, times))
        progress.learn(loss)
        recent.append(float(loss.detach()))
        if progress.step % 50 == 0:
            print(f"step {progress.step} {np.mean(recent[-50:]):.4f} {progress.budget.spent:.1f} min", flush=True)
    progress.save()
    print(f"{progress.step} steps, {progress.budget.spent:.1f} min")


def export(options: argparse.Namespace) -> None:
    """The pipeline as a folder, in fp16."""
    vae, corpus = trained_parts(options, torch.device("cpu"))
    unet = averaged(new_unet(), options.run / "unet.pt")
    new_pipeline(vae, unet, corpus).to(torch.float16).save_pretrained(options.pipeline)
    size = sum(path.stat().st_size for path in options.pipeline.rglob("*") if path.is_file())
    print(f"{options.pipeline}: {size / 1e6:.1f} MB")


def sheet(options: argparse.Namespace) -> None:
    """Things in colours they were drawn in, drawn again from their codes; what the eyes make of them."""
    model = load_training(options.tokenizer)
    tokenizer = model.tokenizer
    decoder = ImageDecoder(tokenizer, options.pipeline, steps=options.steps, guidance=options.guidance)
    began = time.perf_counter()
    decoder.load()
    print(f"loaded in {time.perf_counter() - began:.1f} s")
    pictures, labels = drawings(options)
    rng = np.random.default_rng(options.seed)
    cells, named, coloured, costs = [], [], [], []
    for index in rng.permutation(len(pictures))[: options.count]:
        with torch.inference_mode():
            codes = tokenizer.encode(normalized(pictures[index], tokenizer.image_size)[None])[0].tolist()
        drawing = decoder.open(codes)
        while not drawing.finished:
            began = time.thread_time()
            drawing.step()
            costs.append(time.thread_time() - began)
        with torch.inference_mode():
            out = model(normalized(drawing.picture, tokenizer.image_size)[None], 1.0, 0.0)
        named.append(int(out["thing"].argmax()) == labels[index, 0])
        coloured.append(int(out["colour"].argmax()) == labels[index, 1])
        cells.append(Image.fromarray(drawing.picture))
        print(f"{COLOURS[labels[index, 1]]} {NAMES[labels[index, 0]]}", end="; ", flush=True)
    grid(cells, 10, SIDE).save(options.run / "drawings.png")
    cost = np.array(costs).reshape(len(cells), -1)
    print(f"\n{options.run / 'drawings.png'}: thing seen again {np.mean(named):.0%}, colour {np.mean(coloured):.0%}")
    print(f"a step {1e3 * np.median(cost[:, :-1]):.0f} ms, decoding {1e3 * np.median(cost[:, -1]):.0f} ms, "
          f"a drawing {np.median(cost.sum(1)):.2f} s of one core")  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("step", choices=["vae", "train", "export", "sheet"])
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rate", type=float, default=5e-4)
    parser.add_argument("--spoilt", type=float, default=0.06, help="share of codes that are wrong")
    parser.add_argument("--shards", type=int, help="use the first so many shards only")
    parser.add_argument("--steps", type=int, default=12, help="of denoising, for the sheet")
    parser.add_argument("--guidance", type=float, default=2.0, help="for the sheet")
    parser.add_argument("--count", type=int, default=60, help="drawings on the sheet")
    parser.add_argument("--data", type=Path, default=Path("data/pictures"))
    parser.add_argument("--tokenizer", type=Path, default=Path("runs/seed/checkpoint.pt"))
    parser.add_argument("--pipeline", type=Path, default=Path("models/nano/unclip"))
    options = parsed(parser, Path("runs/unclip"))
    steps: dict[str, Callable[[argparse.Namespace], None]] = {
        "vae": train_vae,
        "train": train_unet,
        "export": export,
        "sheet": sheet,
    }
    steps[options.step](options)


if __name__ == "__main__":
    main()
