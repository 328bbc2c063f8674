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
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from assistant.models.soundstorm import Attention, ConvolutionModule, FeedForward, SoundStorm
from training.budget import Average, Budget
from training.codes import Utterance, load_tokenizer, read_codes
from training.kokoro import FRAME, RATE
from training.recipe import parsed, reduced
from training.speech_tokenizer import RESULT, ContentTraining

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
"""A voice prompt in training: long enough to show a voice, short enough to be read at every pass."""
CHECKPOINT = "checkpoint.pt"
MASK = CONFIG["codebook_size"]
LEVELS = CONFIG["num_quantizers"]
LEVEL_ODDS = (0.7, 0.3)
GUESSES = 0.7
"""How often a pass sees its own guesses rather than masks."""
REPEAT = 0.2
"""What a frame of the prompt counts for beside a frame to be found."""
LONGEST = 208
"""Frames of a row of a batch."""
MISHEARD = 0.04
"""How often a semantic token is kept from the model."""
DROPOUT = 0.1
HELD_OUT = 25
"""Every so manieth utterance of the voices that ship is kept for checking."""
DECIBELS = 4 * 10 / np.log(10)
"""What one unit of the tokenizer's mel spectrum is."""


class Speakers:
    """Utterances by voice, in the memory of a device."""

    def __init__(self, parts: list[list[Utterance]], device: torch.device) -> None:
        """Each part of the corpus is drawn from equally often."""
        names = [[json.dumps(record["voices"], sort_keys=True) for record, _ in part] for part in parts]
        places = sorted((name, p, k) for p, row in enumerate(names) for k, name in enumerate(row))
        numbers = {(p, k): number for number, (_, p, k) in enumerate(places)}
        self.names = [name for name, _, _ in places]
        codes = [parts[p][k][1].T for _, p, k in places]
        sizes = Counter(self.names)
        first = {name: self.names.index(name) for name in sizes}

        def tensor(values: Iterable[int]) -> Tensor:
            return torch.tensor(list(values), device=device)

        self.parts = [tensor(numbers[p, k] for k in range(len(part))) for p, part in enumerate(parts)]
        self.codes = torch.from_numpy(np.concatenate(codes).astype(np.int64)).to(device)  # [frames, levels + 1]
        self.length = tensor(len(row) for row in codes)
        self.start = self.length.cumsum(0) - self.length
        self.first, self.count = tensor(first[name] for name in self.names), tensor(sizes[n] for n in self.names)

    @property
    def minutes(self) -> float:
        return len(self.codes) * FRAME / RATE / 60

    def utterance(self, number: int) -> Tensor:
        """Codes [frames, levels + 1]."""
        return self.codes[self.start[number] :][: self.length[number]]

    def batch(self, generator: torch.Generator, frames: int) -> tuple[Tensor, Tensor, Tensor]:
        """Cases of what `assistant.decoders.speech` asks: a prompt, something already spoken, and what comes next.

        Codes [B, LONGEST, levels + 1], and [B, LONGEST] where a frame is known, and where there is one; about `frames`
        frames in all, padding included.
        """
        rows, device = max(1, frames // LONGEST), self.codes.device

        def draw(low: Tensor | int, high: Tensor | int) -> Tensor:
            """Whole numbers [rows], low <= n < high."""
            share = torch.rand(rows, generator=generator, device=device)
            return (low + share * (high - low)).floor().long().clamp(min=0)

        def chance(share: float) -> Tensor:
            return torch.rand(rows, generator=generator, device=device) < share

        each = [part[torch.randint(len(part), (rows,), generator=generator, device=device)] for part in self.parts]
        turn = draw(0, len(self.parts))
        number = torch.stack(each).gather(0, turn[None])[0]
        first, count = self.first[number], self.count[number]
        other = first + (number - first + draw(1, count)) % count
        start, length = self.start[number], self.length[number]
        wanted = torch.where(chance(0.1), 0, draw(50, 115))
        # Who has spoken but once is his own prompt.
        alone = count == 1
        prompt_length = torch.where(alone, wanted.minimum(length // 2), wanted.minimum(self.length[other]))
        slack = self.length[other] - prompt_length + 1
        prompt_start = torch.where(alone, start, self.start[other] + draw(0, slack))
        used = torch.where(alone, prompt_length, 0)
        start, length = start + used, length - used
        skipped = torch.where(chance(0.4), 0, draw(0, (length - 30).clamp(min=1)))
        context = torch.where((skipped == 0) & chance(0.6), 0, draw(10, 41))
        start, length = start + skipped, length - skipped
        context = context.minimum(length // 2)
        length = torch.where(chance(0.6), length.minimum(context + draw(16, 111)), length)
        place = torch.arange(LONGEST, device=device)
        prompted, end = place < prompt_length[:, None], (prompt_length + length)[:, None]
        index = torch.where(prompted, prompt_start[:, None] + place, (start - prompt_length)[:, None] + place)
        there = place < end
        codes = self.codes[index.clamp(0, len(self.codes) - 1)].masked_fill(~there.unsqueeze(-1), 0)
        return codes, there & (place < (prompt_length + context)[:, None]), there


def load_speakers(folder: Path, parts: list[str], device: torch.device) -> tuple[Speakers, Speakers]:
    """What to learn from, of the parts that are there, and utterances of the voices that ship to check on."""
    learned, kept = [], []
    for part in (part for part in parts if (folder / f"{part}.npz").exists()):
        utterances = list(read_codes(folder, part))
        if part in ("reply", "voices"):
            kept.append(utterances[::HELD_OUT])
            utterances = [u for number, u in enumerate(utterances) if number % HELD_OUT]
        learned.append(utterances)
    return Speakers(learned, device), Speakers(kept, device)


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
        turn = torch.rand(len(codes), device=codes.device)
        share = torch.where(turn < 0.3, 1.0, torch.cos(turn.sub(0.3).div(0.7) * torch.pi / 2))
        # At least one frame stays hidden in every row.
        draw = torch.rand(open_.shape, device=codes.device).masked_fill(~open_, 2.0)
        hidden = open_ & ((draw < share[:, None]) | (draw == draw.amin(1, keepdim=True)))
        grid[..., 0] = torch.where(hidden, MASK, truth[..., 0])
    condition = model.semantic_embedding(semantic)
    if level and rng.random() < GUESSES:
        with torch.no_grad():
            guess = model.logits(model.embeds(grid, condition, there, first_level=level), level).argmax(-1)
        grid[..., level:] = torch.where(open_.unsqueeze(-1), guess, grid[..., level:])
    # What the language model says is not always what was meant.
    misheard = torch.rand(semantic.shape, device=codes.device) < MISHEARD
    condition = torch.where(misheard.unsqueeze(-1), 0, condition)
    weight = hidden.float() if level == 0 else open_.float() + REPEAT * known.float()
    found = model.embeds(grid, condition, there, first_level=level)[:, :, 0]
    logits = F.linear(model.head_norm(found), model.logit_weight[level].T, model.logit_bias[level]).float()
    target = truth[..., level]
    each = F.cross_entropy(logits.flatten(0, 1), target.flatten(), reduction="none").view_as(weight)
    right = ((logits.argmax(-1) == target) & hidden).sum() / hidden.sum()
    return (each * weight).sum() / weight.sum(), right


def regularize(model: SoundStorm) -> None:
    """Dropout on what each part of a block adds: there are more steps than speech."""

    def dropped(module: nn.Module, _: object, added: Tensor) -> Tensor:
        return F.dropout(added, DROPOUT, module.training)

    for module in model.modules():
        if isinstance(module, FeedForward | Attention | ConvolutionModule):
            module.register_forward_hook(dropped)


@torch.inference_mode()
def check(model: SoundStorm, tokenizer: ContentTraining, speakers: Speakers, count: int) -> str:
    """How well unseen utterances are spoken in the manner of another utterance of their voice.

    Per level the fraction of codes that are right when the levels below are given; the same for a prompt that is to be
    repeated; how far the mel spectrum of what `generate` makes is from the truth, and from the truth when the prompt is
    another's (a model that ignores its prompt does as well there).
    """
    device = speakers.codes.device
    numbers = [n for part in speakers.parts for n in part.tolist() if speakers.count[n] > 1]
    numbers = [numbers[i] for i in np.random.default_rng(0).permutation(len(numbers))][:count]
    right, repeated, distances, total = np.zeros(LEVELS), [], [], 0
    for number in numbers:
        first, size = int(speakers.first[number]), int(speakers.count[number])
        others = first + (number - first + 1) % size, (first + size) % len(speakers.names)
        codes = speakers.utterance(number)[None]
        prompt, foreign = (speakers.utterance(other)[None, -PROMPT_FRAMES:] for other in others)
        both = torch.cat([prompt, codes], 1)
        open_ = (torch.arange(both.shape[1], device=device) >= prompt.shape[1])[None]
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
    tokenizer = load_tokenizer(options.tokenizer, options.device)
    speakers, kept = load_speakers(options.codes, options.parts, device)
    strangers = Speakers([list(read_codes(options.codes, "development"))], device)
    print(f"{speakers.minutes:.0f} minutes to learn from, {len(set(speakers.names))} voices", flush=True)
    model = SoundStorm.from_config(CONFIG).to(device)
    print(f"{sum(p.numel() for p in model.parameters()) / 1e6:.2f} M parameters", flush=True)
    optimizer = torch.optim.AdamW(model.parameters(), options.rate, betas=(0.9, 0.98), weight_decay=0.02)
    average, budget, step = Average(model, 0.998), Budget(options.minutes), 0
    regularize(model)
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
        for name, group in (("strangers", strangers), ("shipping voices", kept)):
            print(f"  {name}: {check(average.model, tokenizer, group, options.checks)}", flush=True)

    rng = np.random.default_rng([options.seed, step])
    generator = torch.Generator(device).manual_seed(options.seed + step)
    recent = torch.zeros(LEVELS, 3, device=device)
    while budget.fraction < 1:
        optimizer.param_groups[0]["lr"] = budget.rate * options.rate
        level = int(rng.choice(LEVELS, p=LEVEL_ODDS))
        codes, known, there = speakers.batch(generator, options.frames)
        with reduced(device):
            found, right = loss(model, codes, known, there, level, rng)
        optimizer.zero_grad()
        found.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        average.update(model)
        step += 1
        recent[level] += torch.stack([found.detach(), right, torch.ones_like(right)])
        if step % 100 == 0:
            figures = "  ".join(f"{total / n:.2f} {hits / n:.3f}" for total, hits, n in recent.tolist() if n)
            recent.zero_()
            print(f"step {step} loss, right by level: {figures}  {budget.spent:.2f} min", flush=True)
        if step % 1000 == 0:
            save()
        if step % 4000 == 0:
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
    parser.add_argument("--tokenizer", type=Path, default=Path("runs/speech_tokenizer") / RESULT)
    options = parsed(parser, Path("runs/soundstorm"))
    train(options)


if __name__ == "__main__":
    main()
