"""Nano's SpeechTokenizer decoder: from code to sound. Encoder and codebooks are frozen.

`train` learns from utterances and their codes (`training.codes`) to make what has the same spectra, at several
resolutions, and from what the ears hear in it: the semantic codes that it was made of. Most acoustic codes are
SoundStorm's, as they will be (`training.mouth`): what was said is to be taken from the semantic ones. Of replies that
nobody recorded, the ears alone judge. It spends `--minutes`, in one go or several.
`listen` speaks unseen development utterances from their codes: WAV files, a picture of spectrograms, and how much of
them is understood, by other tokenizers (`--judges`) too, whose ears the decoder did not learn from.
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
from training.augment import recorded, speech_level
from training.budget import Average, Budget
from training.codes import load_tokenizer, read_codes
from training.kokoro import FRAME, RATE
from training.mouth import OWN, PIECED
from training.recipe import parsed
from training.speech_data import read_shard
from training.speech_tokenizer import RESULT, SCALE, ContentTraining, classes, quick
from training.wav import write_wav

CHECKPOINT = "checkpoint.pt"
WINDOWS = (256, 512, 1024, 2048)
"""FFT sizes of the reconstruction loss, in samples; a quarter of each is its hop."""
MEL_BANDS = {256: (20,), 512: (20, 40), 1024: (20, 80), 2048: (20, 80)}
SHARES = {"spectra": 1.0, "tokens": 1.0}
"""How strongly each loss pulls at the waveform."""
IN_ROOMS = 0.5
"""Share of the batches that the ears hear in rooms, with noise."""
EDGE = 4
"""Frames at both ends of a segment that the ears need to hear the others."""


class Voices:
    """Codes in the memory of a device, with the recordings where there are any.

    Parts whose codes are not there yet are left out; `grown` says whether to look again.
    """

    def __init__(self, data: Path, codes: Path, parts: list[str], segment: int, device: torch.device) -> None:
        self.segment, self.device = segment, device
        self._paths = [codes / f"{part}.npz" for part in parts]
        self._seen = self._times()
        rows, sounds = [], []
        self.heard: list[Tensor] = []
        """Where segments may begin, in frames: of each part with recordings, and of each without."""
        self.unheard: list[Tensor] = []
        end = 0
        for path in self._seen:
            speech = {
                (record["shard"], record["index"]): wav
                for shard in sorted(data.glob(f"{path.stem.removesuffix('-mouth')}-*.npz"))
                for record, wav in read_shard(shard)
            }
            starts = []
            for record, row in read_codes(codes, path.stem):
                sound = np.zeros(row.shape[1] * FRAME, np.int16)
                if speech:
                    wav = speech.get((record["shard"], record["index"]))
                    if wav is None:
                        continue
                    sound[: len(wav)] = (at_speech_level(wav) * 2**14).clip(-(2**15), 2**15 - 1)[: len(sound)]
                rows.append(row)
                sounds.append(sound)
                starts.append(np.arange(end, end + row.shape[1] - segment + 1))
                end += row.shape[1]
            part = torch.from_numpy(np.concatenate(starts)).to(device)
            (self.heard if speech else self.unheard).append(part)
        self.codes = torch.from_numpy(np.concatenate(rows, 1).astype(np.int64)).to(device)  # [n_q, frames]
        self.sound = torch.from_numpy(np.concatenate(sounds)).to(device)  # [samples] at half of full scale

    def _times(self) -> dict[Path, int]:
        return {path: path.stat().st_mtime_ns for path in self._paths if path.exists()}

    @property
    def grown(self) -> bool:
        return self._times() != self._seen

    @property
    def minutes(self) -> float:
        return self.codes.shape[1] * FRAME / RATE / 60

    def batch(self, generator: torch.Generator, size: int) -> tuple[Tensor, Tensor]:
        """Segments, as many of each part, those with a recording first: codes [n_q, B, segment] and the recordings
        [those, segment * FRAME]."""
        each = max(1, size // (len(self.heard) + len(self.unheard)))
        start = torch.cat(
            [
                part[torch.randint(len(part), (each,), generator=generator, device=self.device)]
                for part in self.heard + self.unheard
            ]
        )[:, None]
        place = torch.arange(self.segment * FRAME, device=self.device)
        sound = self.sound[start[: each * len(self.heard)] * FRAME + place]
        return self.codes[:, start + place[: self.segment]], sound.float() / 2**14


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
    """How unlikely the frozen ears find it that wav [B, S] was made of codes [B, T] of layer 0: as it is, or in a room.

    What only they would understand does not come through the rooms.
    """

    def __init__(self, ears: LogMelEncoder, rows: Tensor, generator: torch.Generator) -> None:
        """rows: [codebook_size, dimension] of codebook 0; generator: draws the rooms."""
        super().__init__()
        self.generator = generator
        self.ears = ears.train()  # cuDNN has no gradient of an LSTM that does not learn
        self.register_buffer("rows", rows, persistent=False)

    def forward(self, wav: Tensor, codes: Tensor) -> tuple[Tensor, Tensor]:
        """The cross-entropy, and the share of frames that are heard as what they are."""
        heard = wav
        if torch.rand(()) < IN_ROOMS:
            heard = recorded(wav, self.generator)
            heard = heard * (speech_level(wav) / speech_level(heard)).detach()
        content = F.normalize(self.ears.content(self.ears.mel(heard.unsqueeze(1))).float(), dim=1).transpose(1, 2)
        rows = self.rows[:, : content.shape[-1]]
        scores = SCALE * (2 * content @ rows.T - rows.square().sum(1))
        scores, wanted = scores[:, EDGE:-EDGE].flatten(0, 1), codes[:, EDGE:-EDGE].flatten()
        return F.cross_entropy(scores, wanted), (scores.argmax(-1) == wanted).float().mean()


class Balance:
    """Gives every loss its share of the pull at the waveform, whatever its scale (arXiv 2210.13438, 3.4)."""

    def __init__(self) -> None:
        self.norms: dict[str, Tensor] = {}

    def pull(self, wav: Tensor, losses: dict[str, Tensor]) -> Tensor:
        """The gradient at wav that has the shares asked for."""
        total = torch.zeros_like(wav)
        for name, loss in losses.items():
            (gradient,) = torch.autograd.grad(loss, wav, retain_graph=True)
            norm = gradient.norm()
            self.norms[name] = torch.lerp(norm, self.norms.get(name, norm), 0.98)
            total += gradient * (SHARES[name] / (self.norms[name] + 1e-8))
        return total


def train(options: argparse.Namespace) -> None:
    device = torch.device(options.device)
    torch.set_float32_matmul_precision("high")
    tokenizer = load_tokenizer(options.tokenizer, options.device).tokenizer
    quantizer, decoder = tokenizer.quantizer, tokenizer.decoder.train().requires_grad_(True)
    voices = Voices(options.data, options.codes, options.parts, options.segment, device)
    print(f"{voices.minutes:.0f} minutes to learn from", flush=True)
    spectra, balance = SpectralLoss().to(device), Balance()
    optimizer = torch.optim.AdamW(decoder.parameters(), options.rate, betas=(0.8, 0.99), weight_decay=0.01)
    average, budget, step = Average(decoder, 0.997), Budget(options.minutes), 0
    path = options.run / CHECKPOINT
    parts = {"decoder": decoder, "average": average.model, "optimizer": optimizer}
    if path.exists():
        saved = torch.load(path, map_location=device, weights_only=True)
        for name in parts.keys() & saved.keys():  # one that was restored from its weights has no optimizer
            parts[name].load_state_dict(saved[name])
        step, average.updates = saved["step"], saved["step"]
        balance.norms = {name: torch.as_tensor(norm, device=device) for name, norm in saved.get("norms", {}).items()}
        budget = Budget(options.minutes, saved["spent"])
        print(f"going on at step {step}, {budget.spent:.1f} of {budget.minutes:.1f} min", flush=True)
    generator = torch.Generator(device).manual_seed(options.seed + step)
    tokens = TokenLoss(tokenizer.encoder, quantizer.codebooks[0].embed, generator)

    def save() -> None:
        state = {name: part.state_dict() for name, part in parts.items()}
        torch.save(state | {"step": step, "spent": budget.spent, "norms": balance.norms}, path.with_suffix(".new"))
        path.with_suffix(".new").replace(path)

    recent = torch.zeros(3, device=device)
    while budget.fraction < 1:
        optimizer.param_groups[0]["lr"] = budget.rate * options.rate
        codes, want = voices.batch(generator, options.batch)
        with quick(device):
            wav = decoder(quantizer.decode(codes)).squeeze(1).float()
        made = wav.detach().requires_grad_(True)
        with quick(device):
            unlikely, right = tokens(made, codes[0])
        losses = {"tokens": unlikely, "spectra": spectra(made[: len(want)], want)}
        optimizer.zero_grad()
        wav.backward(balance.pull(made, losses))
        nn.utils.clip_grad_norm_(decoder.parameters(), options.clip)
        optimizer.step()
        average.update(decoder)
        step += 1
        recent += torch.stack([losses["spectra"].detach(), unlikely.detach(), right])
        if step % 50 == 0:
            mean = (recent / 50).tolist()
            recent.zero_()
            print(
                f"step {step} spectra {mean[0]:.3f} tokens {mean[1]:.3f}, {mean[2]:.3f} right {budget.spent:.2f} min",
                flush=True,
            )
        if step % 500 == 0:
            save()
        if step % 100 == 0 and voices.grown:
            voices = Voices(options.data, options.codes, options.parts, options.segment, device)
            print(f"now {voices.minutes:.0f} minutes", flush=True)
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
    return float((heard[: len(labels)] == classes(labels)).mean())


@torch.inference_mode()
def listen(options: argparse.Namespace) -> None:
    model, spectra = load_tokenizer(options.tokenizer), SpectralLoss()
    judges = {path: load_tokenizer(path) for path in (options.tokenizer, *options.judges)}
    load_decoder(model.tokenizer, options.run / CHECKPOINT)
    folder = options.run / "listen"
    folder.mkdir(exist_ok=True)
    shards = sorted(options.data.glob("development-*.npz"))
    utterances = [u for path in shards for u in read_shard(path)]
    chosen = utterances[:: max(1, len(utterances) // options.count)][: options.count]
    pairs, distances = [], []
    heard: dict[Path, list[list[float]]] = {path: [] for path in judges}
    for number, (record, speech) in enumerate(chosen):
        speech = at_speech_level(speech)
        wav = torch.from_numpy(speech).view(1, 1, -1)
        spoken = model.tokenizer.decode(model.tokenizer.encode(wav))[0, 0].numpy()[: len(speech)]
        mels = [spectra.mel(magnitude(torch.from_numpy(s)[None], 1024), 1024, 80)[0] for s in (speech, spoken)]
        distances.append(float(F.l1_loss(*mels)))
        for path, judge in judges.items():
            heard[path].append([phoneme_accuracy(judge, s, record["labels"]) for s in (speech, spoken)])
        pairs.append((record["text"], mels))
        for name, sound in (("original", speech), ("decoded", spoken)):
            write_wav(folder / f"{number:02d}-{name}.wav", sound, RATE)
    print(f"mel distance {np.mean(distances):.3f} nepers")
    for path, figures in heard.items():
        before, after = np.mean(figures, 0)
        print(f"{path}: phonemes right {before:.3f} in the original, {after:.3f} decoded")
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
    parser.add_argument("--parts", nargs="+", default=["reply-mouth", "voices-mouth", PIECED, OWN, "reply", "voices"])
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--segment", type=int, default=56, help="frames of 20 ms")
    parser.add_argument("--rate", type=float, default=1.5e-3)
    parser.add_argument("--clip", type=float, default=1.0)
    parser.add_argument("--count", type=int, default=8, help="utterances to listen to")
    parser.add_argument("--judges", type=Path, nargs="*", default=[], help="other tokenizers that listen as well")
    parser.add_argument("--data", type=Path, default=Path("data/speech"))
    parser.add_argument("--codes", type=Path, default=Path("data/codes"))
    parser.add_argument("--tokenizer", type=Path, default=Path("runs/speech_tokenizer") / RESULT)
    options = parsed(parser, Path("runs/voice_decoder"))
    steps: dict[str, Callable[[argparse.Namespace], None]] = {"train": train, "listen": listen}
    steps[options.step](options)


if __name__ == "__main__":
    main()
