"""Nano's SpeechTokenizer: what is said first, then how it sounds.

The published model distils its first codebook from HuBERT. Here phonemes with exact times, known because the speech is
synthetic, take HuBERT's place. Steps, each a subcommand, each resumable by running it again:

`content`    the encoder: phonemes from the content part, the mel spectrum from the acoustic part
`codebooks`  codebook 0 by k-means on content and a phase of training through it; the others by residual k-means

With `--acoustic EARLIER.pt` only what is said is learned anew: the acoustic part and its codebooks are an earlier
tokenizer's, so that what was trained on its acoustic codes can go on (`training.successor`).
"""

from __future__ import annotations

import argparse
import json
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from assistant.models.speech_tokenizer import SpeechTokenizer
from assistant.tokenizers.speech import at_speech_level
from training.augment import recorded, warped
from training.kokoro import FRAME
from training.recipe import parsed, reduced
from training.speech_data import read

CONFIG = {
    "front_end": "log_mel",
    "num_mels": 80,
    "n_fft": 1024,
    "win_size": 640,
    "encoder_channels": 256,
    "encoder_lstm_layers": 2,
    "content_dimension": 32,
    "dimension": 96,
    "semantic_dimension": 96,
    "n_filters": 16,
    "strides": [8, 5, 4, 2],
    "bidirectional": True,
    "dilation_base": 2,
    "residual_kernel_size": 3,
    "n_residual_layers": 1,
    "lstm_layers": 1,
    "activation": "Snake",
    "codebook_size": 512,
    "n_q": 3,
    "sample_rate": 16000,
}
PHONES = "_AIOQWYabdefhijklmnopstuvwzæðŋɐɑɒɔəɛɜɡɪɹɾʃʊʌʒʔʤʧθᵊᵻ"
"""All symbols that `training.phonemes` gives; class 0 is silence and whatever is not listed."""
SCALE = 12.0
"""Content has unit norm; logits need a sharper scale."""


def classes(labels: str) -> np.ndarray:
    return np.array([max(PHONES.find(c), 0) for c in labels], np.int64)


