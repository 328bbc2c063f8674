"""Nano's SpeechTokenizer: what is said first, then how it sounds.

The published model distils its first codebook from HuBERT. Here phonemes with exact times, known because the speech is
synthetic, take HuBERT's place. Steps, each resumable by running it again, each with a budget of `--minutes`:

`content`    the encoder: phonemes from the content part, the mel spectrum from the acoustic part
`codebooks`  codebook 0 by k-means on content and training through it; the others by residual k-means
`heads`      for a tokenizer that lost them (`training.restore`): the classifier and the mel predictor alone

With `--earlier EARLIER.pt` an earlier tokenizer goes on learning what is said; how it sounds, codebooks included, stays
as it is, so that what was trained on its acoustic codes can go on (`training.successor`).
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from assistant.models.speech_tokenizer import SpeechTokenizer
from training.augment import SPEEDS, at_speech_level, between, labels_played, played, recorded
from training.budget import Budget
from training.kokoro import FRAME, RATE
from training.recipe import parsed, reduced
from training.speech_data import read

CONFIG = {
    "front_end": "log_mel",
    "num_mels": 80,
    "n_fft": 1024,
    "win_size": 640,
    "encoder_channels": 256,
    "encoder_lstm_layers": 2,
    "encoder_blocks": 2,
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
RESULT = "codebooks.pt"
WINDOW = 200
"""Frames of a row of a batch."""
MARGIN = 30
"""Frames of silence on either side that are to be heard as such."""
DROPOUT = 0.15
"""Between the layers of the LSTM."""
FIT_FRAMES = 150_000
"""What codebook 0 is fitted to."""
TRACT = 0.08
"""Deviation of the logarithm of how much longer a vocal tract is than the one that spoke."""


def classes(labels: str) -> np.ndarray:
    return np.array([max(PHONES.find(c), 0) for c in labels], np.int64)


class Corpus:
    """Utterances in memory, back to back on a device: speech, and a class a frame.

    Each part is drawn from equally often.
    """

    def __init__(self, folder: Path, parts: list[str], device: torch.device) -> None:
        speech, labels, sizes = [], [], []
        for part in parts:
            before = len(labels)
            for record, wav in read(folder, part):
                labels.append(classes(record["labels"]))
                speech.append((wav[: len(labels[-1]) * FRAME] * 2**15).clip(-(2**15), 2**15 - 1).astype(np.int16))
            sizes.append(len(labels) - before)
        frames = np.array([len(row) for row in labels])
        self.frames = int(frames.sum())
        self.parts = [part for part in torch.arange(len(frames), device=device).split(sizes) if len(part)]
        self.length = torch.from_numpy(frames).to(device) * FRAME
        self.start = self.length.cumsum(0) - self.length
        self.speech = torch.from_numpy(np.concatenate(speech)).to(device)
        self.labels = torch.from_numpy(np.concatenate(labels)).to(device)

    @property
    def minutes(self) -> float:
        return self.frames / 3000

    def batch(self, generator: torch.Generator, frames: int) -> tuple[Tensor, Tensor]:
        """Parts of utterances in any voice, room and place: wav [B, 1, S], classes [B, T], `frames` in all.

        A class is -1 where silence lasts longer than it does in what voice activity detection cuts out.
        """
        rows = max(1, frames // WINDOW)
        each, device = -(-rows // len(self.parts)), generator.device
        chosen = torch.cat(
            [part[torch.randint(len(part), (each,), generator=generator, device=device)] for part in self.parts]
        )[torch.randperm(each * len(self.parts), generator=generator, device=device)[:rows]]
        start, length, samples = self.start[chosen], self.length[chosen], WINDOW * FRAME
        speed = between(*SPEEDS, rows, generator)
        factor = torch.where(between(0, 1, rows, generator) < 0.3, 1.0, speed)[:, 0]
        # What is too long for the window begins before it.
        before = ((samples - length / factor) * between(0, 1, rows, generator)[:, 0]).floor()
        wav = played(self.speech, start, length, factor, before, samples)
        target = labels_played(self.labels, start, length, factor, before, samples)
        wav = at_speech_level(recorded(wav, generator))
        return wav.unsqueeze(1), torch.where(target < 0, _silence_beside(target), target)

    def whole(self, size: int = 16) -> Iterator[tuple[Tensor, Tensor]]:
        """All utterances as they are, `size` of like length at a time: wav [B, 1, S], classes [B, T] (-1: padding)."""
        for chosen in self.length.argsort().split(size):
            start, length = self.start[chosen], self.length[chosen]
            place = (
                start,
                length,
                torch.ones(len(start), device=start.device),
                torch.zeros_like(start),
                int(length.max()),
            )
            yield at_speech_level(played(self.speech, *place)).unsqueeze(1), labels_played(self.labels, *place)


def _silence_beside(target: Tensor) -> Tensor:
    """0, silence, where something is said within MARGIN frames, else -1."""
    near = F.max_pool1d((target >= 0).float().unsqueeze(1), 2 * MARGIN + 1, 1, MARGIN).squeeze(1)
    return near.long() - 1


class ContentTraining(nn.Module):
    """The encoder with what trains it: a phoneme classifier on content, a mel predictor on everything."""

    def __init__(self, config: Mapping[str, Any] = CONFIG) -> None:
        super().__init__()
        self.tokenizer = SpeechTokenizer.from_config(config)
        self.classify = nn.Linear(config["content_dimension"], len(PHONES))
        self.predict_mel = nn.Sequential(
            nn.Conv1d(config["dimension"], 256, 3, padding=1), nn.GELU(), nn.Conv1d(256, 2 * config["num_mels"], 1)
        )

    @property
    def content_size(self) -> int:
        return self.classify.in_features

    def forward(self, wav: Tensor, target: Tensor, quantize: bool = False) -> tuple[Tensor, Tensor, Tensor]:
        """Loss, fraction of frames right, mel error."""
        encoder, learning = self.tokenizer.encoder, self.tokenizer.training
        mel = encoder.mel(wav)
        content = F.normalize(encoder.content(_masked(_stretched(mel)) if learning else mel).float(), dim=1)
        acoustic = encoder.acoustic(mel).float()
        voiced = (target >= 0).float()
        commitment = torch.zeros_like(voiced)
        if quantize:
            rows = self.tokenizer.quantizer.codebooks[0]
            nearest = rows.nearest(_wide(content.detach(), acoustic))
            if learning:
                self._follow(nearest.flatten(), content.detach().transpose(1, 2).flatten(0, 1), voiced.flatten())
            found = rows.rows(nearest)[..., : self.content_size].transpose(1, 2)
            commitment = 4.0 * (content - found).square().sum(1)
            content = content + (found - content).detach()
        logits = self.classify(SCALE * content.transpose(1, 2))
        loss = F.cross_entropy(logits.flatten(0, 1), target.flatten(), ignore_index=-1, label_smoothing=0.05)
        guess = self.predict_mel(torch.cat([content.detach(), acoustic], 1))
        want = mel.unflatten(-1, (-1, 2)).permute(0, 1, 3, 2).flatten(1, 2)
        mel_error = _mean((guess - want).square().mean(1), voiced)
        right = _mean((logits.argmax(-1) == target).float(), voiced)
        return loss + _mean(commitment, voiced) + mel_error, right, mel_error

    @torch.no_grad()
    def _follow(self, nearest: Tensor, content: Tensor, voiced: Tensor, keep: float = 0.98) -> None:
        """Move codebook 0 with the content it quantizes (exponential moving average, arXiv 1711.00937)."""
        embed = self.tokenizer.quantizer.codebooks[0].embed
        if not hasattr(self, "counts"):
            self.counts, self.sums = torch.full_like(embed[:, 0], 4), embed[:, : self.content_size] * 4
        new = torch.zeros_like(self.counts).index_add_(0, nearest, voiced)
        self.counts = keep * self.counts + (1 - keep) * new
        new = torch.zeros_like(self.sums).index_add_(0, nearest, content * voiced[:, None])
        self.sums = keep * self.sums + (1 - keep) * new
        embed[:, : self.content_size] = self.sums / self.counts.clamp(min=1e-3)[:, None]


def _mean(values: Tensor, weight: Tensor) -> Tensor:
    return (values * weight).sum() / weight.sum()


def _wide(content: Tensor, acoustic: Tensor) -> Tensor:
    """[B, T, dimension] latent with nothing in its acoustic part."""
    return torch.cat([content, torch.zeros_like(acoustic)], 1).transpose(1, 2)


def _stretched(mel: Tensor) -> Tensor:
    """mel [B, bands, T] from longer and shorter vocal tracts: frequencies are multiplied, the pitch's harmonics too."""
    bands, device = mel.shape[1], mel.device
    top = math.log1p(RATE / 2 / 700)
    hertz = torch.expm1(torch.arange(1, bands + 1, device=device) * top / (bands + 1))  # of 700
    factor = torch.exp(TRACT * torch.randn(len(mel), 1, device=device)).clamp(0.85, 1.18)
    found = (torch.log1p(hertz * factor) * (bands + 1) / top - 1).clamp(0, bands - 1)
    weight = 1 - (found.unsqueeze(2) - torch.arange(bands, device=device)).abs()
    return weight.clamp(min=0) @ mel


