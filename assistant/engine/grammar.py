"""Which tokens a reply may hold next: a small state machine over its modalities.

A reply is a chain of segments. A segment is a run of tokens of one kind and one closing token, which leads to the next
segment. The engine computes only the output rows that `allowed` names, so a malformed reply cannot be sampled.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from assistant.vocabulary import MUSIC_CODEBOOKS, Modality, Vocabulary

Kind = Literal["text", "transcript", "speech", "image", "music"]

IMAGE_TOKENS = 32
"""Tokens of one picture (SEED, arXiv 2310.01218)."""

MADE = 6.0
"""What is added to the scores of a picture and of music behind the words, where the reply would end else: who is told
that something comes misses it more than he would miss its absence. In a conversation of 20 turns nano's scores lay
from -2.4 to 14 above the end's where something had been asked for, and below -12 elsewhere. Where nothing is spoken,
that end is often the mark of speech, since most replies that a model knows are spoken."""


@dataclass(frozen=True, slots=True)
class Segment:
    """`minimum` to `maximum` tokens of one kind, then one of `closings`, each with the segment it leads to.

    The token at place i comes from `cycle[i % len(cycle)]`, and a segment closes only between cycles. A closing that
    leads to None ends the reply. A segment of no tokens (`maximum` 0) is a mark that has to come. `favours`: where
    one of the closings is the likeliest token, what is added to the scores of some of them.
    """

    kind: Kind
    cycle: tuple[range, ...]
    closings: Closings
    minimum: int = 0
    maximum: int | None = None
    favours: tuple[tuple[int, float], ...] = ()


Closings = tuple[tuple[int, Segment | None], ...]
"""Closing tokens, each with the segment it leads to."""


@dataclass(frozen=True, slots=True)
class GrammarState:
    """A place in a reply. A value: `advance` makes a new one."""

    segment: Segment
    count: int = 0

    @property
    def kind(self) -> Kind:
        """Whose sampling settings choose the next token."""
        return self.segment.kind

    @property
    def allowed(self) -> tuple[range, ...]:
        """The ids that may come next, as ranges that do not overlap. Never empty."""
        segment, count = self.segment, self.count
        ranges: tuple[range, ...] = ()
        if segment.maximum is None or count < segment.maximum:
            ranges = (segment.cycle[count % len(segment.cycle)],)
        whole = not segment.cycle or count % len(segment.cycle) == 0
        if whole and count >= segment.minimum:
            ranges += tuple(range(token, token + 1) for token, _ in segment.closings)
        return ranges

    @property
    def favoured(self) -> tuple[tuple[int, float], ...]:
        """Places of the favoured among the allowed tokens, laid end to end, and what is added to their scores."""
        found, before = [], 0
        for ids in self.allowed if self.segment.favours else ():
            found += [(before + token - ids.start, more) for token, more in self.segment.favours if token in ids]
            before += len(ids)
        return tuple(found)

    def closes(self, token: int) -> bool:
        return any(token == closing for closing, _ in self.segment.closings)

    @property
    def forced(self) -> int | None:
        """The next token where only one is possible."""
        ranges = self.allowed
        return ranges[0].start if len(ranges) == 1 and len(ranges[0]) == 1 else None

    def advance(self, token: int) -> GrammarState | None:
        """The place behind `token`; None where it ends the reply. ValueError for a token that is not allowed."""
        if not any(token in ids for ids in self.allowed):
            raise ValueError(f"token {token} is not allowed in {self.kind} at place {self.count}")
        for closing, following in self.segment.closings:
            if token == closing:
                return None if following is None else GrammarState(following)
        return replace(self, count=self.count + 1)


def mark(token: int, following: Segment | None) -> Segment:
    """A token that has to come."""
    return Segment("text", (), ((token, following),), maximum=0)


def text(
    vocabulary: Vocabulary, closings: Closings, minimum: int = 0, maximum: int | None = None, kind: Kind = "text"
) -> Segment:
    """Ordinary pieces (none of <unk>, <s>, </s>) until one of the closings."""
    first = max(vocabulary.bos, vocabulary.eos, vocabulary.pad) + 1
    return Segment(kind, (vocabulary.text[first:],), closings, minimum, maximum)


def speech(vocabulary: Vocabulary, following: Segment | None, maximum: int | None = None) -> Segment:
    """At least one speech token, then <eosp>. The mark <sosp> comes before this segment."""
    modality = vocabulary.speech
    return Segment("speech", (modality.tokens,), ((modality.end, following),), 1, maximum)


def image(vocabulary: Vocabulary, following: Segment | None) -> Segment:
    """IMAGE_TOKENS picture tokens, then <eoim>."""
    modality = _present(vocabulary.image, "pictures")
    return Segment("image", (modality.tokens,), ((modality.end, following),), IMAGE_TOKENS, IMAGE_TOKENS)


def music(vocabulary: Vocabulary, following: Segment | None, max_frames: int | None = None) -> Segment:
    """At least one frame of one token from each codebook in turn, then <eomu> between frames."""
    modality = _present(vocabulary.music, "music")
    size = len(modality.tokens) // MUSIC_CODEBOOKS
    cycle = tuple(modality.tokens[level * size : (level + 1) * size] for level in range(MUSIC_CODEBOOKS))
    maximum = None if max_frames is None else max_frames * MUSIC_CODEBOOKS
    return Segment("music", cycle, ((modality.end, following),), MUSIC_CODEBOOKS, maximum)


def reply(
    vocabulary: Vocabulary,
    *,
    heard: bool,
    speak: bool,
    opening: Sequence[int] = (),
    end: int | None = None,
    max_transcript: int | None = None,
    max_text: int | None = None,
    max_speech: int | None = None,
    makes: Collection[Kind] = (),
    max_music_frames: int | None = None,
) -> GrammarState:
    """The dialogue template's reply:

        [<-Ins-> transcript <-Res->] text [<sosp> speech <eosp>] [<soim> picture <eoim>] [<somu> music <eomu>] <eos>

    `heard`: the user spoke, so the reply starts with what was understood. `speak`: the reply's text is spoken.
    `opening`: tokens that have to come before all that. `end`: what closes a spoken reply, by default <eos>; a
    text-only reply is over at any of the vocabulary's ends, and where the model would begin to speak. `makes`: which of
    "image" and "music" may follow. The limits are in tokens and frames; a part at its limit closes.
    """
    ending = vocabulary["<eos>"] if end is None else end
    closings = behind_the_words(vocabulary, ending, makes, max_music_frames)
    if speak:
        spoken = speech(vocabulary, choice(closings), max_speech)
        answer = text(vocabulary, ((vocabulary.speech.start, spoken),), 1, max_text)
    else:
        ends = (*(other for other in vocabulary.reply_ends if other != ending), vocabulary.speech.start)
        answer = text(vocabulary, (*closings, *((other, None) for other in ends)), 1, max_text)
        answer = replace(answer, favours=favours(closings))
    if heard:
        answer = _heard(vocabulary, answer, max_transcript)
    return opened(opening, answer)


def behind_the_words(
    vocabulary: Vocabulary, end: int, makes: Collection[Kind], max_music_frames: int | None = None
) -> Closings:
    """What may follow what was said: <eos>, or a picture, or music, or a picture and then music."""
    closings: Closings = ((end, None),)
    if "music" in makes:
        tune = music(vocabulary, mark(end, None), max_music_frames)
        closings += ((_present(vocabulary.music, "music").start, tune),)
    if "image" in makes:
        closings += ((_present(vocabulary.image, "pictures").start, image(vocabulary, choice(closings))),)
    return closings


def choice(closings: Closings) -> Segment:
    """One of several marks has to come."""
    return Segment("text", (), closings, maximum=0, favours=favours(closings))


def favours(closings: Closings) -> tuple[tuple[int, float], ...]:
    """The marks of what is made, and MADE."""
    return tuple((start, MADE) for start, following in closings if following is not None)


def transcript(
    vocabulary: Vocabulary, *, opening: Sequence[int] = (), max_transcript: int | None = None
) -> GrammarState:
    """<-Ins-> transcript <-Res-> and no more."""
    return opened(opening, _heard(vocabulary, None, max_transcript))


def _heard(vocabulary: Vocabulary, following: Segment | None, max_transcript: int | None) -> Segment:
    words = text(vocabulary, ((vocabulary.reply_mark, following),), 0, max_transcript, kind="transcript")
    return mark(vocabulary.transcript_mark, words)


def opened(opening: Sequence[int], segment: Segment) -> GrammarState:
    """Tokens that have to come, then a segment."""
    for token in reversed(opening):
        segment = mark(token, segment)
    return GrammarState(segment)


def _present(modality: Modality | None, name: str) -> Modality:
    if modality is None:
        raise ValueError(f"this vocabulary has no {name}")
    return modality
