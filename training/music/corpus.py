"""The music corpus: pieces of every instrument, mood and tempo, five seconds each, with their tags.

`make PART --pieces N` composes and renders N pieces of each of the combinations; run again, it goes on where it
stopped. Part `train` is learned from, `development` is kept out. `look` draws a sheet of piano rolls and spectrograms
and writes the pieces as WAV files. `pack` makes what is small enough to carry to another machine, Ogg Opus, and
`unpack` makes the corpus of it there.
"""

from __future__ import annotations

import argparse
import json
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from training.music.score import Score, Tags, all_tags, compose
from training.wav import write_wav

RATE = 16_000
PARTS = ("train", "development")
QUIETEST, LOUDEST = 6, 256  # kbit/s of libsndfile's Opus at compression levels 1 and 0


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
    _save(path, (pcm.clip(-1, 1) * 32767).astype(np.int16), json.dumps(meta))


def _save(path: Path, music: np.ndarray, meta: str) -> None:
    temporary = path.with_suffix(".tmp.npz")
    np.savez(temporary, music=music, meta=meta)
    temporary.rename(path)


def pack(folder: Path, packed: Path, part: str, pieces: int, kbits: int) -> None:
    """The first `pieces` files of a part as Ogg Opus of about `kbits` a second, each beside its JSON."""
    import soundfile

    packed.mkdir(parents=True, exist_ok=True)
    for number in range(pieces):
        path = packed / f"{part}-{number:05d}.ogg"
        with np.load(folder / f"{path.stem}.npz") as shard:
            level = (LOUDEST - kbits) / (LOUDEST - QUIETEST)
            soundfile.write(path, shard["music"].ravel(), RATE, format="OGG", subtype="OPUS", compression_level=level)
            path.with_suffix(".json").write_text(str(shard["meta"]))
        print(f"{path.name}: {path.stat().st_size / 1e6:.2f} MB", flush=True)


def unpack(packed: Path, folder: Path) -> None:
    """The corpus from all that lies packed."""
    import soundfile

    def restore(path: Path) -> None:
        meta = path.with_suffix(".json").read_text()
        music, rate = soundfile.read(path, dtype="int16")
        assert rate == RATE, path
        _save(folder / f"{path.stem}.npz", music.reshape(len(json.loads(meta)), -1), meta)

    folder.mkdir(parents=True, exist_ok=True)
    paths = sorted(packed.glob("*.ogg"))
    with ThreadPoolExecutor() as pool:
        list(pool.map(restore, paths))
    print(f"{len(paths)} files", flush=True)


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
    parser.add_argument("step", choices=["make", "look", "pack", "unpack"])
    parser.add_argument("part", nargs="?", choices=PARTS, default="train")
    parser.add_argument("--pieces", type=int, default=20, help=f"of each of {len(all_tags())} combinations")
    parser.add_argument("--folder", type=Path, default=Path("data/music"))
    parser.add_argument("--packed", type=Path, default=Path("data/carry/music"))
    parser.add_argument("--kbits", type=int, default=36, help="a second of packed music")
    parser.add_argument("--count", type=int, default=24, help="pieces to look at")
    parser.add_argument("--seed", type=int, default=0, help="of the pieces to look at")
    options = parser.parse_args()
    steps: dict[str, Callable[[], None]] = {
        "make": lambda: make(options.folder, options.part, options.pieces),
        "look": lambda: look(options.folder / "look", options.count, options.seed),
        "pack": lambda: pack(options.folder, options.packed, options.part, options.pieces, options.kbits),
        "unpack": lambda: unpack(options.packed, options.folder),
    }
    steps[options.step]()


if __name__ == "__main__":
    main()
