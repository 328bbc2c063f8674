"""Nano's SpeechTokenizer decoder: from code to sound. Encoder and codebooks are frozen.

`train` learns from utterances and their codes (`training.codes`) to make what has the same spectra, at several
resolutions, and from what the ears hear in it: the semantic codes that it was made of. Most acoustic codes are
SoundStorm's, as they will be (`training.mouth`): what was said is to be taken from the semantic ones. Of replies that
nobody recorded, the ears alone judge. It spends `--minutes`, in one go or several.
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
from assistant.models.speech_tokenizer import SpeechTokenizer
from assistant.tokenizers.speech import at_speech_level
from training.budget import Average, Budget
from training.codes import load_tokenizer, read_codes
from training.kokoro import FRAME, RATE
from training.mouth import OWN
from training.recipe import parsed, reduced
from training.speech_data import read_shard
from training.speech_tokenizer import SCALE, ContentTraining, classes
from training.wav import write_wav

CHECKPOINT = "checkpoint.pt"
WINDOWS = (256, 512, 1024, 2048)
"""FFT sizes of the reconstruction loss, in samples; a quarter of each is its hop."""
MEL_BANDS = {256: (20,), 512: (20, 40), 1024: (20, 80), 2048: (20, 80)}
SHARES = {"spectra": 1.0, "tokens": 1.0}
"""How strongly each loss pulls at the waveform."""
EDGE = 4
"""Frames at both ends of a segment that the ears need to hear the others."""
NOISE_DB = (15.0, 45.0)
"""How far below the speech the noise lies through which the ears have to understand it."""


Recorded = tuple[np.ndarray, np.ndarray | None]
"""Codes [n_q, frames] and the recording [samples] int16 at half of full scale, if there is one."""


class Voices:
    """Codes in memory, with the recordings where there are any; each part of the corpus is drawn from equally often."""

    def __init__(self, data: Path, codes: Path, parts: list[str], segment: int) -> None:
        self.segment = segment
        self.parts: list[list[Recorded]] = []
        for part in parts:
            speech = {
                (record["shard"], record["index"]): at_speech_level(wav)
                for path in sorted(data.glob(f"{part.removesuffix('-mouth')}-*.npz"))
                for record, wav in read_shard(path)
            }
            items: list[Recorded] = []
            for record, row in read_codes(codes, part):
                wav = speech.get((record.get("shard"), record.get("index")))
                if row.shape[1] >= segment:
                    kept = None if wav is None else (wav * 2**14).clip(-(2**15), 2**15 - 1).astype(np.int16)
                    items.append((row, kept))
            self.parts.append(items)

    @property
    def minutes(self) -> float:
        return sum(row.shape[1] for items in self.parts for row, _ in items) * FRAME / RATE / 60

    def batch(self, rng: np.random.Generator, size: int) -> tuple[Tensor, Tensor]:
        """Segments of `size` utterances, those with a recording first: codes [n_q, B, segment] and the recordings
        [those, segment * FRAME]."""
        codes, wavs, unheard = [], [], []
        for _ in range(size):
            items = self.parts[rng.integers(len(self.parts))]
            row, wav = items[rng.integers(len(items))]
            start = int(rng.integers(row.shape[1] - self.segment + 1))
            piece = row[:, start : start + self.segment]
            if wav is None:
                unheard.append(piece)
            else:
                codes.append(piece)
                wavs.append(wav[start * FRAME : (start + self.segment) * FRAME])
        sound = np.stack(wavs) if wavs else np.zeros((0, self.segment * FRAME))
        return torch.from_numpy(np.stack(codes + unheard, 1).astype(np.int64)), torch.from_numpy(
            sound.astype(np.float32) / 2**14
        )


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


class TokenLoss(nn.Module):
    """How unlikely the frozen ears find it that wav [B, S], through some noise, was made of codes [B, T] of layer 0."""

    def __init__(self, ears: LogMelEncoder, rows: Tensor) -> None:
        """rows: [codebook_size, dimension] of codebook 0."""
        super().__init__()
        self.ears = ears
        self.register_buffer("rows", rows, persistent=False)

    def forward(self, wav: Tensor, codes: Tensor) -> tuple[Tensor, Tensor]:
        """The cross-entropy, and the share of frames that are heard as what they are."""
        level = wav.detach().square().mean(1, keepdim=True).sqrt()
        below = torch.empty_like(level).uniform_(*NOISE_DB)
        heard = wav + torch.randn_like(wav) * level * 10 ** (-below / 20)
        content = F.normalize(self.ears.content(self.ears.mel(heard.unsqueeze(1))).float(), dim=1).transpose(1, 2)
        rows = self.rows[:, : content.shape[-1]]
        scores = SCALE * (2 * content @ rows.T - rows.square().sum(1))
        scores, wanted = scores[:, EDGE:-EDGE].flatten(0, 1), codes[:, EDGE:-EDGE].flatten()
        return F.cross_entropy(scores, wanted), (scores.argmax(-1) == wanted).float().mean()


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
    voices = Voices(options.data, options.codes, options.parts, options.segment)
    print(f"{voices.minutes:.0f} minutes to learn from", flush=True)
    spectra, balance = SpectralLoss().to(device), Balance()
    tokens = TokenLoss(tokenizer.encoder, quantizer.codebooks[0].embed).to(device)
    optimizer = torch.optim.AdamW(decoder.parameters(), options.rate, betas=(0.8, 0.99), weight_decay=0.01)
    average, budget, step = Average(decoder, 0.997), Budget(options.minutes), 0
    path = options.run / CHECKPOINT
    parts = {"decoder": decoder, "average": average.model, "optimizer": optimizer}
    if path.exists():
        saved = torch.load(path, map_location=device, weights_only=True)
        for name in parts.keys() & saved.keys():  # one that was restored from its weights has no optimizer
            parts[name].load_state_dict(saved[name])
        step, average.updates, balance.norms = saved["step"], saved["step"], saved.get("norms", {})
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
        with reduced(device):
            wav = decoder(quantizer.decode(codes)).squeeze(1).float()
        made = wav.detach().requires_grad_(True)
        with reduced(device):
            unlikely, right = tokens(made, codes[0])
        losses = {"tokens": unlikely}
        if len(want):
            losses["spectra"] = spectra(made[: len(want)], want)
        optimizer.zero_grad()
        wav.backward(balance.pull(made, losses))
        nn.utils.clip_grad_norm_(decoder.parameters(), options.clip)
        optimizer.step()
        average.update(decoder)
        step += 1
        recent.append([float(x.detach()) for x in (losses.get("spectra", unlikely * np.nan), unlikely, right)])
        if step % 50 == 0:
            mean = np.nanmean(recent[-50:], 0)
            print(
                f"step {step} spectra {mean[0]:.3f} tokens {mean[1]:.3f}, {mean[2]:.3f} right {budget.spent:.1f} min",
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
    parser.add_argument("--parts", nargs="+", default=["reply-mouth", "voices-mouth", OWN, "reply", "voices"])
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--segment", type=int, default=56, help="frames of 20 ms")
    parser.add_argument("--rate", type=float, default=1.5e-3)
    parser.add_argument("--clip", type=float, default=1.0)
    parser.add_argument("--count", type=int, default=8, help="utterances to listen to")
    parser.add_argument("--data", type=Path, default=Path("data/speech"))
    parser.add_argument("--codes", type=Path, default=Path("data/codes"))
    parser.add_argument("--tokenizer", type=Path, default=Path("runs/speech_tokenizer/codebooks.pt"))
    options = parsed(parser, Path("runs/voice_decoder"))
    steps: dict[str, Callable[[argparse.Namespace], None]] = {"train": train, "listen": listen}
    steps[options.step](options)


if __name__ == "__main__":
    main()
