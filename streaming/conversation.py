"""The items of a conversation, and the turns that the model is shown of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from streaming.events import MOST_ID_CHARACTERS, Json, Limits, decode_base64
from streaming.fields import Fields, ProtocolError
from streaming.media import Media, Music, Picture
from streaming.pcm import AudioFormat, Decoder, ms_to_samples, samples_to_ms
from streaming.types import Turn

_SPOKEN = ("input_audio", "output_audio")
_PARTS_BY_ROLE = {
    "system": ("input_text",),
    "user": ("input_text", "input_audio", "input_image", "input_audio_file"),
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
    picture: Picture | None = None  # until the model has made tokens of it
    music: Music | None = None  # likewise
    shown: Json | None = None  # what clients see of a part that holds no words

    @classmethod
    def of_picture(cls, picture: Picture) -> Part:
        return cls("input_image", picture=picture, shown={"image_url": picture.preview})

    @classmethod
    def of_music(cls, music: Music, title: str) -> Part:
        shown = {"title": title, "duration_ms": music.duration_ms, "thumbnail": music.preview}
        return cls("input_audio_file", music=music, shown=shown)

    @property
    def spoken(self) -> bool:
        return self.type in _SPOKEN

    def to_json(self) -> Json:
        if self.shown is not None:
            return {"type": self.type, **self.shown}
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
    dark_camera: bool = False  # there was nothing to be seen when the user asked this

    def to_json(self) -> Json:
        common: Json = {"id": self.id, "object": "realtime.item", "type": self.type, "status": self.status}
        if self.role is None:
            return {**common, **self.function}
        return {**common, "role": self.role, "content": [part.to_json() for part in self.parts]}

    @property
    def text(self) -> str:
        return " ".join(part.text for part in self.parts if part.text)

    @property
    def attachment_id(self) -> str | None:
        """Of an item that is an attachment."""
        shown = self.parts[0].shown if self.parts else None
        return None if shown is None else shown.get("attachment_id")

    @property
    def unseen_files(self) -> int:
        """Pictures and music that the model has not turned into tokens yet."""
        return sum(part.picture is not None or part.music is not None for part in self.parts)

    def settle(self, tokens: tuple[int, ...]) -> None:
        """The model has made tokens of the item. They stand for it from now on; sound and pictures are let go."""
        if not self.truncated and tokens:
            self.tokens = tokens
            for part in self.parts:
                part.speech = part.picture = part.music = None

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

    @property
    def unseen_files(self) -> int:
        return sum(item.unseen_files for item in self)

    def check_room(self, limits: Limits) -> None:
        """Raises ProtocolError if there is none for another item."""
        if len(self) >= limits.items:
            raise ProtocolError("conversation_full", f"The conversation has {limits.items:,} items; delete some first.")

    def check_unheard(self, samples: int, limits: Limits) -> None:
        """Raises ProtocolError if the model had too much to listen to with so much more."""
        limit_s = limits.unheard_audio_s
        if self.unheard_samples + samples > ms_to_samples(limit_s * 1000):
            words = f"More than {limit_s:g} s of audio wait for an answer; ask for one or delete some items first."
            raise ProtocolError("too_much_unheard_audio", words)

    def check_unseen(self, files: int, limits: Limits) -> None:
        """Raises ProtocolError if the model had too much to look at with so many more."""
        if self.unseen_files + files > limits.unseen_files:
            words = f"{limits.unseen_files} pictures or pieces of music wait to be looked at; ask about them"
            raise ProtocolError("too_many_files", f"{words} first, or delete some.")

    def let_go_of_files(self, most: int) -> None:
        """Keep so many that the model has not turned into tokens; let go of the oldest others, which nobody asked
        about."""
        waiting = [item for item in self if item.unseen_files]
        for item in waiting[: max(0, len(waiting) - most)]:
            for part in item.parts:
                part.picture = part.music = None

    def compact(self, most_tokens: int) -> None:
        """Let the words stand for what was spoken, but for the latest turns of together at most so many tokens.

        Speech costs ten times the tokens of its words. Where those are not known the speech stays.
        """
        first_kept, tokens = len(self._items), 0
        for index in reversed(range(len(self._items))):
            tokens += len(self._items[index].tokens)
            if tokens > most_tokens:
                break
            if self._items[index].role == "user":
                first_kept = index
        for item in self._items[:first_kept]:
            if item.text and any(part.spoken for part in item.parts):
                item.tokens = ()

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

    def delete(self, item_id: str) -> Item:
        item = self.get(item_id)
        if item.status == "in_progress":
            raise _still_being_made(item_id)
        self._items.remove(item)
        return item

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
    image = next((part.picture.pixels for part in item.parts if part.picture is not None), None)
    music = next((part.music.pcm for part in item.parts if part.music is not None), None)
    has_file = image is not None or music is not None
    if not (item.text or speech or item.tokens or has_file):
        return None
    return Turn(
        item.role,
        item.text,
        np.concatenate(speech) if speech else None,
        item.tokens,
        image=image,
        music=music,
        media_id=item.id if has_file else "",
        dark_camera=item.dark_camera,
    )


def shown_of(items: Iterable[Item]) -> tuple[tuple[Item, ...], tuple[Turn, ...]]:
    """Those of the items that the model is shown, and how it is shown them."""
    said = [(item, turn) for item in items if (turn := turn_of(item)) is not None]
    return tuple(item for item, _ in said), tuple(turn for _, turn in said)


def instructions_of(items: Iterable[Item], instructions: str) -> str:
    """The instructions and what system messages add to them."""
    return "\n".join(text for text in (instructions, *(item.text for item in items if item.role == "system")) if text)


def read_input(
    given: tuple[object, ...],
    conversation: Conversation,
    new_id: Callable[[str], str],
    audio_format: AudioFormat,
    limits: Limits,
    media: Media,
) -> list[Item]:
    """What a client asks about instead of the conversation: items of it, by reference, and others. Raises ProtocolError
    as `read_item` does."""
    if len(given) > limits.items:
        raise ProtocolError("invalid_value", "'response.input' holds too many items.", "response.input")
    items = []
    for index, one in enumerate(given):
        fields = Fields(one, f"response.input[{index}]")
        if fields.anything("type") == "item_reference":
            items.append(conversation.get(fields.text("id")))
        else:
            items.append(read_item(fields, new_id("item"), audio_format, limits, media))
    return items


def read_item(fields: Fields, new_id: str, audio_format: AudioFormat, limits: Limits, media: Media) -> Item:
    """The item that a client describes; without its files while `media` misses them. Raises ProtocolError."""
    item_id = fields.text("id", None, most=MOST_ID_CHARACTERS) or new_id
    fields.choice("object", ("realtime.item",), "realtime.item")
    fields.choice("status", ("completed", "incomplete", "in_progress"), "completed")
    kind = fields.choice("type", ("message", "function_call", "function_call_output"))
    if kind == "message":
        role = fields.choice("role", tuple(_PARTS_BY_ROLE))
        content = [Fields(part, f"{fields.path('content')}[{n}]") for n, part in enumerate(fields.items("content"))]
        parts = [_read_part(part, role, audio_format, limits, media) for part in content]
        item = Item(item_id, role=role, parts=parts)
        if sum(part.type in ("input_image", "input_audio_file") for part in parts) > 1:
            words = "An item holds one picture or one piece of music; make an item of each."
            raise ProtocolError("too_many_files", words, fields.path("content"))
    else:
        names = ("call_id", "name", "arguments") if kind == "function_call" else ("call_id", "output")
        function = {name: fields.text(name, most=limits.text_characters) for name in names}
        item = Item(item_id, type=kind, function=function)
    fields.no_others()
    return item


def _read_part(fields: Fields, role: str, audio_format: AudioFormat, limits: Limits, media: Media) -> Part:
    kind: Any = fields.anything("type")
    if role == "assistant" and kind in _OLD_PART_NAMES:
        kind = _OLD_PART_NAMES[kind]
    if kind not in _PARTS_BY_ROLE[role]:
        kind = fields.choice("type", _PARTS_BY_ROLE[role])
    if kind == "input_image":
        picture = media.picture(fields, "image_url")
        return Part(kind) if picture is None else Part.of_picture(picture)
    if kind == "input_audio_file":
        title = fields.text("title", "", most=limits.text_characters)
        music = media.music(fields, "audio_url")
        return Part(kind) if music is None else Part.of_music(music, title)
    if kind not in _SPOKEN:
        return Part(kind, fields.text("text", most=limits.text_characters))
    part = Part(kind, fields.text("transcript", None, most=limits.text_characters))
    audio = fields.text("audio", None)
    if audio and kind == "input_audio":
        decoder = Decoder(audio_format)
        data = decode_base64(audio, fields.path("audio"))
        part.speech = np.concatenate([decoder.decode(data), decoder.finish()])
        part.samples = len(part.speech)
        if part.samples > ms_to_samples(limits.utterance_s * 1000):
            path, most = fields.path("audio"), f"{limits.utterance_s:g} s"
            raise ProtocolError("audio_too_long", f"'{path}' is too long; at most {most} are accepted.", path)
    return part
