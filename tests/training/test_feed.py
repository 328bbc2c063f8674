"""Training data comes from other processes, all of it, and so do their faults."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from training.feed import fed


def test_every_process_gives_what_its_number_makes() -> None:
    assert sorted(fed(lambda number: iter(range(10 * number, 10 * number + 3)), 2)) == [0, 1, 2, 10, 11, 12]


def test_a_fault_in_a_process_is_raised_here() -> None:
    def faulty(number: int) -> Iterator[int]:
        yield 1
        raise ValueError("no such corpus")

    items = fed(faulty, 1)
    assert next(items) == 1
    with pytest.raises(ValueError, match="no such corpus"):
        next(items)
