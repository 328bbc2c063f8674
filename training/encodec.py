"""Nano's Encodec (arXiv 2210.13438): music as four codebooks of 256 codes, 50 frames a second, at 16 kHz.

`train` spends `--minutes`, in one go or several, in three stretches: without codebooks until the latents have spread;
then through codebooks that start as residual k-means and follow the latents (arXiv 1711.00937), unused codes moved to
where they are needed; at last the codes stay as they are and the decoder alone learns. The loss is that of the voice
decoder, spectra at several resolutions, and the waveform itself, which keeps low notes in phase.
`export` writes the folder that `assistant.tokenizers.music.load_encodec` reads. `codes` tokenizes the corpus.
`measure` says what a decoded piece costs and keeps: WAV files, a sheet of spectrograms, figures.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import EncodecConfig, EncodecModel

from assistant.decoders.music import MusicDecoder
from assistant.tokenizers.music import MusicEars, load_encodec
from training.budget import Average, Budget
from training.music.corpus import RATE, read, tags_of
from training.music.ears import load_ears, share_right
from training.recipe import parsed, reduced
from training.speech_tokenizer import k_means
from training.voice_decoder import SpectralLoss, draw_pairs, magnitude
from training.wav import write_wav

CONFIG = {
    "sampling_rate": RATE,
    "upsampling_ratios": [8, 5, 4, 2],
    "num_filters": 24,
    "hidden_size": 96,
    "num_lstm_layers": 1,
    "codebook_size": 256,
    "target_bandwidths": [1.6],  # kbit/s: 4 codebooks of 8 bits, 50 times a second
    "use_causal_conv": False,  # this and the next as in facebook/encodec_32khz
    "use_conv_shortcut": False,
}
FRAME = 320
CHECKPOINT = "checkpoint.pt"
FOLDER = "encodec"
COMMITMENT, WAVEFORM = 0.25, 0.2
KEEP = 0.98
"""Of a codebook's statistics from one step to the next."""
DEAD = 0.1
"""A code that is chosen less than this share of the average is moved."""


class Pieces:
    """The corpus in memory."""

    def __init__(self, folder: Path, part: str, segment: int) -> None:
        self.music = np.stack([pcm for _, pcm in read(folder, part)])
        self.samples = segment * FRAME

    def batch(self, rng: np.random.Generator, size: int) -> Tensor:
        """Segments at all levels, [size, segment * FRAME] float32."""
        wav = []
        for _ in range(size):
            piece = self.music[rng.integers(len(self.music))]
            start = int(rng.integers(len(piece) - self.samples + 1))
            wav.append(piece[start : start + self.samples].astype(np.float32) * (rng.uniform(0.4, 1.4) / 32767))
        return torch.from_numpy(np.stack(wav)).clamp(-1, 1)


def codebooks(codec: EncodecModel) -> list[nn.Module]:
    return [layer.codebook for layer in codec.quantizer.layers]


@torch.no_grad()
def fit_codebooks(codec: EncodecModel, latents: Tensor) -> None:
    """Start the codebooks: k-means of what the ones before leave of latents [N, D], which lie on the CPU."""
    residual = latents
    for book in codebooks(codec):
        centres = k_means(residual, len(book.embed))
        nearest = (2 * residual @ centres.T - centres.square().sum(1)).argmax(1)
        book.embed.copy_(centres)
        book.cluster_size.copy_(torch.bincount(nearest, minlength=len(centres)).clamp(min=1) / len(residual))
        book.embed_avg.copy_(book.embed * book.cluster_size[:, None])
        residual = residual - centres[nearest]


@torch.no_grad()
def follow(book: nn.Module, frames: Tensor, nearest: Tensor) -> None:
    """Move a codebook with frames [N, D] and what they chose; `cluster_size` is a running share of choices."""
    chosen = F.one_hot(nearest, len(book.embed)).to(frames.dtype) / len(frames)
    book.cluster_size.lerp_(chosen.sum(0), 1 - KEEP)
    book.embed_avg.lerp_(chosen.T @ frames, 1 - KEEP)
    book.embed.copy_(book.embed_avg / book.cluster_size.clamp(min=1e-6)[:, None])
    dead = (book.cluster_size < DEAD / len(book.embed)).nonzero()[:, 0]
    if len(dead):
        distance = (frames - book.decode(nearest)).square().sum(1)
        moved = frames[torch.multinomial(distance + 1e-9, len(dead), replacement=True)]
        book.cluster_size[dead] = 1 / len(book.embed)
        book.embed[dead], book.embed_avg[dead] = moved, moved / len(book.embed)


