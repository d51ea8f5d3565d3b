"""Schemas for which a reader could not bound its work are refused before a body is read with them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from ..errors import Misfit
from .codec import Codec
from .schema import ObjectSchema, RecordSchema, Schema

MOST_PARTS: Final = 100_000
"""Fields, items and branches of a schema that is read. The largest that people write have some thousands."""


def require_bounded(codec: Codec) -> None:
    """Refuse schemas for which a few bad bytes could exhaust a reader.

    A recursive type lets a small body nest until the C stack overflows, which no handler can catch; an array of
    items without any bytes lets a ten-byte body claim 2**63 of them; and forty records, each with two fields of the
    one before, let an empty body hold 2**40 of them.

    Raises:
        Misfit: the schema is one of these; its field is the path to it.
    """
    _Bounds(codec).measure(codec.root, ())


@dataclass(frozen=True, slots=True)
class _Measure:
    """Whether data of a schema take a byte at least, and how many parts it has, each counted wherever it is used."""

    takes_bytes: bool
    parts: int = 1


class _Bounds:
    """Walks a schema, each record of it once."""

    def __init__(self, codec: Codec) -> None:
        self._codec = codec
        self._records: dict[str, _Measure] = {}

    def measure(self, schema: Schema, inside: tuple[str, ...]) -> _Measure:
        """Measure a part that lies in these records, or raise Misfit."""
        schema = self._codec.follow(schema)
        if isinstance(schema, list):
            return _Measure(True, 1 + sum(self.measure(branch, inside).parts for branch in schema))
        return _Measure(schema != "null") if isinstance(schema, str) else self._object(schema, inside)

    def _object(self, schema: ObjectSchema, inside: tuple[str, ...]) -> _Measure:
        if schema["type"] == "record" or schema["type"] == "error":
            return self._record(schema, inside)
        if schema["type"] == "array":
            return self._array(self.measure(schema["items"], inside))
        if schema["type"] == "map":
            return _Measure(True, 1 + self.measure(schema["values"], inside).parts)
        if schema["type"] == "fixed":
            return self._fixed(schema["size"])
        return _Measure(schema["type"] != "null")

    def _array(self, item: _Measure) -> _Measure:
        if not item.takes_bytes:
            raise Misfit("is an array of items that take no bytes, so a reader could not bound its length")
        return _Measure(True, 1 + item.parts)

    def _fixed(self, size: int) -> _Measure:
        if size < 0:
            raise Misfit("is a fixed type of less than no bytes")
        return _Measure(size > 0)

    def _record(self, schema: RecordSchema, inside: tuple[str, ...]) -> _Measure:
        name = schema["name"]
        if name in inside:
            raise Misfit(f"is recursive ({name}), so a reader could not bound its depth")
        if name not in self._records:
            self._records[name] = self._fields(schema, (*inside, name))
        return self._records[name]

    def _fields(self, schema: RecordSchema, inside: tuple[str, ...]) -> _Measure:
        takes_bytes, parts = False, 1
        for field in schema["fields"]:
            try:
                part = self.measure(field["type"], inside)
            except Misfit as misfit:
                raise misfit.within(field["name"]) from misfit
            takes_bytes, parts = takes_bytes or part.takes_bytes, parts + part.parts
        if parts > MOST_PARTS:
            raise Misfit(f"has {parts:,} parts, where records in it are counted wherever they are used")
        return _Measure(takes_bytes, parts)
