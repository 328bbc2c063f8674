"""What the worker has been asked for: answers to the user, and what is done between them for the next one."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from streaming.actions import CancelResponse, StartResponse
from streaming.conversation import Item, instructions_of, shown_of
from streaming.outbox import Outbox
from streaming.reply import Reply
from streaming.settings import ResponseSettings, SessionSettings
from streaming.types import Abilities, Request, Turn


@dataclass(slots=True, eq=False)
class Running:
    """A request that the worker has and has not ended. Without a reply it only transcribes, or prepares."""

    reply: Reply | None
    asked: Item | None  # whose speech it transcribes
    worker_session_id: str
    shown: tuple[Item, ...] = ()  # of which its turns are
    last_work_id: str | None = None  # the item of its newest attachment
    transcript: str = ""

    @property
    def live_reply(self) -> Reply | None:
        """While it is being made."""
        return self.reply if self.reply is not None and not self.reply.ended else None

    def settle(self, user_tokens: tuple[int, ...]) -> None:
        """The model has made tokens of what the user said."""
        if self.asked is not None:
            self.asked.settle(user_tokens)


class Requests:
    """Owns the requests that run, by their ids. Make a `request` and `add` it when the worker has it, or have it
    `prepare` or `transcribe`; `end` each when it has ended."""

    def __init__(self, session_id: str, abilities: Abilities, outbox: Outbox, new_id: Callable[[str], str]) -> None:
        self._session_id = session_id
        self._abilities = abilities
        self._outbox = outbox
        self._new_id = new_id
        self._running: dict[str, Running] = {}

    @property
    def busy(self) -> bool:
        """Whether the worker does something for the conversation."""
        return any(running.worker_session_id == self._session_id for running in self._running.values())

    @property
    def live_replies(self) -> list[Reply]:
        return [reply for running in self._running.values() if (reply := running.live_reply) is not None]

    def get(self, response_id: str) -> Running | None:
        return self._running.get(response_id)

    def request(
        self,
        items: Iterable[Item],
        shown: tuple[Turn, ...],
        response: ResponseSettings,
        session: SessionSettings,
        instructions: str | None = None,
    ) -> Request:
        """To answer what is shown of the items. instructions: instead of those of the settings."""
        response_id = self._new_id("resp")
        return Request(
            self._session_id if response.in_conversation else response_id,
            response_id,
            shown,
            instructions_of(items, response.instructions if instructions is None else instructions),
            speak=response.modality == "audio",
            voice=session.speaker(response.voice),
            max_output_tokens=response.max_output_tokens,
            attachments=response.in_conversation and bool(self._abilities.makes),
            stream_music=session.stream_music,
        )

    def add(self, request: Request, reply: Reply, asked: Item | None, shown: tuple[Item, ...]) -> None:
        """An answer in the conversation will bring the transcripts, so that others are given up."""
        if reply.in_conversation:
            self._stop_transcribing()
        self._running[request.response_id] = Running(reply, asked, request.session_id, shown)

    def prepare(self, items: Iterable[Item], instructions: str) -> None:
        """Let the model see what is new before the user has ended."""
        shown, turns = shown_of(items)
        job_id = self._new_id("look")
        self._running[job_id] = Running(None, None, self._session_id, shown)
        self._outbox.do(StartResponse(Request(self._session_id, job_id, turns, instructions, prepare_only=True)))

    def transcribe(self, asked: Item, items: Iterable[Item], instructions: str) -> None:
        """The items end with what was asked."""
        job_id = self._new_id("trans")
        shown, turns = shown_of(items)
        self._running[job_id] = Running(None, asked, self._session_id, shown)
        self._outbox.do(StartResponse(Request(self._session_id, job_id, turns, instructions, transcript_only=True)))

    def end(self, response_id: str) -> None:
        del self._running[response_id]

    def _stop_transcribing(self) -> None:
        for job_id, running in list(self._running.items()):
            if running.reply is None and running.asked is not None:
                self.end(job_id)
                self._outbox.do(CancelResponse(job_id))
