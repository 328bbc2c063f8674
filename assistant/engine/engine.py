"""The inference engine: prompts and replies of all sessions, computed together over one paged KV cache.

Synchronous, for one thread. Callers hand over the whole token list of a dialogue each turn (`set_prompt`), the engine
computes what differs from the tokens that the cache holds, and `step` moves every sequence on.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from collections.abc import Sequence as Seq
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

from assistant.engine.beam_search import Beam, grow
from assistant.engine.forward import Forward
from assistant.engine.grammar import GrammarState, Kind
from assistant.engine.kv_cache import KVCache, OutOfPages, PageTable
from assistant.engine.sampling import PUBLISHED, Sampling, choose, penalize
from assistant.engine.scheduler import schedule
from assistant.layers.attention import Span
from assistant.models.llama import Llama

LEAST_SHARED = 16
"""A prompt that begins as another session's does takes so many tokens or more from there; fewer are soon computed."""

Finish = Literal["grammar", "length", "stopped", "error"]
"""Why a reply ended: it was complete, a limit was reached, `stop` was called, or a fault."""


class ContextTooLong(ValueError):
    """A prompt holds more tokens than a sequence may have."""


@dataclass(frozen=True, slots=True)
class EngineConfig:
    """`pages` of `page_size` tokens bound the memory of all sequences together, `max_context` the tokens of one.

    A step computes at most `chunk_tokens`.
    """

    pages: int = 512
    page_size: int = 64
    max_context: int = 4096
    chunk_tokens: int = 256


@dataclass(slots=True, eq=False)
class Sequence:
    """One session's tokens. Made by Engine.open and changed by the engine alone; read it freely.

    `tokens` are those that the cache holds, `pending` those that wait to be computed behind them, `generated` the reply
    so far (its last tokens are pending, and never computed once it has ended). `finished` says why the reply ended;
    with "error", `error` says what happened. An idle sequence may lose its `tokens` to others that need the room.
    One in the `background` moves on only where no other is active.
    """

    id: str
    tokens: list[int] = field(default_factory=list)
    pending: list[int] = field(default_factory=list)
    generated: list[int] = field(default_factory=list)
    finished: Finish | None = None
    error: Exception | None = None
    table: PageTable = field(default_factory=PageTable)
    last_hidden: Tensor | None = None  # [1, hidden_size], of tokens[-1]
    reply: _Reply | None = None
    used_at: int = 0
    background: bool = False

    @property
    def active(self) -> bool:
        """Whether steps will move it on."""
        return bool(self.pending) or self.reply is not None


@dataclass(slots=True, eq=False)
class _Reply:
    """A reply that is being generated."""

    state: GrammarState
    sampling: Mapping[Kind, Sampling]
    max_tokens: int
    random: random.Random
    seen: Tensor | None  # [vocab_size] bool; kept only where a repetition penalty asks for it
    search: _Search | None = None


@dataclass(slots=True, eq=False)
class _Search:
    """A beam search for the reply's next tokens: its beams, a fork of the sequence with each, the best that ended."""

    beams: list[Beam]
    forks: list[Sequence]
    ended: Beam | None = None


