"""Nano's SEED tokenizer: pictures to 32 codes that tell what, which colour and how many, and that one can draw from.

`teach` writes what an ImageNet network (`training.efficientnet`) sees in every picture of `training.pictures`. `train`
learns in one go or several, within `--minutes`: the first third without a codebook, which is then fitted to the
latents and mixed in; the image embedding must name the thing, the colour and the number, resemble the teacher's
features, and give a thumbnail of drawings. `look` prints what the codes of an artist never trained on tell.
`export` writes the two files of the model folder.
"""

from __future__ import annotations

import argparse
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor, nn

from assistant.models.seed import SeedTokenizer
from assistant.tokenizers.image import DEVIATION, MEAN, TOWER
from training.budget import Average, Budget
from training.efficientnet import FEATURES, EfficientNetLite0
from training.pictures import NAMES, NOTHING, read_part
from training.recipe import parsed, reduced
from training.syllabus.world import COLOURS

CONFIG: dict[str, Any] = {
    "vit": {
        "image_size": 128,
        "patch_size": 16,
        "width": 192,
        "depth": 8,
        "heads": 6,
        "mlp_ratio": 4.0,
        "layer_norm_eps": 1e-6,
    },
    "qformer": {
        "hidden": 192,
        "layers": 4,
        "heads": 6,
        "intermediate": 512,
        "cross_attention_freq": 2,
        "num_query_token": 32,
        "layer_norm_eps": 1e-12,
        "hidden_act": "gelu",
    },
    "ln_vision_eps": 1e-5,
    "codebook_embed_dim": 16,
    "n_embed": 1024,
    "decode_depth": 2,
    "decode_heads": 12,
    "decode_mlp_ratio": 2.0,
    "decode_layer_norm_eps": 1e-6,
    "image_down": [64, 16],
    "image_features_dim": 128,
    "use_qformer_image": False,
}
CHECKPOINT = "checkpoint.pt"
ANSWERS = {"thing": len(NAMES) + 1, "colour": len(COLOURS), "count": 5}
"""How many answers there are; the last thing is nothing, a count may be 0."""
THUMBNAIL = 16
TEACHER_SIZE = 160
CONTINUOUS_UNTIL, QUANTIZED_FROM = 0.35, 0.5
"""Shares of the budget: before the first no codebook, from the second on the codebook alone."""
FITTING_BATCHES = 40
WEIGHTS = {
    "thing": 1.0,
    "colour": 0.7,
    "count": 0.5,
    "reader": 0.5,
    "teacher": 1.0,
    "thumbnail": 4.0,
    "commitment": 0.5,
}


class Pictures:
    """JPEGs, labels and the teacher's features of a part, in memory."""

    def __init__(self, folder: Path, part: str, shards: int | None = None, taught: bool = True) -> None:
        parts = list(read_part(folder, part, shards))
        if not parts:
            raise SystemExit(f"no pictures of {part} in {folder}: make them with training.pictures")
        self.jpegs = [jpeg for shard in parts for jpeg in shard.jpegs]
        self.labels = np.concatenate([shard.labels for shard in parts])
        self.features = np.concatenate([np.load(p) for p in teacher_files(folder, part)[:shards]]) if taught else None

    def batch(self, indices: np.ndarray, rng: np.random.Generator | None) -> dict[str, Tensor]:
        """pictures [B, 3, S, S] normalized, shown in 0..1, labels [B, 3], features; jittered with `rng`."""
        shown = torch.from_numpy(np.stack([opened(self.jpegs[i], rng) for i in indices]))
        shown = shown.permute(0, 3, 1, 2).float() / 255
        mean, deviation = (torch.tensor(x).view(3, 1, 1) for x in (MEAN, DEVIATION))
        batch = {
            "pictures": (shown - mean) / deviation,
            "shown": shown,
            "labels": torch.from_numpy(self.labels[indices]),
        }
        if self.features is not None:
            batch["features"] = torch.from_numpy(self.features[indices]).float()
        return batch


def opened(jpeg: bytes, rng: np.random.Generator | None) -> np.ndarray:
    """RGB uint8 at the tokenizer's size, cut a little differently every time."""
    image, size = Image.open(io.BytesIO(jpeg)), CONFIG["vit"]["image_size"]
    if rng is None:
        return np.asarray(image.resize((size, size), Image.Resampling.BICUBIC))
    left, top, right, bottom = rng.uniform(0, 0.08, 4) * image.width
    box = (left, top, image.width - right, image.height - bottom)
    return np.asarray(image.resize((size, size), Image.Resampling.BICUBIC, box=box))


def teacher_files(folder: Path, part: str) -> list[Path]:
    return sorted(folder.glob(f"teacher-{part}-*.npy"))


