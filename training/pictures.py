"""Pictures that nano's eyes and hand learn from: emoji of many artists, recoloured, seen by a camera or drawn.

`fetch` gets the icon sets with npm and clip art with apt-get, `icons` renders what is used of them into one file, which
the rest reads.
`camera` (and `development`, by an artist never trained on) puts one to four of a thing on a cluttered background, in
perspective, badly lit, blurred, half hidden, noisy, through JPEG. `drawing` is one thing, upright on paper. `sheet`
shows what the things look like in every set, in their own and in all other colours, and some of each part: look at it
after every change. The words are those of the syllabus.
"""

from __future__ import annotations

import argparse
import io
import json
import multiprocessing
import subprocess
import tarfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from training.syllabus.world import COLOURS, NOUN

SETS = {
    "noto": "1.2.9",  # Apache-2.0
    "noto-v1": "1.2.5",  # Apache-2.0
    "fxemoji": "1.2.2",  # Apache-2.0
    "icon-park": "1.2.4",  # Apache-2.0
    "twemoji": "1.2.5",  # CC BY 4.0
    "streamline-emojis": "1.2.4",  # CC BY 4.0
    "emojione": "1.2.3",  # CC BY 4.0
    "openmoji": "1.2.29",  # CC BY-SA 4.0
    "mdi": "1.2.3",  # Apache-2.0
    "mingcute": "1.2.8",  # Apache-2.0
    "ph": "1.2.2",  # MIT
    "fa6-solid": "1.2.4",  # CC BY 4.0
    "game-icons": "1.2.4",  # CC BY 3.0
}
"""npm packages @iconify-json/*. Reserved, never to be trained on: Microsoft's Fluent emoji, flat or not."""
DRAWN = ("noto", "twemoji")
"""The artists whose things nano draws: the first that has one."""
CLIPART, CLIPART_LIST = "openclipart-png", Path(__file__).with_name("clipart.txt")
"""A Debian package with things by hundreds of artists (public domain), and which of them are used: thing, path."""
DEVELOPMENT = "emojione"
"""The artist kept out of training, to check on."""
SILHOUETTES = {"mdi": "", "mingcute": "-fill", "ph": "-fill", "fa6-solid": "", "game-icons": ""}
"""Sets of one colour, which draw plain things under plain names, and how the names of the filled ones end."""
SILHOUETTE = 0.4
"""How often a silhouette is taken, for one time that an icon in colour is."""

OBJECTS: dict[str, str] = {
    "dog": "dog-face dog dogside",
    "cat": "cat-face cat catside",
    "cow": "cow-face cow cowface",
    "pig": "pig-face pig pigside",
    "sheep": "ewe sheep",
    "horse": "horse-face horse",
    "duck": "duck",
    "chicken": "chicken rooster",
    "lion": "lion lion-face",
    "tiger": "tiger-face tiger tigerside",
    "bear": "bear bear-face",
    "elephant": "elephant",
    "monkey": "monkey-face monkey",
    "mouse": "mouse-face mouse mouseside",
    "rabbit": "rabbit-face rabbit bunny",
    "frog": "frog frog-face",
    "bird": "bird",
    "owl": "owl",
    "bee": "honeybee",
    "snake": "snake",
    "fish": "fish tropical-fish tropicalfish",
    "spider": "spider",
    "penguin": "penguin",
    "whale": "spouting-whale whale spurtingwhale",
    "fox": "fox fox-face",
    "apple": "red-apple green-apple apple redapple greenapple",
    "banana": "banana",
    "orange": "tangerine",
    "lemon": "lemon",
    "strawberry": "strawberry",
    "cherry": "cherries",
    "carrot": "carrot",
    "cucumber": "cucumber",
    "tomato": "tomato",
    "bread": "bread",
    "cheese": "cheese-wedge cheese",
    "cake": "birthday-cake shortcake birthdaycake",
    "pizza": "pizza sliceofpizza",
    "egg": "egg",
    "milk": "glass-of-milk",
    "hat": "top-hat womans-hat billed-cap tophat womanshat",
    "shirt": "t-shirt mansshirt",
    "shoe": "mans-shoe running-shoe mensshoe mensrunner",
    "sock": "socks",
    "glove": "gloves",
    "bed": "bed",
    "chair": "chair",
    "sofa": "couch-and-lamp sofa",
    "knife": "kitchen-knife hocho",
    "spoon": "spoon",
    "hammer": "hammer",
    "saw": "carpentry-saw",
    "scissors": "scissors blackscissors",
    "broom": "broom",
    "ladder": "ladder",
    "cup": "teacup-without-handle hot-beverage teacupwithouthandle hotbeverage",
    "pot": "pot-of-food potoffood",
    "bottle": "bottle-with-popping-cork baby-bottle babybottle",
    "clock": "alarm-clock mantelpiece-clock three-oclock alarmclock manltepiececlock",
    "phone": "telephone mobile-phone blacktelephone cellphone",
    "camera": "camera camera-with-flash camerawithflash",
    "computer": "laptop desktop-computer laptop-computer personalcomputer desktopcomputer",
    "lamp": "light-bulb lightbulb",
    "key": "key old-key oldkey",
    "pencil": "pencil lowerleftpencil",
    "book": "closed-book blue-book green-book orange-book closedbook bluebook",
    "toothbrush": "toothbrush",
    "umbrella": "umbrella",
    "bag": "handbag backpack schoolsatchel",
    "door": "door",
    "candle": "candle",
    "glasses": "glasses",
    "ball": "basketball soccer-ball soccerball tennisball",
    "kite": "kite",
    "drum": "drum",
    "piano": "musical-keyboard musicalkeyboard",
    "guitar": "guitar",
    "violin": "violin",
    "bell": "bell",
    "car": "automobile oncoming-automobile oncomingautomobile",
    "bus": "bus oncoming-bus oncomingbus",
    "train": "locomotive train steamlocomotive",
    "bike": "bicycle",
    "boat": "sailboat",
    "plane": "airplane",
    "truck": "delivery-truck deliverytruck",
    "rose": "rose",
    "tulip": "tulip",
    "sun": "sun whitesun",
    "moon": "crescent-moon crescentmoon full-moon",
    "tree": "deciduous-tree deciduoustree",
    "leaf": "leaf-fluttering-in-wind maple-leaf leaffluttering mapleleaf",
    "cloud": "cloud",
}
"""Things of the syllabus and what the icon sets call them, the most telling picture first."""
NAMES = tuple(OBJECTS)
assert all(name in NOUN for name in NAMES), "eyes, drawings and dialogues share one list of words"

