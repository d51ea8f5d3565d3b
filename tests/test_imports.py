"""The rooms import one way only: schemas ← topology ← producers ← consumers ← operations, and ← testing."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROOMS = ("schemas", "topology", "producers", "consumers", "operations", "testing")
BESIDE = {"testing": ("operations",)}
"""{room: rooms before it that it has no use for}."""
FILES = sorted(path for room in ROOMS for path in (ROOT / room).rglob("*.py"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_room_imports_only_itself_and_the_rooms_before_it(path: Path) -> None:
    """Whoever changes a room needs to know the rooms before it, and none behind it."""
    room = path.relative_to(ROOT).parts[0]
    behind = (*ROOMS[ROOMS.index(room) + 1 :], *BESIDE.get(room, ()))
    wrong = [f"{path.relative_to(ROOT)}:{line}: {room} imports {to}" for line, to in _imports(path) if to in behind]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_rooms_reach_each_other_by_relative_imports(path: Path) -> None:
    """A room under its absolute name could be another installation's."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    names = {name for node in ast.walk(tree) for name in _absolute_names(node)}
    absolute = sorted(name for name in names if name.split(".")[0] in ("stoker", *ROOMS))
    assert not absolute, f"{path.relative_to(ROOT)}: {absolute}"


def _imports(path: Path) -> Iterator[tuple[int, str]]:
    """Each relative import that leaves the room: its line and the room it goes to."""
    depth = len(path.relative_to(ROOT).parts)  # from this many dots on, an import leaves the room
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.level >= depth:
            names = [node.module] if node.module else [alias.name for alias in node.names]
            yield from ((node.lineno, name.split(".")[0]) for name in names)


def _absolute_names(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
        return [node.module]
    return []
