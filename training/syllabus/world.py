"""The small world that nano knows: things, animals, numbers, days, opposites and a few more tables of facts."""

from __future__ import annotations

from dataclasses import dataclass


def with_article(word: str) -> str:
    return f"{'an' if word[0] in 'aeiou' else 'a'} {word}"


@dataclass(frozen=True)
class Noun:
    """An everyday thing and what is true of it; an empty field is not asked about.

    In a phrasing ``{x}`` is the bare word, ``{x:a}`` has its article, ``{x:s}`` is the plural; ``{x:is}`` and
    ``{x:does}`` agree with the article form, ``{x:are}`` and ``{x:do}`` with the plural.
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
        is_many = self.number == "many"
        has_plural = self.number in ("one", "many")
        definite = {"one": with_article(self.name), "the": f"the {self.name}"}.get(self.number, self.name)
        forms = {
            "": self.name,
            "a": definite,
            "s": self.plural if has_plural else definite,
            "is": "are" if is_many else "is",
            "are": "are" if has_plural else "is",
            "does": "do" if is_many else "does",
            "do": "do" if has_plural else "does",
        }
        return forms[code]


_IRREGULAR = {"sheep": "sheep", "mouse": "mice", "fish": "fish", "wolf": "wolves", "knife": "knives", "leaf": "leaves",
              "shelf": "shelves", "potato": "potatoes", "tomato": "tomatoes", "scissors": "scissors",
              "glasses": "glasses"}


def _plural(name: str) -> str:
    if name in _IRREGULAR:
        return _IRREGULAR[name]
    if name.endswith(("s", "ch", "sh", "x")):
        return name + "es"
    if name.endswith("y") and name[-2] not in "aeiou":
        return name[:-1] + "ies"
    return name + "s"


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
lion | roar | in africa | meat | four | |
tiger | | in the jungle | meat | four | | orange
bear | growl | in the forest | honey | four | cub | brown
elephant | | in africa | leaves | four | | grey
monkey | | in the jungle | bananas | | | brown
mouse | squeak | in a hole | cheese | four | | grey
rabbit | | in a hole | carrots | four | bunny |
frog | ribbit | on a pond | flies | four | | green
bird | tweet | in a nest | seeds | two | |
owl | hoot | in the forest | mice | two | |
bee | buzz | in a hive | honey | six | |
snake | hiss | in the grass | mice | no | |
fish | | in the water | plants | no | |
spider | | in a web | flies | eight | | black
wolf | howl | in the forest | meat | four | | grey
penguin | | on the ice | fish | two | |
whale | | in the sea | fish | no | |
fox | | in the forest | mice | four | | orange
"""

# name | kind | colour | use | place; "~" marks no article (milk), "+" plural only, "the" stays (the sun)
_THINGS = """
apple | fruit | red | |
banana | fruit | yellow | |
orange | fruit | orange | |
lemon | fruit | yellow | |
strawberry | fruit | red | |
cherry | fruit | red | |
plum | fruit | purple | |
blueberry | fruit | blue | |
peach | fruit | | |
carrot | vegetable | orange | |
potato | vegetable | brown | |
onion | vegetable | | |
cucumber | vegetable | green | |
cabbage | vegetable | green | |
tomato | | red | |
~bread | food | brown | | in the kitchen
~cheese | food | yellow | | in the fridge
~rice | food | white | |
~soup | food | | |
~butter | food | yellow | | in the fridge
~honey | food | | |
~chocolate | food | brown | |
~salt | food | white | | in the kitchen
~sugar | food | white | | in the kitchen
cake | food | | |
pizza | food | | |
egg | food | white | | in the fridge
~milk | drink | white | | in the fridge
~water | drink | | |
~tea | drink | | |
~coffee | drink | brown | |
~juice | drink | | | in the fridge
hat | piece of clothing | | wearing | on your head
coat | piece of clothing | | wearing |
shirt | piece of clothing | | wearing |
shoe | piece of clothing | | walking | on your foot
sock | piece of clothing | | wearing | on your foot
glove | piece of clothing | | wearing | on your hand
bed | piece of furniture | | sleeping | in the bedroom
chair | piece of furniture | | sitting | in the kitchen
table | piece of furniture | | eating | in the kitchen
sofa | piece of furniture | | sitting | in the living room
desk | piece of furniture | | working | in the office
knife | tool | | cutting | in the kitchen
fork | tool | | eating | in the kitchen
spoon | tool | | eating soup | in the kitchen
hammer | tool | | hitting nails | in the garage
saw | tool | | cutting wood | in the garage
+scissors | tool | | cutting paper | in the office
needle | tool | | sewing |
broom | tool | | sweeping the floor | in the kitchen
ladder | tool | | climbing | in the garage
cup | | | drinking | in the kitchen
plate | | | eating | in the kitchen
bowl | | | eating soup | in the kitchen
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
book | | | reading | in the living room
~soap | | | washing | in the bathroom
towel | | | drying | in the bathroom
toothbrush | | | cleaning your teeth | in the bathroom
comb | | | combing your hair | in the bathroom
mirror | | | looking at yourself | in the bathroom
umbrella | | | keeping dry |
bag | | | carrying things |
window | | | looking out | in the wall
door | | | going in and out | in the wall
candle | | | giving light |
+glasses | | | seeing well | on your nose
ball | toy | | playing |
doll | toy | | playing |
kite | toy | | flying | in the sky
drum | instrument | | making music |
piano | instrument | | making music | in the living room
guitar | instrument | | making music |
violin | instrument | | making music |
bell | | | ringing | on the door
car | vehicle | | driving | in the garage
bus | vehicle | | driving | on the street
train | vehicle | | travelling |
bike | vehicle | | riding | in the garage
boat | vehicle | | sailing | on the water
plane | vehicle | | flying | in the sky
truck | vehicle | | carrying things | on the street
rose | flower | red | | in the garden
tulip | flower | | | in the garden
the sun | | yellow | giving light | in the sky
the moon | | white | | in the sky
the sky | | blue | |
the sea | | blue | |
~grass | plant | green | | in the garden
~snow | | white | |
~coal | | black | |
~blood | | red | |
~gold | | yellow | |
tree | plant | green | | in the forest
leaf | | green | | on a tree
cloud | | white | | in the sky
stone | | grey | | on the ground
"""