REJECTED = {
    (artist, name)
    for artist, names in {
        "icon-park": "mouse apple egg scissors chicken bread",
        "noto-v1": "sailboat",
        "mdi": "mouse apple bee bike cup pizza phone",
        "mingcute": "mouse apple chicken pig clock bottle drum pot shirt broom",
        "ph": "mouse horse lamp",
        "game-icons": "orange lion pig-face phone toothbrush musical-keyboard",
        "fa6-solid": "broom phone",
    }.items()
    for name in names.split()
}
"""A computer's mouse, a company's sign, a receiver alone, and what one does not recognize."""

CLUTTER = """hourglass wrench gear package envelope newspaper trophy compass magnet toolbox test-tube microscope
telescope bricks rock wood cactus mushroom chestnut pretzel croissant sushi ring crown gem-stone balloon wrapped-gift
thread yarn paperclip pushpin straight-ruler bookmark label money-bag calendar clipboard file-folder wastebasket locked
abacus axe shield chains link satellite rocket anchor fuel-pump tent puzzle-piece joystick game-die pine-tree herb
four-leaf-clover popcorn bento-box rice-ball cookie doughnut battery electric-plug floppy-disk""".split()
"""Things that lie about and are not asked for."""

PROTOTYPES = {
    "red": ((208, 34, 40),),
    "blue": ((36, 86, 208), (60, 140, 230)),
    "green": ((48, 150, 60), (120, 190, 60)),
    "yellow": ((248, 214, 44),),
    "orange": ((245, 132, 28),),
    "purple": ((128, 56, 178),),
    "pink": ((245, 138, 190),),
    "brown": ((122, 76, 42),),
    "black": ((36, 36, 40),),
    "white": ((242, 242, 242),),
    "grey": ((132, 134, 138),),
}
assert tuple(PROTOTYPES) == COLOURS
NAMED_WITHIN = 24.0
"""A thing whose main colour is farther than this from every prototype (CIELAB) has no name for its colour."""

SOLID = 0.5
"""How often a thing is made to look solid."""
ICON = 128
"""Pixels of an icon as rendered."""
SIZE = 160
"""Pixels of a picture."""
SHARD = 500
RENDERED = "icons.npz"
PAPER, SHADOW = (214, 224, 232), (184, 195, 204)
"""What drawings stand on: neither of them the colour of anything that is drawn."""
NOTHING = -1
"""The object of a picture of nothing; also the colour that has no name."""


# ---- Colour


def to_lab(rgb: np.ndarray) -> np.ndarray:
    """sRGB [..., 3] in 0..255 -> CIELAB (D65)."""
    linear = np.asarray(rgb, np.float32) / 255
    linear = np.where(linear > 0.04045, ((linear + 0.055) / 1.055) ** 2.4, linear / 12.92)
    xyz = linear @ _TO_XYZ.T
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    x, y, z = np.moveaxis(f, -1, 0)
    return np.stack((116 * y - 16, 500 * (x - y), 200 * (y - z)), -1).astype(np.float32)


def to_rgb(lab: np.ndarray) -> np.ndarray:
    """CIELAB [..., 3] -> sRGB uint8, clipped."""
    y = (lab[..., 0] + 16) / 116
    f = np.stack((y + lab[..., 1] / 500, y, y - lab[..., 2] / 200), -1)
    xyz = np.where(f > 0.2069, f**3, (f - 16 / 116) / 7.787)
    linear = (xyz @ _TO_LINEAR.T).clip(0, 1)
    return _SRGB[(4095 * linear + 0.5).astype(np.int16)]


