"""Python source that is written for one schema, and the functions that it becomes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any


class SourceText:
    """Collects functions that call each other, and the objects that they need by name.

    Text that comes from a schema must get into a line as its `repr`, or by `constant`.
    """

    def __init__(self, scope: Mapping[str, object]) -> None:
        """Begin with the names that all lines may use."""
        self._scope = dict(scope)
        self._lines: list[str] = []
        self._count = 0

    def fresh(self, stem: str) -> str:
        """A name that nothing else has."""
        self._count += 1
        return f"{stem}_{self._count}"

    def constant(self, value: object) -> str:
        """Give an object a name."""
        name = self.fresh("constant")
        self._scope[name] = value
        return name

    def define(self, signature: str, body: Iterable[str]) -> None:
        """Add a function."""
        self._lines += [f"def {signature}:", *indented(body)]

    def compile(self, name: str) -> Any:  # the lines decide what it takes and returns
        """Make the functions, and return one of them."""
        exec(compile("\n".join(self._lines), "<written for an Avro schema>", "exec"), self._scope)  # its own lines
        return self._scope[name]


def indented(lines: Iterable[str]) -> list[str]:
    """Move lines into a block."""
    return [f"    {line}" for line in lines]
