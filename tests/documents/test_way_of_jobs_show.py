"""The page on the architecture leads from `stoker jobs show` to each file that has a part in its answer."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2] / "operations"
SEEN_BY_ALL = {"click", "cli", "views", "instants"}
"""Folders and modules of the layer that each command has, to read options and to print."""


@cache
def tree_of(path: str) -> ast.Module:
    """A file of the layer, parsed."""
    return ast.parse((ROOT / path).read_text(encoding="utf-8"))


def rows() -> list[tuple[str, list[str], list[str]]]:
    """Of each row: the file, what it names of it, and the files that call that."""
    page = (ROOT.parent / "docs/architecture.md").read_text(encoding="utf-8")
    section = page.split("\n## The way of `jobs show`\n", 1)[1].split("\n## ", 1)[0]
    found = []
    for line in section.splitlines():
        if not line.startswith("| ") or line.startswith("| from |"):
            continue
        _, file, does, callers = line.strip("| ").split(" | ")
        path, first = re.fullmatch(r"`([\w/]+\.py): (\w+)`.*", file).groups()  # type: ignore[union-attr]
        others = re.findall(r"`(\w+)`", file.split(first, 1)[1])
        own = re.findall(r"`(_\w+|[A-Z]\w+\.\w+)`", does)
        found.append((path, [first, *others, *own], re.findall(r"`([\w/]+\.py)`", callers)))
    return found


def defined_in(path: str) -> set[str]:
    """The functions and classes of a file, and `Class.method`."""
    names = set()
    for node in tree_of(path).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        if isinstance(node, ast.ClassDef):
            names |= {f"{node.name}.{part.name}" for part in node.body if isinstance(part, ast.FunctionDef)}
    return names


def imported_by(path: str) -> set[tuple[str, str]]:
    """(file, name) of what a file imports from its layer; what it imports for its annotations is left out."""
    folder = (ROOT / path).parent
    guards = [
        node for node in tree_of(path).body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
    ]
    typing_only = {id(inner) for guard in guards for inner in ast.walk(guard)}
    found = set()
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.ImportFrom) and node.level and node.module and id(node) not in typing_only:
            base = folder
            for _ in range(node.level - 1):
                base = base.parent
            file = base / f"{node.module.replace('.', '/')}.py"
            if file.is_relative_to(ROOT) and file.is_file():
                found |= {(str(file.relative_to(ROOT)), alias.name) for alias in node.names}
    return found


@pytest.mark.parametrize(
    ("path", "names", "callers"), rows(), ids=lambda value: value if isinstance(value, str) else ""
)
def test_each_row_names_what_there_is_and_who_calls_it(path: str, names: list[str], callers: list[str]) -> None:
    """A file that was moved or renamed, and a call that goes another way, shows here."""
    assert set(names) <= defined_in(path)
    for caller in callers:
        taken = {name for file, name in imported_by(caller) if file == path}
        assert taken & set(names), f"{caller} takes {taken or 'nothing'} from {path}"
        code = ast.unparse(tree_of(caller))
        assert any(re.search(rf"\b{name}\b[(.]", code) for name in taken & set(names))


def test_no_file_that_has_a_part_is_left_out() -> None:
    """What the files import that find a job and explain it has its row; errors are no parts."""
    named = {path for path, _, _ in rows()}
    ways = ("job_index/job_history.py", "index_commands/reasons.py")
    needed = {
        file for way in ways for file, _ in imported_by(way) if file.split("/")[0].split(".")[0] not in SEEN_BY_ALL
    }
    assert not {file for file in needed - named if not file.endswith("/errors.py")}
