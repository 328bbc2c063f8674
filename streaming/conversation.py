"""The items of a conversation, and the turns that the model is shown of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from streaming.events import MOST_ID_CHARACTERS, Json, decode_base64
from streaming.fields import Fields, ProtocolError
from streaming.pcm import AudioFormat, Decoder, samples_to_ms
from streaming.types import Turn

_SPOKEN = ("input_audio", "output_audio")
_PARTS_BY_ROLE = {
    "system": ("input_text",),
    "user": ("input_text", "input_audio"),
    "assistant": ("output_text", "output_audio"),
}
_OLD_PART_NAMES = {"text": "output_text", "audio": "output_audio"}


@dataclass(slots=True, eq=False)
class Part:
    """A piece of a message. `text` is the transcript if the piece is spoken, None until it is known."""

    type: str
    text: str | None = None
    speech: np.ndarray | None = None  # [samples] float32 of what the user said, until the model has made tokens of it
    samples: int = 0  # of speech, kept or not

    @property
    def spoken(self) -> bool:
        return self.type in _SPOKEN

    def to_json(self) -> Json:
        return {"type": self.type, "transcript" if self.spoken else "text": self.text}


@dataclass(slots=True, eq=False)
class Item:
    """One entry of the conversation: a message, or a function's call or output."""

    id: str
    type: Literal["message", "function_call", "function_call_output"] = "message"
    status: Literal["in_progress", "completed", "incomplete"] = "completed"
    role: Literal["system", "user", "assistant"] | None = None
    parts: list[Part] = field(default_factory=list)
    function: Json = field(default_factory=dict)
    tokens: tuple[int, ...] = ()
    truncated: bool = False

    def to_json(self) -> Json:
        common: Json = {"id": self.id, "object": "realtime.item", "type": self.type, "status": self.status}
        if self.role is None:
            return {**common, **self.function}
        return {**common, "role": self.role, "content": [part.to_json() for part in self.parts]}

    @property
    def text(self) -> str:
        return " ".join(part.text for part in self.parts if part.text)

    def settle(self, tokens: tuple[int, ...]) -> None:
        """The model has made tokens of the item. They stand for it from now on, and the sound is let go."""
        if not self.truncated and tokens:
            self.tokens = tokens
            for part in self.parts:
                part.speech = None

    def truncate(self, content_index: int, audio_end_ms: int) -> None:
        """Forget what was not heard of an answer. Raises ProtocolError if there is no so much sound in it.

        Which words were heard follows from the time, as if all took equally long.
        """
        if self.role != "assistant":
            raise ProtocolError("invalid_value", f"Item '{self.id}' is not an assistant message.", "item_id")
        if self.status == "in_progress":
            raise _still_being_made(self.id)
        if content_index >= len(self.parts) or not self.parts[content_index].spoken:
            raise ProtocolError("invalid_value", f"Item '{self.id}' has no audio there.", "content_index")
        part = self.parts[content_index]
        audio_ms = samples_to_ms(part.samples)
        if audio_end_ms > audio_ms:
            raise ProtocolError("invalid_value", f"The audio is only {audio_ms} ms long.", "audio_end_ms")
        if audio_end_ms == audio_ms:
            return
        words = (part.text or "").split(" ")
        part.text = " ".join(words[: len(words) * audio_end_ms // audio_ms])
        part.samples = part.samples * audio_end_ms // audio_ms
        self.tokens, self.truncated = (), True


class Conversation:
    """Owns the order of the items."""

    def __init__(self) -> None:
        self._items: list[Item] = []

    def __iter__(self) -> Iterator[Item]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)

    @property
    def last_id(self) -> str | None:
        return self._items[-1].id if self._items else None

    @property
    def unheard_samples(self) -> int:
        """Samples of speech that the model has not turned into tokens yet."""
        return sum(len(part.speech) for item in self for part in item.parts if part.speech is not None)

    def get(self, item_id: str) -> Item:
        """Raises ProtocolError if there is none."""
        return self._items[self._index(item_id, "item_id")]

    def has(self, item_id: str | None) -> bool:
        return any(item.id == item_id for item in self._items)

    def add(self, item: Item, after: str | None = None) -> str | None:
        """Put the item behind the one named, at the front for "root", else at the end. Returns the id before it."""
        if self.has(item.id):
            raise ProtocolError("item_exists", f"There is already an item '{item.id}'.", "item.id")
        if after is None:
            index = len(self._items)
        elif after == "root":
            index = 0
        else:
            index = self._index(after, "previous_item_id") + 1
        self._items.insert(index, item)
        return self._items[index - 1].id if index else None

    def until(self, item: Item) -> list[Item]:
        """The items up to this one."""
        return self._items[: self._items.index(item) + 1]

    def delete(self, item_id: str) -> None:
        item = self.get(item_id)
        if item.status == "in_progress":
            raise _still_being_made(item_id)
        self._items.remove(item)

    def _index(self, item_id: str, param: str) -> int:
        for index, item in enumerate(self._items):
            if item.id == item_id:
                return index
        raise ProtocolError("item_not_found", f"There is no item '{item_id}'.", param)


def _still_being_made(item_id: str) -> ProtocolError:
    return ProtocolError("item_in_progress", f"Item '{item_id}' is still being made; cancel it first.", "item_id")


def turn_of(item: Item) -> Turn | None:
    """What the model is shown of an item; None unless it is a message of the two in which something was said."""
    if item.role not in ("user", "assistant") or item.status == "in_progress":
        return None
    speech = [part.speech for part in item.parts if part.speech is not None]
    if not (item.text or speech or item.tokens):
        return None
    return Turn(item.role, item.text, np.concatenate(speech) if speech else None, item.tokens)


def instructions_of(items: Iterable[Item], instructions: str) -> str:
    """The instructions and what system messages add to them."""
    return "\n".join(text for text in (instructions, *(item.text for item in items if item.role == "system")) if text)


def read_item(fields: Fields, new_id: str, audio_format: AudioFormat, text_characters: int, most_samples: int) -> Item:
    """The item that a client describes. Raises ProtocolError."""
    item_id = fields.text("id", None, most=MOST_ID_CHARACTERS) or new_id
    fields.choice("object", ("realtime.item",), "realtime.item")
    fields.choice("status", ("completed", "incomplete", "in_progress"), "completed")
    kind = fields.choice("type", ("message", "function_call", "function_call_output"))
    if kind == "message":
        role = fields.choice("role", tuple(_PARTS_BY_ROLE))
        content = [Fields(part, f"{fields.path('content')}[{n}]") for n, part in enumerate(fields.items("content"))]
        parts = [_read_part(part, role, audio_format, text_characters, most_samples) for part in content]
        item = Item(item_id, role=role, parts=parts)
    else:
        names = ("call_id", "name", "arguments") if kind == "function_call" else ("call_id", "output")
        item = Item(item_id, type=kind, function={name: fields.text(name, most=text_characters) for name in names})
    fields.no_others()
    return item


def _read_part(fields: Fields, role: str, audio_format: AudioFormat, text_characters: int, most_samples: int) -> Part:
    kind: Any = fields.anything("type")
    if role == "assistant" and kind in _OLD_PART_NAMES:
        kind = _OLD_PART_NAMES[kind]
    if kind == "input_image":
        raise ProtocolError("unsupported", "This server does not look at pictures yet.", fields.path("type"))
    if kind not in _PARTS_BY_ROLE[role]:
        kind = fields.choice("type", _PARTS_BY_ROLE[role])
    if kind not in _SPOKEN:
        return Part(kind, fields.text("text", most=text_characters))
    part = Part(kind, fields.text("transcript", None, most=text_characters))
    audio = fields.text("audio", None)
    if audio and kind == "input_audio":
        decoder = Decoder(audio_format)
        data = decode_base64(audio, fields.path("audio"))
        part.speech = np.concatenate([decoder.decode(data), decoder.finish()])
        part.samples = len(part.speech)
        if part.samples > most_samples:
            path, most = fields.path("audio"), f"{samples_to_ms(most_samples) / 1000:g} s"
            raise ProtocolError("audio_too_long", f"'{path}' is too long; at most {most} are accepted.", path)
    return part
