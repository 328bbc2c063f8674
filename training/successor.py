"""When new ears take the place of old ones, what was trained on the old speech tokens goes on with the new.

`python -m training.successor --before data/codes-1 --after data/codes` compares the same speech in both: how often each
new token stands where each old one stood. The embedding (and output row) of a new token becomes the mean of the old
ones', weighted so, in the language model's checkpoint and in SoundStorm's. Both then go on training from there. The
acoustic tokens have to be the same (`training.speech_tokenizer --acoustic`).
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from torch import Tensor

from assistant.vocabulary import Vocabulary
from training.codes import read_codes
from training.dialogues import CODES, TEXT_PIECES
from training.soundstorm import CHECKPOINT

PARTS = ("words", "train", "reply", "voices")
SIZE = CODES["speech"]


def correspondence(before: Path, after: Path) -> Tensor:
    """[new, old]: of the frames that are heard as a new token, the share that was heard as each old one."""
    counts = torch.full((SIZE, SIZE), 0.02 / SIZE)
    frames = 0
    for part in PARTS:
        if not all((folder / f"{part}.npz").exists() for folder in (before, after)):
            continue
        old = {(record["shard"], record["index"]): codes[0] for record, codes in read_codes(before, part)}
        for record, codes in read_codes(after, part):
            known = old.get((record["shard"], record["index"]))
            if known is None:
                continue
            length = min(len(known), codes.shape[1])
            pairs = torch.from_numpy(codes[0, :length].astype("int64") * SIZE + known[:length])
            counts += torch.bincount(pairs, minlength=SIZE * SIZE).view(SIZE, SIZE)
            frames += length
    share = counts / counts.sum(1, keepdim=True)
    print(f"{frames} frames heard twice; the likeliest old token of a new one has {share.amax(1).mean():.2f} of it")
    return share


def renew_language_model(run: Path, share: Tensor) -> None:
    """The optimizers' moments are dropped: they belong to the old rows."""
    state = torch.load(run / "model.pt", weights_only=True)
    tokens = Vocabulary.load(run, TEXT_PIECES).speech.tokens
    rows = slice(tokens.start, tokens.start + SIZE)
    for name in ("model.embed_tokens.weight", "lm_head.weight"):
        state["model"][name][rows] = share @ state["model"][name][rows]
    torch.save(state | {"optimizers": []}, run / "model.pt")


def renew_soundstorm(run: Path, share: Tensor) -> None:
    state = torch.load(run / CHECKPOINT, weights_only=True)
    for copy in ("model", "average"):
        state[copy]["semantic_embedding.weight"] = share @ state[copy]["semantic_embedding.weight"]
    torch.save(state, run / CHECKPOINT)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--before", type=Path, required=True)
    parser.add_argument("--after", type=Path, default=Path("data/codes"))
    parser.add_argument("--language-model", type=Path, default=Path("runs/language_model"))
    parser.add_argument("--soundstorm", type=Path, default=Path("runs/soundstorm"))
    options = parser.parse_args()
    share = correspondence(options.before, options.after)
    renew_language_model(options.language_model, share)
    renew_soundstorm(options.soundstorm, share)


if __name__ == "__main__":
    main()