class Engine:
    """Owns the KV cache and runs the model. `open`, `set_prompt`, `generate`, then `step` until nothing is active."""

    def __init__(self, model: Llama, config: EngineConfig) -> None:
        """The model is used as it is, on its device."""
        sizes = model.config
        self.model = model.eval()
        self.config = config
        self.cache = KVCache(
            sizes.num_hidden_layers,
            sizes.num_key_value_heads,
            sizes.head_dim,
            pages=config.pages,
            page_size=config.page_size,
            dtype=model.attention_dtype,
            device=model.device,
        )
        self.tokens_computed = 0
        self.tokens_reused = 0
        self._forward = Forward(model, self.cache, config.max_context)
        self._sequences: dict[str, Sequence] = {}
        self._steps = 0

    def open(self, session_id: str) -> Sequence:
        """A new sequence without tokens. ValueError where the id is taken."""
        return self._add(Sequence(session_id))

    def fork(self, sequence: Sequence, session_id: str) -> Sequence:
        """A new sequence with the same computed (shared) and pending tokens, without the reply in progress."""
        twin = Sequence(session_id, list(sequence.tokens), list(sequence.pending))
        self._add(twin)
        twin.table = self.cache.fork(sequence.table)
        twin.last_hidden = sequence.last_hidden
        return twin

    def close(self, sequence: Sequence) -> None:
        """Give its pages back. The sequence is of no use afterwards."""
        self._end_search(sequence)
        del self._sequences[sequence.id]
        self.cache.free(sequence.table)
        sequence.reply = None
        sequence.pending = []

    def set_prompt(self, sequence: Sequence, tokens: Seq[int]) -> int:
        """Make `tokens` what the sequence holds: keep the common start, forget the rest, queue what is new.

        Where another sequence has more of the start (all begin with the system's line), it is taken from there.
        Returns how many need no computing. A reply in progress stops. ContextTooLong and ValueError (no such token)
        leave the sequence as it was.
        """
        tokens = list(tokens)
        if len(tokens) > self.config.max_context:
            raise ContextTooLong(f"{len(tokens)} tokens, a sequence has room for {self.config.max_context}")
        if tokens and not 0 <= min(tokens) <= max(tokens) < self.model.config.vocab_size:
            raise ValueError(f"tokens must lie in 0..{self.model.config.vocab_size - 1}")
        self.stop(sequence)
        self._share_start(sequence, tokens)
        kept = _common_length(sequence.tokens, tokens)
        self._truncate(sequence, kept)
        sequence.pending = tokens[kept:]
        sequence.generated = []
        sequence.finished = sequence.error = None
        self.tokens_reused += kept
        return kept

    def generate(
        self,
        sequence: Sequence,
        state: GrammarState,
        sampling: Mapping[Kind, Sampling],
        max_tokens: int,
        seed: int | None = None,
    ) -> None:
        """Start a reply behind the prompt. Its tokens come out of `step`; `sequence.finished` tells its end.

        A kind that `sampling` does not name is chosen by the published settings. Equal prompt, settings and seed give
        an equal reply, whoever else is being served. ValueError where there is no prompt or a reply is in progress.
        """
        if sequence.reply is not None:
            raise ValueError("a reply is in progress")
        if not sequence.tokens and not sequence.pending:
            raise ValueError("a reply needs a prompt")
        sampling = {**PUBLISHED, **sampling}
        seen = None
        if any(settings.repetition_penalty != 1 for settings in sampling.values()):
            seen = torch.zeros(self.model.config.vocab_size, dtype=torch.bool, device=self.model.device)
            seen[torch.tensor(sequence.tokens + sequence.pending, device=self.model.device)] = True
        if not sequence.pending and sequence.last_hidden is None:
            last = sequence.tokens[-1]
            self._truncate(sequence, len(sequence.tokens) - 1)
            sequence.pending = [last]
        sequence.generated = []
        sequence.finished = sequence.error = None
        sequence.reply = _Reply(state, sampling, max_tokens, random.Random(seed), seen)

    def stop(self, sequence: Sequence) -> None:
        """End a reply where it is; what it said so far stays in the cache. Without a reply, drop what is pending."""
        if sequence.reply is not None:
            self._finish(sequence, "stopped")
        sequence.pending = []

    @torch.inference_mode()
    def step(self) -> list[tuple[str, int]]:
        """Compute one batch. Returns the new tokens of all replies as (session id, token), in order for each session.

        A fault in one sequence ends that one, with `finished` "error".
        """
        new_tokens: list[tuple[str, int]] = []
        for sequence, reply in self._replying():
            self._say_forced(sequence, reply, new_tokens)
        work = self._reserve(schedule(self._served(), self.config.chunk_tokens))
        if work:
            self._run(work)
        ready = [(sequence, reply) for sequence, reply in self._replying() if not sequence.pending]
        searched = [(sequence, reply) for sequence, reply in ready if reply.sampling[reply.state.kind].beams > 1]
        for sequence, reply in searched:
            for token in self._search(sequence, reply):
                self._say(sequence, reply, token, new_tokens)
            self._say_forced(sequence, reply, new_tokens)
        for sequence, reply, token in self._sample([pair for pair in ready if pair not in searched]):
            self._say(sequence, reply, token, new_tokens)
            self._say_forced(sequence, reply, new_tokens)
        return new_tokens

    @property
    def idle(self) -> bool:
        """Whether a step would do nothing."""
        return not any(sequence.active for sequence in self._sequences.values())

    def _replying(self) -> list[tuple[Sequence, _Reply]]:
        return [(sequence, sequence.reply) for sequence in self._served() if sequence.reply is not None]

    def _served(self) -> list[Sequence]:
        """The active sequences whose turn it is."""
        active = [sequence for sequence in self._sequences.values() if sequence.active]
        return [sequence for sequence in active if not sequence.background] or active

    # schedule

    def _reserve(self, work: list[tuple[Sequence, int]]) -> list[tuple[Sequence, int]]:
        """The part of the work that pages could be found for. Idle sequences make room, longest unused first."""
        granted = []
        for sequence, count in work:
            while True:
                try:
                    self.cache.extend(sequence.table, count)
                except OutOfPages as error:
                    idle = [other for other in self._sequences.values() if other.table.pages and not other.active]
                    if not idle:
                        self._fail(sequence, error)
                        break
                    self._truncate(min(idle, key=lambda other: other.used_at), 0)
                else:
                    granted.append((sequence, count))
                    break
        return granted

    # run

    def _run(self, work: list[tuple[Sequence, int]]) -> None:
        """Compute pending tokens. Where a batch fails, each sequence is tried alone: only the faulty one ends."""
        try:
            hidden = self._forward.hidden(
                [token for sequence, count in work for token in sequence.pending[:count]],
                [Span(sequence.table.pages, len(sequence.tokens), count) for sequence, count in work],
            )
        except Exception as error:
            for sequence, _ in work:
                self.cache.truncate(sequence.table, len(sequence.tokens))
            if len(work) == 1:
                self._fail(work[0][0], error)
                return
            for sequence, count in work:
                self.cache.extend(sequence.table, count)
                self._run([(sequence, count)])
            return
        self._steps += 1
        end = 0
        for sequence, count in work:
            end += count
            sequence.tokens += sequence.pending[:count]
            del sequence.pending[:count]
            sequence.last_hidden = hidden[end - 1 : end]
            sequence.used_at = self._steps
            self.tokens_computed += count

    # postprocess

    def _sample(self, ready: list[tuple[Sequence, _Reply]]) -> Iterator[tuple[Sequence, _Reply, int]]:
        """The next token of each sequence. Those with the same choice of tokens share the output layer's products."""
        groups = defaultdict(list)
        for sequence, reply in ready:
            groups[reply.state.allowed].append((sequence, reply))
        for allowed, group in groups.items():
            logits = self._logits([sequence for sequence, _ in group], allowed)
            settings = [reply.sampling[reply.state.kind] for _, reply in group]
            for row, (setting, (_, reply)) in enumerate(zip(settings, group, strict=True)):
                if reply.seen is not None and setting.repetition_penalty != 1:
                    seen = torch.cat([reply.seen[ids.start : ids.stop] for ids in allowed])
                    logits[row] = penalize(logits[row], seen, setting.repetition_penalty)
                favoured = reply.state.favoured
                if favoured and reply.state.closes(_nth(allowed, int(logits[row].argmax()))):
                    for place, more in favoured:
                        logits[row, place] += more
            choices = choose(logits, settings, [reply.random.random() for _, reply in group])
            for (sequence, reply), choice in zip(group, choices, strict=True):
                if choice < 0:
                    self._fail(sequence, FloatingPointError("the model's output is not a number"))
                else:
                    yield sequence, reply, _nth(allowed, choice)

    def _search(self, sequence: Sequence, reply: _Reply) -> tuple[int, ...]:
        """A token more for each beam. The tokens of the best, once no other can overtake it; until then none.

        What the winner's fork holds is computed again for the sequence: a few tokens, in one go.
        """
        search, width = reply.search, reply.sampling[reply.state.kind].beams
        if search is None:
            search = reply.search = _Search([Beam((), 0.0, reply.state)], [self._fork_beam(sequence, sequence, 0)])
        if any(fork.pending for fork in search.forks):
            return ()
        kept = [(b, f) for b, f in zip(search.beams, search.forks, strict=True) if f.last_hidden is not None]
        if not kept and search.ended is None:
            error = next((fork.error for fork in search.forks if fork.error is not None), None)
            self._fail(sequence, error or RuntimeError("a beam search has lost its beams"))
            return ()
        best = search.ended
        room = self.config.max_context - len(sequence.tokens)
        if kept:
            beams, forks = [beam for beam, _ in kept], [fork for _, fork in kept]
            state = beams[0].state
            assert state is not None
            logits = self._logits(forks, state.allowed)
            if logits.isnan().any():
                self._fail(sequence, FloatingPointError("the model's output is not a number"))
                return ()
            grown = grow(beams, logits, width, search.ended)
            best, full = grown.ended, len(beams[0].tokens) + 1 >= room
            if not grown.decided and not full:
                count = len(beams[0].tokens) * width + 1
                children = [self._fork_beam(forks[p], sequence, count + n) for n, (p, _) in enumerate(grown.live)]
                self._close_forks(search)
                for child, (_, beam) in zip(children, grown.live, strict=True):
                    child.pending = [beam.tokens[-1]]
                reply.search = _Search([beam for _, beam in grown.live], children, grown.ended)
                return ()
            best = best or grown.live[0][1]
        assert best is not None
        self._end_search(sequence)
        return best.tokens

    def _fork_beam(self, parent: Sequence, sequence: Sequence, number: int) -> Sequence:
        twin = self.fork(parent, f"{sequence.id}/beam {number}")
        twin.background = sequence.background
        return twin

    def _close_forks(self, search: _Search) -> None:
        for fork in search.forks:
            self.close(fork)

    def _end_search(self, sequence: Sequence) -> None:
        if sequence.reply is not None and sequence.reply.search is not None:
            search, sequence.reply.search = sequence.reply.search, None
            self._close_forks(search)

    def _logits(self, sequences: list[Sequence], allowed: tuple[range, ...]) -> Tensor:
        """Scores [B, allowed tokens] float32 of what may follow each sequence."""
        hidden = torch.cat([sequence.last_hidden for sequence in sequences if sequence.last_hidden is not None])
        parts = [self.model.logits(hidden, slice(ids.start, ids.stop)) for ids in allowed]
        return torch.cat(parts, dim=-1).float()

    def _say(self, sequence: Sequence, reply: _Reply, token: int, new_tokens: list[tuple[str, int]]) -> None:
        """A token joins the reply and is to be computed next, unless it is the last."""
        state = reply.state.advance(token)
        if reply.seen is not None:
            reply.seen[token] = True
        sequence.generated.append(token)
        new_tokens.append((sequence.id, token))
        full = len(sequence.tokens) + len(sequence.pending) >= self.config.max_context
        if state is None:
            self._finish(sequence, "grammar")
        elif full or len(sequence.generated) >= reply.max_tokens:
            self._finish(sequence, "length")
        else:
            reply.state = state
            sequence.pending.append(token)

    def _say_forced(self, sequence: Sequence, reply: _Reply, new_tokens: list[tuple[str, int]]) -> None:
        """Tokens without alternative need no output layer, and are computed together with what comes next."""
        while sequence.reply is reply and (token := reply.state.forced) is not None:
            self._say(sequence, reply, token, new_tokens)

    # sequences

    def _add(self, sequence: Sequence) -> Sequence:
        if sequence.id in self._sequences:
            raise ValueError(f"there is a sequence {sequence.id!r} already")
        self._sequences[sequence.id] = sequence
        return sequence

    def _share_start(self, sequence: Sequence, tokens: list[int]) -> None:
        """Let the sequence hold the start of its prompt that another holds already, where that is more than its own."""
        common, other = max(
            ((_common_length(other.tokens, tokens), other) for other in self._sequences.values()),
            key=lambda pair: pair[0],
        )
        if common - _common_length(sequence.tokens, tokens) < LEAST_SHARED:
            return
        try:
            table = self.cache.start_of(other.table, common)
        except OutOfPages:
            return
        self._truncate(sequence, 0)
        sequence.table, sequence.tokens = table, tokens[:common]

    def _truncate(self, sequence: Sequence, length: int) -> None:
        if length < len(sequence.tokens):
            self.cache.truncate(sequence.table, length)
            del sequence.tokens[length:]
            sequence.last_hidden = None

    def _finish(self, sequence: Sequence, reason: Finish) -> None:
        self._end_search(sequence)
        sequence.finished = reason
        sequence.reply = None
        sequence.pending = []

    def _fail(self, sequence: Sequence, error: Exception) -> None:
        sequence.error = error
        self._finish(sequence, "error")


def _common_length(first: list[int], second: list[int]) -> int:
    """How many tokens two lists have in common at their start."""
    equal, different = 0, min(len(first), len(second)) + 1
    while different - equal > 1:
        middle = (equal + different) // 2
        if first[equal:middle] == second[equal:middle]:
            equal = middle
        else:
            different = middle
    return equal


def _nth(ranges: Iterable[range], index: int) -> int:
    """Element `index` of ranges laid end to end."""
    for ids in ranges:
        if index < len(ids):
            return ids[index]
        index -= len(ids)
    raise IndexError(index)
