"""Training goes on from the weights in `models/nano`: `python -m training.restore` writes them where the recipes look.

Checkpoints that are there already stay. What only training has begins anew: optimizers, and the phoneme classifier and
mel predictor beside the tokenizer, which `python -m training.speech_tokenizer heads` trains.
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from assistant.models.soundstorm import SoundStorm
from training import soundstorm, voice_decoder
from training.speech_tokenizer import RESULT, ContentTraining

LANGUAGE_MODEL_FILES = {"llama.json": "config.json", "tokenizer.model": "", "added_tokens.json": ""}


def restore(models: Path, runs: Path) -> None:
    codec = load_file(models / "speech_tokenizer.safetensors")
    codec = {name: value.float() for name, value in codec.items()}
    config = json.loads((models / "speech_tokenizer.json").read_text())
    training = ContentTraining(config)
    training.tokenizer.load_state_dict(codec)
    _save(runs / "speech_tokenizer" / RESULT, training.state_dict())
    (runs / "speech_tokenizer" / "config.json").write_text(json.dumps(config, indent=1))
    _save(runs / "voice_decoder" / voice_decoder.CHECKPOINT, _averaged("decoder", training.tokenizer.decoder))
    storm = SoundStorm.from_config(soundstorm.CONFIG)
    storm.load_state_dict({k: v.float() for k, v in load_file(models / "soundstorm.safetensors").items()})
    _save(runs / "soundstorm" / soundstorm.CHECKPOINT, _averaged("model", storm))
    weights = {name: value.float() for name, value in load_file(models / "llama.safetensors").items()}
    _save(runs / "language_model" / "model.pt", {"model": weights})
    for source, target in LANGUAGE_MODEL_FILES.items():
        shutil.copy(models / source, runs / "language_model" / (target or source))


def _averaged(name: str, model: torch.nn.Module) -> dict[str, object]:
    """A checkpoint of a recipe that keeps an average of its model."""
    state: dict[str, Tensor] = model.state_dict()
    return {name: state, "average": state, "step": 0, "spent": 0.0}


def _save(path: Path, state: dict) -> None:
    if path.exists():
        print(f"{path} stays")
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(state, path)
    print(f"{path} written")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=Path, default=Path("models/nano"))
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    options = parser.parse_args()
    restore(options.models, options.runs)


if __name__ == "__main__":
    main()
