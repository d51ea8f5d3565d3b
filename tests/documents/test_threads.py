"""The page on the architecture names each thread of Stoker, since its name is all that a stack or a profile shows."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LAYERS = ("schemas", "topology", "databases", "producers", "consumers", "operations", "testing")
NAMED = re.compile(r'f?"(stoker-[a-z]+(?:-[a-z]+)*)')
NO_THREADS = {"stoker-child"}
"""A child is a process. Clients that have such names have those of their threads."""


def files_with_threads() -> list[Path]:
    """Those in which a thread is made."""
    files = [file for layer in LAYERS for file in sorted((ROOT / layer).rglob("*.py"))]
    return [file for file in files if "Thread(" in file.read_text(encoding="utf-8")]


def thread_names() -> set[str]:
    """The beginnings of all names of threads, up to the queue's name; a variable that has one stands in its file."""
    files = {*files_with_threads(), *(ROOT / "consumers").rglob("*.py")}
    return {name for file in files for name in NAMED.findall(file.read_text(encoding="utf-8"))} - NO_THREADS


def unnamed_threads(file: Path) -> Iterator[int]:
    """The lines at which a thread with something to do is made without a name."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("Thread", "threading.Thread"):
            given = {keyword.arg for keyword in node.keywords}
            if "target" in given and "name" not in given:
                yield node.lineno


@pytest.mark.parametrize("name", sorted(thread_names()))
def test_each_thread_is_described(name: str) -> None:
    """Whoever finds a thread in a stack learns what it does."""
    page = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    section = page.split("\n## Threads\n", 1)[1].split("\n## ", 1)[0]
    assert re.search(rf"`{name}(?![a-z])", section)


@pytest.mark.parametrize("file", files_with_threads(), ids=lambda file: str(file.relative_to(ROOT)))
def test_each_thread_has_a_name(file: Path) -> None:
    """One that is called `Thread-7` in a stack could be anybody's."""
    assert not list(unnamed_threads(file))


def test_all_threads_are_found() -> None:
    """A look at those that everybody knows: the search finds them in each of the forms in which they are written."""
    known = {"stoker-poll", "stoker-run", "stoker-settle", "stoker-control", "stoker-contracts", "stoker-memory"}
    known |= {"stoker-shares", "stoker-reservations", "stoker-rights", "stoker-loop", "stoker-parent"}
    assert known | {"stoker-metrics", "stoker-reminder", "stoker-producer", "stoker-outbox"} <= thread_names()
