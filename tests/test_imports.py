"""Imports run one way. The rules are those of the design; a broken direction shows here, by file and name."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("assistant", "streaming", "training", "tools")
MODULES = ("configuration.py", "server.py")
FILES = sorted(
    path.relative_to(ROOT)
    for path in [
        *(ROOT / name for name in MODULES),
        *(file for name in PACKAGES for file in (ROOT / name).rglob("*.py")),
    ]
    if path.exists()
)

RIM = set("runner sessions worker app access metrics silero pictures music studio transports".split())
"""Where streaming/ meets sockets, processes, clocks and media files. Every other file of it is pure."""

PURE_IMPORTS = set(
    "__future__ abc base64 binascii bisect collections copy dataclasses enum functools heapq itertools json math "
    "operator re secrets string struct types typing numpy soxr".split()
)

LAYERS = [
    {"layers"},
    {"models"},
    {"vocabulary", "prompts", "conversation", "checkpoints", "tokenizers", "engine", "decoders"},
    {"media"},
    {"works"},
    {"responder"},
    {"tasks"},
    {"files", "__main__"},
]
"""Inside assistant/: each may import its own row and the rows above."""

PROGRAM = LAYERS[-1]
"""The one-shot program of assistant/. Like server.py, it joins the models with what reads and writes media files."""


def imports(path: Path) -> Iterator[str]:
    """Full names of all that a file imports, inside functions too; `from a import b` gives a.b."""
    for node in ast.walk(ast.parse((ROOT / path).read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively: write the full name"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def in_package(path: Path, package: str) -> bool:
    return path.parts[0] == package


def stage(path: Path) -> str:
    """The file or folder right below the package: assistant/models/llama.py is `models`."""
    return path.parts[1].removesuffix(".py")


def roots(path: Path) -> set[str]:
    return {name.split(".")[0] for name in imports(path)}


def only(package: str) -> list[Path]:
    return [path for path in FILES if in_package(path, package)]


def named(paths: list[Path]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("path", paths, ids=str)


@named([path for path in only("streaming") if stage(path) not in RIM])
def test_pure_files_import_data_tools_and_each_other(path: Path) -> None:
    foreign = {name for name in roots(path) if name not in PURE_IMPORTS | {"streaming"}}
    impure = {name for name in imports(path) if name.split(".")[0] == "streaming" and name.split(".")[1] in RIM}
    assert not foreign | impure, f"{path} is pure (or belongs in RIM)"


@named(only("streaming"))
def test_streaming_knows_no_model(path: Path) -> None:
    assert not roots(path) & {"assistant", "server", "torch", "training", "tools"}


@named(only("assistant"))
def test_assistant_is_synchronous_and_knows_no_transport(path: Path) -> None:
    transports = {
        "asyncio",
        "socket",
        "aiortc",
        "av",
        "fastapi",
        "starlette",
        "uvicorn",
        "websockets",
        "multiprocessing",
    }
    assert not roots(path) & (transports | {"server", "training", "tools"})
    if stage(path) in PROGRAM:
        return
    assert all(name.startswith("streaming.types") for name in imports(path) if name.startswith("streaming"))


@named([path for path in only("assistant") if stage(path) != "__init__"])
def test_inside_assistant_imports_run_down(path: Path) -> None:
    rank = next((rank for rank, row in enumerate(LAYERS) if stage(path) in row), None)
    assert rank is not None, f"give {stage(path)} its row in LAYERS"
    known = set().union(*LAYERS[: rank + 1])
    parts = [name.split(".") for name in imports(path)]
    assert not {part[1] for part in parts if part[0] == "assistant"} - known
    if rank < 2:
        assert "configuration" not in roots(path)


@named(FILES)
def test_nothing_imports_what_stands_above_it(path: Path) -> None:
    above = {"server", "tests"}
    if not in_package(path, "training"):
        above.add("training")
    if not in_package(path, "tools"):
        above.add("tools")
    assert not roots(path) & above


@named(
    [
        path
        for path in FILES
        if not (in_package(path, "tools") or in_package(path, "training")) and str(path) != "server.py"
    ]
)
def test_only_programs_read_the_environment(path: Path) -> None:
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    read = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)} & {"environ", "getenv", "argv"}
    assert not read or path.name == "__main__.py"
