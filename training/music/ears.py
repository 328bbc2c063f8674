"""A listener that recovers instrument, mood and tempo from sound: the yardstick for music that went through the codec
or came out of the language model.

`train` learns from the corpus (`training.music.corpus`), `measure` says how often it is right on pieces kept out. It is
no part of the product.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from assistant.models.log_mel import LogMel
from training.budget import Budget
from training.music.corpus import RATE, read, tags_of
from training.music.score import INSTRUMENTS, MOODS, SECONDS, TEMPOS, Tags
from training.recipe import parsed, reduced

CLASSES = {"instrument": tuple(INSTRUMENTS), "mood": tuple(MOODS), "tempo": tuple(TEMPOS)}
SAMPLES = round(SECONDS * RATE)
CHECKPOINT = "ears.pt"
PACE = 0.06  # a semitone; tempos lie farther apart


class MusicListener(nn.Module):
    """wav [B, SAMPLES] at RATE -> for each kind of tag, logits over its CLASSES."""

    def __init__(self, channels: int = 96) -> None:
        super().__init__()
        self.mel = LogMel(80, 1024, 640, RATE)
        self.begin = nn.Sequential(nn.Conv1d(80, channels, 5, 2, 2), nn.GELU(), nn.Conv1d(channels, channels, 5, 2, 2))
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.GroupNorm(1, channels),
                nn.Conv1d(channels, channels, 5, padding=2 * 2**depth, dilation=2**depth),
                nn.GELU(),
                nn.Conv1d(channels, channels, 1),
            )
            for depth in range(4)
        )
        self.heads = nn.ModuleDict({kind: nn.Linear(2 * channels, len(names)) for kind, names in CLASSES.items()})

    def forward(self, wav: Tensor) -> dict[str, Tensor]:
        x = self.begin(self.mel(wav.unsqueeze(1)))
        for block in self.blocks:
            x = x + block(x)
        pooled = torch.cat((x.mean(-1), x.amax(-1)), 1)
        return {kind: head(pooled) for kind, head in self.heads.items()}

    @torch.inference_mode()
    def hear(self, pcm: np.ndarray) -> Tags:
        """[samples] float32 at RATE, cut or filled up with silence to SECONDS."""
        wav = torch.zeros(1, SAMPLES)
        wav[0, : min(len(pcm), SAMPLES)] = torch.from_numpy(pcm[:SAMPLES])
        return Tags(*(CLASSES[kind][int(logits.argmax())] for kind, logits in self(wav).items()))


def targets(tags: list[Tags]) -> dict[str, Tensor]:
    return {kind: torch.tensor([names.index(getattr(t, kind)) for t in tags]) for kind, names in CLASSES.items()}


def share_right(listener: MusicListener, pieces: list[np.ndarray], tags: list[Tags]) -> dict[str, float]:
    """How often each kind of tag is heard right, and all three at once."""
    heard = [listener.hear(pcm) for pcm in pieces]
    shares = {kind: float(np.mean([getattr(a, kind) == getattr(b, kind) for a, b in zip(heard, tags, strict=True)]))
              for kind in CLASSES}  # fmt: skip
    return shares | {"all": float(np.mean([a == b for a, b in zip(heard, tags, strict=True)]))}


def load_ears(path: Path) -> MusicListener:
    listener = MusicListener()
    listener.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    return listener.eval().requires_grad_(False)


def recorded(wav: Tensor) -> Tensor:
    """wav [B, SAMPLES] as what does not change the tags would leave it: played a little faster or slower, so in another
    key, at another level, a little later or earlier, with some noise."""
    pace = 1 + PACE * (2 * float(torch.rand(())) - 1)
    played = F.interpolate(wav.unsqueeze(1), round(SAMPLES * pace), mode="linear").squeeze(1)
    wav = F.pad(played, (0, max(0, SAMPLES - played.shape[1])))[:, :SAMPLES]
    gain = torch.empty(len(wav), 1, device=wav.device).uniform_(0.3, 1.5)
    noise = torch.randn_like(wav) * torch.empty(len(wav), 1, device=wav.device).uniform_(0, 0.003)
    return wav.roll(int(torch.randint(0, RATE // 8, ())), 1) * gain + noise


def train(options: argparse.Namespace) -> None:
    device, path = torch.device(options.device), options.run / CHECKPOINT
    records, pieces = zip(*read(options.data, "train"), strict=True)
    music = torch.from_numpy(np.stack(pieces)).to(device)
    wanted = {kind: classes.to(device) for kind, classes in targets([tags_of(record) for record in records]).items()}
    print(f"{music.numel() / RATE / 60:.0f} minutes to learn from", flush=True)
    listener = MusicListener().to(device)
    optimizer = torch.optim.AdamW(listener.parameters(), options.rate, weight_decay=0.02)
    budget, step = Budget(options.minutes), 0
    while budget.fraction < 1:
        optimizer.param_groups[0]["lr"] = budget.rate * options.rate
        chosen = torch.randint(len(music), (options.batch,), device=device)
        wav = recorded(music[chosen] / 32767)
        with reduced(device):
            found = listener(wav)
        losses = [F.cross_entropy(found[kind].float(), wanted[kind][chosen]) for kind in CLASSES]
        loss = torch.stack(losses).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        step += 1
        if step % 50 == 0:
            print(f"step {step} loss {float(loss.detach()):.3f} {budget.spent:.1f} min", flush=True)
    torch.save(listener.cpu().state_dict(), path)
    print(f"{step} steps", flush=True)


def measure(options: argparse.Namespace) -> None:
    records, pieces = zip(*read(options.data, "development"), strict=True)
    listener, tags = load_ears(options.run / CHECKPOINT), [tags_of(record) for record in records]
    shares = share_right(listener, [pcm.astype(np.float32) / 32767 for pcm in pieces], tags)
    print("heard right: " + ", ".join(f"{kind} {share:.3f}" for kind, share in shares.items()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("step", choices=["train", "measure"])
    parser.add_argument("--minutes", type=float, default=1)
    parser.add_argument("--batch", type=int, default=48)
    parser.add_argument("--rate", type=float, default=2e-3)
    parser.add_argument("--data", type=Path, default=Path("data/music"))
    options = parsed(parser, Path("runs/music_ears"))
    steps: dict[str, Callable[[argparse.Namespace], None]] = {"train": train, "measure": measure}
    steps[options.step](options)


if __name__ == "__main__":
    main()