@torch.inference_mode()
def teach(options: argparse.Namespace) -> None:
    device = torch.device(options.device)
    model = EfficientNetLite0.load().to(device)
    for part in options.parts:
        for number, shard in enumerate(read_part(options.data, part)):
            path = options.data / f"teacher-{part}-{number:03d}.npy"
            if path.exists():
                continue
            found = []
            for start in range(0, len(shard.jpegs), options.batch):
                images = (Image.open(io.BytesIO(jpeg)) for jpeg in shard.jpegs[start : start + options.batch])
                pixels = np.stack([np.asarray(image.resize((TEACHER_SIZE,) * 2)) for image in images])
                tensor = torch.from_numpy(pixels).permute(0, 3, 1, 2).to(device).float()
                found.append(model.features(tensor).half().cpu())
            np.save(path, torch.cat(found).numpy())
            print(path, flush=True)


class Training(nn.Module):
    """The tokenizer and what asks it questions while it learns."""

    def __init__(self) -> None:
        super().__init__()
        self.tokenizer = SeedTokenizer.from_config(CONFIG)
        wide, codes = CONFIG["image_features_dim"], CONFIG["qformer"]["num_query_token"] * CONFIG["codebook_embed_dim"]
        self.answers = nn.ModuleDict({name: nn.Linear(wide, count) for name, count in ANSWERS.items()})
        self.reader = nn.ModuleDict({name: nn.Linear(codes, count) for name, count in ANSWERS.items()})
        self.teacher = nn.Linear(wide, FEATURES)
        self.seer = nn.Linear(CONFIG["vit"]["width"], FEATURES)
        self.thumbnail = nn.Sequential(nn.Linear(wide, 512), nn.GELU(), nn.Linear(512, 3 * THUMBNAIL**2))

    def forward(self, pictures: Tensor, quantized: float, spoilt: float) -> dict[str, Tensor]:
        """What the losses need. `quantized`: the share of rows from the codebook; `spoilt`: of random rows."""
        seen = self.tokenizer.image_embeds(pictures)
        latents = self.tokenizer.latents(seen).float()
        book = self.tokenizer.quantize["embedding"].weight
        with torch.autocast(pictures.device.type, enabled=False):
            codes = self.tokenizer.nearest(latents.detach())
        rows = F.embedding(codes, book)
        straight = latents + (rows - latents).detach()
        used = torch.where(
            torch.rand(latents.shape[:2], device=latents.device)[..., None] < quantized, straight, latents
        )
        strange = F.embedding(torch.randint(len(book), codes.shape, device=codes.device), book).detach()
        heard = torch.where(torch.rand(codes.shape, device=codes.device)[..., None] < spoilt * quantized, strange, used)
        embedding = self.tokenizer.image_embedding(heard).float()
        return {
            "seen": seen.float(),
            "latents": latents,
            "rows": rows,
            "codes": codes,
            "used": used,
            "embedding": embedding,
            **{name: answer(embedding) for name, answer in self.answers.items()},
            **{f"reader_{name}": answer(heard.flatten(1)) for name, answer in self.reader.items()},
        }


def wanted(labels: Tensor) -> dict[str, Tensor]:
    """Right answers [B]; -100, which the loss ignores, where a colour has no name."""
    thing = torch.where(labels[:, 0] == NOTHING, len(NAMES), labels[:, 0])
    colour = torch.where(labels[:, 1] == NOTHING, -100, labels[:, 1])
    return {"thing": thing, "colour": colour, "count": labels[:, 2]}


def likeness(found: Tensor, features: Tensor) -> Tensor:
    """How far from the teacher's features: one minus the cosine."""
    return 1 - F.cosine_similarity(found.float(), features, dim=-1).mean()


def losses(model: Training, out: dict[str, Tensor], batch: dict[str, Tensor], quantized: float) -> dict[str, Tensor]:
    right = wanted(batch["labels"])
    found = {name: F.cross_entropy(out[name].float(), answer, label_smoothing=0.05) for name, answer in right.items()}
    reader = [F.cross_entropy(out[f"reader_{name}"].float(), answer) for name, answer in right.items()]
    found["reader"] = torch.stack(reader).mean()
    pooled = out["seen"].mean(1)
    features = batch["features"]
    found["teacher"] = likeness(model.seer(pooled), features) + 0.3 * likeness(
        model.teacher(out["embedding"]), features
    )
    drawn = batch["drawn"]
    small = F.interpolate(batch["shown"][drawn], (THUMBNAIL,) * 2, mode="area").flatten(1)
    found["thumbnail"] = F.mse_loss(model.thumbnail(out["embedding"][drawn]).float(), small)
    apart = (out["latents"].float() - out["rows"].float()).square()
    # The codebook follows the latents and, gently, the latents the codebook.
    toward = (out["latents"].detach().float() - out["rows"].float()).square().mean()
    found["commitment"] = quantized * (
        toward + 0.25 * (out["latents"].float() - out["rows"].detach().float()).square().mean()
    )
    found["distance"] = apart.detach().mean()
    return found