class Corpus:
    """Utterances in memory: speech at one level and a class a frame."""

    def __init__(self, folder: Path, parts: list[str]) -> None:
        self.items: list[tuple[np.ndarray, np.ndarray]] = []
        for part in parts:
            for record, speech in read(folder, part):
                labels = classes(record["labels"])[: len(speech) // FRAME]
                self.items.append((speech[: len(labels) * FRAME], labels))

    @property
    def minutes(self) -> float:
        return sum(len(labels) for _, labels in self.items) / 3000

    def batch(self, rng: np.random.Generator, frames: int) -> tuple[Tensor, Tensor]:
        """Augmented utterances of like length, `frames` frames in all: wav [B, 1, S], classes [B, T] (-1: padding)."""
        anchor = len(self.items[rng.integers(len(self.items))][1])
        chosen: list[tuple[np.ndarray, np.ndarray]] = []
        while sum(len(labels) for _, labels in chosen) < frames:
            speech, labels = self.items[rng.integers(len(self.items))]
            if abs(len(labels) - anchor) > 25 + anchor // 4:
                continue
            if rng.random() < 0.6:
                speech, labels = warped(speech, labels, rng.uniform(0.85, 1.18))
            chosen.append((at_speech_level(recorded(speech, rng)), labels))
        return _padded(chosen)


def _padded(items: list[tuple[np.ndarray, np.ndarray]]) -> tuple[Tensor, Tensor]:
    length = max(len(labels) for _, labels in items)
    wav = torch.zeros(len(items), 1, length * FRAME)
    target = torch.full((len(items), length), -1)
    for k, (speech, labels) in enumerate(items):
        wav[k, 0, : len(speech)] = torch.from_numpy(speech)
        target[k, : len(labels)] = torch.from_numpy(labels)
    return wav, target


class ContentTraining(nn.Module):
    """The encoder with what trains it: a phoneme classifier on content, a mel predictor on everything."""

    def __init__(self) -> None:
        super().__init__()
        self.tokenizer = SpeechTokenizer.from_config(CONFIG)
        self.classify = nn.Linear(CONFIG["content_dimension"], len(PHONES))
        self.predict_mel = nn.Sequential(
            nn.Conv1d(CONFIG["dimension"], 256, 3, padding=1), nn.GELU(), nn.Conv1d(256, 2 * CONFIG["num_mels"], 1)
        )

    @property
    def content_size(self) -> int:
        return self.classify.in_features

    def forward(self, wav: Tensor, target: Tensor, quantize: bool = False) -> tuple[Tensor, Tensor, Tensor]:
        """Loss, fraction of frames right, mel error."""
        encoder = self.tokenizer.encoder
        mel = encoder.mel(wav)
        content = F.normalize(encoder.content(_masked(mel) if self.training else mel).float(), dim=1)
        acoustic = encoder.acoustic(mel).float()
        loss = torch.zeros(())
        if quantize:
            rows = self.tokenizer.quantizer.codebooks[0]
            nearest = rows.nearest(_wide(content.detach(), acoustic))
            if self.training:
                self._follow(nearest.flatten(), content.detach().transpose(1, 2).flatten(0, 1), target.flatten() >= 0)
            found = rows.rows(nearest)[..., : self.content_size].transpose(1, 2)
            loss = loss + 4.0 * (content - found).square().sum(1).mean()
            content = content + (found - content).detach()
        logits = self.classify(SCALE * content.transpose(1, 2))
        loss = loss + F.cross_entropy(logits.flatten(0, 1), target.flatten(), ignore_index=-1, label_smoothing=0.05)
        voiced = target >= 0
        guess = self.predict_mel(torch.cat([content.detach(), acoustic], 1))
        want = mel.unflatten(-1, (-1, 2)).permute(0, 1, 3, 2).flatten(1, 2)
        mel_error = (guess - want).square().mean(1)[voiced].mean()
        right = (logits.argmax(-1) == target)[voiced].float().mean()
        return loss + mel_error, right, mel_error

    @torch.no_grad()
    def _follow(self, nearest: Tensor, content: Tensor, voiced: Tensor, keep: float = 0.98) -> None:
        """Move codebook 0 with the content it quantizes (exponential moving average, arXiv 1711.00937)."""
        embed = self.tokenizer.quantizer.codebooks[0].embed
        ones = F.one_hot(nearest[voiced], len(embed)).float()
        if not hasattr(self, "counts"):
            self.counts, self.sums = torch.ones(len(embed)) * 4, embed[:, : self.content_size] * 4
        self.counts = keep * self.counts + (1 - keep) * ones.sum(0)
        self.sums = keep * self.sums + (1 - keep) * (ones.T @ content[voiced])
        embed[:, : self.content_size] = self.sums / self.counts.clamp(min=1e-3)[:, None]


def _wide(content: Tensor, acoustic: Tensor) -> Tensor:
    """[B, T, dimension] latent with nothing in its acoustic part."""
    return torch.cat([content, torch.zeros_like(acoustic)], 1).transpose(1, 2)


def _masked(mel: Tensor) -> Tensor:
    """SpecAugment (arXiv 1904.08779): a few bands and moments set to the mean."""
    mel = mel.clone()
    for row in mel:
        for _ in range(2):
            width, start = int(torch.randint(1, 12, ())), int(torch.randint(0, 70, ()))
            row[start : start + width] = 0
        width, start = int(torch.randint(1, 10, ())), int(torch.randint(0, max(1, row.shape[1] - 10), ()))
        row[:, start : start + width] = 0
    return mel


@torch.no_grad()
def accuracy(model: ContentTraining, corpus: Corpus, quantize: bool) -> float:
    """Fraction of frames of unaugmented speech whose phoneme is right."""
    model.eval()
    right = total = 0.0
    for start in range(0, len(corpus.items), 16):
        items = [(at_speech_level(s), labels) for s, labels in corpus.items[start : start + 16]]
        wav, target = _padded(items)
        frames = float((target >= 0).sum())
        right += float(model(wav, target, quantize)[1]) * frames
        total += frames
    model.train()
    return right / total


def train(model: ContentTraining, options: argparse.Namespace, steps: int, rate: float, quantize: bool) -> None:
    device = torch.device(options.device)
    model.to(device)
    corpus = Corpus(options.data, options.parts)
    development = Corpus(options.data, ["development"])
    print(f"{corpus.minutes:.0f} minutes to learn from, {development.minutes:.0f} to check on", flush=True)
    rng = np.random.default_rng(options.seed)
    optimizer = torch.optim.AdamW(model.parameters(), rate, betas=(0.9, 0.98), weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, steps, pct_start=0.15)
    began, recent = time.monotonic(), []
    ahead = ThreadPoolExecutor(1)
    following = ahead.submit(corpus.batch, rng, options.frames)
    for step in range(1, steps + 1):
        wav, target = (x.to(device) for x in following.result())
        if step % 200 == 0:
            corpus = Corpus(options.data, options.parts)  # it may have grown
        following = ahead.submit(corpus.batch, rng, options.frames)
        with reduced(device):
            loss, right, mel = model(wav, target, quantize)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        recent.append((float(loss.detach()), float(right), float(mel.detach())))
        if step % 100 == 0 or step == steps:
            mean = np.mean(recent[-100:], 0)
            print(
                f"step {step} loss {mean[0]:.3f} right {mean[1]:.3f} mel {mean[2]:.4f} "
                f"{time.monotonic() - began:.0f} s",
                flush=True,
            )
        if step % 500 == 0 or step == steps:
            if development.items:
                print(f"  unseen voices: {accuracy(model.cpu(), development, quantize):.3f}", flush=True)
                model.to(device)
            torch.save(model.state_dict(), options.run / ("quantized.pt" if quantize else "content.pt"))


@torch.no_grad()
def latents(model: ContentTraining, corpus: Corpus, limit: int, augment: bool, seed: int = 0) -> Tensor:
    """Encoder outputs [frames, dimension] of some of the corpus."""
    model.eval()
    rng = np.random.default_rng(seed)
    found, count = [], 0
    for index in rng.permutation(len(corpus.items)):
        speech = corpus.items[index][0]
        wav = torch.from_numpy(at_speech_level(recorded(speech, rng) if augment else speech))[None, None]
        found.append(model.tokenizer.encoder(wav)[0].T)
        count += len(found[-1])
        if count >= limit:
            break
    model.train()
    return torch.cat(found)


@torch.no_grad()
def k_means(points: Tensor, size: int, rounds: int = 25, seed: int = 0) -> Tensor:
    """[N, D] -> centres [size, D]; centres that attract few points are moved onto points far from theirs."""
    generator = torch.Generator().manual_seed(seed)
    centres = points[torch.randperm(len(points), generator=generator)[:size]].clone()
    for turn in range(rounds):
        score = 2 * points @ centres.T - centres.square().sum(1)
        best, nearest = score.max(1)
        counts = torch.bincount(nearest, minlength=size)
        sums = torch.zeros_like(centres).index_add_(0, nearest, points)
        centres = torch.where(counts[:, None] > 0, sums / counts.clamp(min=1)[:, None], centres)
        dead = (counts < len(points) / size * 0.05).nonzero()[:, 0]
        if turn < rounds - 5 and len(dead):
            distance = points.square().sum(1) - best
            far = torch.multinomial(distance.clamp(min=1e-9), len(dead), generator=generator)
            centres[dead] = points[far]
    return centres


def codebooks(model: ContentTraining, options: argparse.Namespace) -> None:
    corpus = Corpus(options.data, options.parts)
    content, size = model.content_size, CONFIG["codebook_size"]
    books = model.tokenizer.quantizer.codebooks
    if not (options.run / "quantized.pt").exists():
        found = latents(model, corpus, 150_000, augment=True)[:, :content]
        books[0].embed.zero_()
        books[0].embed[:, :content] = k_means(found, size)
        print(
            f"codebook 0 by k-means, unseen voices {accuracy(model, Corpus(options.data, ['development']), True):.3f}"
        )
        train(model, options, options.steps, 1.5e-3, quantize=True)
        found = latents(model, corpus, 150_000, augment=True, seed=1)[:, :content]
        nearest = books[0].nearest(F.pad(found, (0, CONFIG["dimension"] - content)))
        counts = torch.bincount(nearest, minlength=size)
        sums = torch.zeros(size, content).index_add_(0, nearest, found)
        books[0].embed[:, :content] = torch.where(
            counts[:, None] > 0, sums / counts.clamp(min=1)[:, None], books[0].embed[:, :content]
        )
        print(f"codebook 0 in use: {int((counts > 0).sum())} of {size}")
        print(
            f"unseen voices, codebook refitted: {accuracy(model, Corpus(options.data, ['development']), True):.3f}",
            flush=True,
        )
    else:
        model.load_state_dict(torch.load(options.run / "quantized.pt", weights_only=True))
    if not options.acoustic:
        acoustic_codebooks(model, corpus)
    torch.save(model.state_dict(), options.run / "codebooks.pt")


def acoustic_codebooks(model: ContentTraining, corpus: Corpus) -> None:
    """Residual k-means on the acoustic part of the latents."""
    content, size = model.content_size, CONFIG["codebook_size"]
    residual = latents(model, corpus, 200_000, augment=False)[:, content:]
    total = residual.var(0).sum()
    for level, book in enumerate(model.tokenizer.quantizer.codebooks[1:], 1):
        centres = k_means(residual, size)
        book.embed.zero_()
        book.embed[:, content:] = centres
        residual = residual - centres[(2 * residual @ centres.T - centres.square().sum(1)).argmax(1)]
        print(f"codebook {level}: {float(residual.var(0).sum() / total):.3f} of the variance left", flush=True)


def keep_acoustic(model: ContentTraining, path: Path) -> None:
    """Take how it sounds, codebooks included, from an earlier tokenizer and train it no further."""
    kept = ("tokenizer.encoder.acoustic.", "predict_mel.")
    kept += tuple(f"tokenizer.quantizer.vq.layers.{k}." for k in range(1, CONFIG["n_q"]))
    state = {name: value for name, value in torch.load(path, weights_only=True).items() if name.startswith(kept)}
    model.load_state_dict(state, strict=False)
    model.tokenizer.encoder.acoustic.requires_grad_(False)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("step", choices=["content", "codebooks"])
    parser.add_argument("--data", type=Path, default=Path("data/speech"))
    parser.add_argument("--parts", nargs="+", default=["words", "train", "reply"])
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--frames", type=int, default=3000)
    parser.add_argument("--acoustic", type=Path, help="an earlier codebooks.pt whose acoustic codes stay")
    options = parsed(parser, Path("runs/speech_tokenizer"), threads=0)
    (options.run / "config.json").write_text(json.dumps(CONFIG, indent=1))
    model = ContentTraining()
    if options.acoustic:
        keep_acoustic(model, options.acoustic)
    if options.step == "content":
        train(model, options, options.steps, 3e-3, quantize=False)
    else:
        model.load_state_dict(torch.load(options.run / "content.pt", weights_only=True))
        codebooks(model, options)


if __name__ == "__main__":
    main()