def _animal(cells: list[str]) -> Noun:
    name, sound, home, food, legs, young, colour = cells
    home = home.replace("africa", "Africa")
    return Noun(name, "animal", _plural(name), "one", colour, "", "", sound, home, food, legs, young)


def _thing(cells: list[str]) -> Noun:
    marked, kind, colour, use, place = cells
    number = {"~": "mass", "+": "many"}.get(marked[0], "the" if marked.startswith("the ") else "one")
    name = marked.lstrip("~+").removeprefix("the ")
    return Noun(name, kind, _plural(name), number, colour, use, place)


def _table(text: str) -> list[list[str]]:
    return [[cell.strip() for cell in row.split("|")] for row in text.strip().splitlines()]


ANIMALS = tuple(_animal(cells) for cells in _table(_ANIMALS))
NOUNS = ANIMALS + tuple(_thing(cells) for cells in _table(_THINGS))
NOUN = {noun.name: noun for noun in NOUNS}
COLOURS = ("red", "blue", "green", "yellow", "orange", "purple", "pink", "brown", "black", "white", "grey")

_PICTURED = """
dog brown, cat orange, cow white, pig pink, sheep white, horse brown, duck yellow, chicken white, lion orange,
tiger orange, bear brown, elephant grey, monkey brown, mouse grey, rabbit white, frog green, bird blue, owl brown,
bee yellow, snake green, fish blue, spider black, penguin black, whale blue, fox orange, apple red, banana yellow,
orange orange, lemon yellow, strawberry red, cherry red, carrot orange, cucumber green, tomato red, bread brown,
cheese yellow, cake pink, pizza yellow, egg white, milk white, hat black, shirt blue, shoe brown, sock white,
glove red, bed brown, chair brown, sofa red, knife grey, spoon grey, hammer grey, saw grey, scissors red,
broom yellow, ladder brown, cup white, pot black, bottle green, clock red, phone black, camera black, computer grey,
lamp yellow, key yellow, pencil yellow, book blue, toothbrush blue, umbrella purple, bag brown, door brown,
candle white, glasses black, ball orange, kite red, drum red, piano black, guitar brown, violin brown, bell yellow,
car red, bus yellow, train black, bike blue, boat white, plane white, truck green, rose red, tulip pink, sun yellow,
moon yellow, tree green, leaf green, cloud white
"""
PICTURED = {name: colour for name, colour in (pair.split() for pair in _PICTURED.split(","))}
"""The things that nano sees and draws (training.pictures.NAMES), and the colour that it draws them in unasked."""

NUMBERS = ("zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen "
           "seventeen eighteen nineteen twenty").split()
LARGE_NUMBERS = "thirty forty fifty sixty seventy eighty ninety".split()
DAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()
MONTHS = "January February March April May June July August September October November December".split()
SEASONS = {"spring": MONTHS[2:5], "summer": MONTHS[5:8], "autumn": MONTHS[8:11], "winter": [MONTHS[11], *MONTHS[:2]]}

