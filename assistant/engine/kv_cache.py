"""The paged KV cache (PagedAttention, arXiv 2309.06180): one bounded pool of pages, shared by all sequences.

A sequence's keys and values lie in the pages that its table lists. Pages have owners: a fork shares them, and a shared
page is copied before it is written to. New pages are chosen so that a sequence's pages lie in a row where they can:
attention on the CPU then reads them as plain views.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch


class OutOfPages(Exception):
    """The pool has no room for more tokens."""


@dataclass(slots=True, eq=False)
class PageTable:
    """Where one sequence's `length` tokens lie: token i in page `pages[i // page_size]`. Changed by KVCache alone."""

    pages: list[int] = field(default_factory=list)
    length: int = 0


class KVCache:
    """Owns the pool: `keys` and `values` [layers, slots, kv_heads, head_dim]. A page is `page_size` slots in a row.

    On the CPU they are views of a store that has each head's slots in a row: attention reads one head at a time.
    """

    def __init__(
        self,
        layers: int,
        kv_heads: int,
        head_dim: int,
        *,
        pages: int,
        page_size: int,
        dtype: torch.dtype,
        device: torch.device | str = "cpu",
    ) -> None:
        self.page_size = page_size
        slots = pages * page_size
        self._copies = torch.device(device).type == "cpu"
        if self._copies:
            # Written to at once: the system gives memory when it is first touched, and a conversation should not wait.
            self._store = torch.empty(2, layers, kv_heads, slots, head_dim, dtype=dtype).zero_().transpose(2, 3)
        else:
            self._store = torch.empty(2, layers, slots, kv_heads, head_dim, dtype=dtype, device=device)
        self.keys, self.values = self._store.unbind()
        self._owners = [0] * pages
        self.free_pages = pages

    @property
    def pages(self) -> int:
        return len(self._owners)

    def extend(self, table: PageTable, count: int) -> None:
        """Make room for `count` more tokens. OutOfPages where there is none; the table is then as it was."""
        needed = -(-(table.length + count) // self.page_size) - len(table.pages)
        copied = table.length % self.page_size > 0 and self._owners[table.pages[-1]] > 1
        if needed + copied > self.free_pages:
            raise OutOfPages(
                f"{count} more tokens need {needed + copied} pages of {self.page_size} tokens; "
                f"{self.free_pages} of {self.pages} are free"
            )
        if copied:
            shared = table.pages.pop()
            self._append_page(table)
            self._copy(shared, table.pages[-1])
            self._release(shared)
        for _ in range(needed):
            self._append_page(table)
        table.length += count

    def truncate(self, table: PageTable, length: int) -> None:
        """Forget all tokens from place `length` on."""
        assert 0 <= length <= table.length, f"cannot truncate {table.length} tokens to {length}"
        table.length = length
        while len(table.pages) * self.page_size - length >= self.page_size:
            self._release(table.pages.pop())

    def fork(self, table: PageTable) -> PageTable:
        """Another sequence with the same tokens. Costs no page until one of the two grows."""
        for page in table.pages:
            self._owners[page] += 1
        return PageTable(list(table.pages), table.length)

    def start_of(self, table: PageTable, length: int) -> PageTable:
        """A sequence that begins with the first `length` tokens of another. OutOfPages where there is no room for it.

        A GPU shares the pages. The CPU copies them into a row: two rows would cost it more at each token.
        """
        if not self._copies:
            twin = self.fork(table)
            self.truncate(twin, length)
            return twin
        twin = PageTable()
        self.extend(twin, length)
        for source, target in zip(table.pages, twin.pages, strict=False):
            self._copy(source, target)
        return twin

    def free(self, table: PageTable) -> None:
        """Forget all tokens."""
        self.truncate(table, 0)

    def _append_page(self, table: PageTable) -> None:
        wanted = table.pages[-1] + 1 if table.pages else self.pages
        page = wanted if wanted < self.pages and not self._owners[wanted] else self._roomiest()
        self._owners[page] = 1
        self.free_pages -= 1
        table.pages.append(page)

    def _release(self, page: int) -> None:
        self._owners[page] -= 1
        self.free_pages += not self._owners[page]

    def _copy(self, source: int, target: int) -> None:
        size = self.page_size
        self._store[:, :, target * size : (target + 1) * size] = self._store[:, :, source * size : (source + 1) * size]

    def _roomiest(self) -> int:
        """The middle of the longest free stretch, so that the sequence before it keeps room to grow in a row."""
        best, best_length, start = 0, 0, 0
        for page in range(self.pages + 1):
            if page == self.pages or self._owners[page]:
                if page - start > best_length:
                    best, best_length = start, page - start
                start = page + 1
        return best if best == 0 else best + best_length // 2
