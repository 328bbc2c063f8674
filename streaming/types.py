"""What crosses the border between the conversation (asyncio) and the model (its own process).

A request carries the whole dialogue. The responder keeps the KV cache of a session and recomputes only what differs
from the tokens it already holds, so a lost worker costs time and never the conversation.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, Protocol

import numpy as np

SPEECH_RATE = 16_000
"""Samples per second of all speech that enters or leaves a responder: mono float32 in -1..1."""

MUSIC_RATE = 32_000
"""Samples per second of the music that enters a responder: mono float32 in -1..1. What leaves it names its own rate."""

Kind = Literal["image", "music"]


@dataclass(frozen=True, slots=True)
class Abilities:
    """What a responder can do besides hearing, reading, writing and speaking."""

    takes: frozenset[Kind] = frozenset()  # in turns
    makes: frozenset[Kind] = frozenset()  # as attachments
    overhears: bool = False  # what the user is saying, ahead of the request


@dataclass(frozen=True, slots=True, eq=False)
class Turn:
    """One turn of the dialogue. `tokens`, once known, is what the model saw or said of it and wins over the rest.

    A picture that the camera saw is a turn of its own, before the words that it goes with. So is an attachment.
    """

    role: Literal["user", "assistant"]
    text: str = ""
    speech: np.ndarray | None = None  # [samples] float32 at SPEECH_RATE: what the user said, not yet tokenized
    tokens: tuple[int, ...] = ()
    image: np.ndarray | None = None  # [height, width, 3] uint8 RGB, not yet tokenized
    music: np.ndarray | None = None  # [samples] float32 at MUSIC_RATE, not yet tokenized
    media_id: str = ""  # of the image or the music; the same one may come again in a later request
    dark_camera: bool = False  # the user's camera is on and sees nothing: it is covered, or the room is dark


@dataclass(frozen=True, slots=True, eq=False)
class Request:
    """Ask for the answer to the last turn, which is the user's."""

    session_id: str
    response_id: str
    turns: tuple[Turn, ...]
    instructions: str = ""  # "": the model's own system line
    speak: bool = True  # False: text only
    voice: str = ""  # "": the model's first voice
    max_output_tokens: int | None = None
    transcript_only: bool = False  # stop when the user's words are known
    prepare_only: bool = False  # read the turns, of which more will follow, and say nothing: Perceived and Finished
    attachments: bool = False  # pictures and music may be made beside the answer
    stream_music: bool = False  # the client listens to music while it is being made: send MusicDelta


@dataclass(frozen=True, slots=True, eq=False)
class Overheard:
    """More of what the user is saying, ahead of the request that will bring all of it. Only speed comes of it.

    Pieces of one utterance follow each other; where one is missing, the others are of no use.
    """

    session_id: str
    utterance_id: str
    start: int  # samples of the utterance before these
    pcm: np.ndarray  # [samples] float32 at SPEECH_RATE
    turns: tuple[Turn, ...] = ()  # before the utterance; only with its first piece
    instructions: str = ""  # likewise


@dataclass(frozen=True, slots=True)
class TranscriptDelta:
    """More of what the user said. Joined deltas are the transcript."""

    response_id: str
    text: str


@dataclass(frozen=True, slots=True)
class TranscriptDone:
    """All of what the user said, with the user's turn as the model saw it."""

    response_id: str
    text: str
    user_tokens: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Perceived:
    """What the model saw of a turn's picture, or heard of its music. From now on `tokens` stand for that turn.

    Not for the last turn of a request that is answered: its tokens come as `user_tokens`.
    """

    response_id: str
    turn: int  # index into the request's turns
    tokens: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class TextDelta:
    """More of the reply's text. Joined deltas are the reply."""

    response_id: str
    text: str


@dataclass(frozen=True, slots=True)
class FirstSpeechToken:
    """The first token of the reply's sound is there. May be left out: it is for the stopwatch."""

    response_id: str


@dataclass(frozen=True, slots=True, eq=False)
class SpeechDelta:
    """More of the reply's sound, to be played right after what came before."""

    response_id: str
    pcm: np.ndarray  # [samples] float32 at SPEECH_RATE


