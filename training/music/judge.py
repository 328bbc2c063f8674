"""How tunes turned out that were made to order: a sheet of spectrograms, and how often a listener recovers the tags.

`python -m training.music.judge FOLDER` takes the folder's WAV files. Their names say what was asked for, as in
`03 slow sad piano.wav`; `sheet.png` comes to lie beside them.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from training.music.corpus import RATE
from training.music.ears import MusicListener, load_ears, share_right
from training.music.score import Tags, all_tags
from training.wav import read_wav

COLUMNS = 4


def judge(listener: MusicListener, tunes: list[tuple[Tags, np.ndarray]], sheet: Path) -> dict[str, float]:
    """How often each kind of tag is heard as it was asked for, of tunes [samples] float32 at RATE; draws the sheet."""
    tags, pieces = [asked for asked, _ in tunes], [pcm for _, pcm in tunes]
    draw(sheet, [(f"{words(asked)} / {words(listener.hear(pcm))}", pcm) for asked, pcm in tunes])
    return share_right(listener, pieces, tags)


def words(tags: Tags) -> str:
    return f"{tags.tempo} {tags.mood} {tags.instrument}"


def asked_in(name: str) -> Tags | None:
    """The tags in a file's name."""
    return next((tags for tags in all_tags() if words(tags) in name), None)


def draw(sheet: Path, tunes: list[tuple[str, np.ndarray]]) -> None:
    """A picture of spectrograms up to RATE / 2 with a title each."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    rows = -(-len(tunes) // COLUMNS)
    figure, axes = pyplot.subplots(rows, COLUMNS, figsize=(6 * COLUMNS, 2.6 * rows), squeeze=False)
    for axis in axes.flat:
        axis.set_axis_off()
    for axis, (title, pcm) in zip(axes.flat, tunes, strict=False):
        axis.specgram(pcm + 1e-5, NFFT=1024, noverlap=768, Fs=RATE, vmin=-110, vmax=-30)
        axis.set_title(title, fontsize=8)
    figure.tight_layout()
    figure.savefig(sheet, dpi=45)
    pyplot.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--ears", type=Path, default=Path("runs/music_ears/ears.pt"))
    options = parser.parse_args()
    tunes = []
    for path in sorted(options.folder.glob("*.wav")):
        if (asked := asked_in(path.stem)) is not None:
            pcm, rate = read_wav(path)
            assert rate == RATE, f"{path} has {rate} samples a second, not {RATE}"
            tunes.append((asked, pcm))
    shares = judge(load_ears(options.ears), tunes, options.folder / "sheet.png")
    print(f"{len(tunes)} tunes, heard right: " + ", ".join(f"{kind} {share:.3f}" for kind, share in shares.items()))


if __name__ == "__main__":
    main()