_WHITE = np.array([0.95047, 1.0, 1.08883])
_TO_XYZ = (
    np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]) / _WHITE[:, None]
).astype(np.float32)
_TO_LINEAR = np.linalg.inv(_TO_XYZ.astype(np.float64)).astype(np.float32)
_LINEAR = np.linspace(0, 1, 4096)
_SRGB = np.where(_LINEAR > 0.0031308, 1.055 * _LINEAR ** (1 / 2.4) - 0.055, 12.92 * _LINEAR)
_SRGB = (255 * _SRGB).round().astype(np.uint8)
_PROTOTYPES = [(index, to_lab(np.array(rgb))) for index, name in enumerate(COLOURS) for rgb in PROTOTYPES[name]]


def colour_of(lab: np.ndarray) -> int:
    """Index into COLOURS of what one would call this colour, NOTHING if one would hesitate."""
    distance, index = min((float(np.linalg.norm((lab - prototype) * (0.7, 1, 1))), i) for i, prototype in _PROTOTYPES)
    return index if distance < NAMED_WITHIN else NOTHING


# ---- Icons


@dataclass(frozen=True, eq=False)
class Icon:
    """A thing as one artist draws it: RGBA [ICON, ICON, 4] uint8, cut to what is visible and centred."""

    thing: int  # index into NAMES
    artist: str
    name: str
    rgba: np.ndarray
    share: np.ndarray  # how much every pixel belongs to the main colour, [ICON, ICON] uint8

    @cached_property
    def _lab(self) -> tuple[np.ndarray, np.ndarray]:
        """CIELAB of every pixel, and of the main colour."""
        lab, weight = to_lab(self.rgba[..., :3]), self.share * (self.rgba[..., 3:] / 255)[..., 0]
        return lab, (lab * weight[..., None]).sum((0, 1)) / weight.sum()

    @cached_property
    def colour(self) -> int:
        """The name of the main colour, as an index; NOTHING if it has none."""
        return colour_of(self._lab[1])

    def recoloured(self, colour: int, rng: np.random.Generator | None = None) -> np.ndarray:
        """RGBA with the main colour exchanged, light and shade kept; `rng` chooses the tone."""
        lab, main = self._lab
        tones = PROTOTYPES[COLOURS[colour]]
        target = to_lab(np.array(tones[0 if rng is None else rng.integers(len(tones))]))
        if rng is not None:
            target = target + rng.uniform(-5, 5, 3).astype(np.float32)
        contrast = 0.55 if COLOURS[colour] in ("black", "white") else 0.8
        new = np.empty_like(lab)
        new[..., 0] = (target[0] + contrast * (lab[..., 0] - main[0])).clip(6, 97)
        new[..., 1:] = target[1:] * (new[..., :1] / max(target[0], 1)).clip(0.6, 1.15)
        share = self.share[..., None].astype(np.float32) / 255
        return np.concatenate((to_rgb(lab + share * (new - lab)), self.rgba[..., 3:]), -1)


def main_share(rgba: np.ndarray) -> np.ndarray:
    """How much every pixel of RGBA [H, W, 4] belongs to the main colour: [H, W] uint8."""
    lab = to_lab(rgba[..., :3])
    centres, areas = clusters(lab[rgba[..., 3] > 127])
    closeness = np.exp(-((lab[..., None, :] - centres) ** 2).sum(-1) / (2 * 12.0**2)) + 1e-9
    share = closeness[..., main_clusters(centres, areas)].sum(-1) / closeness.sum(-1)
    return (255 * share).round().astype(np.uint8)


