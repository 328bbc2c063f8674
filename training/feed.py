"""Training data made by other processes, so that a model never waits for Python."""

from __future__ import annotations

import multiprocessing
import queue
from collections.abc import Callable, Iterator
from typing import TypeVar

Item = TypeVar("Item")
_PATIENCE_S = 5.0


def fed(make: Callable[[int], Iterator[Item]], workers: int) -> Iterator[Item]:
    """Items of `make(0)` to `make(workers - 1)`, each in a process of its own, as they come; endless if those are.

    The processes are forks: what the caller has in memory is theirs without a copy. So begin before a GPU is used.
    Raises what `make` raised.
    """
    context = multiprocessing.get_context("fork")
    items = context.Queue(2 * workers)

    def work(number: int) -> None:
        try:
            for item in make(number):
                items.put(item)
            items.put(None)
        except Exception as fault:
            items.put(fault)

    processes = [context.Process(target=work, args=(number,), daemon=True) for number in range(workers)]
    for process in processes:
        process.start()
    return _taken(items, processes)


def _taken(items: multiprocessing.Queue, processes: list) -> Iterator:
    running = len(processes)
    while running:
        try:
            item = items.get(timeout=_PATIENCE_S)
        except queue.Empty:
            if not any(process.is_alive() for process in processes):
                raise RuntimeError("the processes that make training data have died") from None
            continue
        if isinstance(item, Exception):
            raise item
        if item is None:
            running -= 1
        else:
            yield item
