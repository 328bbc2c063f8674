"""Sentences that lie outside the syllabus, made so that they cannot be learnt by heart."""

from __future__ import annotations

import random
from collections.abc import Sequence
from functools import cache

from training.syllabus.grammar import Split
from training.syllabus.other_topics import SENTENCES
from training.syllabus.world import with_article

_SUBJECTS = ("the government|my neighbour|a lawyer|the committee|our teacher|the captain|the engine|his uncle|"
             "the nurse|this company|the orchestra|her cousin|a scientist|the gardener|my grandmother|every student|"
             "the market|the president|a soldier|the museum|their manager|an engineer|the airport|some tourists|"
             "the library|a stranger|the mayor|my dentist").split("|")
_VERBS = ("published|forgot|decided on|cancelled|explained|discovered|bought|repaired|rejected|measured|translated|"
          "borrowed|destroyed|invented|described|collected|followed|improved|studied|noticed|replaced|hid|delivered|"
          "ignored").split("|")
_OBJECTS = ("the contract|a new theory|the old bridge|an expensive ticket|the whole budget|his passport|"
            "a broken engine|the final report|several letters|the castle|an election|the recipe|a strange signal|"
            "the password|two statues|the medicine|a silver necklace|the meeting|the insurance|their luggage|"
            "the software|a wooden fence").split("|")
_TAILS = ("last winter|without permission|in the evening|before the war|during the meeting|because of the storm|"
          "near the station|with great care|after the conference|on the second floor||||").split("|")
_QUESTIONS = ("how do i install|why did they cancel|who wrote about|when was|could you translate|"
              "what is the price of|how far is|please explain|where did you buy|how can i repair|what happened to|"
              "who discovered|should i sell|can you order").split("|")
_TOPICS = ("the stock market|quantum physics|my tax return|the french revolution|this washing machine|a passport|"
           "the football league|my printer|the climate|the roman empire|a used bicycle|the train to london|"
           "a good restaurant|the password|my insurance|the election|a vegetarian recipe|the speed of light|"
           "the second world war|an electric guitar|the bank account").split("|")
_FRAMES = ("what colour is {a}|what is {a}|what is {a} for|what does {a} eat|where does {a} live|"
           "what sound does {a} make|how many legs does {a} have|does {a} have legs|do you like the {u}|"
           "where can i find {a}|what is the opposite of {u}|what is the capital of {u}|is {a} bigger than a cat|"
           "tell me about the {u}|what does {a} do|what rhymes with {u}").split("|")
_UNKNOWN = ("submarine telescope volcano kangaroo dinosaur helicopter microscope tractor elevator dragon castle "
            "lobster balloon umpire carpet pillow wallet bracelet refugee magnet satellite tornado vampire wizard "
            "parliament democracy zebra crocodile pineapple mushroom sandwich envelope battery jacket bucket "
            "curtain lawyer sculptor detective algebra gravity tunnel harbour desert island ocean mountain "
            "waterfall pyramid cathedral skeleton muscle shoulder elbow diamond copper hurricane budget shadow").split()
_NAME_FRAMES = ("what is the capital of {u}|where is {u}|do you like {u}|what is the opposite of {u}|"
                "what comes after {u}|do you know {u}|tell me something about {u}|do you speak {u}|"
                "what colour is {u}").split("|")
_UNKNOWN_NAMES = ("brazil canada sweden argentina kenya freedom courage beethoven shakespeare napoleon turkish "
                  "arabic chemistry football").split()

_KINDS = {"written": 35, "statement": 18, "question": 12, "unknown": 18, "jumble": 7, "known jumble": 10}  # percent


@cache
def written(split: Split) -> tuple[str, ...]:
    """The written sentences of the split (one in six is held out)."""
    return _share(SENTENCES, split)


def _share(items: Sequence[str], split: Split) -> tuple[str, ...]:
    return tuple(item for index, item in enumerate(items) if (index % 6 == 5) == (split == "held_out"))


def outside_sentence(rng: random.Random, split: Split, known_words: Sequence[str]) -> str:
    """One sentence nano has no answer to: written, recombined, a known question about an unknown thing, or a jumble."""
    kind = rng.choices(list(_KINDS), list(_KINDS.values()))[0]
    if kind == "written":
        return rng.choice(written(split))
    if kind == "statement":
        return " ".join(" ".join(map(rng.choice, (_SUBJECTS, _VERBS, _OBJECTS, _TAILS))).split())
    if kind == "question":
        return f"{rng.choice(_QUESTIONS)} {rng.choice(_TOPICS)}"
    if kind == "unknown":
        frames, unknown = (_FRAMES, _UNKNOWN) if rng.random() < 0.75 else (_NAME_FRAMES, _UNKNOWN_NAMES)
        word = rng.choice(_share(unknown, split))
        return rng.choice(frames).format(u=word, a=with_article(word))
    pool = known_words if kind == "known jumble" else " ".join(rng.sample(written(split), 4)).split()
    return " ".join(rng.choice(pool) for _ in range(rng.randint(4, 8)))
