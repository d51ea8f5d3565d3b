"""The code blocks of a Markdown document, and what their info strings ask for."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_FENCE = re.compile(
    r"^(?P<indent> *)(?P<ticks>`{3,})(?P<info>[^`\n]*)\n(?P<text>.*?)^(?P=indent)(?P=ticks) *$", re.M | re.S
)


@dataclass(frozen=True, slots=True, kw_only=True)
class CodeBlock:
    """One fenced block.

    Attributes:
        language: the first word of its info string; empty when there is none.
        words: the other words of the info string.
        line: where it begins in the document, for messages.
    """

    document: Path
    line: int
    language: str
    words: tuple[str, ...]
    text: str

    @property
    def runs(self) -> bool:
        """Whether the tests do something with it beyond compiling."""
        return "run" in self.words or self.file is not None

    @property
    def file(self) -> str | None:
        """The file the reader is told to save it as."""
        return next((word.removeprefix("file=") for word in self.words if word.startswith("file=")), None)

    @property
    def commands(self) -> str:
        """The script of a console block: lines after `$ `, and what continues them after `> `."""
        marked = (line for line in self.text.splitlines() if line.startswith(("$ ", "> ")))
        return "\n".join(line[2:] for line in marked)

    @property
    def shown(self) -> list[str]:
        """The output a console block shows; the reader sees at least these lines, in this order."""
        lines = [line for line in self.text.splitlines() if not line.startswith(("$ ", "> "))]
        return [line.strip() for line in lines if line.strip(" …")]

    def __str__(self) -> str:
        return f"{self.document.name}:{self.line}"


def code_blocks(document: Path) -> Iterator[CodeBlock]:
    """Read the blocks of a document in order."""
    content = document.read_text(encoding="utf-8")
    for found in _FENCE.finditer(content):
        language, *words = found["info"].split() or [""]
        yield CodeBlock(
            document=document,
            line=content.count("\n", 0, found.start()) + 1,
            language=language,
            words=tuple(words),
            text=re.sub(rf"^{found['indent']}", "", found["text"], flags=re.M),
        )


def first_missing(shown: list[str], output: str) -> str | None:
    """The first shown line that the output lacks, in order; `…` in a shown line stands for anything."""
    lines = iter(output.splitlines())
    for wanted in shown:
        pattern = re.compile(".*".join(re.escape(part) for part in wanted.split("…")))
        if not any(pattern.search(line) for line in lines):
            return wanted
    return None
