"""Files that wait to be fetched: bounded in bytes, number and time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class StoredFile:
    data: bytes
    mime_type: str
    expires_at: float  # by the store's clock


class TooLarge(Exception):
    """A file that the whole store could not hold."""


class FileStore:
    """Owns files by their names, which who puts them in makes hard to guess. What is oldest gives way to what is new.

    clock: seconds of any monotonic clock.
    """

    def __init__(self, most_bytes: int, most_files: int, lifetime_s: float, clock: Callable[[], float]) -> None:
        self._most_bytes = most_bytes
        self._most_files = most_files
        self._lifetime_s = lifetime_s
        self._clock = clock
        self._files: dict[str, StoredFile] = {}  # the oldest first
        self._size = 0

    def __len__(self) -> int:
        return len(self._files)

    @property
    def size(self) -> int:
        """In bytes."""
        return self._size

    @property
    def lifetime_s(self) -> float:
        return self._lifetime_s

    def put(self, name: str, data: bytes, mime_type: str) -> None:
        """Raises TooLarge. A file of the same name is replaced."""
        if len(data) > self._most_bytes:
            raise TooLarge(f"{len(data):,} bytes, and there is room for {self._most_bytes:,}")
        self.remove(name)
        self._drop_expired()
        while self._files and (self._size + len(data) > self._most_bytes or len(self) >= self._most_files):
            self.remove(next(iter(self._files)))
        self._files[name] = StoredFile(data, mime_type, self._clock() + self._lifetime_s)
        self._size += len(data)

    def get(self, name: str) -> StoredFile | None:
        self._drop_expired()
        return self._files.get(name)

    def remove(self, name: str) -> None:
        """Nothing happens if there is none."""
        file = self._files.pop(name, None)
        self._size -= len(file.data) if file else 0

    def _drop_expired(self) -> None:
        now = self._clock()
        for name in [name for name, file in self._files.items() if file.expires_at <= now]:
            self.remove(name)
