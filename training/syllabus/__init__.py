"""What nano is competent at: a grammar of short spoken dialogues for training and evaluation.

`generate(seed, split)` makes dialogues, `tasks(seed)` such of a single typed task; `all_replies()` and `words()`
enumerate what can be said, `INTENTS` lists the competences with an example each. User sentences are written as they are
spoken: lower case, no punctuation, no digits.
"""

from training.syllabus.dialogue import (
    INTENTS,
    Dialogue,
    Listing,
    Turn,
    all_replies,
    generate,
    user_sentences,
    words,
)
from training.syllabus.grammar import Split
from training.syllabus.intent import Picture
from training.syllabus.tasks import tasks

__all__ = [
    "INTENTS",
    "Dialogue",
    "Listing",
    "Picture",
    "Split",
    "Turn",
    "all_replies",
    "generate",
    "tasks",
    "user_sentences",
    "words",
]
