"""Each command that a document or a message names exists, with the options that it is named with."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from stoker.operations.cli import main

ROOT = Path(__file__).parents[2]
LAYERS = ("schemas", "topology", "databases", "producers", "consumers", "operations", "testing")
NAMED = re.compile(r"`stoker ([^`]+)`")
WORD = re.compile(r"[a-z][a-z-]*")


def pages() -> Iterator[Path]:
    """All documents but those that are made of the commands themselves, and all code."""
    yield from (page for page in sorted((ROOT / "docs").rglob("*.md")) if page.name != "commands.md")
    yield ROOT / "README.md"
    for layer in LAYERS:
        yield from sorted((ROOT / layer).rglob("*.py"))


def named_in(page: Path) -> set[str]:
    """The commands of a page as they are written, without `stoker`; a line of code that goes on is joined."""
    text = re.sub(r'"\s*\n\s*f?"', "", page.read_text(encoding="utf-8"))
    return {" ".join(re.sub(r"-A \S+", "", found).split()) for found in NAMED.findall(text)}


def fault_of(named: str) -> str | None:
    """What of a command does not exist; None where all does."""
    command: click.Command = main
    words = named.split()
    while isinstance(command, click.Group) and words and WORD.fullmatch(words[0]):
        found = command.get_command(click.Context(command), words[0])
        if found is None:
            return words[0]
        command = found
        del words[0]
    known = {option for param in (*main.params, *command.params) for option in (*param.opts, *param.secondary_opts)}
    known.add("--help")
    given = {word.partition("=")[0].rstrip(",.;") for word in words if word.startswith("--")}
    return None if isinstance(command, click.Group) else next(iter(sorted(given - known)), None)


@pytest.mark.parametrize(
    "page", [page for page in pages() if named_in(page)], ids=lambda page: str(page.relative_to(ROOT))
)
def test_each_command_that_is_named_exists(page: Path) -> None:
    """Whoever follows an advice would get an error in place of help."""
    assert not {named: fault for named in named_in(page) if (fault := fault_of(named)) is not None}


def test_what_does_not_exist_is_found() -> None:
    """A group, a command and an option each."""
    assert [
        fault_of(named) for named in ("schedule list", "schedules lists", "schedules list --jsom", "queues --json")
    ] == [
        "schedule",
        "lists",
        "--jsom",
        None,
    ]
