"""The small world that nano knows: things, animals, numbers, days, opposites and a few more tables of facts."""

from __future__ import annotations

from dataclasses import dataclass


def article(word: str) -> str:
    return "an" if word[0] in "aeiou" else "a"


@dataclass(frozen=True)
class Noun:
    """An everyday thing and what is true of it; an empty field means "not asked about".

    Format codes: plain = bare word, ``a`` = with its article, ``s`` = plural, ``is``/``are`` = the verb that goes with
    the ``a``/``s`` form, ``does``/``do`` likewise, ``it`` = it or they.
    """

    name: str
    kind: str
    plural: str
    number: str  # "one" (a knife), "mass" (milk), "many" (scissors) or "the" (the sun)
    colour: str = ""
    use: str = ""
    place: str = ""
    sound: str = ""
    home: str = ""
    food: str = ""
    legs: str = ""
    young: str = ""

    def __str__(self) -> str:
        return self.name

    def __format__(self, code: str) -> str:
        single = self.number in ("one", "the", "mass")
        with_article = {"one": f"{article(self.name)} {self.name}", "the": f"the {self.name}"}.get(self.number, self.name)
        return {
            "": self.name,
            "a": with_article,
            "s": self.plural if self.number in ("one", "many") else with_article,
            "is": "is" if single else "are",
            "are": "are" if self.number in ("one", "many") else "is",
            "does": "does" if single else "do",
            "do": "do" if self.number in ("one", "many") else "does",
            "it": "it" if single else "they",
        }[code]


def _plural(name: str) -> str:
    if name.endswith(("s", "ch", "sh", "x")):
        return name + "es"
    if name.endswith("y") and name[-2] not in "aeiou":
        return name[:-1] + "ies"
    return name + "s"


_IRREGULAR = {"sheep": "sheep", "mouse": "mice", "fish": "fish", "wolf": "wolves", "knife": "knives", "leaf": "leaves",
              "tooth": "teeth", "foot": "feet", "shelf": "shelves", "potato": "potatoes", "tomato": "tomatoes",
              "scissors": "scissors", "glasses": "glasses", "trousers": "trousers"}

# name | sound | home | food | legs | young | colour
_ANIMALS = """
dog | woof | in a house | meat | four | puppy |
cat | meow | in a house | fish | four | kitten |
cow | moo | on a farm | grass | four | calf |
pig | oink | on a farm | corn | four | piglet | pink
sheep | baa | on a farm | grass | four | lamb | white
horse | neigh | on a farm | grass | four | foal |
duck | quack | on a pond | plants | two | duckling |
chicken | cluck | on a farm | corn | two | chick |
lion | roar | in africa | meat | four | cub | yellow
tiger | | in the jungle | meat | four | cub | orange
bear | growl | in the forest | honey | four | cub | brown
elephant | | in africa | leaves | four | | grey
monkey | | in the jungle | bananas | | | brown
mouse | squeak | in a hole | cheese | four | | grey
rabbit | | in a hole | carrots | four | bunny | white
frog | ribbit | on a pond | flies | four | | green
bird | tweet | in a nest | seeds | two | chick |
owl | hoot | in the forest | mice | two | |
bee | buzz | in a hive | honey | six | |
snake | hiss | in the grass | mice | no | |
fish | | in the water | plants | no | |
spider | | in a web | flies | eight | | black
wolf | howl | in the forest | meat | four | cub | grey
penguin | | on the ice | fish | two | chick |
giraffe | | in africa | leaves | four | |
whale | | in the sea | fish | no | calf | blue
ant | | in the ground | seeds | six | |
fox | | in the forest | mice | four | cub | orange
"""

