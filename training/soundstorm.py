"""Nano's SoundStorm: how it sounds, given what is said and a few seconds of the voice.

Training is the paper's (arXiv 2305.09636): a level is drawn, the levels below it are given, it is masked (the first by
a cosine schedule, the others wholly) and so are the levels above, and a prompt in the same voice is given in full. What
is new follows from how `SoundStorm.generate` runs: from the second level on a pass sees its own guesses in place of
masks, and overwrites the prompt too, so such guesses are shown here and the prompt has to be repeated. It spends
`--minutes`, in one go or several.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from assistant.models.soundstorm import SoundStorm
from training.budget import Average, Budget
from training.codes import load_tokenizer, read_codes
from training.kokoro import FRAME, RATE
from training.recipe import parsed, reduced
from training.speech_tokenizer import ContentTraining

CONFIG = {
    "codebook_size": 512,
    "num_quantizers": 2,
    "dim": 128,
    "depth": 4,
    "heads": 4,
    "dim_head": 32,
    "num_semantic_token_ids": 512,
    "ff_mult": 4,
    "conv_expansion_factor": 2,
    "conv_kernel_size": 15,
}
PROMPT_FRAMES = 100
"""A voice prompt at inference: long enough to show a voice, short enough to be read at every pass."""
CHECKPOINT = "checkpoint.pt"
MASK = CONFIG["codebook_size"]
LEVELS = CONFIG["num_quantizers"]
LEVEL_ODDS = (0.7, 0.3)
GUESSES = 0.7
"""How often a pass sees its own guesses rather than masks."""
REPEAT = 0.2
"""What a frame of the prompt counts for beside a frame to be found."""
LONGEST = 208
POOL = 100
"""Examples that are sorted by length at a time."""
HELD_OUT = 25
"""Every so manieth utterance of the voices that ship is kept for checking."""
DECIBELS = 4 * 10 / np.log(10)
"""What one unit of the tokenizer's mel spectrum is."""


@dataclass(frozen=True)
class Example:
    """Codes [frames, levels + 1] of which the first `known` frames are given."""

    codes: np.ndarray
    known: int


