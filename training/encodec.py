"""Nano's Encodec (arXiv 2210.13438): music as four codebooks of 256 codes, 50 frames a second, at 16 kHz.

`train` spends `--minutes`, in one go or several, in three stretches: without codebooks until the latents have spread;
then through codebooks that start as residual k-means and follow the latents (arXiv 1711.00937), unused codes moved to
where they are needed; at last the codes stay as they are, the corpus is tokenized, so that a language model can begin,
and the decoder alone learns. The loss is that of the voice
decoder, spectra at several resolutions, and the waveform itself, which keeps low notes in phase. All is in float32: the
rounding of bfloat16 would be heard between the partials of quiet notes.
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
from transformers.models.encodec.modeling_encodec import EncodecConv1d

from assistant.decoders.music import MusicDecoder
from assistant.tokenizers.music import MusicEars, load_encodec
from training.budget import Average, Budget
from training.music.corpus import RATE, read, tags_of
from training.music.ears import load_ears, share_right
from training.recipe import parsed
from training.speech_tokenizer import k_means
from training.voice_decoder import SpectralLoss, draw_pairs, magnitude
from training.wav import write_wav

CONFIG = {
    "sampling_rate": RATE,
    "upsampling_ratios": [8, 8, 5],  # three in place of four: twice the channels at full rate for the same size
    "num_filters": 32,
    "num_residual_layers": 2,
    "dilation_growth_rate": 3,
    "hidden_size": 96,
    "num_lstm_layers": 1,
    "pad_mode": "constant",  # quicker than mirrored edges
    "codebook_size": 256,
    "target_bandwidths": [1.6],  # kbit/s: 4 codebooks of 8 bits, 50 times a second
    "use_causal_conv": False,  # this and the next as in facebook/encodec_32khz
    "use_conv_shortcut": False,
}
FRAME = 320
CHECKPOINT = "checkpoint.pt"
COMMITMENT, WAVEFORM = 0.25, 0.2
KEEP = 0.98
"""Of a codebook's statistics from one step to the next."""
DEAD = 0.1
"""A code that is chosen less than this share of the average is moved."""
SAVE_MINUTES = 1.0


class Pieces:
    """The corpus in the device's memory, and segments of it."""

    def __init__(self, folder: Path, part: str, segment: int, seed: int, device: torch.device) -> None:
        self.music = torch.from_numpy(np.stack([pcm for _, pcm in read(folder, part)])).to(device)  # [N, S] int16
        self.within = torch.arange(segment * FRAME, device=device)
        self.generator = torch.Generator(device).manual_seed(seed)

    def batch(self, size: int) -> Tensor:
        """Segments at all levels, [size, segment * FRAME] float32."""
        piece, start, level = torch.rand(3, size, 1, generator=self.generator, device=self.music.device)
        rows = (piece * len(self.music)).long()
        starts = (start * (self.music.shape[1] - len(self.within) + 1)).long()
        return (self.music[rows, starts + self.within] * ((0.4 + level) / 32767)).clamp(-1, 1)


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
    """Move a codebook with frames [N, D] and what they chose; `cluster_size` is a running share of choices.

    Nothing here depends on how many codes are dead, so that a GPU is not waited for.
    """
    size = len(book.embed)
    chosen = F.one_hot(nearest, size).to(frames.dtype) / len(frames)
    book.cluster_size.lerp_(chosen.sum(0), 1 - KEEP)
    book.embed_avg.lerp_(chosen.T @ frames, 1 - KEEP)
    followed = book.embed_avg / book.cluster_size.clamp(min=1e-6)[:, None]
    distance = (frames - followed[nearest]).square().sum(1)
    needed = frames[torch.multinomial(distance + 1e-9, size, replacement=True)]
    dead = book.cluster_size < DEAD / size
    book.embed.copy_(torch.where(dead[:, None], needed, followed))
    book.embed_avg.copy_(torch.where(dead[:, None], needed / size, book.embed_avg))
    book.cluster_size.masked_fill_(dead, 1 / size)


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


def trainable(device: torch.device) -> EncodecModel:
    """A new codec on a device."""
    codec = EncodecModel(EncodecConfig(**CONFIG)).to(device).train()
    for module in codec.modules():
        if isinstance(module, EncodecConv1d):  # computes its padding from these: on a GPU, it would be waited for
            module.stride, module.kernel_size, module.padding_total = (
                size.cpu() for size in (module.stride, module.kernel_size, module.padding_total)
            )
    return codec