@dataclass(frozen=True, slots=True)
class Usage:
    """Token counts of one response."""

    text_in: int = 0
    audio_in: int = 0
    cached: int = 0
    text_out: int = 0
    audio_out: int = 0
    image_in: int = 0

    @property
    def tokens_in(self) -> int:
        return self.text_in + self.audio_in + self.image_in


@dataclass(frozen=True, slots=True)
class Finished:
    """The last output of a response that was not cut short by a fault."""

    response_id: str
    reason: Literal["completed", "cancelled", "max_output_tokens"]
    text: str
    user_tokens: tuple[int, ...]
    assistant_tokens: tuple[int, ...]
    usage: Usage = Usage()
    milestones_ms: dict[str, float] = field(default_factory=dict)  # since submit: speech_tokens, prefill, ...


@dataclass(frozen=True, slots=True)
class Failed:
    """The last output of a response that a fault ended."""

    response_id: str
    code: str
    message: str


@dataclass(frozen=True, slots=True)
class AttachmentStarted:
    """A picture or a tune is being made beside a response: its first token is there."""

    response_id: str
    attachment_id: str  # the responder's own, unique among those that are not ended
    kind: Kind
    prompt: str  # what it is to be, in words


@dataclass(frozen=True, slots=True, eq=False)
class AttachmentProgress:
    """How far it is. May be sent as often as it is known; the client hears of it a few times a second."""

    response_id: str
    attachment_id: str
    progress: float  # 0..1
    thumbnail: np.ndarray | None = None  # [height, width, 3] uint8 RGB, small: what there is of a picture


@dataclass(frozen=True, slots=True, eq=False)
class MusicDelta:
    """More of a tune, to be played right after what came before. Only where the request asks for it."""

    response_id: str
    attachment_id: str
    pcm: np.ndarray  # [samples] float32
    sample_rate: int


@dataclass(frozen=True, slots=True, eq=False)
class PictureDone:
    """The last output of a picture."""

    response_id: str
    attachment_id: str
    image: np.ndarray  # [height, width, 3] uint8 RGB
    tokens: tuple[int, ...] = ()  # the attachment's turn in the history


@dataclass(frozen=True, slots=True, eq=False)
class MusicDone:
    """The last output of a tune."""

    response_id: str
    attachment_id: str
    pcm: np.ndarray  # [samples] float32, all of it
    sample_rate: int
    tokens: tuple[int, ...] = ()  # the attachment's turn in the history


@dataclass(frozen=True, slots=True)
class AttachmentFailed:
    """The last output of an attachment that came to nothing; `code` is "cancelled" if that was asked for."""

    response_id: str
    attachment_id: str
    code: str
    message: str


AttachmentOutput = AttachmentStarted | AttachmentProgress | MusicDelta | PictureDone | MusicDone | AttachmentFailed
Output = (
    TranscriptDelta
    | TranscriptDone
    | Perceived
    | TextDelta
    | FirstSpeechToken
    | SpeechDelta
    | AttachmentOutput
    | Finished
    | Failed
)


class Responder(Protocol):
    """Turns requests into streams of outputs. Synchronous; lives in the worker process.

    Every submitted response ends in exactly one Finished or Failed. Every attachment starts before its response ends,
    ends in exactly one PictureDone, MusicDone or AttachmentFailed, and may outlive its response: a cancelled response
    leaves the attachments that have started alone. One that does not state its `abilities` has none.
    """

    voices: tuple[str, ...]
    abilities: Abilities

    def submit(self, request: Request) -> None: ...

    def overhear(self, overheard: Overheard) -> None:
        """Read ahead when there is nothing more urgent to do. Called only if `abilities` say so. No output follows."""
        ...

    def cancel(self, response_id: str) -> None: ...

    def cancel_attachment(self, attachment_id: str) -> None:
        """Ends it early, in AttachmentFailed(code="cancelled"). Unknown ids are ignored."""
        ...

    def close_session(self, session_id: str) -> None:
        """Cancels all that runs for it, attachments too, and forgets it."""
        ...

    def step(self) -> list[Output]:
        """Do one bounded piece of work (some milliseconds) for all sessions together."""
        ...

    @property
    def idle(self) -> bool:
        """Nothing is left to do, for attachments either."""
        ...