def _masked(mel: Tensor) -> Tensor:
    """SpecAugment (arXiv 1904.08779): a few bands and moments set to the mean."""

    def kept(size: int, widest: int) -> Tensor:
        """[B, size]: all but two spans."""
        start = torch.rand(2, len(mel), 1, device=mel.device) * size
        end = start + 1 + torch.rand_like(start) * widest
        place = torch.arange(size, device=mel.device)
        return ((place < start) | (place > end)).all(0)

    return mel * kept(mel.shape[1], 12).unsqueeze(2) * kept(mel.shape[2], 12).unsqueeze(1)


def quick(device: torch.device) -> AbstractContextManager[object]:
    """Autocast on a CPU. cuDNN's LSTM has no bfloat16: on a GPU everything that holds one takes TF32."""
    return reduced(device) if device.type == "cpu" else nullcontext()


@torch.no_grad()
def accuracy(model: ContentTraining, corpus: Corpus, quantize: bool) -> float:
    """Fraction of frames of unaugmented speech whose phoneme is right."""
    model.eval()
    right = total = torch.zeros((), device=corpus.speech.device)
    for wav, target in corpus.whole():
        frames = (target >= 0).sum()
        right = right + model(wav, target, quantize)[1] * frames
        total = total + frames
    return float(right / total)


