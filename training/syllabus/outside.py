"""What lies outside the syllabus, and nothing at all: the honest answers "I did not understand" and "I heard nothing"."""

from __future__ import annotations

import random

NOT_UNDERSTOOD = "I am sorry, I did not understand that."
NOT_HEARD = "I am sorry, I did not hear you."

_SUBJECTS = ("the government|my neighbour|a lawyer|the committee|our teacher|the captain|the engine|his uncle|the doctor|this company|"
             "the orchestra|her cousin|the machine|a scientist|the gardener|my grandmother|the painter|every student|the market|"
             "the president|a soldier|the museum|their manager|the river|an engineer|the airport|some tourists|the library").split("|")
_VERBS = ("published|forgot|decided on|cancelled|explained|discovered|bought|repaired|painted|rejected|measured|translated|borrowed|"
          "destroyed|invented|described|collected|followed|improved|photographed|studied|defended|noticed|replaced").split("|")
_OBJECTS = ("the contract|a new theory|the old bridge|an expensive ticket|the whole budget|his passport|a broken engine|"
            "the final report|several letters|the castle|an election|the recipe|a strange signal|the password|two paintings|"
            "the medicine|a silver necklace|the meeting|her dissertation|the insurance|their luggage|the software").split("|")
_TAILS = ("last winter|without permission|in the evening|for political reasons|before the war|during the meeting|because of the storm|"
          "near the station|with great care|after the conference|on the second floor||||").split("|")
_QUESTIONS = ("how do i install|why did they cancel|who wrote|when was|could you translate|what is the price of|how far is|"
              "please explain|where did you buy|how can i repair|do you remember|should i sell|what happened to").split("|")
_TOPICS = ("the stock market|quantum physics|my tax return|the french revolution|this washing machine|a passport|the football league|"
           "my printer|climate change|the roman empire|a used bicycle|the train to london|a good restaurant|the password|"
           "my insurance|the election|a vegetarian recipe|the speed of light|the second world war|an electric guitar|the bank account").split("|")


def sentence(rng: random.Random, written: tuple[str, ...]) -> str:
    """A sentence outside the syllabus: one of the written ones, a recombination, or words in no order."""
    choice = rng.random()
    if choice < 0.4:
        return rng.choice(written)
    if choice < 0.65:
        return " ".join(f"{rng.choice(_SUBJECTS)} {rng.choice(_VERBS)} {rng.choice(_OBJECTS)} {rng.choice(_TAILS)}".split())
    if choice < 0.85:
        return f"{rng.choice(_QUESTIONS)} {rng.choice(_TOPICS)}"
    words = " ".join(rng.choice(written) for _ in range(3)).split()
    rng.shuffle(words)
    return " ".join(words[: rng.randint(3, 8)])