_SHORT_MONTHS = {"February": "twenty eight", "April": "thirty", "June": "thirty", "September": "thirty",
                 "November": "thirty"}
MONTH_LENGTHS = {month: _SHORT_MONTHS.get(month, "thirty one") for month in MONTHS}

# parts, whole, how many, the telling word of it
UNITS = (("days", "week", "seven", "seven"), ("months", "year", "twelve", "twelve"),
         ("seasons", "year", "four", "four"),
         ("hours", "day", "twenty four", "twenty"), ("minutes", "hour", "sixty", "sixty"),
         ("seconds", "minute", "sixty", "sixty"), ("weeks", "month", "about four", "four"),
         ("weeks", "year", "fifty two", "fifty"))

_OPPOSITE_PAIRS = ("big small, hot cold, good bad, happy sad, fast slow, old young, day night, up down, open "
                   "closed, long short, full empty, light dark, loud quiet, rich poor, hard soft, wet dry, left "
                   "right, black white, early late, strong weak, clean dirty, in out, first last, yes no, thick thin")
OPPOSITES = {one: other for pair in _OPPOSITE_PAIRS.split(", ")
             for one, other in (pair.split(), reversed(pair.split()))}

MIXES = {("red", "yellow"): "orange", ("blue", "yellow"): "green", ("red", "blue"): "purple",
         ("red", "white"): "pink", ("black", "white"): "grey"}

SIZES = "bee mouse frog cat dog pig cow elephant whale".split()  # from small to big

RHYMES = {"cat": "hat", "dog": "frog", "house": "mouse", "tree": "bee", "moon": "spoon", "car": "star", "cake": "snake",
          "light": "night", "ball": "tall", "sun": "fun", "day": "play", "book": "cook", "king": "ring", "boat": "coat"}

CAN_FLY = {"bird": True, "bee": True, "owl": True, "plane": True, "dog": False, "cow": False, "fish": False,
           "elephant": False}
CAN_SWIM = {"fish": True, "duck": True, "whale": True, "frog": True, "penguin": True, "chicken": False, "bee": False}

TASTES = {"lemon": "sour", "sugar": "sweet", "honey": "sweet", "salt": "salty", "chocolate": "sweet", "cake": "sweet",
          "strawberry": "sweet", "cherry": "sweet"}

HOT_OR_COLD = {"fire": "hot", "the sun": "hot", "ice": "cold", "snow": "cold", "an oven": "hot", "a fridge": "cold",
               "summer": "hot", "winter": "cold"}

SENSES = {"eyes": "see", "ears": "hear", "nose": "smell", "mouth": "eat", "hands": "hold things", "feet": "walk",
          "teeth": "bite"}
BODY = {"eyes": "two", "ears": "two", "hands": "two", "arms": "two", "legs": "two", "feet": "two", "fingers": "ten",
        "toes": "ten"}
WHEELS = {"car": "four", "bus": "four", "bike": "two"}
ORIGINS = {"milk": "a cow", "an egg": "a chicken", "honey": "a bee", "wool": "a sheep", "an apple": "a tree",
           "cheese": "milk", "rain": "a cloud"}
JOBS = {"doctor": "helps sick people", "baker": "bakes bread", "teacher": "teaches children",
        "farmer": "works on a farm", "pilot": "flies a plane", "driver": "drives a bus", "cook": "makes food",
        "singer": "sings songs", "painter": "paints pictures", "writer": "writes books"}

NEEDED = {"cut bread": "knife", "eat soup": "spoon", "open a door": "key", "write a letter": "pen",
          "sweep the floor": "broom", "dry my hands": "towel", "clean my teeth": "toothbrush",
          "take a picture": "camera", "wash my hands": "soap", "cut paper": "scissors", "hit a nail": "hammer",
          "cut wood": "saw", "comb my hair": "comb", "cook soup": "pot", "call my mother": "phone",
          "bake a cake": "oven", "know the time": "clock"}

CAPITALS = {"France": "Paris", "England": "London", "Spain": "Madrid", "Italy": "Rome", "Germany": "Berlin",
            "Portugal": "Lisbon", "Japan": "Tokyo", "China": "Beijing", "Russia": "Moscow", "Egypt": "Cairo"}

NAMES = ("Anna Tom Maria Peter Laura David Emma Jack Julia Ben Sofia Paul Lucy Max Nina Sam Clara Oscar Alice Leo "
         "Eva Mark Sarah Daniel Lisa Martin Olivia Adam Helen George Kate Simon Rosa Robert Linda Alex Grace Felix "
         "Diana Victor Susan Thomas Carla Henry Emily John Mary James Michael Jane Chris Sophie William Rachel "
         "Frank Nora Steve Amy Kevin Bob").split()