def train(
    model: ContentTraining, options: argparse.Namespace, corpora: tuple[Corpus, Corpus], name: str, quantize: bool
) -> None:
    """Spend the minutes on what requires a gradient; `name` is the checkpoint's."""
    corpus, development = corpora
    device, path = corpus.speech.device, options.run / name
    learned = [parameter for parameter in model.parameters() if parameter.requires_grad]
    rate = options.rate / 2 if quantize else options.rate
    optimizer = torch.optim.AdamW(learned, rate, betas=(0.9, 0.98), weight_decay=0.02)
    budget, step = Budget(options.minutes), 0
    if path.exists():
        saved = torch.load(path, map_location=device, weights_only=True)
        model.load_state_dict(saved["model"])
        optimizer.load_state_dict(saved["optimizer"])
        budget, step = Budget(options.minutes, saved["spent"]), saved["step"]
    generator = torch.Generator(device).manual_seed(options.seed + step)

    def report() -> None:
        print(f"  {name}: unseen voices {accuracy(model, development, quantize):.3f}", flush=True)
        state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "step": step, "spent": budget.spent}
        torch.save(state, path.with_suffix(".new"))
        path.with_suffix(".new").replace(path)

    recent = torch.zeros(3, device=device)
    while budget.fraction < 1:
        model.train()
        model.tokenizer.train(any(p.requires_grad for p in model.tokenizer.parameters()))
        optimizer.param_groups[0]["lr"] = budget.rate * rate
        wav, target = corpus.batch(generator, options.frames)
        with quick(device):
            loss, right, mel = model(wav, target, quantize)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(learned, 1.0)
        optimizer.step()
        step += 1
        recent += torch.stack([loss.detach(), right, mel.detach()])
        if step % 100 == 0:
            mean = (recent / 100).tolist()
            recent.zero_()
            print(
                f"step {step} loss {mean[0]:.3f} right {mean[1]:.3f} mel {mean[2]:.4f} {budget.spent:.2f} min",
                flush=True,
            )
        if step % 500 == 0:
            report()
    report()


@torch.no_grad()
def latents(model: ContentTraining, batches: Iterable[tuple[Tensor, Tensor]]) -> Tensor:
    """Encoder outputs [frames, dimension] of batches of a Corpus."""
    model.eval()
    return torch.cat([model.tokenizer.encoder(wav).transpose(1, 2)[target >= 0] for wav, target in batches])


@torch.no_grad()
def k_means(points: Tensor, size: int, rounds: int = 25, seed: int = 0) -> Tensor:
    """[N, D] -> centres [size, D]; centres that attract few points are moved onto points far from theirs."""
    generator = torch.Generator(points.device).manual_seed(seed)
    centres = points[torch.randperm(len(points), generator=generator, device=points.device)[:size]].clone()
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


