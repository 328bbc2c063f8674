"""Drawings and tunes that are being made beside a conversation, step by step, in the time that speech leaves.

    <soim> tokens -> unCLIP, one denoising step at a time -> drawing
    <somu> tokens -> Encodec, one chunk at a time -> tune

Their tokens come from a fork of the dialogue's sequence, so that the user can go on talking meanwhile.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field

import numpy as np

from assistant.checkpoints import CheckpointError
from assistant.decoders.image import Drawing
from assistant.decoders.music import MusicDecoder, MusicStream
from assistant.engine.engine import Engine, Sequence
from assistant.media import MediaModels
from assistant.vocabulary import MUSIC_CODEBOOKS, Vocabulary
from streaming.types import (
    AttachmentFailed,
    AttachmentOutput,
    AttachmentProgress,
    AttachmentStarted,
    MusicDelta,
    MusicDone,
    PictureDone,
)

logger = logging.getLogger(__name__)

WAIT_S = 0.01
"""How long a step lasts that has nothing else to do than to wait for a model to be loaded."""


@dataclass(slots=True, eq=False)
class Order:
    """What a reply makes: the fork of its sequence that chooses the tokens, of one work after the other."""

    sequence: Sequence
    response_id: str
    session_id: str
    prompt: str  # in words
    streamed: bool  # music is listened to while it is being made
    music_frames: int  # at most
    work: Work | None = None  # whose tokens are being chosen
    over: bool = False  # its response has ended: nothing more may begin


@dataclass(slots=True, eq=False)
class Work:
    """One drawing or tune on its way."""

    started: AttachmentStarted
    order: Order
    tokens: list[int] = field(default_factory=list)  # <soim> or <somu> first, in the end <eoim> or <eomu> last
    complete: bool = False  # all tokens are there
    drawing: Drawing | None = None
    player: MusicDecoder | None = None
    stream: MusicStream | None = None
    fed: int = 1  # how many of the tokens the stream has
    pcm: list[np.ndarray] = field(default_factory=list)

    @property
    def address(self) -> tuple[str, str]:
        return self.started.response_id, self.started.attachment_id


class Workshop:
    """Owns the works. `begin` one where a reply comes to its start mark, `take` what the engine chooses for it, and
    `step` while not `idle`. Faults end the work that they happen to."""

    def __init__(self, llm: Engine, vocabulary: Vocabulary, models: MediaModels) -> None:
        self._engine, self._vocabulary, self._models = llm, vocabulary, models
        self._orders: dict[str, Order] = {}  # by the id of their sequence
        self._works: list[Work] = []
        self._outputs: list[AttachmentOutput] = []
        self._ends = {modality.end for modality in (vocabulary.image, vocabulary.music) if modality is not None}

    @property
    def idle(self) -> bool:
        return not (self._works or self._orders or self._outputs)

    def begin(
        self, sequence: Sequence, response_id: str, session_id: str, prompt: str, *, streamed: bool, music_frames: int
    ) -> None:
        """A reply has come to a start mark, and perhaps a token further. It ends there; the rest comes from a fork."""
        reply, said = sequence.reply, sequence.generated
        if reply is None:
            return  # the context is full
        twin = self._engine.fork(sequence, f"{response_id}/attachments")
        twin.background = True
        self._engine.stop(sequence)
        seed = reply.random.getrandbits(32)
        self._engine.generate(twin, reply.state, reply.sampling, self._engine.config.max_context, seed)
        order = Order(twin, response_id, session_id, prompt, streamed, music_frames)
        self._orders[twin.id] = order
        mark = max(
            place for place, token in enumerate(said) if self._vocabulary.kind_begun(token) in ("image", "music")
        )
        for token in said[mark:]:
            self.take(twin.id, token)

    def take(self, sequence_id: str, token: int) -> bool:
        """A token that the engine has chosen. False where it is of no work."""
        order = self._orders.get(sequence_id)
        if order is None:
            return False
        if self._vocabulary.kind_begun(token) is None:
            if order.work is not None:
                order.work.tokens.append(token)
                if token in self._ends:
                    self._complete(order)
        elif order.over:
            self._drop(order)
        else:
            self._open(order, token)
        return True

    def may_begin_more(self, response_id: str) -> bool:
        """Whether the response's reply may come to a further work, so that the response has to wait."""
        music = self._vocabulary.music
        orders = [order for order in self._orders.values() if order.response_id == response_id]
        return any(not (order.work and music and order.work.tokens[0] == music.start) for order in orders)

    def end_response(self, response_id: str) -> None:
        """What has begun goes on; nothing more begins."""
        for order in self._orders.values():
            order.over = order.over or order.response_id == response_id

    def cancel(self, attachment_id: str) -> None:
        for work in [work for work in self._works if work.started.attachment_id == attachment_id]:
            self._fail(work, "cancelled", "It was cancelled.")

    def close_session(self, session_id: str) -> None:
        for work in [work for work in self._works if work.order.session_id == session_id]:
            self._fail(work, "cancelled", "The session has ended.")
        for order in [order for order in self._orders.values() if order.session_id == session_id]:
            self._drop(order)

    def step(self, work: bool = True, wait: bool = False) -> list[AttachmentOutput]:
        """What there is to say; before that, one piece of work if there is time to `work`. wait: there is no other."""
        self._end_orders()
        due = [one for one in self._works if self._due(one)]
        if work and due:
            self._advance(min(due, key=lambda one: not (one.stream is not None and one.order.streamed)))
        elif wait and not self._outputs and not self._orders:
            self._await_models()
        outputs, self._outputs = self._outputs, []
        return outputs

    # ---- tokens

    def _open(self, order: Order, mark: int) -> None:
        image = self._vocabulary.image
        kind = "image" if image is not None and mark == image.start else "music"
        name = f"{order.response_id}/{kind}"
        started = AttachmentStarted(order.response_id, name, kind, order.prompt)  # type: ignore[arg-type]
        order.work = Work(started, order, [mark])
        self._works.append(order.work)
        self._outputs.append(started)
        if kind == "image":
            self._models.hand.start()
        else:
            self._models.codec.start()

    def _complete(self, order: Order) -> None:
        assert order.work is not None
        order.work.complete, order.work = True, None

    def _end_orders(self) -> None:
        """Let go of the sequences that have chosen all their tokens, or could not."""
        for order in [order for order in self._orders.values() if order.sequence.finished is not None]:
            work, music = order.work, self._vocabulary.music
            if work is not None and order.sequence.finished == "length" and work.started.kind == "music" and music:
                whole = (len(work.tokens) - 1) // MUSIC_CODEBOOKS * MUSIC_CODEBOOKS
                work.tokens[1 + whole :] = [music.end]
                self._complete(order)
            elif work is not None:
                logger.error("%s has no tokens", work.started.attachment_id, exc_info=order.sequence.error)
                self._fail(work, "server_error", "There was no room left for it in the conversation.")
            self._drop(order)

    def _drop(self, order: Order) -> None:
        if self._orders.pop(order.sequence.id, None) is not None:
            self._engine.close(order.sequence)

    # ---- pieces of work

    def _due(self, work: Work) -> bool:
        if work.started.kind == "image":
            return work.complete and self._models.hand.ready()
        if not self._models.codec.ready():
            return False
        new = len(work.tokens) - work.fed
        if work.player is None or work.stream is None or work.complete:
            return True
        return work.stream.due or work.stream.frames + new // MUSIC_CODEBOOKS >= work.stream.chunk_frames

    def _advance(self, work: Work) -> None:
        try:
            if work.started.kind == "image":
                self._draw(work)
            else:
                self._play(work)
        except Exception as fault:
            logger.exception("%s failed", work.started.attachment_id)
            sentence = "It could not be made because of a fault in the server."
            self._fail(work, "server_error", str(fault) if isinstance(fault, CheckpointError) else sentence)

    def _draw(self, work: Work) -> None:
        """One more denoising step."""
        image = self._vocabulary.image
        assert image is not None
        if work.drawing is None:
            work.drawing = self._models.hand.get().open(image.to_codes(work.tokens[1:-1]))
        work.drawing.step()
        if work.drawing.picture is None:
            self._outputs.append(AttachmentProgress(*work.address, work.drawing.progress))
        else:
            self._done(work, PictureDone(*work.address, work.drawing.picture, tuple(work.tokens)))

    def _play(self, work: Work) -> None:
        """One more chunk of sound."""
        music = self._vocabulary.music
        assert music is not None
        if work.player is None or work.stream is None:
            work.player = self._models.player()
            work.stream = work.player.open(work.order.music_frames)
        if not work.stream.ended:
            upto = len(work.tokens) - work.complete
            work.stream.feed(music.to_codes(work.tokens[work.fed : upto]))
            work.fed = upto
            if work.complete:
                work.stream.end()
        if work.stream.due:
            pcm = work.player.play(work.stream)
            work.pcm.append(pcm)
            if work.order.streamed and len(pcm):
                self._outputs.append(MusicDelta(*work.address, pcm, work.player.sample_rate))
        if work.stream.finished:
            whole = np.concatenate(work.pcm) if work.pcm else np.zeros(0, np.float32)
            self._done(work, MusicDone(*work.address, whole, work.player.sample_rate, tuple(work.tokens)))
        else:
            self._outputs.append(AttachmentProgress(*work.address, work.stream.progress))

    def _done(self, work: Work, output: AttachmentOutput) -> None:
        self._works.remove(work)
        self._outputs.append(output)

    def _fail(self, work: Work, code: str, sentence: str) -> None:
        if work.order.work is work:
            self._drop(work.order)
        self._done(work, AttachmentFailed(*work.address, code, sentence))

    def _await_models(self) -> None:
        for work in self._works:
            model = self._models.hand if work.started.kind == "image" else self._models.codec
            if not model.ready():
                model.ready(WAIT_S)
                return