def clusters(pixels: np.ndarray, count: int = 6) -> tuple[np.ndarray, np.ndarray]:
    """k-means of CIELAB pixels [N, 3]: centres [count, 3] and their share of the area [count]."""
    sample = pixels[:: max(1, len(pixels) // 3000)]
    centres = sample[[0]]
    while len(centres) < count:  # the farthest pixel next
        centres = np.vstack((centres, sample[[((sample[:, None] - centres) ** 2).sum(-1).min(1).argmax()]]))
    for _ in range(10):
        nearest = ((sample[:, None] - centres) ** 2).sum(-1).argmin(1)
        centres = np.array([sample[nearest == k].mean(0) if (nearest == k).any() else centres[k] for k in range(count)])
    return centres, np.bincount(nearest, minlength=count) / len(sample)


def main_clusters(centres: np.ndarray, areas: np.ndarray) -> list[int]:
    """The clusters that make up the main colour: the largest, its shades, and more until most of the area is there."""
    chroma, hue = np.hypot(centres[:, 1], centres[:, 2]), np.arctan2(centres[:, 2], centres[:, 1])
    dark = (centres[:, 0] < 22) & (chroma < 15)  # outlines
    worth = areas * np.where(dark, 0.3, 1.0) * np.where((centres[:, 0] > 92) & (chroma < 8), 0.7, 1.0)
    main = int(worth.argmax())
    apart = np.abs((hue - hue[main] + np.pi) % (2 * np.pi) - np.pi)
    if chroma[main] > 18:
        alike = (apart < 0.6) & (chroma > 12)
    else:
        alike = (chroma < 14) & (np.abs(centres[:, 0] - centres[main, 0]) < 30)
    alike[main] = True
    for k in np.argsort(-worth):
        if areas[alike].sum() > 0.55:
            break
        alike[k] |= not dark[k]
    return [int(k) for k in np.flatnonzero(alike)]


def render(svg: str) -> np.ndarray:
    """RGBA [ICON, ICON, 4] of an SVG, as `cut` cuts it."""
    import resvg_py

    return cut(bytes(resvg_py.svg_to_bytes(svg_string=svg, width=ICON, height=ICON)))


def cut(data: bytes) -> np.ndarray:
    """RGBA [ICON, ICON, 4] of a picture file, cut to what is visible, proportions kept."""
    image = Image.open(io.BytesIO(data)).convert("RGBA")
    image = image.crop(image.getchannel("A").point(lambda a: 255 * (a > 24)).getbbox())
    scale = (ICON - 4) / max(image.size)
    image = image.resize([max(1, round(side * scale)) for side in image.size], Image.Resampling.LANCZOS)
    whole = Image.new("RGBA", (ICON, ICON))
    whole.paste(image, ((ICON - image.width) // 2, (ICON - image.height) // 2))
    return np.array(whole)


class Artist:
    """One icon set as npm has it."""

    def __init__(self, folder: Path, name: str):
        self.name = name
        with tarfile.open(next(folder.glob(f"iconify-json-{name}-{SETS[name]}.tgz"))) as package:
            self._set = json.load(package.extractfile("package/icons.json"))

    def draw(self, name: str) -> np.ndarray | None:
        """The icon of that name; None if the set has none."""
        icons, alias = self._set["icons"], self._set.get("aliases", {}).get(name, {})
        icon = icons.get(alias.get("parent", name))
        if icon is None:
            return None
        width, height = (icon.get(side, self._set.get(side, 16)) for side in ("width", "height"))
        left, top = icon.get("left", 0), icon.get("top", 0)
        head = '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" color="#333"'
        return render(f'{head} viewBox="{left} {top} {width} {height}">{icon["body"]}</svg>')


def names_for(thing: str, artist: str) -> list[str]:
    """The names under which an artist may have the thing."""
    names = OBJECTS[thing].split()
    if artist in SILHOUETTES:
        names = [name + SILHOUETTES[artist] for name in dict.fromkeys([*names, thing])]
    return [name for name in names if (artist, name.removesuffix(SILHOUETTES.get(artist, ""))) not in REJECTED]


def render_all(options: argparse.Namespace) -> None:
    """Draw every icon of every set, and the clutter, once: with these, SVG is not needed any more."""
    wanted = [(NOTHING, rank, "noto", name) for rank, name in enumerate(CLUTTER)]
    for artist in SETS:
        for thing, word in enumerate(NAMES):
            wanted += [(thing, rank, artist, name) for rank, name in enumerate(names_for(word, artist))]
    sets = {name: Artist(options.icons, name) for name in SETS}
    icons = []
    for thing, _, artist, name in sorted(wanted, key=lambda row: row[:2]):
        if (rgba := sets[artist].draw(name)) is not None:
            rgba = np.where(rgba[..., 3:] > 0, rgba, 0)
            icons.append(Icon(thing, artist, name, rgba, main_share(rgba) * (rgba[..., 3] > 0)))
    icons += clipart(options.icons)
    path = options.icons / RENDERED
    np.savez_compressed(path, **{f.name: np.array([getattr(icon, f.name) for icon in icons]) for f in fields(Icon)})
    print(f"{path}: {len(icons)} icons, {path.stat().st_size / 1e6:.1f} MB")


def clipart(folder: Path) -> list[Icon]:
    """Clip art of CLIPART_LIST, by thing."""
    found = []
    root = folder / "clipart" / "usr/share/openclipart/png"
    for line in CLIPART_LIST.read_text().splitlines():
        thing, path = line.split()
        rgba = cut((root / f"{path}.png").read_bytes())
        found.append(Icon(NAMES.index(thing), CLIPART, path, rgba, main_share(rgba) * (rgba[..., 3] > 0)))
    return found


def load_icons(folder: Path) -> list[Icon]:
    """All that was rendered, the most telling of every thing first; the clutter's thing is NOTHING."""
    with np.load(folder / RENDERED) as file:
        columns = [file[field.name] for field in fields(Icon)]
    return [Icon(int(thing), str(a), str(n), rgba, share) for thing, a, n, rgba, share in zip(*columns, strict=True)]


def by_thing(icons: list[Icon], artists: list[str]) -> list[list[Icon]]:
    """For each of NAMES, its icons by these artists."""
    return [[i for i in icons if i.thing == thing and i.artist in artists] for thing in range(len(NAMES))]


# ---- Scenes


@dataclass(frozen=True)
class Label:
    thing: int  # index into NAMES or NOTHING
    colour: int  # index into COLOURS or NOTHING
    count: int


def noise_field(rng: np.random.Generator, cells: int) -> np.ndarray:
    """Smooth noise [SIZE, SIZE] in 0..1, `cells` bumps a side."""
    grid = Image.fromarray(rng.random((cells + 1, cells + 1), np.float32))
    return np.asarray(grid.resize((SIZE, SIZE), Image.Resampling.BICUBIC)).clip(0, 1)


def surface(rng: np.random.Generator) -> Image.Image:
    """A wall, a cloth, a table: two colours mixed by noise, stripes, checks or a gradient."""
    lightness = rng.uniform(15, 92)
    first = np.array([lightness, *rng.normal(0, 16, 2)])
    second = first + rng.normal(0, (14, 9, 9))
    down, across = np.mgrid[0:SIZE, 0:SIZE].astype(np.float32) / SIZE
    angle = rng.uniform(0, np.pi)
    along = across * np.cos(angle) + down * np.sin(angle)
    aside = down * np.cos(angle) - across * np.sin(angle)
    kind = rng.integers(5)
    if kind == 0:
        mix = along
    elif kind == 1:
        mix = 0.6 * noise_field(rng, int(rng.integers(2, 6))) + 0.4 * noise_field(rng, int(rng.integers(8, 40)))
    elif kind == 2:  # wood
        mix = 0.5 + 0.5 * np.sin(rng.uniform(15, 70) * (along + 0.15 * noise_field(rng, 3)) + 3 * noise_field(rng, 5))
    elif kind == 3:
        mix = 0.5 + 0.5 * np.sign(np.sin(rng.uniform(10, 60) * along))
    else:
        period = rng.uniform(10, 50)
        mix = 0.5 + 0.5 * np.sign(np.sin(period * along) * np.sin(period * aside))
    shades = to_rgb(np.array((first, second)).clip((2, -70, -70), (98, 70, 70))).astype(np.float32)
    light = 1 + 0.15 * (noise_field(rng, 4) - 0.5) + normal(rng, rng.uniform(0, 0.05), (SIZE, SIZE))
    pixels = (shades[0] + np.asarray(mix, np.float32)[..., None] * (shades[1] - shades[0])) * light[..., None]
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def normal(rng: np.random.Generator, deviation: float, shape: tuple[int, ...]) -> np.ndarray:
    return np.float32(deviation) * rng.standard_normal(shape, np.float32)


def random_colour(rng: np.random.Generator) -> tuple[int, ...]:
    return tuple(int(x) for x in to_rgb(np.array([rng.uniform(10, 95), *rng.normal(0, 25, 2)], np.float32)))


def background(rng: np.random.Generator, clutter: list[Icon]) -> Image.Image:
    """A surface with edges, boxes and things that are not asked for, mostly out of focus."""
    scene = surface(rng)
    draw = ImageDraw.Draw(scene)
    for _ in range(rng.integers(0, 7)):
        x, y = rng.uniform(-0.2, 1, 2) * SIZE
        width, height = rng.uniform(0.05, 0.7, 2) * SIZE
        shape = draw.ellipse if rng.random() < 0.25 else draw.rectangle
        shape((x, y, x + width, y + height), fill=random_colour(rng))
    for _ in range(rng.integers(0, 4)):
        icon = tilted(clutter[rng.integers(len(clutter))].rgba, int(rng.uniform(0.12, 0.4) * SIZE), rng)
        scene.paste(icon, tuple(int(v) for v in rng.uniform(-0.1, 0.9, 2) * SIZE), icon)
    return scene.filter(ImageFilter.GaussianBlur(float(rng.choice([0, 0.7, 1.5, 3]))))


def solid(rgba: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The icon as if it were round, lit from a side, with a grain: drawings are flat, things are not."""
    depth = float(rng.uniform(3, 14))
    height = np.asarray(Image.fromarray(rgba[..., 3]).filter(ImageFilter.GaussianBlur(depth)), np.float32) / 255
    down, across = np.gradient(height)
    angle = rng.uniform(0, 2 * np.pi)
    light = np.float32(depth * rng.uniform(0.3, 1.8)) * (np.cos(angle) * across + np.sin(angle) * down)
    grain = noise_field(rng, int(rng.integers(3, 60)))[:ICON, :ICON] - 0.5
    shade = 1 + light + np.float32(rng.uniform(0, 0.5)) * grain
    gloss = 255 * (light - np.float32(rng.uniform(0.2, 0.6))).clip(0, 1)
    shaded = rgba[..., :3] * shade[..., None] + gloss[..., None]
    return np.concatenate((shaded.clip(0, 255).astype(np.uint8), rgba[..., 3:]), -1)


def tilted(icon: np.ndarray, side: int, rng: np.random.Generator) -> Image.Image:
    """The icon `side` pixels large, mirrored or not, stretched, turned and seen at an angle."""
    turn = np.radians(rng.normal(0, 14) if rng.random() < 0.85 else rng.uniform(0, 360))
    turned = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    mirrored = np.array([rng.choice([-1, 1]), 1]) * rng.uniform(1, 1.25, 2)
    reach = rng.uniform(0, 0.22)
    corners = np.array([[0, 0], [1, 0], [1, 1], [0, 1]], np.float64)
    seen = (corners + rng.uniform(-reach, reach, (4, 2)) - 0.5) * mirrored @ turned + 0.5
    return Image.fromarray(icon).transform(
        (side, side), Image.Transform.PERSPECTIVE, homography(corners * side, seen * ICON), Image.Resampling.BILINEAR,
    )  # fmt: skip


def homography(here: np.ndarray, there: np.ndarray) -> list[float]:
    """The eight coefficients with which PIL finds, for a pixel here, the pixel there: four points each [4, 2]."""
    rows = []
    for (x, y), (u, v) in zip(here, there, strict=True):
        rows += [[x, y, 1, 0, 0, 0, -u * x, -u * y], [0, 0, 0, x, y, 1, -v * x, -v * y]]
    return np.linalg.solve(np.array(rows), there.reshape(-1)).tolist()


def places(count: int, rng: np.random.Generator) -> list[tuple[float, float, float]]:
    """Centre (x, y) and side, in parts of the picture, of `count` things of about one size that barely overlap."""
    if count == 1:
        side = rng.uniform(0.35, 1.0)
        slack = 0.5 * max(0.12, 1 - side)
        return [(*(0.5 + rng.uniform(-slack, slack, 2)), side)]
    side = {2: rng.uniform(0.32, 0.5), 3: rng.uniform(0.28, 0.42), 4: rng.uniform(0.25, 0.4)}[count]
    chosen: list[tuple[float, float, float]] = []
    while len(chosen) < count:
        x, y = rng.uniform(0.4 * side, 1 - 0.4 * side, 2)
        if all(np.hypot(x - a, y - b) > 0.85 * side for a, b, _ in chosen):
            chosen.append((x, y, side * rng.uniform(0.9, 1.1)))
        elif rng.random() < 0.02:
            chosen.clear()  # a dead end
    return chosen


def put(scene: Image.Image, thing: Image.Image, place: tuple[float, float, float], rng: np.random.Generator) -> None:
    """The thing at its place, on a card, with a shadow or an outline, or with none of them."""
    left, top = (round(c * SIZE - thing.width / 2) for c in place[:2])
    kind = rng.random()
    if kind < 0.12:  # a card, a phone's screen
        margin = int(rng.uniform(0, 0.15) * thing.width)
        box = (left - margin, top - margin, left + thing.width + margin, top + thing.height + margin)
        shade = int(rng.uniform(215, 256))
        fill = (shade,) * 3 if rng.random() < 0.8 else random_colour(rng)
        ImageDraw.Draw(scene).rounded_rectangle(box, rng.uniform(0, 8), fill=fill)
    elif kind < 0.75:
        alpha = thing.getchannel("A").filter(ImageFilter.GaussianBlur(rng.uniform(1, 5)))
        shade = rng.uniform(0.2, 0.7)
        alpha = alpha.point([int(a * shade) for a in range(256)])
        at = (left + int(rng.uniform(-8, 8)), top + int(rng.uniform(0, 8)))
        scene.paste(Image.new("RGB", thing.size), at, alpha)
    elif kind < 0.87:  # a sticker
        outline = thing.getchannel("A").filter(ImageFilter.MaxFilter(int(rng.choice([3, 5]))))
        scene.paste((int(rng.choice([20, 250])),) * 3, (left, top), outline)
    scene.paste(thing, (left, top), thing)


def hide(scene: Image.Image, rng: np.random.Generator) -> None:
    """A finger or the edge of something in front, at the border of the picture."""
    angle, size = rng.uniform(0, 2 * np.pi), rng.uniform(0.12, 0.3) * SIZE
    x, y = SIZE * (0.5 + 0.52 * np.array([np.cos(angle), np.sin(angle)]))
    skin = tuple(int(v) for v in np.array([224, 172, 140]) * rng.uniform(0.35, 1.1) + rng.uniform(-10, 10, 3))
    fill = skin if rng.random() < 0.6 else random_colour(rng)
    ImageDraw.Draw(scene).ellipse((x - size, y - 0.6 * size, x + size, y + 0.6 * size), fill=fill)


def exposed(scene: Image.Image, rng: np.random.Generator) -> Image.Image:
    """What the camera makes of it: light from one side, exposure, colour cast, blur, noise."""
    if rng.random() < 0.5:
        scene = scene.filter(ImageFilter.GaussianBlur(rng.uniform(0.2, 1.3)))
    pixels = np.asarray(scene, np.float32) / 255
    down, across = np.mgrid[-0.5 : 0.5 : SIZE * 1j, -0.5 : 0.5 : SIZE * 1j].astype(np.float32)
    slope = rng.normal(0, 0.25, 2)
    light = (1 + slope[0] * down + slope[1] * across).clip(0.4, 1.6) * rng.uniform(0.65, 1.15)
    cast = 1 + rng.normal(0, 0.04, 3)
    pixels = (pixels * (light[..., None] * cast).astype(np.float32)).clip(0, 1) ** np.float32(rng.uniform(0.8, 1.25))
    haze = rng.uniform(0, 0.1)
    pixels = 255 * (haze + (1 - haze) * pixels) + normal(rng, rng.uniform(0, 9), pixels.shape)
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def through_jpeg(image: Image.Image, quality: int) -> np.ndarray:
    """What is left of it [SIZE, SIZE, 3]."""
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file))


class Camera:
    """Makes camera pictures of the artists' things."""

    def __init__(self, icons: list[Icon], artists: list[str]):
        self.icons = [things for things in by_thing(icons, artists) if things]
        self.clutter = [icon for icon in icons if icon.thing == NOTHING]
        weights = [np.array([SILHOUETTE if i.artist in SILHOUETTES else 1 for i in things]) for things in self.icons]
        self.shares = [weight / weight.sum() for weight in weights]

    def shot(self, rng: np.random.Generator) -> tuple[np.ndarray, Label]:
        """RGB [SIZE, SIZE, 3] uint8 and what it shows."""
        image, label = self._scene(rng)
        return through_jpeg(image, int(rng.integers(45, 95))), label

    def _scene(self, rng: np.random.Generator) -> tuple[Image.Image, Label]:
        if rng.random() < 0.05:
            return self._empty(rng), Label(NOTHING, NOTHING, 0)
        thing = rng.integers(len(self.icons))
        icon = self.icons[thing][rng.choice(len(self.icons[thing]), p=self.shares[thing])]
        own = rng.random() < 0.3
        colour = icon.colour if own else int(rng.integers(len(COLOURS)))
        rgba = icon.rgba if own else icon.recoloured(colour, rng)
        if rng.random() < SOLID:
            rgba = solid(rgba, rng)
        count = int(rng.choice([1, 2, 3, 4], p=[0.55, 0.15, 0.15, 0.15]))
        scene = background(rng, self.clutter)
        for place in places(count, rng):
            put(scene, tilted(rgba, round(place[2] * SIZE), rng), place, rng)
        if rng.random() < 0.25:
            hide(scene, rng)
        return exposed(scene, rng), Label(icon.thing, colour, count)

    def _empty(self, rng: np.random.Generator) -> Image.Image:
        """Nothing to see: a background, or a covered or dark camera."""
        scene = background(rng, self.clutter)
        if rng.random() < 0.5:
            return exposed(scene, rng)
        blurred = np.asarray(scene.filter(ImageFilter.GaussianBlur(20)), np.float32) * rng.uniform(0, 0.3)
        noisy = blurred + normal(rng, rng.uniform(0, 8), blurred.shape)
        return Image.fromarray(noisy.clip(0, 255).astype(np.uint8))


class Paper:
    """Makes drawings: of every thing its first icon, in one hand as far as possible."""

    def __init__(self, icons: list[Icon]):
        self.icons = [drawn[0] for drawn in by_thing(icons, list(DRAWN))]

    def drawing(self, thing: int, colour: int, rng: np.random.Generator) -> tuple[np.ndarray, Label]:
        """RGB [SIZE, SIZE, 3] uint8: the thing upright in the middle, nearly the same every time."""
        paper = Image.new("RGB", (SIZE, SIZE), PAPER)
        side = round(SIZE * rng.uniform(0.74, 0.82))
        rgba = Image.fromarray(self.icons[thing].recoloured(colour)).resize((side, side), Image.Resampling.LANCZOS)
        corner = [round((SIZE - side) / 2 + shift) for shift in rng.uniform(-4, 4, 2)]
        ground = (corner[0] + 0.15 * side, corner[1] + 0.93 * side, corner[0] + 0.85 * side, corner[1] + 1.02 * side)
        ImageDraw.Draw(paper).ellipse(ground, fill=SHADOW)
        paper = paper.filter(ImageFilter.GaussianBlur(3))
        paper.paste(rgba, tuple(corner), rgba)
        return np.asarray(paper), Label(thing, colour, 1)

    def shot(self, rng: np.random.Generator) -> tuple[np.ndarray, Label]:
        return self.drawing(int(rng.integers(len(NAMES))), int(rng.integers(len(COLOURS))), rng)


# ---- Shards


def learned() -> list[str]:
    """The artists that are trained on."""
    return [*(name for name in SETS if name != DEVELOPMENT), CLIPART]


def shots(icons: list[Icon], part: str) -> Callable[[np.random.Generator], tuple[np.ndarray, Label]]:
    if part == "drawing":
        return Paper(icons).shot
    return Camera(icons, [DEVELOPMENT] if part == "development" else learned()).shot


def make(options: argparse.Namespace, part: str) -> None:
    """Write the shards of a part that are not there yet, `workers` at a time."""
    options.data.mkdir(parents=True, exist_ok=True)
    numbers = range(-(-options.count // SHARD))
    wanted = [n for n in numbers if not (options.data / f"{part}-{n:03d}.npz").exists()]
    shoot = shots(load_icons(options.icons), part)
    context = multiprocessing.get_context("fork")  # the icons are there already
    shares = [wanted[worker :: options.workers] for worker in range(options.workers)]
    workers = [context.Process(target=write_shards, args=(options, part, shoot, share)) for share in shares]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    if any(worker.exitcode for worker in workers):
        raise SystemExit(f"not all of {part} could be made")


def write_shards(
    options: argparse.Namespace,
    part: str,
    shoot: Callable[[np.random.Generator], tuple[np.ndarray, Label]],
    numbers: list[int],
) -> None:
    """SHARD pictures each, [N, SIZE, SIZE, 3] uint8, and their labels [N, 3] int16: thing, colour, count."""
    for number in numbers:
        rng = np.random.default_rng([options.seed, zlib.crc32(part.encode()), number])
        shot = [shoot(rng) for _ in range(min(SHARD, options.count - number * SHARD))]
        labels = np.array([(label.thing, label.colour, label.count) for _, label in shot], np.int16)
        path = options.data / f"{part}-{number:03d}.npz"
        with path.with_suffix(".new").open("wb") as file:
            np.savez(file, pictures=np.stack([picture for picture, _ in shot]), labels=labels)
        path.with_suffix(".new").replace(path)
        print(f"{path}: {len(shot)} pictures", flush=True)


def read_shard(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Pictures [N, SIZE, SIZE, 3] uint8 and labels [N, 3] int16."""
    with np.load(path) as shard:
        return shard["pictures"], shard["labels"]


# ---- Looking at it


def grid(images: list[Image.Image], columns: int, side: int = 80) -> Image.Image:
    rows = -(-len(images) // columns)
    sheet = Image.new("RGB", (columns * side, rows * side), (120, 150, 160))
    for index, image in enumerate(images):
        image = image.resize((side, side), Image.Resampling.LANCZOS)
        at = (index % columns * side, index // columns * side)
        sheet.paste(image, at, image if image.mode == "RGBA" else None)
    return sheet


def sheet(options: argparse.Namespace) -> None:
    """PNG files in the run's folder: icons.png, colours.png, camera.png, development.png, drawing.png."""
    options.run.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(options.seed)
    drawn = load_icons(options.icons)
    everything = by_thing(drawn, [*SETS, CLIPART])
    columns = max(map(len, everything))
    cells: list[Image.Image] = []
    for icons in everything:
        row = [Image.fromarray(icon.rgba) for icon in icons]
        cells += [*row, *[Image.new("RGBA", (1, 1))] * (columns - len(row))]
    grid(cells, columns, 56).save(options.run / "icons.png")
    coloured = [icons[int(rng.integers(len(icons)))] for icons in everything for _ in range(2)]
    cells = []
    for icon in coloured:
        cells += [Image.fromarray(a) for a in (icon.rgba, *map(icon.recoloured, range(len(COLOURS))))]
    grid(cells, 24, 56).save(options.run / "colours.png")
    for part in ("camera", "development", "drawing"):
        shoot = shots(drawn, part)
        grid([Image.fromarray(shoot(rng)[0]) for _ in range(96)], 12, 104).save(options.run / f"{part}.png")
    trained = by_thing(drawn, learned())
    print(
        f"{len(NAMES)} things, {sum(map(len, trained))} icons to learn from; "
        f"by {DEVELOPMENT}: {sum(any(i.artist == DEVELOPMENT for i in icons) for icons in everything)} of the things"
    )
    print("fewest:", ", ".join(f"{NAMES[i]} {len(icons)}" for i, icons in enumerate(trained) if len(icons) < 3))


def fetch(options: argparse.Namespace) -> None:
    """The icon sets, by npm, and the clip art."""
    options.icons.mkdir(parents=True, exist_ok=True)
    packages = [f"@iconify-json/{name}@{version}" for name, version in SETS.items()]
    subprocess.run(["npm", "pack", "--silent", *packages], cwd=options.icons, check=True)
    subprocess.run(["apt-get", "download", "--quiet", CLIPART], cwd=options.icons, check=True)
    package = next(options.icons.glob(f"{CLIPART}_*.deb"))
    subprocess.run(["dpkg-deb", "--extract", package, options.icons / "clipart"], check=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("step", choices=["fetch", "icons", "camera", "development", "drawing", "sheet"])
    parser.add_argument("--count", type=int, default=SHARD, help="pictures")
    parser.add_argument("--workers", type=int, default=1, help="processes that make pictures")
    parser.add_argument("--icons", type=Path, default=Path("data/icons"))
    parser.add_argument("--data", type=Path, default=Path("data/pictures"))
    parser.add_argument("--run", type=Path, default=Path("runs/pictures"))
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    if options.step == "fetch":
        fetch(options)
    elif options.step == "icons":
        render_all(options)
    elif options.step == "sheet":
        sheet(options)
    else:
        make(options, options.step)


if __name__ == "__main__":
    main()