def codebooks(model: ContentTraining, options: argparse.Namespace, corpora: tuple[Corpus, Corpus]) -> None:
    corpus, development = corpora
    content, size = model.content_size, CONFIG["codebook_size"]
    books = model.tokenizer.quantizer.codebooks
    generator = torch.Generator(corpus.speech.device).manual_seed(options.seed)

    def some() -> Iterator[tuple[Tensor, Tensor]]:
        return (corpus.batch(generator, FIT_FRAMES // 20) for _ in range(20))

    if not (options.run / "quantized.pt").exists():
        books[0].embed.zero_()
        books[0].embed[:, :content] = k_means(latents(model, some())[:, :content], size)
        print(f"codebook 0 by k-means, unseen voices {accuracy(model, development, True):.3f}", flush=True)
    train(model, options, corpora, "quantized.pt", quantize=True)
    found = latents(model, some())[:, :content]
    nearest = books[0].nearest(F.pad(found, (0, CONFIG["dimension"] - content)))
    counts = torch.bincount(nearest, minlength=size)
    sums = found.new_zeros(size, content).index_add_(0, nearest, found)
    books[0].embed[:, :content] = torch.where(
        counts[:, None] > 0, sums / counts.clamp(min=1)[:, None], books[0].embed[:, :content]
    )
    print(f"codebook 0 in use: {int((counts > 0).sum())} of {size}")
    print(f"unseen voices, codebook refitted: {accuracy(model, development, True):.3f}", flush=True)
    if not options.earlier:
        acoustic_codebooks(model, corpus)


def acoustic_codebooks(model: ContentTraining, corpus: Corpus) -> None:
    """Residual k-means on the acoustic part of the latents."""
    content, size = model.content_size, CONFIG["codebook_size"]
    residual = latents(model, corpus.whole())[:, content:]
    total = residual.var(0).sum()
    for level, book in enumerate(model.tokenizer.quantizer.codebooks[1:], 1):
        centres = k_means(residual, size)
        book.embed.zero_()
        book.embed[:, content:] = centres
        residual = residual - centres[(2 * residual @ centres.T - centres.square().sum(1)).argmax(1)]
        print(f"codebook {level}: {float(residual.var(0).sum() / total):.3f} of the variance left", flush=True)


def go_on_from(model: ContentTraining, path: Path) -> None:
    """Take everything from an earlier tokenizer, which may have fewer blocks; how it sounds is trained no further."""
    model.load_state_dict(torch.load(path, map_location="cpu", weights_only=True), strict=False)
    model.tokenizer.encoder.acoustic.requires_grad_(False)


def load_training(path: Path) -> ContentTraining:
    """A trained tokenizer with its heads, on the CPU; `config.json` beside it says what it is made of."""
    model = ContentTraining(json.loads((path.parent / "config.json").read_text()))
    model.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    return model


def save(model: ContentTraining, run: Path) -> None:
    """In fp16, which is what ships: codes are computed with the weights that will compute them."""
    torch.save({name: value.half().cpu() for name, value in model.state_dict().items()}, run / RESULT)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("steps", nargs="+", choices=["content", "codebooks", "heads"])
    parser.add_argument("--minutes", type=float, default=15, help="to spend on each step")
    parser.add_argument("--data", type=Path, default=Path("data/speech"))
    parser.add_argument("--parts", nargs="+", default=["words", "train", "reply", "voices"])
    parser.add_argument("--frames", type=int, default=3000, help="frames in a batch")
    parser.add_argument("--rate", type=float, default=2e-3)
    parser.add_argument("--earlier", type=Path, help="an earlier codebooks.pt to go on from")
    options = parsed(parser, Path("runs/speech_tokenizer"), threads=0)
    device = torch.device(options.device)
    torch.set_float32_matmul_precision("high")
    corpora = tuple(Corpus(options.data, parts, device) for parts in (options.parts, ["development"]))
    print(f"{corpora[0].minutes:.0f} minutes to learn from, {corpora[1].minutes:.0f} to check on", flush=True)
    if options.steps == ["heads"]:
        model = load_training(options.run / RESULT).to(device)
        model.tokenizer.requires_grad_(False)
        train(model, options, corpora, "heads.pt", quantize=True)
        save(model, options.run)
        return
    (options.run / "config.json").write_text(json.dumps(CONFIG, indent=1))
    model = ContentTraining()
    if options.earlier:
        go_on_from(model, options.earlier)
    for module in model.tokenizer.encoder.modules():
        if isinstance(module, nn.LSTM):
            module.dropout = DROPOUT
    model.to(device)
    # What is already done is only loaded.
    train(model, options, corpora, "content.pt", quantize=False)
    if "codebooks" in options.steps:
        codebooks(model, options, corpora)
        save(model, options.run)


if __name__ == "__main__":
    main()
