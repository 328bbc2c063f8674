"""The music corpus: pieces of every instrument, mood and tempo, five seconds each, with their tags.

`make PART --pieces N` composes and renders N pieces of each of the combinations; run again, it goes on where it
stopped. Part `train` is learned from, `development` is kept out. `look` draws a sheet of piano rolls and spectrograms
and writes the pieces as WAV files.
"""

from __future__ import annotations

import argparse
import json
import zlib
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from training.music.score import Score, Tags, all_tags, compose
from training.wav import write_wav

RATE = 16_000
PARTS = ("train", "development")


def seed_of(part: str, number: int) -> int:
    """Parts never share a seed."""
    return number * len(PARTS) + PARTS.index(part)


def make(folder: Path, part: str, pieces: int) -> None:
    """One file for each number of piece, with all tags in it."""
    from training.music.render import Synthesizer

    folder.mkdir(parents=True, exist_ok=True)
    for number in range(pieces):
        path = folder / f"{part}-{number:05d}.npz"
        if path.exists():
            continue
        synthesizer = Synthesizer()  # a new one, so that a file does not depend on those made before it
        scores = [compose(tags, seed_of(part, number)) for tags in all_tags()]
        pcm = np.stack([synthesizer.render(score) for score in scores])
        synthesizer.close()
        write_shard(path, scores, pcm)
        print(f"{path.name}: {pcm.size / RATE / 60:.0f} minutes", flush=True)


def write_shard(path: Path, scores: list[Score], pcm: np.ndarray) -> None:
    """`music` [pieces, samples] int16 and a JSON list of tags, tonic and beats a minute."""
    meta = [asdict(score.tags) | {"tonic": score.tonic, "beats_per_minute": score.beats_per_minute} for score in scores]
    temporary = path.with_suffix(".tmp.npz")
    np.savez(temporary, music=(pcm.clip(-1, 1) * 32767).astype(np.int16), meta=json.dumps(meta))
    temporary.rename(path)


def read(folder: Path, part: str) -> Iterator[tuple[dict[str, Any], np.ndarray]]:
    """Descriptions, with the file's name and the place in it, and music [samples] int16 of all pieces of a part."""
    for path in sorted(folder.glob(f"{part}-[0-9]*.npz")):
        with np.load(path) as shard:
            for index, (record, pcm) in enumerate(zip(json.loads(str(shard["meta"])), shard["music"], strict=True)):
                yield record | {"shard": path.stem, "index": index}, pcm


def tags_of(record: dict[str, Any]) -> Tags:
    return Tags(record["instrument"], record["mood"], record["tempo"])


def look(folder: Path, count: int, seed: int) -> None:
    """`count` pieces: WAV files, and sheet.png with the piano roll beside the spectrogram of each."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    from training.music.render import Synthesizer

    folder.mkdir(parents=True, exist_ok=True)
    synthesizer = Synthesizer()
    chosen = sorted(all_tags(), key=lambda tags: zlib.crc32(f"{seed} {tags}".encode()))[:count]
    rows = -(-count // 3)
    figure, axes = pyplot.subplots(rows, 6, figsize=(27, 2.6 * rows), squeeze=False)
    for axis in axes.flat:
        axis.set_axis_off()
    for number, tags in enumerate(chosen):
        score = compose(tags, seed)
        pcm = synthesizer.render(score)
        name = f"{tags.tempo} {tags.mood} {tags.instrument}"
        write_wav(folder / f"{number:02d} {name}.wav", pcm, RATE)
        roll, spectrum = axes[number // 3][2 * (number % 3) :][:2]
        for note in score.notes:
            colour = "crimson" if note.part == "melody" else "steelblue"
            roll.barh(note.pitch, score.time(note.beats), left=score.time(note.beat), height=0.9, color=colour)
        roll.set_title(f"{name}, {score.beats_per_minute} a minute", fontsize=8)
        roll.set_xlim(0, score.seconds)
        spectrum.specgram(pcm + 1e-5, NFFT=1024, noverlap=768, Fs=RATE, vmin=-110, vmax=-30)
    figure.tight_layout()
    figure.savefig(folder / "sheet.png", dpi=45)
    pyplot.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("step", choices=["make", "look"])
    parser.add_argument("part", nargs="?", choices=PARTS, default="train")
    parser.add_argument("--pieces", type=int, default=20, help=f"of each of {len(all_tags())} combinations")
    parser.add_argument("--folder", type=Path, default=Path("data/music"))
    parser.add_argument("--count", type=int, default=24, help="pieces to look at")
    parser.add_argument("--seed", type=int, default=0, help="of the pieces to look at")
    options = parser.parse_args()
    steps: dict[str, Callable[[], None]] = {
        "make": lambda: make(options.folder, options.part, options.pieces),
        "look": lambda: look(options.folder / "look", options.count, options.seed),
    }
    steps[options.step]()


if __name__ == "__main__":
    main()
