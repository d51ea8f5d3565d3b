"""The page on the architecture names each thread of a worker, since its name is all that a stack or a profile shows."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NAMED = re.compile(r'f?"(stoker-[a-z]+)')
NO_THREADS = {"stoker-child"}
"""A child is a process. Clients that have such names have those of their threads."""


def thread_names() -> set[str]:
    """The beginnings of all names of threads in the code of a worker, up to the queue's name."""
    files = [*sorted((ROOT / "consumers").rglob("*.py")), ROOT / "producers/metrics/server.py"]
    return {name for file in files for name in NAMED.findall(file.read_text(encoding="utf-8"))} - NO_THREADS


@pytest.mark.parametrize("name", sorted(thread_names()))
def test_each_thread_of_a_worker_is_described(name: str) -> None:
    """Whoever finds a thread in a stack learns what it does."""
    page = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    section = page.split("\n## Threads\n", 1)[1].split("\n## ", 1)[0]
    assert re.search(rf"`{name}(?![a-z])", section)


def test_all_threads_are_found() -> None:
    """A look at those that everybody knows: the search finds them in each of the forms in which they are written."""
    known = {"stoker-poll", "stoker-run", "stoker-settle", "stoker-control", "stoker-contracts", "stoker-memory"}
    assert known | {"stoker-shares", "stoker-reservations", "stoker-rights", "stoker-loop"} <= thread_names()