# name | kind | colour | use | place ; "~" before the name: no article (milk); "+": plural only; "the " before: the sun
_THINGS = """
apple | fruit | red | eating | in the kitchen
banana | fruit | yellow | |
orange | fruit | orange | |
lemon | fruit | yellow | |
pear | fruit | green | |
strawberry | fruit | red | |
cherry | fruit | red | |
plum | fruit | purple | |
blueberry | fruit | blue | |
peach | fruit | | |
melon | fruit | green | |
carrot | vegetable | orange | |
potato | vegetable | brown | |
onion | vegetable | | |
pea | vegetable | green | |
bean | vegetable | green | |
tomato | | red | |
~bread | food | brown | eating | in the kitchen
~cheese | food | yellow | eating |
~rice | food | white | eating |
~soup | food | | eating |
~butter | food | yellow | |
~honey | food | | |
~chocolate | food | brown | eating |
~salt | food | white | |
~sugar | food | white | |
cake | food | | eating |
pizza | food | | eating |
egg | food | white | eating | in the fridge
~milk | drink | white | drinking | in the fridge
~water | drink | | drinking |
~tea | drink | | drinking |
~coffee | drink | brown | drinking |
~juice | drink | | drinking | in the fridge
hat | piece of clothing | | wearing | on your head
coat | piece of clothing | | wearing |
shirt | piece of clothing | | wearing |
shoe | piece of clothing | | walking | on your foot
sock | piece of clothing | | wearing | on your foot
glove | piece of clothing | | wearing | on your hand
dress | piece of clothing | | wearing |
bed | piece of furniture | | sleeping | in the bedroom
chair | piece of furniture | | sitting | in the kitchen
table | piece of furniture | | eating at | in the kitchen
sofa | piece of furniture | | sitting | in the living room
desk | piece of furniture | | working at | in the office
shelf | piece of furniture | | holding books | in the living room
knife | tool | | cutting | in the kitchen
fork | tool | | eating | in the kitchen
spoon | tool | | eating soup | in the kitchen
hammer | tool | | hitting nails | in the garage
saw | tool | | cutting wood | in the garage
+scissors | tool | | cutting paper | in the office
needle | tool | | sewing |
broom | tool | | sweeping the floor | in the kitchen
ladder | tool | | climbing | in the garage
rope | tool | | tying things |
cup | | | drinking | in the kitchen
plate | | | holding food | in the kitchen
bowl | | | holding soup | in the kitchen
pot | | | cooking | in the kitchen
bottle | | | holding water | in the kitchen
oven | machine | | baking | in the kitchen
fridge | machine | | keeping food cold | in the kitchen
clock | machine | | telling the time | on the wall
phone | machine | | calling people | in your pocket
camera | machine | | taking pictures |
computer | machine | | working | in the office
lamp | | | giving light | in the living room
key | | | opening doors | in your pocket
pen | | | writing | in the office
pencil | | | drawing | in the office
book | | | reading | on the shelf
~soap | | | washing | in the bathroom
towel | | | drying | in the bathroom
toothbrush | | | cleaning your teeth | in the bathroom
comb | | | combing your hair | in the bathroom
mirror | | | looking at yourself | in the bathroom
umbrella | | | keeping dry |
bag | | | carrying things |
window | | | looking out | in the wall
door | | | going in and out |
candle | | | giving light |
+glasses | | | seeing well | on your nose
ball | toy | | playing |
doll | toy | | playing |
kite | toy | | flying |
drum | instrument | | making music |
piano | instrument | | making music | in the living room
guitar | instrument | | making music |
violin | instrument | | making music |
bell | | | ringing |
car | vehicle | | driving | in the garage
bus | vehicle | | driving | on the street
train | vehicle | | travelling |
bike | vehicle | | riding | in the garage
boat | vehicle | | sailing | on the water
plane | vehicle | | flying | in the sky
truck | vehicle | | carrying things | on the street
rose | flower | red | |
tulip | flower | | |
the sun | star | yellow | giving light | in the sky
the moon | | white | | in the sky
the sky | | blue | |
the sea | | blue | |
~grass | plant | green | |
~snow | | white | |
~coal | | black | |
~blood | | red | |
~gold | | yellow | |
tree | plant | green | | in the forest
leaf | | green | | on a tree
cloud | | white | | in the sky
stone | | grey | |
"""


def _cells(row: str) -> list[str]:
    return [cell.strip() for cell in row.split("|")]


def _animal(row: str) -> Noun:
    name, sound, home, food, legs, young, colour = _cells(row)
    return Noun(name, "animal", _IRREGULAR.get(name, _plural(name)), "one", colour, "", "", sound, home, food, legs, young)


def _thing(row: str) -> Noun:
    marked, kind, colour, use, place = _cells(row)
    number = "mass" if marked[0] == "~" else "many" if marked[0] == "+" else "the" if marked.startswith("the ") else "one"
    name = marked.lstrip("~+").removeprefix("the ")
    return Noun(name, kind, _IRREGULAR.get(name, _plural(name)), number, colour, use, place)


