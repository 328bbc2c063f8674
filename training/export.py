"""Trained parts become a model folder: `python -m training.export` writes the speech parts into `models/nano`.

fp16 where nothing is lost by it: the encoder and the codebooks keep fp32 unless every code of development speech stays
the same. The language model's files are written by its own recipe; the MANIFEST lists what is there.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from collections.abc import Iterable
from copy import deepcopy
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from assistant.checkpoints import (
    MANIFEST,
    MODEL_SET,
    PARTS,
    load_soundstorm,
    load_speech_tokenizer,
    load_voices,
    part_files,
)
from assistant.models.soundstorm import SoundStorm
from assistant.models.speech_tokenizer import SpeechTokenizer
from assistant.tokenizers.speech import at_speech_level
from training import soundstorm, voice_decoder
from training.codes import load_tokenizer, read_codes
from training.mouth import clearest
from training.speech_data import REPLY_VOICES, read_shard
from training.speech_tokenizer import RESULT

CHECKED = 60
"""Development utterances on which rounding is checked."""


def rounded(model: nn.Module, names: Iterable[str]) -> dict[str, Tensor]:
    """The state of a model with the tensors of those names in fp16."""
    chosen = set(names)
    return {k: (v.half() if k in chosen else v).contiguous() for k, v in model.state_dict().items()}


def all_codes(tokenizer: SpeechTokenizer, speech: list[np.ndarray]) -> Tensor:
    """[n_q, frames] of all utterances, one after the other."""
    wavs = (torch.from_numpy(at_speech_level(s)).view(1, 1, -1) for s in speech)
    return torch.cat([tokenizer.encode(wav)[:, 0] for wav in wavs], dim=1)


def tokenizer_state(tokenizer: SpeechTokenizer, speech: list[np.ndarray]) -> dict[str, Tensor]:
    """What to write of the tokenizer: the decoder in fp16, encoder and codebooks too if no code changes."""
    names, codes = list(tokenizer.state_dict()), all_codes(tokenizer, speech)
    halves = [name for name in names if name.startswith("decoder.")]
    for part in ("encoder.", "quantizer."):
        attempt = [*halves, *(name for name in names if name.startswith(part))]
        changed = deepcopy(tokenizer)
        changed.load_state_dict(rounded(tokenizer, attempt))
        differ = (all_codes(changed, speech) != codes).float().mean(1)
        print(f"{part[:-1]} in fp16 changes {', '.join(f'{float(x):.4%}' for x in differ)} of the codes by level")
        if not differ.any():
            halves = attempt
    changed.load_state_dict(rounded(tokenizer, halves))
    whole, half = (model.decode(codes[:, None, :500]) for model in (tokenizer, changed))
    error = (half - whole).square().mean() / whole.square().mean()
    print(f"decoder in fp16: error {10 * float(error.log10()):.0f} dB")
    return rounded(tokenizer, halves)


def soundstorm_state(model: SoundStorm, codes: list[np.ndarray]) -> dict[str, Tensor]:
    """All of SoundStorm in fp16; says how many of its tokens change."""
    state = rounded(model, model.state_dict())
    changed = deepcopy(model)
    changed.load_state_dict(state)
    same = []
    for before, after in zip(codes[:-1], codes[1:], strict=True):
        prompt, semantic = (torch.from_numpy(c.astype(np.int64).T)[None] for c in (before, after))
        both = [m.generate(semantic[..., 0], prompt, steps=1) for m in (model, changed)]
        same.append(float((both[0] == both[1])[..., 1:].float().mean()))
    print(f"SoundStorm in fp16: {np.mean(same):.2%} of its tokens stay")
    return state


def write_manifest(folder: Path) -> None:
    """List the SHA-256 sum of every file of the model set that is there."""
    names = [name for name in MODEL_SET if (folder / name).is_file()]
    names += [name for part in PARTS for name in part_files(folder, part)]
    for name in names:
        (folder / name).chmod(0o644)
    lines = [f"{hashlib.sha256((folder / name).read_bytes()).hexdigest()}  {name}" for name in names]
    (folder / MANIFEST).write_text("\n".join(["# SHA-256 sums of the model set", *lines]) + "\n", encoding="utf-8")
    missing = [name for name in MODEL_SET if name not in names]
    print(f"{MANIFEST}: {len(names)} files" + (f"; not there yet: {', '.join(missing)}" if missing else ""))


@torch.inference_mode()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=Path, default=Path("models/nano"))
    parser.add_argument("--data", type=Path, default=Path("data/speech"))
    parser.add_argument("--codes", type=Path, default=Path("data/codes"))
    parser.add_argument("--tokenizer", type=Path, default=Path("runs/speech_tokenizer") / RESULT)
    parser.add_argument("--decoder", type=Path, default=Path("runs/voice_decoder") / voice_decoder.CHECKPOINT)
    parser.add_argument("--soundstorm", type=Path, default=Path("runs/soundstorm") / soundstorm.CHECKPOINT)
    parser.add_argument("--decoder-only", action="store_true", help="all but the decoder of speech stays as it is")
    parser.add_argument("--manifest-only", action="store_true", help="only list what is there")
    options = parser.parse_args()
    torch.set_num_threads(1)
    folder: Path = options.models
    folder.mkdir(parents=True, exist_ok=True)
    if options.decoder_only:
        export_decoder(options.decoder, folder / "speech_tokenizer.safetensors")
    elif not options.manifest_only:
        export_speech(options)
    write_manifest(folder)


def export_decoder(checkpoint: Path, target: Path) -> None:
    """Put a decoder that was trained from the weights in `target` in the place of theirs."""
    decoder = torch.load(checkpoint, map_location="cpu", weights_only=True)["average"]
    state = load_file(target)
    state |= {f"decoder.{name}": value.half().contiguous() for name, value in decoder.items()}
    save_file(state, target)


def export_speech(options: argparse.Namespace) -> None:
    folder: Path = options.models
    training = load_tokenizer(options.tokenizer)
    voice_decoder.load_decoder(training.tokenizer, options.decoder)
    shards = sorted(options.data.glob("development-*.npz"))
    speech = [s for path in shards for _, s in read_shard(path)][:CHECKED]
    save_file(tokenizer_state(training.tokenizer, speech), folder / "speech_tokenizer.safetensors")
    codes = [codes for _, codes in read_codes(options.codes, "development")][:20]
    storm = soundstorm.load_soundstorm(options.soundstorm)
    save_file(soundstorm_state(storm, codes), folder / "soundstorm.safetensors")
    speech_config = json.loads((options.tokenizer.parent / "config.json").read_text())
    for name, config in (("speech_tokenizer", speech_config), ("soundstorm", soundstorm.CONFIG)):
        (folder / f"{name}.json").write_text(json.dumps(config, indent=1) + "\n", encoding="utf-8")
    voices = {name.split("_")[1]: clearest(training, options.codes, name) for name in REPLY_VOICES}
    save_file(voices, folder / "voices.safetensors")
    # What was written is what the runtime reads.
    tokenizer = load_speech_tokenizer(folder / "speech_tokenizer.json", folder / "speech_tokenizer.safetensors")
    load_soundstorm(folder / "soundstorm.json", folder / "soundstorm.safetensors")
    load_voices(folder / "voices.safetensors", tokenizer)


if __name__ == "__main__":
    main()
