from __future__ import annotations

import pytest

from streaming.attachments import FileStore, TooLarge


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_file_lasts_its_time() -> None:
    clock = Clock()
    store = FileStore(100, 10, 60, clock)
    store.put("a", b"123", "image/png")
    clock.now = 59.9
    file = store.get("a")
    assert file is not None and (file.data, file.mime_type) == (b"123", "image/png")
    clock.now = 60
    assert store.get("a") is None and store.size == 0


def test_the_oldest_give_way_by_bytes_and_by_number() -> None:
    store = FileStore(10, 3, 60, Clock())
    for name in "abc":
        store.put(name, b"12", "")
    store.put("d", b"12", "")
    assert [name for name in "abcd" if store.get(name)] == ["b", "c", "d"]
    store.put("e", b"12345678", "")
    assert [name for name in "abcde" if store.get(name)] == ["d", "e"] and store.size == 10


def test_the_expired_give_way_although_there_is_room() -> None:
    clock = Clock()
    store = FileStore(10, 3, 60, clock)
    store.put("a", b"12345", "")
    clock.now = 61
    store.put("b", b"123", "")
    assert store.size == 3 and len(store) == 1


def test_what_no_room_can_be_made_for_is_refused_and_costs_nobody_anything() -> None:
    store = FileStore(10, 3, 60, Clock())
    store.put("a", b"1", "")
    with pytest.raises(TooLarge, match="11 bytes"):
        store.put("b", bytes(11), "")
    assert store.get("a") is not None


def test_a_name_that_comes_again_and_one_that_goes() -> None:
    store = FileStore(10, 3, 60, Clock())
    store.put("a", b"1", "")
    store.put("a", b"22", "")
    assert store.size == 2 and len(store) == 1
    store.remove("a")
    store.remove("a")
    assert store.size == 0 and len(store) == 0