ANIMALS = tuple(_animal(row) for row in _ANIMALS.strip().splitlines())
NOUNS = ANIMALS + tuple(_thing(row) for row in _THINGS.strip().splitlines())
NOUN = {noun.name: noun for noun in NOUNS}
KINDS = tuple(dict.fromkeys(noun.kind for noun in NOUNS if noun.kind))
COLOURS = ("red", "blue", "green", "yellow", "orange", "purple", "pink", "brown", "black", "white", "grey")

NUMBERS = ("zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen "
           "seventeen eighteen nineteen twenty").split()
DAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()
MONTHS = "January February March April May June July August September October November December".split()
SEASONS = {"spring": MONTHS[2:5], "summer": MONTHS[5:8], "autumn": MONTHS[8:11], "winter": [MONTHS[11], *MONTHS[:2]]}

DURATIONS = {("days", "week"): "seven", ("months", "year"): "twelve", ("hours", "day"): "twenty four",
             ("minutes", "hour"): "sixty", ("seconds", "minute"): "sixty", ("weeks", "month"): "about four",
             ("seasons", "year"): "four", ("weeks", "year"): "fifty two", ("days", "year"): "three hundred sixty five"}

_OPPOSITES = ("big small, hot cold, good bad, happy sad, fast slow, old young, day night, up down, open closed, long short, "
              "full empty, light dark, loud quiet, rich poor, hard soft, wet dry, left right, black white, early late, "
              "easy difficult, strong weak, clean dirty, sweet sour, in out, first last, tall short, yes no, thick thin")
OPPOSITES: dict[str, str] = {}
for _pair in _OPPOSITES.split(", "):
    _one, _other = _pair.split()
    OPPOSITES.setdefault(_one, _other)
    OPPOSITES.setdefault(_other, _one)

MIXES = {("red", "yellow"): "orange", ("blue", "yellow"): "green", ("red", "blue"): "purple",
         ("red", "white"): "pink", ("black", "white"): "grey"}

SIZES = "ant bee mouse frog cat dog sheep pig cow elephant whale".split()  # from small to big

RHYMES = {"cat": "hat", "dog": "frog", "house": "mouse", "tree": "bee", "moon": "spoon", "car": "star", "cake": "snake",
          "light": "night", "ball": "tall", "sun": "fun", "day": "play", "book": "cook", "king": "ring", "boat": "coat"}

ABILITIES = {"fly": ("bird bee owl plane duck".split(), "dog cow fish elephant snake".split()),
             "swim": ("fish duck whale frog penguin".split(), "chicken ant bee".split())}

TASTES = {"lemon": "sour", "sugar": "sweet", "honey": "sweet", "salt": "salty", "chocolate": "sweet", "cake": "sweet",
          "strawberry": "sweet", "cherry": "sweet"}

HOT_OR_COLD = {"fire": "hot", "the sun": "hot", "ice": "cold", "snow": "cold", "an oven": "hot", "a fridge": "cold",
               "summer": "hot", "winter": "cold"}

SENSES = {"eyes": "see", "ears": "hear", "nose": "smell", "mouth": "eat", "hands": "hold things", "feet": "walk",
          "teeth": "bite"}

NEEDED = {"cut bread": "knife", "eat soup": "spoon", "open a door": "key", "write a letter": "pen",
          "sweep the floor": "broom", "dry my hands": "towel", "clean my teeth": "toothbrush", "take a picture": "camera",
          "wash my hands": "soap", "cut paper": "scissors", "hit a nail": "hammer", "cut wood": "saw",
          "comb my hair": "comb", "cook soup": "pot", "call my mother": "phone", "bake a cake": "oven"}

CAPITALS = {"France": "Paris", "England": "London", "Spain": "Madrid", "Italy": "Rome", "Germany": "Berlin",
            "Portugal": "Lisbon", "Japan": "Tokyo", "China": "Beijing", "Russia": "Moscow", "Egypt": "Cairo"}

NAMES = ("Anna Tom Maria Peter Laura David Emma Jack Julia Ben Sofia Paul Lucy Max Nina Sam Clara Oscar Alice Leo Eva "
         "Mark Sarah Daniel Lisa Martin Olivia Adam Helen George Kate Simon Rosa Robert Linda Alex Grace Felix Diana "
         "Victor Susan Thomas Carla Henry Emily John Mary James").split()
