"""The spoken corpus as Opus, a tenth of its size, to be taken to another machine.

`python -m training.speech_pack pack` writes the shards of `--folder` into `--packed`, `unpack` makes shards of them
again, to the sample as long as they were. Both go on where they stopped.
"""

from __future__ import annotations

import argparse
import io
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import soundfile

from training.kokoro import RATE

LEVEL = 0.9
"""libsndfile's compression: about 30 kbit/s of speech."""


def pack(path: Path, packed: Path) -> None:
    """A shard as Opus: `opus` bytes and `meta` as it was."""
    target = packed / path.name
    if target.exists():
        return
    sound = io.BytesIO()
    with np.load(path) as shard:
        soundfile.write(sound, shard["speech"], RATE, format="OGG", subtype="OPUS", compression_level=LEVEL)
        temporary = target.with_name(f".{path.name}")
        np.savez_compressed(temporary, opus=np.frombuffer(sound.getvalue(), np.uint8), meta=shard["meta"])
    temporary.rename(target)


def unpack(path: Path, folder: Path) -> None:
    target = folder / path.name
    if target.exists():
        return
    with np.load(path) as shard:
        speech, _ = soundfile.read(io.BytesIO(shard["opus"].tobytes()), dtype="int16")
        assert len(speech) == sum(record["samples"] for record in json.loads(str(shard["meta"])))
        temporary = target.with_name(f".{path.name}")
        np.savez(temporary, speech=speech, meta=shard["meta"])
    temporary.rename(target)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("step", choices=["pack", "unpack"])
    parser.add_argument("--parts", nargs="+", default=["words", "train", "reply", "voices", "development"])
    parser.add_argument("--folder", type=Path, default=Path("data/speech"))
    parser.add_argument("--packed", type=Path, default=Path("data/packed"))
    parser.add_argument("--workers", type=int, default=1)
    options = parser.parse_args()
    source, target, step = options.folder, options.packed, pack
    if options.step == "unpack":
        source, target, step = target, source, unpack
    target.mkdir(parents=True, exist_ok=True)
    paths = sorted(path for part in options.parts for path in source.glob(f"{part}-*.npz"))
    with ThreadPoolExecutor(options.workers) as pool:
        list(pool.map(step, paths, [target] * len(paths)))
    size = sum((target / path.name).stat().st_size for path in paths)
    print(f"{len(paths)} shards, {size / 1e6:.1f} MB in {target}")


if __name__ == "__main__":
    main()