@torch.no_grad()
def fit_codebook(model: Training, latents: Tensor) -> None:
    """k-means of latents [N, D], a few rounds; rows without a latent start again at a random one."""
    book = model.tokenizer.quantize["embedding"].weight
    book.copy_(latents[torch.randint(len(latents), (len(book),), device=latents.device)])
    for _ in range(12):
        nearest = model.tokenizer.nearest(latents)
        sums = torch.zeros_like(book).index_add_(0, nearest, latents)
        counts = torch.bincount(nearest, minlength=len(book)).unsqueeze(1)
        strays = latents[torch.randint(len(latents), (len(book),), device=latents.device)]
        book.copy_(torch.where(counts > 0, sums / counts.clamp(min=1), strays))


class Use:
    """How often every code is chosen; brings back those that are not."""

    def __init__(self, size: int, device: torch.device) -> None:
        self.share = torch.ones(size, device=device) / size

    @torch.no_grad()
    def update(self, book: nn.Parameter, codes: Tensor, latents: Tensor) -> None:
        counts = torch.bincount(codes.flatten(), minlength=len(book)).float()
        self.share.lerp_(counts / counts.sum(), 0.01)
        dead = (self.share < 0.02 / len(book)).nonzero().flatten()
        if len(dead):
            flat = latents.detach().float().flatten(0, 1)
            book[dead] = flat[torch.randint(len(flat), (len(dead),), device=book.device)]
            self.share[dead] = 1 / len(book)

    @property
    def perplexity(self) -> float:
        share = self.share / self.share.sum()
        return float((-(share * (share + 1e-12).log()).sum()).exp())


def mixture(fraction: float) -> float:
    """The share of rows that come from the codebook, by the share of the budget that is spent."""
    return min(1.0, max(0.0, (fraction - CONTINUOUS_UNTIL) / (QUANTIZED_FROM - CONTINUOUS_UNTIL)))


def train(options: argparse.Namespace) -> None:
    device = torch.device(options.device)
    camera, drawings = (Pictures(options.data, part, options.shards) for part in ("camera", "drawing"))
    print(f"{len(camera.jpegs)} camera pictures, {len(drawings.jpegs)} drawings", flush=True)
    model = Training().to(device)
    book = model.tokenizer.quantize["embedding"].weight
    optimizer = torch.optim.AdamW(model.parameters(), options.rate, betas=(0.9, 0.98), weight_decay=0.03)
    average, budget, use = Average(model, 0.998), Budget(options.minutes), Use(len(book), device)
    path, step, fitted = options.run / CHECKPOINT, 0, False
    parts = {"model": model, "average": average.model, "optimizer": optimizer}
    if path.exists():
        saved = torch.load(path, map_location=device, weights_only=True)
        for name, part in parts.items():
            part.load_state_dict(saved[name])
        step, average.updates, fitted, use.share = saved["step"], saved["step"], saved["fitted"], saved["share"]
        budget = Budget(options.minutes, saved["spent"])
        print(f"going on at step {step}, {budget.spent:.1f} of {budget.minutes:.1f} min", flush=True)

    def save() -> None:
        state = {name: part.state_dict() for name, part in parts.items()}
        state |= {"step": step, "spent": budget.spent, "fitted": fitted, "share": use.share}
        torch.save(state, path.with_suffix(".new"))
        path.with_suffix(".new").replace(path)

    rng, recent, pool = np.random.default_rng([options.seed, step]), [], []
    while budget.fraction < 1:
        for group in optimizer.param_groups:
            group["lr"] = budget.rate * options.rate
        batch = mixed_batch(camera, drawings, options.batch, rng, device)
        quantized = mixture(budget.fraction) if fitted else 0.0
        with reduced(device):
            out = model(batch["pictures"], quantized, options.spoilt)
        found = losses(model, out, batch, quantized)
        optimizer.zero_grad()
        sum(WEIGHTS[name] * loss for name, loss in found.items() if name in WEIGHTS).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        average.update(model)
        step += 1
        if not fitted and budget.fraction >= CONTINUOUS_UNTIL:
            pool.append(out["latents"].detach().float().flatten(0, 1))
            if len(pool) == FITTING_BATCHES:
                fit_codebook(model, torch.cat(pool))
                average.model.load_state_dict(model.state_dict())
                fitted = True
                pool.clear()
        elif fitted:
            use.update(book, out["codes"], out["latents"])
        right = {n: float((out[n].argmax(-1) == a).float().mean()) for n, a in wanted(batch["labels"]).items()}
        recent.append([float(loss.detach()) for loss in found.values()] + list(right.values()))
        if step % 50 == 0:
            mean = dict(zip([*found, *(f"right_{n}" for n in right)], np.mean(recent[-50:], 0), strict=True))
            told = " ".join(f"{name} {value:.3f}" for name, value in mean.items())
            print(f"step {step} {told} codes {use.perplexity:.0f} {budget.spent:.1f} min", flush=True)
        if step % 200 == 0:
            save()
    save()
    print(f"{step} steps, {budget.spent:.1f} min", flush=True)