class Speakers:
    """Utterances by voice."""

    def __init__(self) -> None:
        self.parts: list[list[tuple[str, int]]] = []
        self.voices: dict[str, list[np.ndarray]] = defaultdict(list)
        self._ready: list[list[Example]] = []

    def add(self, utterances: list[tuple[dict, np.ndarray]]) -> None:
        """One part of the corpus; each part is drawn from equally often."""
        places = []
        for record, codes in utterances:
            voice = json.dumps(record["voices"], sort_keys=True)
            places.append((voice, len(self.voices[voice])))
            self.voices[voice].append(codes.T.astype(np.int64))
        self.parts.append(places)

    @property
    def minutes(self) -> float:
        return sum(len(codes) for group in self.voices.values() for codes in group) * FRAME / RATE / 60

    def other(self, voice: str, index: int, rng: np.random.Generator) -> np.ndarray:
        """Another utterance of the same voice, of no frames if there is none."""
        group = self.voices[voice]
        if len(group) == 1:
            return group[0][:0]
        return group[(index + int(rng.integers(1, len(group)))) % len(group)]

    def example(self, rng: np.random.Generator) -> Example:
        """A prompt, something already spoken, and what comes next: a case of what `assistant.decoders.speech` asks."""
        places = self.parts[rng.integers(len(self.parts))]
        voice, index = places[rng.integers(len(places))]
        codes, prompt = self.voices[voice][index], self.other(voice, index, rng)
        length = 0 if rng.random() < 0.1 else int(rng.integers(50, 115))
        if len(prompt):
            start = int(rng.integers(max(1, len(prompt) - length + 1)))
            prompt = prompt[start : start + length]
        else:
            split = min(length, len(codes) // 2)
            prompt, codes = codes[:split], codes[split:]
        start = 0 if rng.random() < 0.4 else int(rng.integers(max(1, len(codes) - 30)))
        context = 0 if start == 0 and rng.random() < 0.6 else int(rng.integers(10, 41))
        codes = codes[start:]
        context = min(context, len(codes) // 2)
        if rng.random() < 0.6:
            codes = codes[: context + int(rng.integers(16, 111))]
        known = len(prompt) + context
        return Example(np.concatenate([prompt, codes])[:LONGEST], known)

    def batch(self, rng: np.random.Generator, frames: int) -> tuple[Tensor, Tensor, Tensor]:
        """About `frames` frames, padding included, of examples of similar length.

        Codes [B, F, levels + 1], and [B, F] where a frame is known, and where there is one.
        """
        if not self._ready:
            pool = sorted((self.example(rng) for _ in range(POOL)), key=lambda e: len(e.codes))
            while pool:
                size = max(1, round(frames / len(pool[-1].codes)))
                self._ready.append(pool[-size:])
                del pool[-size:]
            rng.shuffle(self._ready)
        examples = self._ready.pop()
        longest = max(len(e.codes) for e in examples)
        codes = torch.zeros(len(examples), longest, LEVELS + 1, dtype=torch.long)
        known = torch.zeros(len(examples), longest, dtype=torch.bool)
        there = torch.zeros_like(known)
        for row, example in enumerate(examples):
            codes[row, : len(example.codes)] = torch.from_numpy(example.codes)
            known[row, : example.known] = True
            there[row, : len(example.codes)] = True
        return codes, known & there, there


def load_speakers(folder: Path, parts: list[str]) -> tuple[Speakers, Speakers]:
    """What to learn from, and utterances of the voices that ship to check on."""
    learned, kept = Speakers(), Speakers()
    for part in parts:
        utterances = list(read_codes(folder, part))
        if part in ("reply", "voices"):
            kept.add(utterances[::HELD_OUT])
            utterances = [u for number, u in enumerate(utterances) if number % HELD_OUT]
        learned.add(utterances)
    return learned, kept


def masked_grid(truth: Tensor, hidden: Tensor, level: int) -> Tensor:
    """Acoustic codes [B, F, levels] with `level` and those above masked where `hidden` [B, F]."""
    grid = truth.clone()
    grid[..., level:].masked_fill_(hidden.unsqueeze(-1), MASK)
    return grid


def loss(
    model: SoundStorm, codes: Tensor, known: Tensor, there: Tensor, level: int, rng: np.random.Generator
) -> tuple[Tensor, Tensor]:
    """Cross-entropy at a level, and the fraction of hidden codes that were right."""
    semantic, truth, open_ = codes[..., 0], codes[..., 1:], there & ~known
    hidden = open_
    grid = masked_grid(truth, open_, level)
    if level == 0:
        turn = torch.from_numpy(rng.random(len(codes))).to(codes.device)
        share = torch.where(turn < 0.3, 1.0, torch.cos(turn.sub(0.3).div(0.7) * torch.pi / 2))
        # At least one frame stays hidden in every row.
        draw = torch.rand(open_.shape, device=codes.device).masked_fill(~open_, 2.0)
        hidden = open_ & ((draw < share[:, None]) | (draw == draw.amin(1, keepdim=True)))
        grid[..., 0] = torch.where(hidden, MASK, truth[..., 0])
    elif rng.random() < GUESSES:
        with torch.no_grad():
            found = model.embeds(grid, model.semantic_embedding(semantic), there, first_level=level)
            guess = model.logits(found, level).argmax(-1)
        grid[..., level:] = torch.where(open_.unsqueeze(-1), guess, grid[..., level:])
    weight = hidden.float() if level == 0 else open_.float() + REPEAT * known.float()
    chosen = weight > 0
    found = model.embeds(grid, model.semantic_embedding(semantic), there, first_level=level)[:, :, 0][chosen]
    logits = F.linear(model.head_norm(found), model.logit_weight[level].T, model.logit_bias[level]).float()
    target = truth[..., level][chosen]
    each = F.cross_entropy(logits, target, reduction="none")
    right = (logits.argmax(-1) == target)[hidden[chosen]].float().mean()
    return (each * weight[chosen]).sum() / weight.sum(), right


@torch.inference_mode()
def check(model: SoundStorm, tokenizer: ContentTraining, speakers: Speakers, count: int) -> str:
    """How well unseen utterances are spoken in the manner of another utterance of their voice.

    Per level the fraction of codes that are right when the levels below are given; the same for a prompt that is to be
    repeated; how far the mel spectrum of what `generate` makes is from the truth, and from the truth when the prompt is
    another's (a model that ignores its prompt does as well there).
    """
    rng = np.random.default_rng(0)
    places = [place for part in speakers.parts for place in part]
    places = [places[i] for i in rng.permutation(len(places)) if len(speakers.voices[places[i][0]]) > 1][:count]
    names = sorted({voice for voice, _ in places})
    right, repeated, distances, total = np.zeros(LEVELS), [], [], 0
    for voice, index in places:
        stranger = names[(names.index(voice) + 1) % len(names)]
        codes = torch.from_numpy(speakers.voices[voice][index])[None]
        prompt, foreign = (
            torch.from_numpy(p[-PROMPT_FRAMES:])[None]
            for p in (speakers.other(voice, index, rng), speakers.voices[stranger][0])
        )
        both = torch.cat([prompt, codes], 1)
        open_ = (torch.arange(both.shape[1]) >= prompt.shape[1])[None]
        for level in range(LEVELS):
            grid = masked_grid(both[..., 1:], open_, level)
            logits = model(grid, both[..., 0]).unflatten(1, (-1, LEVELS))
            hit = logits[..., level, :].argmax(-1) == both[..., level + 1]
            right[level] += float(hit[open_].sum())
            if level:
                repeated.append(float(hit[~open_].float().mean()))
        total += codes.shape[1]
        made = [model.generate(codes[..., 0], p, steps=1) for p in (prompt, foreign)]
        want, own, other = (
            tokenizer.predict_mel(tokenizer.tokenizer.quantizer.decode(c.permute(2, 0, 1))) for c in (codes, *made)
        )
        distances.append([float((found - want).square().mean().sqrt()) * DECIBELS for found in (own, other)])
    own, other = np.mean(distances, 0)
    levels = " ".join(f"{x / total:.3f}" for x in right)
    return f"levels {levels}, prompt {np.mean(repeated):.3f}, mel {own:.2f} dB, another's prompt {other:.2f} dB"


def train(options: argparse.Namespace) -> None:
    device = torch.device(options.device)
    tokenizer = load_tokenizer(options.tokenizer)
    speakers, kept = load_speakers(options.codes, options.parts)
    strangers = Speakers()
    strangers.add(list(read_codes(options.codes, "development")))
    print(f"{speakers.minutes:.0f} minutes to learn from, {len(speakers.voices)} voices", flush=True)
    model = SoundStorm.from_config(CONFIG).to(device)
    print(f"{sum(p.numel() for p in model.parameters()) / 1e6:.2f} M parameters", flush=True)
    optimizer = torch.optim.AdamW(model.parameters(), options.rate, betas=(0.9, 0.98), weight_decay=0.02)
    average, budget, step = Average(model, 0.998), Budget(options.minutes), 0
    path = options.run / CHECKPOINT
    parts = {"model": model, "average": average.model, "optimizer": optimizer}
    if path.exists():
        saved = torch.load(path, map_location=device, weights_only=True)
        for name in parts.keys() & saved.keys():  # one that was restored from its weights has no optimizer
            parts[name].load_state_dict(saved[name])
        step = average.updates = saved["step"]
        budget = Budget(options.minutes, saved["spent"])
        print(f"going on at step {step}, {budget.spent:.1f} of {budget.minutes:.1f} min", flush=True)

    def save() -> None:
        state = {name: part.state_dict() for name, part in parts.items()}
        torch.save(state | {"step": step, "spent": budget.spent}, path.with_suffix(".new"))
        path.with_suffix(".new").replace(path)

    def report() -> None:
        model_now = average.model.cpu()
        for name, group in (("strangers", strangers), ("shipping voices", kept)):
            if group.parts:
                print(f"  {name}: {check(model_now, tokenizer, group, options.checks)}", flush=True)
        average.model.to(device)

    rng = np.random.default_rng([options.seed, step])
    recent: list[list[tuple[float, float]]] = [[] for _ in range(LEVELS)]
    while budget.fraction < 1:
        optimizer.param_groups[0]["lr"] = budget.rate * options.rate
        level = int(rng.choice(LEVELS, p=LEVEL_ODDS))
        codes, known, there = (x.to(device) for x in speakers.batch(rng, options.frames))
        with reduced(device):
            found, right = loss(model, codes, known, there, level, rng)
        optimizer.zero_grad()
        found.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        average.update(model)
        step += 1
        recent[level].append((float(found.detach()), float(right)))
        if step % 100 == 0:
            figures = "  ".join("{:.2f} {:.3f}".format(*np.mean(each[-50:], 0)) for each in recent if each)
            print(f"step {step} loss, right by level: {figures}  {budget.spent:.1f} min", flush=True)
        if step % 200 == 0:
            save()
        if step % 1000 == 0:
            report()
    save()
    print(f"{step} steps, {budget.spent:.1f} min", flush=True)
    report()


def load_soundstorm(checkpoint: Path) -> SoundStorm:
    """The trained model, its average over the last steps, ready to generate."""
    model = SoundStorm.from_config(CONFIG)
    model.load_state_dict(torch.load(checkpoint, map_location="cpu", weights_only=True)["average"])
    return model.eval().requires_grad_(False)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=25)
    parser.add_argument("--parts", nargs="+", default=["reply", "voices", "train", "words"])
    parser.add_argument("--frames", type=int, default=1600, help="frames in a batch")
    parser.add_argument("--rate", type=float, default=1.5e-3)
    parser.add_argument("--checks", type=int, default=24, help="utterances to check on")
    parser.add_argument("--codes", type=Path, default=Path("data/codes"))
    parser.add_argument("--tokenizer", type=Path, default=Path("runs/speech_tokenizer/codebooks.pt"))
    options = parsed(parser, Path("runs/soundstorm"))
    train(options)


if __name__ == "__main__":
    main()
