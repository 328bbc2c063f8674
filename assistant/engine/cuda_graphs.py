"""Steps of decoding as CUDA graphs: at one token a sequence, launching kernels one by one costs more than running them.

A graph is captured for each of a few batch sizes, over buffers that stay; smaller batches are filled up by repeating
their first row, which then writes the same keys and values to the same place twice.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from assistant.layers.attention import Attend, CudaPagedAttention, Span

Hidden = Callable[[Tensor, tuple[Tensor, Tensor], Attend], Tensor]
"""As Llama.hidden."""
BATCH_SIZES = (1, 2, 4, 8, 16, 32)


@dataclass(frozen=True, eq=False)
class _Captured:
    graph: torch.cuda.CUDAGraph
    rows: Tensor  # what it reads
    states: Tensor  # what it writes


class DecodeGraphs:
    """Owns the graphs of one model over one cache; each is captured when it is first needed."""

    def __init__(
        self, hidden: Hidden, attention: CudaPagedAttention, rotary: tuple[Tensor, Tensor], page_size: int
    ) -> None:
        """hidden: what is captured; rotary: tables of all positions that a sequence may have."""
        self._hidden, self._attention, self._page_size = hidden, attention, page_size
        self._cos, self._sin = rotary
        self._max_context = len(self._cos)
        self._captured: dict[int, _Captured] = {}

    def take(self, spans: Sequence[Span]) -> bool:
        """Whether they are a step of decoding: one new token each, and not too many."""
        return len(spans) <= BATCH_SIZES[-1] and all(span.new == 1 for span in spans)

    def hidden(self, tokens: Sequence[int], spans: Sequence[Span]) -> Tensor:
        """States [B, hidden_size] of one new token [B] of each span."""
        size = next(size for size in BATCH_SIZES if size >= len(spans))
        rows = self.rows(tokens, spans, size)
        if size not in self._captured:
            self._captured[size] = self._capture(rows.to(self._cos.device))
        captured = self._captured[size]
        captured.rows.copy_(rows)
        captured.graph.replay()
        return captured.states[: len(spans)].clone()

    def rows(self, tokens: Sequence[int], spans: Sequence[Span], size: int) -> Tensor:
        """All that a step reads, [size, 2 + pages of the longest context] int32: token, position, pages."""
        pages = -(-self._max_context // self._page_size)
        rows = [
            [token, span.past, *span.pages, *[0] * (pages - len(span.pages))]
            for token, span in zip(tokens, spans, strict=True)
        ]
        return torch.tensor(rows + rows[:1] * (size - len(rows)), dtype=torch.int32)

    def step(self, rows: Tensor) -> Tensor:
        """States of `rows`, by operations on tensors of fixed shapes alone."""
        tokens, places, table = rows[:, 0], rows[:, 1], rows[:, 2:]
        rotary = (self._cos.index_select(0, places), self._sin.index_select(0, places))
        return self._hidden(tokens, rotary, self._attention.decode(places, table))

    def _capture(self, rows: Tensor) -> _Captured:
        aside = torch.cuda.Stream()
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):  # kernels set themselves up when they first run, which cannot be captured
            for _ in range(2):
                self.step(rows)
        torch.cuda.current_stream().wait_stream(aside)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, capture_error_mode="thread_local"):  # other threads may be loading models
            states = self.step(rows)
        return _Captured(graph, rows, states)