def train(options: argparse.Namespace) -> None:
    device = torch.device(options.device)
    torch.backends.cudnn.benchmark = True  # all batches have one shape
    codec = trainable(device)
    spectra, average = SpectralLoss().to(device), Average(codec.decoder, 0.997)
    optimizer = torch.optim.AdamW(
        codec.parameters(), options.rate, betas=(0.8, 0.99), weight_decay=0.01, fused=device.type == "cuda"
    )
    step, spent, fitted, path = 0, 0.0, False, options.run / CHECKPOINT
    parts = {"codec": codec, "average": average.model, "optimizer": optimizer}
    if path.exists():
        saved = torch.load(path, map_location="cpu", weights_only=True)
        for name, part in parts.items():
            part.load_state_dict(saved[name])
        step, average.updates, spent, fitted = saved["step"], saved["step"], saved["spent"], saved["fitted"]
        print(f"going on at step {step}, {spent:.1f} of {options.minutes:.1f} min", flush=True)
    pieces = Pieces(options.data, "train", options.segment, options.seed + step, device)
    print(f"{pieces.music.numel() / RATE / 60:.0f} minutes to learn from", flush=True)
    budget, kept, settled, recent = Budget(options.minutes, spent), spent, False, []

    def save() -> None:
        state = {name: part.state_dict() for name, part in parts.items()}
        torch.save(state | {"step": step, "spent": budget.spent, "fitted": fitted}, path.with_suffix(".new"))
        path.with_suffix(".new").replace(path)

    while budget.fraction < 1:
        optimizer.param_groups[0]["lr"] = budget.rate * options.rate
        if not fitted and budget.fraction >= options.quantize_from:
            fit_codebooks(codec, spread_latents(codec, pieces, options.batch))
            fitted = True
        if not settled and fitted and budget.fraction >= options.settle_from:
            settled = True
            save()
            write_codes(codec, options)
        want = pieces.batch(options.batch)
        with torch.set_grad_enabled(not settled):
            latent = codec.encoder(want.unsqueeze(1))
        left = latent.new_zeros(())
        if fitted:
            latent, left = quantized(codec, latent, learn=not settled)
        wav = codec.decoder(latent).squeeze(1)
        distance, off = spectra(wav, want), F.l1_loss(wav, want) / want.abs().mean()
        optimizer.zero_grad()
        (distance + WAVEFORM * off + COMMITMENT * left).backward()
        nn.utils.clip_grad_norm_(codec.parameters(), options.clip)
        optimizer.step()
        average.update(codec.decoder)
        step += 1
        recent.append(torch.stack((distance, off, left)).detach())
        if step % options.report == 0:
            mean = torch.stack(recent).mean(0).tolist()
            used = min(int((book.cluster_size > DEAD / len(book.embed)).sum()) for book in codebooks(codec))
            print(
                f"step {step} spectra {mean[0]:.3f} waveform {mean[1]:.3f} left {mean[2]:.3f} codes in use {used}"
                f" {budget.spent:.2f} min",
                flush=True,
            )
            recent.clear()
        if budget.spent - kept > SAVE_MINUTES:
            save()
            kept = budget.spent
    save()
    print(f"{step} steps, {budget.spent:.1f} min", flush=True)


@torch.no_grad()
def spread_latents(codec: EncodecModel, pieces: Pieces, batch: int) -> Tensor:
    """Latents [N, D] of enough of the corpus to fit codebooks to."""
    found: list[Tensor] = []
    while sum(map(len, found)) < 80 * CONFIG["codebook_size"]:
        found.append(codec.encoder(pieces.batch(batch).unsqueeze(1)).transpose(1, 2).flatten(0, 1))
    return torch.cat(found).cpu()


def export(options: argparse.Namespace) -> None:
    """The codec with the average of its decoder over the last steps, in half precision."""
    saved = torch.load(options.run / CHECKPOINT, map_location="cpu", weights_only=True)
    codec = EncodecModel(EncodecConfig(**CONFIG))
    codec.load_state_dict(saved["codec"])
    codec.decoder.load_state_dict(saved["average"])
    codec.half().save_pretrained(options.codec)
    print(f"{sum(p.numel() for p in codec.parameters()) / 1e6:.1f} M parameters in {options.codec}")


def codes(options: argparse.Namespace) -> None:
    write_codes(load_encodec(options.codec).to(options.device), options)


@torch.inference_mode()
def write_codes(codec: EncodecModel, options: argparse.Namespace) -> None:
    """`PART-codes.npz`: `codes` [pieces, codebooks, frames] int16 and the corpus' own descriptions."""
    for part in options.parts:
        if not (corpus := list(read(options.data, part))):
            continue
        records, pieces = zip(*corpus, strict=True)
        found = []
        for batch in torch.from_numpy(np.stack(pieces)).split(options.batch):
            wav = batch.to(codec.device).unsqueeze(1) / 32767
            found.append(codec.quantizer.encode(codec.encoder(wav)).transpose(0, 1).cpu().numpy().astype(np.int16))
        temporary = options.data / f".{part}-codes.npz"
        np.savez(temporary, codes=np.concatenate(found), meta=json.dumps(records))
        temporary.replace(options.data / f"{part}-codes.npz")
        print(f"{part}: {len(pieces)} pieces in codes", flush=True)


@torch.inference_mode()
def measure(options: argparse.Namespace) -> None:
    codec, spectra = load_encodec(options.codec), SpectralLoss()
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
    parser.add_argument("--minutes", type=float, default=3)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--segment", type=int, default=50, help="frames of 20 ms")
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--clip", type=float, default=1.0)
    parser.add_argument("--quantize-from", type=float, default=0.35, help="after this share of the time")
    parser.add_argument("--settle-from", type=float, default=0.7, help="after this share the codes stay")
    parser.add_argument("--report", type=int, default=50, help="steps")
    parser.add_argument("--parts", nargs="+", default=["train", "development"], help="to tokenize")
    parser.add_argument("--count", type=int, default=144, help="pieces to measure")
    parser.add_argument("--shown", type=int, default=12, help="pieces to keep and draw")
    parser.add_argument("--ears", type=Path, default=Path("runs/music_ears/ears.pt"))
    parser.add_argument("--data", type=Path, default=Path("data/music"))
    parser.add_argument("--codec", type=Path, default=Path("models/nano/encodec"), help="what export writes")
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