def mixed_batch(
    camera: Pictures, drawings: Pictures, size: int, rng: np.random.Generator, device: torch.device
) -> dict[str, Tensor]:
    """Three camera pictures for each drawing; `drawn` [B] tells the drawings."""
    halves = [(camera, size - size // 4), (drawings, size // 4)]
    batches = [pictures.batch(rng.integers(len(pictures.jpegs), size=n), rng) for pictures, n in halves]
    batch = {name: torch.cat([part[name] for part in batches]).to(device) for name in batches[0]}
    batch["drawn"] = torch.arange(size, device=device) >= size - size // 4
    return batch


def load_training(checkpoint: Path) -> Training:
    """The average over the last steps, ready to look."""
    model = Training()
    model.load_state_dict(torch.load(checkpoint, map_location="cpu", weights_only=True)["average"])
    return model.eval().requires_grad_(False)


@torch.inference_mode()
def look(options: argparse.Namespace) -> None:
    """How often the codes name thing, colour and number: by the image embedding / by a linear reader of the codes."""
    model = load_training(options.run / CHECKPOINT)
    for part in ("development", "drawing"):
        pictures = Pictures(options.data, part, 1, taught=False)
        right: dict[str, list[float]] = {}
        used: set[int] = set()
        for start in range(0, len(pictures.jpegs), options.batch):
            batch = pictures.batch(np.arange(start, min(start + options.batch, len(pictures.jpegs))), None)
            out = model(batch["pictures"], 1.0, 0.0)
            used |= set(out["codes"].flatten().tolist())
            for name, answer in wanted(batch["labels"]).items():
                asked = answer >= 0
                for key in (name, f"reader_{name}"):
                    right.setdefault(key, []).extend((out[key].argmax(-1) == answer)[asked].float().tolist())
        told = ", ".join(f"{n} {np.mean(right[n]):.1%} / {np.mean(right[f'reader_{n}']):.1%}" for n in ANSWERS)
        print(f"{part}: {told}; {len(used)} codes used")


def export(options: argparse.Namespace) -> None:
    """seed.json, seed_quantizer.safetensors and eva_vit.safetensors, in fp16; says how many codes change by that."""
    tokenizer = load_training(options.run / CHECKPOINT).tokenizer
    state = {key: tensor.half().contiguous() for key, tensor in tokenizer.state_dict().items()}
    options.models.mkdir(parents=True, exist_ok=True)
    tower = {key.removeprefix(TOWER): tensor for key, tensor in state.items() if key.startswith(TOWER)}
    save_file(tower, options.models / "eva_vit.safetensors")
    rest = {key: tensor for key, tensor in state.items() if not key.startswith(TOWER)}
    save_file(rest, options.models / "seed_quantizer.safetensors")
    (options.models / "seed.json").write_text(json.dumps(CONFIG, indent=1) + "\n", encoding="utf-8")
    halved = SeedTokenizer.from_config(CONFIG).eval()
    halved.load_state_dict(state)
    seen = Pictures(options.data, "development", 1, taught=False)
    pictures = seen.batch(np.arange(min(100, len(seen.jpegs))), None)["pictures"]
    with torch.inference_mode():
        changed = (halved.encode(pictures) != tokenizer.encode(pictures)).float().mean()
    print(f"{options.models}: fp16 changes {float(changed):.2%} of the codes")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("step", choices=["teach", "train", "look", "export"])
    parser.add_argument("--minutes", type=float, default=120)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--spoilt", type=float, default=0.06, help="share of codes that are wrong when drawn from")
    parser.add_argument("--parts", nargs="+", default=["camera", "drawing"], help="what the teacher looks at")
    parser.add_argument("--shards", type=int, help="use the first so many shards of a part only")
    parser.add_argument("--data", type=Path, default=Path("data/pictures"))
    parser.add_argument("--models", type=Path, default=Path("models/nano"))
    options = parsed(parser, Path("runs/seed"))
    steps: dict[str, Callable[[argparse.Namespace], None]] = {
        "teach": teach,
        "train": train,
        "look": look,
        "export": export,
    }
    steps[options.step](options)


if __name__ == "__main__":
    main()