def quantized(codec: EncodecModel, latent: Tensor, learn: bool) -> tuple[Tensor, Tensor]:
    """latent [B, D, T] as its codes have it, with the gradient passed straight on, and how far off they are: the mean
    over the codebooks of what is left, as a share of the variance."""
    frames = latent.transpose(1, 2).flatten(0, 1).float()
    done, left = torch.zeros_like(frames).detach(), []
    for book in codebooks(codec):
        residual = frames.detach() - done
        nearest = book.quantize(residual)
        done = done + book.decode(nearest)
        left.append((frames - done).square().sum(1).mean())
        if learn:
            follow(book, residual, nearest)
    spread = frames.detach().var(0).sum().clamp(min=1e-6)
    straight = frames + (done - frames).detach()
    return straight.unflatten(0, (len(latent), -1)).transpose(1, 2), torch.stack(left).mean() / spread


def train(options: argparse.Namespace) -> None:
    device = torch.device(options.device)
    pieces = Pieces(options.data, "train", options.segment)
    print(f"{pieces.music.size / RATE / 60:.0f} minutes to learn from", flush=True)
    codec = EncodecModel(EncodecConfig(**CONFIG)).to(device).train()
    spectra, average = SpectralLoss().to(device), Average(codec.decoder, 0.997)
    optimizer = torch.optim.AdamW(codec.parameters(), options.rate, betas=(0.8, 0.99), weight_decay=0.01)
    budget, step, fitted, path = Budget(options.minutes), 0, False, options.run / CHECKPOINT
    parts = {"codec": codec, "average": average.model, "optimizer": optimizer}
    if path.exists():
        saved = torch.load(path, map_location=device, weights_only=True)
        for name, part in parts.items():
            part.load_state_dict(saved[name])
        step, average.updates, fitted = saved["step"], saved["step"], saved["fitted"]
        budget = Budget(options.minutes, saved["spent"])
        print(f"going on at step {step}, {budget.spent:.1f} of {budget.minutes:.1f} min", flush=True)

    def save() -> None:
        state = {name: part.state_dict() for name, part in parts.items()}
        torch.save(state | {"step": step, "spent": budget.spent, "fitted": fitted}, path.with_suffix(".new"))
        path.with_suffix(".new").replace(path)

    rng, recent = np.random.default_rng([options.seed, step]), []
    while budget.fraction < 1:
        optimizer.param_groups[0]["lr"] = budget.rate * options.rate
        if not fitted and budget.fraction >= options.quantize_from:
            fit_codebooks(codec, spread_latents(codec, pieces, rng, options.batch))
            fitted = True
        settled = fitted and budget.fraction >= options.settle_from
        want = pieces.batch(rng, options.batch).to(device)
        with reduced(device), torch.set_grad_enabled(not settled):
            latent = codec.encoder(want.unsqueeze(1)).float()
        left = latent.new_zeros(())
        if fitted:
            latent, left = quantized(codec, latent, learn=not settled)
        with reduced(device):
            wav = codec.decoder(latent).squeeze(1).float()
        distance, off = spectra(wav, want), F.l1_loss(wav, want) / want.abs().mean()
        optimizer.zero_grad()
        (distance + WAVEFORM * off + COMMITMENT * left).backward()
        nn.utils.clip_grad_norm_(codec.parameters(), options.clip)
        optimizer.step()
        average.update(codec.decoder)
        step += 1
        recent.append([float(distance.detach()), float(off.detach()), float(left.detach())])
        if step % options.report == 0:
            mean = np.mean(recent[-options.report :], 0)
            used = min(int((book.cluster_size > DEAD / len(book.embed)).sum()) for book in codebooks(codec))
            print(
                f"step {step} spectra {mean[0]:.3f} waveform {mean[1]:.3f} left {mean[2]:.3f} codes in use {used}"
                f" {budget.spent:.1f} min",
                flush=True,
            )
        if step % 200 == 0:
            save()
    save()
    print(f"{step} steps, {budget.spent:.1f} min", flush=True)


@torch.no_grad()
def spread_latents(codec: EncodecModel, pieces: Pieces, rng: np.random.Generator, batch: int) -> Tensor:
    """Latents [N, D] of enough of the corpus to fit codebooks to."""
    found: list[Tensor] = []
    while sum(map(len, found)) < 80 * CONFIG["codebook_size"]:
        wav = pieces.batch(rng, batch).to(codec.device)
        found.append(codec.encoder(wav.unsqueeze(1)).transpose(1, 2).flatten(0, 1).float())
    return torch.cat(found).cpu()


