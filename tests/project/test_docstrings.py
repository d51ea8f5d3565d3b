"""Docstrings name what they document: a reader who meets one alone, as in a tooltip, finds the noun in it."""

from __future__ import annotations

import ast
import doctest
import importlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parents[2]
LAYERS: Final = ("schemas", "topology", "databases", "producers", "consumers", "operations", "testing")
WITHOUT_NOUN: Final = re.compile(r"\s*(What|Whoever|Its|Of|So|Those|The same|In a word|End that|As above)\b")
FILE: Final = re.compile(r"`((?:[a-z_]+/)*[a-z_]+\.py)`")
REPEATS: Final = re.compile(r"\s*As `\w+` has it\b")


@pytest.mark.parametrize("layer", LAYERS)
def test_no_docstring_begins_without_a_noun(layer: str) -> None:
    """Begin with the component, or with the verb that states its effect: "The retry policy", not "Its policy"."""
    paths = sorted((ROOT / layer).rglob("*.py"))
    found = [f"{path.relative_to(ROOT)}:{line}: {text}" for path in paths for line, text in _docstrings(path)]
    assert found
    assert not [place for place in found if WITHOUT_NOUN.match(place.split(": ", 1)[1])]


@pytest.mark.parametrize("layer", LAYERS)
def test_no_docstring_refers_to_that_of_the_protocol(layer: str) -> None:
    """A method that a protocol documents needs no docstring, unless it adds something: then it has that alone."""
    texts = [(path, line, text) for path in (ROOT / layer).rglob("*.py") for line, text in _docstrings(path)]
    assert texts
    assert not [f"{path.relative_to(ROOT)}:{line}" for path, line, text in texts if REPEATS.match(text)]


@pytest.mark.parametrize("layer", LAYERS)
def test_the_examples_of_docstrings_hold(layer: str) -> None:
    """Who tries one gets what it shows."""
    paths = [path for path in (ROOT / layer).rglob("*.py") if ">>> " in path.read_text(encoding="utf-8")]
    names = [".".join(("stoker", *path.relative_to(ROOT).with_suffix("").parts)) for path in paths]
    failed = {name: doctest.testmod(importlib.import_module(name)).failed for name in names}
    assert [name for name, number in failed.items() if number] == []


@pytest.mark.parametrize("layer", LAYERS)
def test_each_file_that_a_docstring_names_is_there(layer: str) -> None:
    """A name alone is that of a file of the same folder: a module that was renamed takes its signposts along."""
    paths = [path.relative_to(ROOT).as_posix() for each in LAYERS for path in (ROOT / each).rglob("*.py")]
    named = [
        (path, name) for path in (ROOT / layer).rglob("*.py") for text in _texts(path) for name in FILE.findall(text)
    ]
    assert not [
        (path, name)
        for path, name in named
        if not (
            (path.parent / name).exists() or ("/" in name and any(f"/{each}".endswith(f"/{name}") for each in paths))
        )
    ]


def _texts(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            yield node.value.value


def _docstrings(path: Path) -> Iterator[tuple[int, str]]:
    """Each text that stands alone as a statement, also behind an attribute: its line, and its own first line."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            yield node.lineno, node.value.value.strip().partition("\n")[0]
