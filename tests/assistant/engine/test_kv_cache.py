from __future__ import annotations

import random

import pytest
import torch

from assistant.engine.kv_cache import KVCache, OutOfPages, PageTable


def make(pages: int = 16, page_size: int = 4) -> KVCache:
    return KVCache(2, 1, 1, pages=pages, page_size=page_size, dtype=torch.float32)


def write(cache: KVCache, table: PageTable, values: list[float]) -> None:
    start = table.length
    cache.extend(table, len(values))
    for place, value in enumerate(values, start):
        slot = table.pages[place // cache.page_size] * cache.page_size + place % cache.page_size
        cache.keys[:, slot] = value
        cache.values[:, slot] = -value


def read(cache: KVCache, table: PageTable) -> list[float]:
    size = cache.page_size
    slots = [table.pages[place // size] * size + place % size for place in range(table.length)]
    keys = cache.keys[:, slots, 0, 0]
    assert torch.equal(keys[0], keys[1]) and torch.equal(cache.values[:, slots, 0, 0], -keys)
    return keys[0].tolist()


def test_random_histories_of_appending_truncating_forking_and_freeing() -> None:
    """Against plain lists; no page is ever lost, and none is written to by two owners."""
    rng = random.Random(5)
    cache = make(pages=40)
    tables: list[tuple[PageTable, list[float]]] = [(PageTable(), [])]
    refused = 0
    for step in range(3000):
        place = rng.randrange(len(tables))
        table, content = tables[place]
        action = rng.choice(["append", "append", "append", "truncate", "fork", "free"])
        if action == "append":
            new = [float(step * 20 + i) for i in range(rng.randrange(1, 12))]
            before = (list(table.pages), table.length, cache.free_pages)
            try:
                write(cache, table, new)
                content += new
            except OutOfPages:
                refused += 1
                assert (table.pages, table.length, cache.free_pages) == before
        elif action == "truncate":
            length = rng.randrange(len(content) + 1)
            cache.truncate(table, length)
            del content[length:]
        elif action == "fork" and len(tables) < 8:
            tables.append((cache.fork(table), list(content)))
        elif action == "free" and len(tables) > 1:
            cache.free(table)
            del tables[place]
        for other, expected in tables:
            assert read(cache, other) == expected
            assert len(other.pages) == -(-other.length // cache.page_size)
        assert cache.pages - cache.free_pages == len({page for other, _ in tables for page in other.pages})
    assert refused > 10
    for table, _ in tables:
        cache.free(table)
    assert cache.free_pages == cache.pages


def test_sequences_that_grow_side_by_side_keep_their_pages_in_a_row() -> None:
    cache = make(pages=64)
    tables = [PageTable() for _ in range(4)]
    for _ in range(40):
        for table in tables:
            cache.extend(table, 1)
    for table in tables:
        assert table.pages == list(range(table.pages[0], table.pages[0] + 10))


def test_only_the_partly_filled_page_of_a_fork_is_copied() -> None:
    cache = make()
    table = PageTable()
    write(cache, table, [1.0, 2.0, 3.0, 4.0, 5.0])
    twin = cache.fork(table)
    write(cache, twin, [6.0])
    assert twin.pages[0] == table.pages[0] and twin.pages[1] != table.pages[1]
    write(cache, table, [7.0])
    assert cache.free_pages == cache.pages - 3
    assert read(cache, twin) == [1, 2, 3, 4, 5, 6] and read(cache, table) == [1, 2, 3, 4, 5, 7]


def test_a_full_pool_says_so() -> None:
    cache = make(pages=3)
    table = PageTable()
    cache.extend(table, 10)
    with pytest.raises(OutOfPages, match="3 more tokens need 1 pages of 4 tokens; 0 of 3 are free"):
        cache.extend(table, 3)
    cache.extend(table, 2)
    with pytest.raises(AssertionError):
        cache.truncate(table, 13)


@pytest.mark.parametrize("copies", [True, False], ids=["as_on_the_cpu", "as_on_a_gpu"])
@pytest.mark.parametrize("length", [1, 3, 4, 5, 8, 10])
def test_the_start_of_a_sequence_serves_another(length: int, copies: bool) -> None:
    cache = make()
    cache._copies = copies
    first = PageTable()
    write(cache, first, [float(i) for i in range(10)])
    free = cache.free_pages
    second = cache.start_of(first, length)
    assert free - cache.free_pages == (-(-length // 4) if copies else 0)
    write(cache, second, [100.0, 101.0])
    write(cache, first, [10.0])
    assert read(cache, second) == [*map(float, range(length)), 100.0, 101.0]
    assert read(cache, first) == [float(i) for i in range(11)]
    if copies:
        assert second.pages == list(range(second.pages[0], second.pages[0] + len(second.pages)))
    cache.free(first)
    assert read(cache, second) == [*map(float, range(length)), 100.0, 101.0]
    cache.free(second)
    assert cache.free_pages == cache.pages


def test_a_copied_start_that_has_no_room_changes_nothing() -> None:
    cache = make(pages=4)
    table = PageTable()
    write(cache, table, [float(i) for i in range(12)])
    with pytest.raises(OutOfPages):
        cache.start_of(table, 8)
    assert cache.free_pages == 1 and read(cache, table) == [float(i) for i in range(12)]