def export(options: argparse.Namespace) -> None:
    """The codec with the average of its decoder over the last steps, in half precision."""
    saved = torch.load(options.run / CHECKPOINT, map_location="cpu", weights_only=True)
    codec = EncodecModel(EncodecConfig(**CONFIG))
    codec.load_state_dict(saved["codec"])
    codec.decoder.load_state_dict(saved["average"])
    codec.half().save_pretrained(options.run / FOLDER)
    print(f"{sum(p.numel() for p in codec.parameters()) / 1e6:.1f} M parameters in {options.run / FOLDER}")


def codes(options: argparse.Namespace) -> None:
    """`PART-codes.npz`: `codes` [pieces, codebooks, frames] int16 and the corpus' own descriptions."""
    ears = MusicEars(load_encodec(options.run / FOLDER))
    for part in options.parts:
        records, found = [], []
        for record, pcm in read(options.data, part):
            records.append(record)
            found.append(ears.encode(pcm.astype(np.float32) / 32767).astype(np.int16))
        np.savez(options.data / f"{part}-codes.npz", codes=np.stack(found), meta=json.dumps(records))
        print(f"{part}: {len(found)} pieces", flush=True)


@torch.inference_mode()
def measure(options: argparse.Namespace) -> None:
    codec, spectra = load_encodec(options.run / FOLDER), SpectralLoss()
    ears, decoder = MusicEars(codec), MusicDecoder(codec)
    folder = options.run / "measure"
    folder.mkdir(exist_ok=True)
    found = list(read(options.data, "development"))
    chosen = found[:: max(1, len(found) // options.count)][: options.count]
    originals = [pcm.astype(np.float32) / 32767 for _, pcm in chosen]
    lines = [ears.listen(pcm) for pcm in originals]
    began = time.process_time()
    decoded = [decoder.decode(line) for line in lines]
    cost = (time.process_time() - began) / sum(map(len, decoded)) * RATE
    pairs, distances = [], []
    for number, ((record, _), before, after) in enumerate(zip(chosen, originals, decoded, strict=True)):
        name = " ".join(record[kind] for kind in ("tempo", "mood", "instrument"))
        mels = [spectra.mel(magnitude(torch.from_numpy(s.copy())[None], 1024), 1024, 80)[0] for s in (before, after)]
        distances.append(float(F.l1_loss(*mels)))
        if number < options.shown:
            pairs.append((name, mels))
            write_wav(folder / f"{number:02d} {name} original.wav", before, RATE)
            write_wav(folder / f"{number:02d} {name} decoded.wav", after, RATE)
    draw_pairs(folder / "spectrograms.png", pairs)
    counts = np.bincount(np.concatenate(lines), minlength=4 * ears.codebook_size).reshape(4, -1)
    shares = counts / counts.sum(1, keepdims=True)
    entropy = -(shares * np.log2(np.maximum(shares, 1e-12))).sum(1)
    print(
        f"mel distance {np.mean(distances):.3f} nepers; a second of music decoded in {cost * 1000:.0f} ms of one core"
    )
    print("codes in use " + " ".join(map(str, (counts > 0).sum(1))) + "; bits " + " ".join(f"{e:.1f}" for e in entropy))
    if options.ears.exists():
        listener, tags = load_ears(options.ears), [tags_of(record) for record, _ in chosen]
        for name, music in (("original", originals), ("decoded", decoded)):
            heard = share_right(listener, music, tags)
            print(f"heard right, {name}: " + ", ".join(f"{kind} {share:.3f}" for kind, share in heard.items()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("step", choices=["train", "export", "codes", "measure"])
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--segment", type=int, default=50, help="frames of 20 ms")
    parser.add_argument("--rate", type=float, default=1.5e-3)
    parser.add_argument("--clip", type=float, default=1.0)
    parser.add_argument("--quantize-from", type=float, default=0.1, help="after this share of the time")
    parser.add_argument("--settle-from", type=float, default=0.7, help="after this share the codes stay")
    parser.add_argument("--report", type=int, default=50, help="steps")
    parser.add_argument("--parts", nargs="+", default=["train", "development"], help="to tokenize")
    parser.add_argument("--count", type=int, default=144, help="pieces to measure")
    parser.add_argument("--shown", type=int, default=12, help="pieces to keep and draw")
    parser.add_argument("--ears", type=Path, default=Path("runs/music_ears/ears.pt"))
    parser.add_argument("--data", type=Path, default=Path("data/music"))
    options = parsed(parser, Path("runs/encodec"))
    steps: dict[str, Callable[[argparse.Namespace], None]] = {
        "train": train,
        "export": export,
        "codes": codes,
        "measure": measure,
    }
    steps[options.step](options)


if __name__ == "__main__":
    main()
