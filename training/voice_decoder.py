"""Nano's SpeechTokenizer decoder: from code to sound. Encoder and codebooks are frozen.

`train` learns from utterances and their codes (`training.codes`) to make what has the same spectra, at several
resolutions, and what the ears hear as the same. In half of them most acoustic codes are SoundStorm's, as they will be:
what was said is to be taken from the semantic ones. It spends `--minutes`, in one go or several.
`listen` speaks unseen development utterances from their codes: WAV files, a picture of spectrograms, two figures.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from assistant.models.log_mel import LogMelEncoder, mel_filters
from assistant.models.soundstorm import SoundStorm
from assistant.models.speech_tokenizer import SpeechTokenizer
from assistant.tokenizers.speech import at_speech_level
from training import soundstorm
from training.budget import Average, Budget
from training.codes import load_tokenizer, read_codes
from training.kokoro import FRAME, RATE
from training.recipe import parsed
from training.speech_data import read_shard
from training.speech_tokenizer import SCALE, ContentTraining, classes
from training.wav import write_wav

CHECKPOINT = "checkpoint.pt"
WINDOWS = (256, 512, 1024, 2048)
"""FFT sizes of the reconstruction loss, in samples; a quarter of each is its hop."""
MEL_BANDS = {256: (20,), 512: (20, 40), 1024: (20, 80), 2048: (20, 80)}
SHARES = {"spectra": 1.0, "content": 0.5}
"""How strongly each loss pulls at the waveform."""


class Voices:
    """Speech and its codes in memory; each part of the corpus is drawn from equally often."""

    def __init__(self, data: Path, codes: Path, parts: list[str], segment: int) -> None:
        self.segment = segment
        self.parts: list[list[tuple[np.ndarray, np.ndarray]]] = []
        for part in parts:
            known = {(record["shard"], record["index"]): codes for record, codes in read_codes(codes, part)}
            items = [
                ((at_speech_level(speech) * 2**14).clip(-(2**15), 2**15 - 1).astype(np.int16), row)
                for path in sorted(data.glob(f"{part}-*.npz"))
                for record, speech in read_shard(path)
                if (row := known.get((record["shard"], record["index"]))) is not None and row.shape[1] >= segment
            ]
            if items:
                self.parts.append(items)

    @property
    def minutes(self) -> float:
        return sum(row.shape[1] for items in self.parts for _, row in items) * FRAME / RATE / 60

    def batch(self, rng: np.random.Generator, size: int) -> tuple[Tensor, Tensor]:
        """Segments of `size` utterances: codes [n_q, B, segment] and wav [B, 1, segment * FRAME]."""
        codes, wav = [], []
        for _ in range(size):
            items = self.parts[rng.integers(len(self.parts))]
            speech, row = items[rng.integers(len(items))]
            start = int(rng.integers(row.shape[1] - self.segment + 1))
            codes.append(row[:, start : start + self.segment])
            wav.append(speech[start * FRAME : (start + self.segment) * FRAME])
        sound = torch.from_numpy(np.stack(wav).astype(np.float32) / 2**14)
        return torch.from_numpy(np.stack(codes, 1).astype(np.int64)), sound.unsqueeze(1)


def spectrum(wav: Tensor, n_fft: int) -> Tensor:
    """wav [B, S] -> complex [B, n_fft // 2 + 1, frames]."""
    window = torch.hann_window(n_fft, device=wav.device)
    return torch.stft(wav, n_fft, n_fft // 4, window=window, return_complex=True)


def magnitude(wav: Tensor, n_fft: int) -> Tensor:
    found = spectrum(wav, n_fft)
    return (found.real.square() + found.imag.square() + 1e-7).sqrt()


class SpectralLoss(nn.Module):
    """Distance of wav [B, S] to the wanted one: spectral convergence, log magnitude, log mel at each window."""

    def __init__(self) -> None:
        super().__init__()
        for n_fft, sizes in MEL_BANDS.items():
            for bands in sizes:
                filters = mel_filters(bands, n_fft, RATE)
                filters = filters / filters.sum(1, keepdim=True).clamp(min=1e-3)
                self.register_buffer(f"mel_{n_fft}_{bands}", filters, persistent=False)

    def mel(self, magnitudes: Tensor, n_fft: int, bands: int) -> Tensor:
        return (self.get_buffer(f"mel_{n_fft}_{bands}") @ magnitudes).clamp(min=1e-3).log()

    def forward(self, wav: Tensor, want: Tensor) -> Tensor:
        loss = wav.new_zeros(())
        for n_fft in WINDOWS:
            found, target = magnitude(wav, n_fft), magnitude(want, n_fft)
            loss = loss + (target - found).norm() / target.norm()
            loss = loss + (found.clamp(min=1e-3).log() - target.clamp(min=1e-3).log()).abs().mean()
            mel = [F.l1_loss(self.mel(found, n_fft, b), self.mel(target, n_fft, b)) for b in MEL_BANDS[n_fft]]
            loss = loss + 2 * torch.stack(mel).mean()
        return loss / len(WINDOWS)


class ContentLoss(nn.Module):
    """Distance of wav [B, S] to the wanted one in what the frozen ears hear: 0, the same, to 2, the opposite."""

    def __init__(self, ears: LogMelEncoder) -> None:
        super().__init__()
        self.ears = ears

    def content(self, wav: Tensor) -> Tensor:
        return F.normalize(self.ears.content(self.ears.mel(wav.unsqueeze(1))).float(), dim=1)

    def forward(self, wav: Tensor, want: Tensor) -> Tensor:
        with torch.no_grad():
            target = self.content(want)
        return 1 - (self.content(wav) * target).sum(1).mean()


@torch.no_grad()
def with_guesses(codes: Tensor, storm: SoundStorm, given: int) -> Tensor:
    """Codes [n_q, B, T] of which the second half of the batch keeps `given` frames of acoustic codes: the rest is
    what SoundStorm makes of the semantic codes after them."""
    kept, grid = codes.shape[1] // 2, codes[:, codes.shape[1] // 2 :].permute(1, 2, 0)
    made = storm.generate(grid[:, given:, 0], grid[:, :given], steps=1)
    return torch.cat([codes[:, :kept], torch.cat([grid[:, :given], made], 1).permute(2, 0, 1)], 1)


class Balance:
    """Gives every loss its share of the pull at the waveform, whatever its scale (arXiv 2210.13438, 3.4)."""

    def __init__(self) -> None:
        self.norms: dict[str, float] = {}

    def pull(self, wav: Tensor, losses: dict[str, Tensor]) -> Tensor:
        """The gradient at wav that has the shares asked for."""
        total = torch.zeros_like(wav)
        for name, loss in losses.items():
            (gradient,) = torch.autograd.grad(loss, wav, retain_graph=True)
            norm = float(gradient.norm())
            self.norms[name] = 0.98 * self.norms.get(name, norm) + 0.02 * norm
            total += gradient * (SHARES[name] / (self.norms[name] + 1e-8))
        return total


def train(options: argparse.Namespace) -> None:
    device = torch.device(options.device)
    tokenizer = load_tokenizer(options.tokenizer).tokenizer
    quantizer, decoder = tokenizer.quantizer.to(device), tokenizer.decoder.to(device).requires_grad_(True)
    storm = soundstorm.load_soundstorm(options.soundstorm).to(device)
    voices = Voices(options.data, options.codes, options.parts, options.segment)
    print(f"{voices.minutes:.0f} minutes to learn from", flush=True)
    spectra, content, balance = SpectralLoss().to(device), ContentLoss(tokenizer.encoder).to(device), Balance()
    optimizer = torch.optim.AdamW(decoder.parameters(), options.rate, betas=(0.8, 0.99), weight_decay=0.01)
    average, budget, step = Average(decoder, 0.997), Budget(options.minutes), 0
    path = options.run / CHECKPOINT
    parts = {"decoder": decoder, "average": average.model, "optimizer": optimizer}
    if path.exists():
        saved = torch.load(path, map_location=device, weights_only=True)
        for name, part in parts.items():
            part.load_state_dict(saved[name])
        step, average.updates, balance.norms = saved["step"], saved["step"], saved["norms"]
        budget = Budget(options.minutes, saved["spent"])
        print(f"going on at step {step}, {budget.spent:.1f} of {budget.minutes:.1f} min", flush=True)

    def save() -> None:
        state = {name: part.state_dict() for name, part in parts.items()}
        torch.save(state | {"step": step, "spent": budget.spent, "norms": balance.norms}, path.with_suffix(".new"))
        path.with_suffix(".new").replace(path)

    rng, recent = np.random.default_rng([options.seed, step]), []
    while budget.fraction < 1:
        optimizer.param_groups[0]["lr"] = budget.rate * options.rate
        codes, want = (x.to(device) for x in voices.batch(rng, options.batch))
        want, codes = want.squeeze(1), with_guesses(codes, storm, int(rng.integers(8, 20)))
        with torch.autocast(device.type, torch.bfloat16):
            wav = decoder(quantizer.decode(codes)).squeeze(1).float()
        heard = wav.detach().requires_grad_(True)
        with torch.autocast(device.type, torch.bfloat16):
            losses = {"content": content(heard, want)}
        losses["spectra"] = spectra(heard, want)
        optimizer.zero_grad()
        wav.backward(balance.pull(heard, losses))
        nn.utils.clip_grad_norm_(decoder.parameters(), options.clip)
        optimizer.step()
        average.update(decoder)
        step += 1
        recent.append([float(losses[name].detach()) for name in SHARES])
        if step % 50 == 0:
            mean = np.mean(recent[-50:], 0)
            print(
                f"step {step} spectra {mean[0]:.3f} content {mean[1]:.3f} {budget.spent:.1f} min",
                flush=True,
            )
        if step % 200 == 0:
            save()
    save()
    print(f"{step} steps, {budget.spent:.1f} min", flush=True)


def load_decoder(tokenizer: SpeechTokenizer, checkpoint: Path) -> None:
    """Put the trained decoder, its average over the last steps, into the tokenizer."""
    tokenizer.decoder.load_state_dict(torch.load(checkpoint, map_location="cpu", weights_only=True)["average"])
    tokenizer.eval().requires_grad_(False)


def phoneme_accuracy(model: ContentTraining, speech: np.ndarray, labels: str) -> float:
    """Fraction of frames in which the tokenizer's own classifier hears the phoneme that was spoken."""
    wav = torch.from_numpy(at_speech_level(speech)).view(1, 1, -1)
    codes = model.tokenizer.encode(wav, n_q=1)
    content = model.tokenizer.quantizer.decode(codes)[:, : model.content_size].transpose(1, 2)
    heard = model.classify(SCALE * content).argmax(-1)[0].numpy()
    return float((heard == classes(labels)).mean())


@torch.inference_mode()
def listen(options: argparse.Namespace) -> None:
    model, spectra = load_tokenizer(options.tokenizer), SpectralLoss()
    load_decoder(model.tokenizer, options.run / CHECKPOINT)
    folder = options.run / "listen"
    folder.mkdir(exist_ok=True)
    shards = sorted(options.data.glob("development-*.npz"))
    utterances = [u for path in shards for u in read_shard(path)]
    chosen = utterances[:: max(1, len(utterances) // options.count)][: options.count]
    pairs, figures = [], []
    for number, (record, speech) in enumerate(chosen):
        speech = at_speech_level(speech)
        wav = torch.from_numpy(speech).view(1, 1, -1)
        spoken = model.tokenizer.decode(model.tokenizer.encode(wav))[0, 0].numpy()
        mels = [spectra.mel(magnitude(torch.from_numpy(s)[None], 1024), 1024, 80)[0] for s in (speech, spoken)]
        accuracy = [phoneme_accuracy(model, s, record["labels"]) for s in (speech, spoken)]
        figures.append([float(F.l1_loss(*mels)), *accuracy])
        pairs.append((record["text"], mels))
        for name, sound in (("original", speech), ("decoded", spoken)):
            write_wav(folder / f"{number:02d}-{name}.wav", sound, RATE)
    distance, before, after = np.mean(figures, 0)
    print(f"mel distance {distance:.3f} nepers, phonemes right {before:.3f} in the original, {after:.3f} decoded")
    draw_pairs(folder / "spectrograms.png", pairs)


def draw_pairs(path: Path, pairs: list[tuple[str, list[Tensor]]]) -> None:
    """A picture: one row an utterance, the original's mel spectrogram on the left, the decoded one's on the right."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(len(pairs), 2, figsize=(16, 2.5 * len(pairs)), squeeze=False)
    for row, (text, mels) in zip(axes, pairs, strict=True):
        for axis, mel in zip(row, mels, strict=True):
            axis.imshow(mel.numpy(), origin="lower", aspect="auto", vmin=-7, vmax=1)
            axis.set_axis_off()
        row[0].set_title(text, fontsize=8)
    figure.tight_layout()
    figure.savefig(path)
    pyplot.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("step", choices=["train", "listen"])
    parser.add_argument("--minutes", type=float, default=40)
    parser.add_argument("--parts", nargs="+", default=["reply", "voices", "train", "words"])
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--segment", type=int, default=44, help="frames of 20 ms")
    parser.add_argument("--rate", type=float, default=1.5e-3)
    parser.add_argument("--clip", type=float, default=1.0)
    parser.add_argument("--count", type=int, default=8, help="utterances to listen to")
    parser.add_argument("--data", type=Path, default=Path("data/speech"))
    parser.add_argument("--codes", type=Path, default=Path("data/codes"))
    parser.add_argument("--tokenizer", type=Path, default=Path("runs/speech_tokenizer/codebooks.pt"))
    parser.add_argument("--soundstorm", type=Path, default=Path("runs/soundstorm") / soundstorm.CHECKPOINT)
    options = parsed(parser, Path("runs/voice_decoder"))
    steps: dict[str, Callable[[argparse.Namespace], None]] = {"train": train, "listen": listen}
    steps[options.step](options)


if __name__ == "__main__":
    main()
