"""The operator's page names every key of the configuration and every metric."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from configuration import Configuration
from streaming.metrics import Metrics

PAGE = (Path(__file__).parents[1] / "docs" / "operating.md").read_text("utf-8")


def keys(section: object, name: str) -> Iterator[tuple[str, str]]:
    """(section, key) of all that a section holds, and the sections within it."""
    for field in dataclasses.fields(section):  # type: ignore[arg-type]
        value = getattr(section, field.name)
        if dataclasses.is_dataclass(value):
            yield from keys(value, field.name)
        else:
            yield name, field.name


@pytest.mark.parametrize("section, key", sorted(set(keys(Configuration(), ""))))
def test_every_key_is_named(section: str, key: str) -> None:
    assert f"`{key}`" in PAGE and re.search(rf"`\[?[\w.]*\.?{section}\]?`", PAGE), f"[{section}] {key} is missing"


def test_every_metric_is_named() -> None:
    exposed = Metrics().text(worker_alive=True).decode()
    names = [name for name in re.findall(r"^# TYPE (tertulia_\w+)", exposed, re.MULTILINE) if "_created" not in name]
    missing = [name for name in names if f"`{name}" not in PAGE]
    assert len(names) > 8 and not missing
    assert "process_resident_memory_bytes" in exposed
