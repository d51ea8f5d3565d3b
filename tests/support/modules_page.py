"""Every module with the sentence that opens it, by folder; `make reference` writes it to docs/modules.md."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
PAGE: Final = ROOT / "docs" / "modules.md"
LAYERS: Final = ("schemas", "topology", "databases", "producers", "consumers", "operations", "testing")

_HEAD: Final = """\
# Modules

Every module with the sentence that opens it, by folder: to find a file by what it does. This page is made of the
docstrings: `make reference` writes it. How the parts work together is in [architecture](architecture.md).
"""


def modules_page() -> str:
    """The whole page."""
    return "\n".join([_HEAD, *(line for layer in LAYERS for folder in _folders(layer) for line in _section(folder))])


def _folders(layer: str) -> list[Path]:
    """A layer and its folders."""
    return [ROOT / layer, *sorted(package.parent for package in (ROOT / layer).glob("*/__init__.py"))]


def _section(folder: Path) -> Iterator[str]:
    modules = sorted(path for path in folder.glob("*.py") if not path.stem.startswith("__"))
    rows = [f"| [{path.name}](../{path.relative_to(ROOT)}) | {_opening(path)} |" for path in modules]
    if rows:
        yield from (f"## {folder.relative_to(ROOT)}/", "", "| module | what it is for |", "|---|---|", *rows, "")


def _opening(path: Path) -> str:
    """The first paragraph of a module's docstring, in one line."""
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return " ".join(text.split("\n\n")[0].split()).replace("|", "\\|").replace("<", "&lt;")
