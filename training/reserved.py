"""Things as nobody draws them that nano learns from: Microsoft's Fluent emoji, in the round and flat, and photographs.

`python -m training.reserved` fetches them: two npm packages, and Debian's tuxpaint-stamps-default, of which those
photographs are kept that show things of the syllabus. Nothing is ever trained or tuned on them.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tarfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from training.pictures import NAMES, OBJECTS, Icon, cut, main_share, render

PACKAGES = ("@lobehub/fluent-emoji-3d@1.1.0", "@iconify-json/fluent-emoji@1.2.7")  # MIT
STAMPS = "tuxpaint-stamps-default"  # GPL-2+ and freer
_IN_STAMPS = "./usr/share/tuxpaint/stamps/"

_FLUENT = {
    "red": "bird red-apple strawberry cherries tomato scissors alarm-clock telephone closed-book toothbrush automobile "
    "bicycle rose maple-leaf",
    "blue": "fish spouting-whale whale billed-cap couch-and-lamp blue-book",
    "green": "frog snake green-apple cucumber t-shirt socks bottle-with-popping-cork green-book deciduous-tree "
    "leaf-fluttering-in-wind",
    "yellow": "banana lemon cheese-wedge light-bulb key old-key bell crescent-moon full-moon",
    "orange": "tiger-face tiger fox tangerine carrot pencil orange-book basketball",
    "purple": "gloves umbrella",
    "pink": "pig-face pig tulip",
    "brown": "horse-face horse bear monkey-face monkey owl bread egg mans-shoe chair ladder violin",
    "black": "spider top-hat",
    "white": "ewe chicken rabbit-face glass-of-milk teacup-without-handle cloud",
    "grey": "elephant mouse-face spoon camera",
}
"""Emoji about whose own colour one would not hesitate."""
_PHOTOGRAPHS = """
frog brown animals/amphibians/frog-1           frog - animals/amphibians/frog
bird black animals/birds/blackbird             bird - animals/birds/lark
bird grey animals/birds/pigeon                 chicken - animals/birds/hen
chicken - animals/birds/rooster                chicken - animals/birds/chicken_profile
duck - animals/birds/duck                      duck - animals/birds/drake
duck yellow household/rubberduck               owl white animals/birds/owl
penguin - animals/birds/penguin                penguin - animals/birds/magellanic_penguin
fish blue animals/fish/bluegroper              fish - animals/fish/dolphinfish
fish - animals/fish/butterflyfish              whale blue animals/mammals/aquatic/whale
bear brown animals/mammals/bears/bear          bear - animals/mammals/bears/european-bear
cow brown animals/mammals/bovines/cow          cow white animals/mammals/bovines/cow_white
sheep - animals/mammals/bovines/sheep          lion - animals/mammals/cats/lion
lion - animals/mammals/cats/lion-2             tiger orange animals/mammals/cats/tiger
tiger orange animals/mammals/cats/tiger_sumatran
dog grey animals/mammals/dogs/dog              fox - animals/mammals/dogs/fox
elephant - animals/mammals/elephant            horse brown animals/mammals/equines/horse
pig - animals/mammals/pig                      pig - animals/mammals/pig_golden
rabbit - animals/mammals/rabbit_little         rabbit white animals/mammals/rodents/rabbit
rabbit white animals/mammals/rodents/rabbit-2  mouse - animals/mammals/rodents/mouse
hat black clothes/hats/tophat                  cherry red food/fruit/Cherry_Stella
strawberry red food/fruit/Strawberry2          strawberry red food/fruit/strawberry
apple red food/fruit/apple_red                 apple green food/fruit/apple_green
apple - food/fruit/apple_fuji                  apple green food/fruit/apple_granny_smith
banana yellow food/fruit/banana                lemon yellow food/fruit/lemon
orange orange food/fruit/mandarine             orange orange food/fruit/orange
orange orange food/fruit/orange_seville        carrot orange food/vegetables/carrot
tomato red food/vegetables/tomato              camera black hobbies/camera_35mm
drum red hobbies/music/percussion/drum_tomtom_floor
guitar - hobbies/music/string/guitar_classical guitar black hobbies/music/string/guitar_electric
violin - hobbies/music/string/violin           lamp - household/Lightbulb
scissors grey household/arttools/scissors_small_open
cup white household/dishes/mug                 key grey household/key
hammer - household/tools/hammer                saw - household/tools/saw
candle - seasonal/candle                       rose red plants/flowers/rose
tree - plants/trees/holm_oak                   tree - plants/trees/tree336
leaf green plants/trees/holly_leaves           moon grey space/moon/moon_full
ball orange sports/basketball                  ball red sports/cricketball
ball - sports/soccer                           ball - sports/tennis_ball
car red vehicles/auto/beetle                   car blue vehicles/auto/sedan
car - vehicles/auto/sportscar2                 truck - vehicles/auto/truck
truck red vehicles/emergency/firetruck         bus green vehicles/masstransit/green_korean_bus
plane - vehicles/flight/planes/747             boat - vehicles/ship/chineseJunk
boat - vehicles/ship/walnutBoat
"""
"""What they show, their colour if one would not hesitate, and where the stamps have them."""


@dataclass(frozen=True, eq=False)
class Thing:
    """A thing cut out, and the name of its colour, "" if it has none."""

    icon: Icon
    colour: str

    @property
    def name(self) -> str:
        return NAMES[self.icon.thing]


def photographs() -> list[tuple[str, str, str]]:
    """Object, colour ("" for none), path."""
    words = _PHOTOGRAPHS.split()
    return [(name, colour.strip("-"), path) for name, colour, path in zip(*[iter(words)] * 3, strict=True)]


def load_things(folder: Path, noto: Path) -> list[Thing]:
    """All things of the reserved artists "fluent-3d" and "fluent", and "photographs".

    noto: the npm package of an icon set of the same names, which tells the emoji's code points.
    """
    solid, flat = (next(folder.glob(name)) for name in ("*fluent-emoji-3d-*.tgz", "iconify-json-fluent-emoji-*.tgz"))
    with tarfile.open(noto) as package:
        points = {name: point for point, name in json.load(package.extractfile("package/chars.json")).items()}
    with tarfile.open(flat) as package:
        icons = json.load(package.extractfile("package/icons.json"))
    with tarfile.open(solid) as package:
        members = {Path(name).stem.removesuffix("-fe0f"): name for name in package.getnames()}
        colours = {name: colour for colour, names in _FLUENT.items() for name in names.split()}
        things = []
        for number, names in enumerate(OBJECTS.values()):
            for name in names.split():
                colour = colours.get(name, "")
                if member := members.get(points.get(name, "").removesuffix("-fe0f")):
                    rgba = cut(package.extractfile(member).read())
                    things.append(_thing(number, "fluent-3d", name, rgba, colour))
                if icon := icons["icons"].get(name):
                    size = f"0 0 {icons.get('width', 32)} {icons.get('height', 32)}"
                    head = '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
                    svg = f'{head} viewBox="{size}">{icon["body"]}</svg>'
                    things.append(_thing(number, "fluent", name, render(svg), colour))
    for name, colour, path in photographs():
        rgba = cut((folder / "photographs" / f"{path}.png").read_bytes())
        things.append(_thing(NAMES.index(name), "photographs", path, rgba, colour))
    return things


def _thing(thing: int, artist: str, name: str, rgba: np.ndarray, colour: str) -> Thing:
    return Thing(Icon(thing, artist, name, rgba, main_share(rgba)), colour)


def fetch(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    subprocess.run(["npm", "pack", "--silent", *PACKAGES], cwd=folder, check=True)
    subprocess.run(["apt-get", "download", "--quiet", STAMPS], cwd=folder, check=True)
    package = next(folder.glob(f"{STAMPS}_*.deb"))
    wanted = {f"{_IN_STAMPS}{path}.png": f"{path}.png" for _, _, path in photographs()}
    with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", package], stdout=subprocess.PIPE) as unpacked:
        with tarfile.open(fileobj=unpacked.stdout, mode="r|") as files:
            for member in files:
                if member.name in wanted:
                    path = folder / "photographs" / wanted.pop(member.name)
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.write_bytes(files.extractfile(member).read())
    if wanted:
        raise FileNotFoundError(f"{package} lacks {', '.join(wanted.values())}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path("data/reserved"))
    fetch(parser.parse_args().folder)


if __name__ == "__main__":
    main()
