"""Nano's unCLIP: from the SEED image embedding to a drawing of 128 x 128, as a pipeline in diffusers' own format.

`vae` learns to put drawings into latents of 32 x 32, `train` a UNet that removes noise from them, told the image
embedding of the drawing's own codes, some of them wrong. Both learn within `--minutes`, in one go or several, and leave
the average of their last steps in fp16. `export` writes the pipeline, `sheet` draws things with it as the assistant
would: a picture to look at, what the eyes say to it, and what a step costs.
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
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from assistant.decoders.image import NOISE_LEVEL, ImageDecoder
from assistant.models.seed import SeedTokenizer
from training.budget import Average, Budget
from training.pictures import NAMES, grid
from training.recipe import parsed, reduced
from training.seed import CONFIG, MODEL, Pictures, load_training, normalized, shrunk
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
STATISTICS = "statistics.safetensors"
REPORT, SAVE = 50, 2000
"""Steps between two lines of the log, and between two checkpoints."""


class Progress:
    """A model, its average and its optimizer; goes on where the last run stopped, and leaves NAME.safetensors."""

    def __init__(self, name: str, model: nn.Module, options: argparse.Namespace, decay: float) -> None:
        self.path, self.rate, self.step = options.run / f"{name}.pt", options.rate, 0
        self.model, self.average = model, Average(model, decay)
        device = next(model.parameters()).device
        self.optimizer = torch.optim.AdamW(
            model.parameters(), options.rate, betas=(0.9, 0.99), weight_decay=0.01, fused=device.type == "cuda"
        )
        self.budget, self._recent = Budget(options.minutes), list[Tensor]()
        if self.path.exists():
            saved = torch.load(self.path, map_location=device, weights_only=True)
            for name, part in self._parts.items():
                part.load_state_dict(saved[name])
            self.step = self.average.updates = saved["step"]
            self.budget = Budget(options.minutes, saved["spent"])
            print(f"going on at step {self.step}, {self.budget.spent:.1f} of {self.budget.minutes:.1f} min", flush=True)

    @property
    def _parts(self) -> dict[str, Any]:
        return {"model": self.model, "average": self.average.model, "optimizer": self.optimizer}

    def learn(self, loss: Tensor) -> None:
        """One step of the optimizer; a line of the log and a checkpoint now and then."""
        for group in self.optimizer.param_groups:
            group["lr"] = self.budget.rate * self.rate
        self.optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.average.update(self.model)
        self._recent.append(loss.detach())
        self.step += 1
        if self.step % REPORT == 0:
            mean = float(torch.stack(self._recent).mean())
            print(f"step {self.step} {mean:.4f} {self.budget.spent:.2f} min", flush=True)
            self._recent.clear()
        if self.step % SAVE == 0:
            self.save()

    def save(self) -> None:
        state = {name: part.state_dict() for name, part in self._parts.items()}
        torch.save(state | {"step": self.step, "spent": self.budget.spent}, self.path.with_suffix(".new"))
        self.path.with_suffix(".new").replace(self.path)

    def finish(self) -> None:
        """The checkpoint, and the average in fp16."""
        self.save()
        state = {name: tensor.half().contiguous().cpu() for name, tensor in self.average.model.state_dict().items()}
        save_file(state, self.path.with_suffix(".safetensors"))
        print(f"{self.step} steps, {self.budget.spent:.1f} min", flush=True)


def drawings(options: argparse.Namespace, device: torch.device) -> Pictures:
    return Pictures(options.data, "drawing", options.room, device, None)


def as_pixels(pictures: Tensor) -> Tensor:
    """[B, S, S, 3] uint8 -> [B, 3, SIDE, SIDE] in -1..1."""
    return 2 * shrunk(pictures, SIDE) - 1


def edges(x: Tensor) -> tuple[Tensor, Tensor]:
    return x.diff(dim=-1), x.diff(dim=-2)


def new_vae() -> Any:
    from diffusers import AutoencoderKL

    return AutoencoderKL(**VAE)


def train_vae(options: argparse.Namespace) -> None:
    device = torch.device(options.device)
    pictures = torch.cat([as_pixels(part).half() for part in drawings(options, device).pixels.split(256)])
    model = new_vae().to(device)
    progress = Progress("vae", model, options, 0.995)
    while progress.budget.fraction < 1:
        pixels = pictures[torch.randint(len(pictures), (options.batch,), device=device)].float()
        with reduced(device):
            latent = model.encode(pixels).latent_dist
            again = model.decode(latent.sample()).sample.float()
        sharp = [F.l1_loss(a, b) for a, b in zip(edges(again), edges(pixels), strict=True)]
        progress.learn(F.l1_loss(again, pixels) + torch.stack(sharp).sum() + KL_WEIGHT * latent.kl().mean())
    progress.finish()


def averaged(model: nn.Module, path: Path) -> Any:
    """The model with what its training left behind."""
    model.load_state_dict(load_file(path))
    return model.eval().requires_grad_(False)


class Corpus:
    """Drawings as latents and codes, computed once."""

    @torch.inference_mode()
    def __init__(self, options: argparse.Namespace, vae: Any, tokenizer: SeedTokenizer, device: torch.device) -> None:
        self.tokenizer = tokenizer
        parts = drawings(options, device).pixels.split(options.batch)
        self.latents = torch.cat([vae.encode(as_pixels(part)).latent_dist.mean for part in parts])
        self.codes = torch.cat([tokenizer.encode(normalized(shrunk(part))) for part in parts])
        embeddings = torch.cat([tokenizer.decode(part) for part in self.codes.split(options.batch)])
        self.statistics = {
            "scale": 1 / self.latents.std(),
            "mean": embeddings.mean(0, keepdim=True),
            "std": embeddings.std(0, keepdim=True).clamp(min=1e-3),
        }

    @torch.no_grad()
    def batch(self, size: int, spoilt: float) -> tuple[Tensor, Tensor]:
        """Latents [B, 4, h, w] of unit size and image embeddings [B, D] of codes, some of which are wrong."""
        chosen = torch.randint(len(self.codes), (size,), device=self.codes.device)
        codes = self.codes[chosen]
        strange = torch.randint_like(codes, self.tokenizer.codebook_size)
        codes = torch.where(torch.rand(codes.shape, device=codes.device) < spoilt, strange, codes)
        return self.statistics["scale"] * self.latents[chosen], self.tokenizer.decode(codes)


def new_pipeline(vae: Any, unet: Any, statistics: dict[str, Tensor]) -> Any:
    """The pipeline without words and without an image encoder: its embeddings come from codes.

    `statistics`: what makes latents (`scale`) and embeddings (`mean`, `std`) of unit size.
    """
    from diffusers import DDPMScheduler, DPMSolverMultistepScheduler, StableUnCLIPImg2ImgPipeline
    from diffusers.pipelines.stable_diffusion.stable_unclip_image_normalizer import StableUnCLIPImageNormalizer

    normalizer = StableUnCLIPImageNormalizer(CONFIG["image_features_dim"])
    normalizer.load_state_dict({name: statistics[name] for name in ("mean", "std")})
    vae.register_to_config(scaling_factor=float(statistics["scale"]))
    missing = dict.fromkeys(("feature_extractor", "image_encoder", "tokenizer", "text_encoder"))
    return StableUnCLIPImg2ImgPipeline(
        **missing,
        image_normalizer=normalizer.requires_grad_(False),
        image_noising_scheduler=DDPMScheduler(beta_schedule="squaredcos_cap_v2"),
        unet=unet,
        scheduler=DPMSolverMultistepScheduler(**NOISE, timestep_spacing="trailing"),
        vae=vae,
    )


def new_unet() -> Any:
    from diffusers import UNet2DConditionModel

    return UNet2DConditionModel(**UNET)


def train_unet(options: argparse.Namespace) -> None:
    from diffusers import DDPMScheduler

    device = torch.device(options.device)
    vae = averaged(new_vae(), options.run / "vae.safetensors").to(device)
    corpus = Corpus(options, vae, load_training(options.tokenizer).tokenizer.to(device), device)
    save_file({name: number.cpu() for name, number in corpus.statistics.items()}, options.run / STATISTICS)
    unet, schedule = new_unet().to(device), DDPMScheduler(**NOISE)
    pipeline = new_pipeline(vae, unet, corpus.statistics)
    print(
        f"{len(corpus.codes)} drawings, {sum(p.numel() for p in unet.parameters()) / 1e6:.1f} M parameters", flush=True
    )
    with torch.no_grad():  # beside the embedding itself, next to unchanged: how little it is blurred
        mean = corpus.statistics["mean"]
        level = pipeline.noise_image_embeddings(mean, NOISE_LEVEL)[:, mean.numel() :]
    progress = Progress("unet", unet, options, 0.999)
    while progress.budget.fraction < 1:
        latents, embeddings = corpus.batch(options.batch, options.spoilt)
        told = torch.rand(len(embeddings), 1, device=device) >= UNTOLD
        labels = told * torch.cat((embeddings, level.expand(len(embeddings), -1)), 1)
        noise = torch.randn_like(latents)
        times = torch.randint(schedule.config.num_train_timesteps, (len(latents),), device=device)
        noisy, velocity = (mix(latents, noise, times) for mix in (schedule.add_noise, schedule.get_velocity))
        with reduced(device):
            predicted = unet(noisy, times, None, class_labels=labels).sample
        progress.learn(F.mse_loss(predicted.float(), velocity))
    progress.finish()


def export(options: argparse.Namespace) -> None:
    """The pipeline as a folder, in fp16."""
    vae, unet = (averaged(new(), options.run / f"{n}.safetensors") for new, n in ((new_vae, "vae"), (new_unet, "unet")))
    new_pipeline(vae, unet, load_file(options.run / STATISTICS)).to(torch.float16).save_pretrained(options.pipeline)
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
    corpus = drawings(options, torch.device("cpu"))
    chosen = torch.from_numpy(np.random.default_rng(options.seed).permutation(corpus.count)[: options.count])
    pixels, labels = corpus.pixels[chosen], corpus.labels[chosen].tolist()
    cells, named, coloured, costs = [], [], [], []
    for original, (thing, colour, _) in zip(pixels.split(1), labels, strict=True):
        with torch.inference_mode():
            codes = tokenizer.encode(normalized(shrunk(original)))[0].tolist()
        drawing = decoder.open(codes)
        while not drawing.finished:
            began = time.thread_time()
            drawing.step()
            costs.append(time.thread_time() - began)
        assert drawing.picture is not None
        with torch.inference_mode():
            out = model(normalized(shrunk(torch.from_numpy(drawing.picture)[None])), 1.0, 0.0)
        named.append(int(out["thing"].argmax()) == thing)
        coloured.append(int(out["colour"].argmax()) == colour)
        cells.append(Image.fromarray(drawing.picture))
        print(f"{COLOURS[colour]} {NAMES[thing]}", end="; ", flush=True)
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
    parser.add_argument("--room", type=int, default=8_000, help="drawings that memory is taken for")
    parser.add_argument("--steps", type=int, default=12, help="of denoising, for the sheet")
    parser.add_argument("--guidance", type=float, default=2.0, help="for the sheet")
    parser.add_argument("--count", type=int, default=60, help="drawings on the sheet")
    parser.add_argument("--data", type=Path, default=Path("data/pictures"))
    parser.add_argument("--tokenizer", type=Path, default=Path("runs/seed") / MODEL)
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
