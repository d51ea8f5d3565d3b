"""Writes Avro bodies of data that were checked: the branch of a union is the one that came with its datum.

fastavro's writer looks for the branch anew, and by other rules: it takes text that reads like a date for one, and an
int for a float. This one is written as Python source for each schema, as the reader is.

In that source `o` is the bytes so far, `put` adds one to them, `b` is a number in zigzag.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from typing import Final, TypeAlias

from .generated_source import SourceText, indented
from .logical_types import meaning_of
from .schema import ArraySchema, MapSchema, NamedSchema, ObjectSchema, RecordSchema, ScalarSchema, Schema

Write: TypeAlias = Callable[[Mapping[str, object], bytearray], None]
"""`(datum, bytes so far)`. A union's datum is as the reader gives it: see `body_reader`."""

_VARINT: Final = ["if b < 128: put(b)", "else: tail(b, put)"]
_WHOLE: Final = ["b = x << 1 ^ x >> 63", *_VARINT]
_SIZED: Final = ["b = len(x) << 1", *_VARINT, "o += x"]
_PRIMITIVES: Final[dict[str, list[str]]] = {
    "null": [],
    "boolean": ["put(1 if x else 0)"],
    "int": _WHOLE,
    "long": _WHOLE,
    "float": ["o += float_bytes(x)"],
    "double": ["o += double_bytes(x)"],
    "bytes": _SIZED,
    "string": ["x = utf8(x)", *_SIZED],
}


def writer_of(schema: Schema, named: Mapping[str, NamedSchema]) -> Write:
    """Make the writer of a record's parsed schema; `named` has the definitions of its named types."""
    return _Writing(named).compiled(schema)


class _Writing:
    """Writes the source of one schema's writer: a function for each record, array and map."""

    def __init__(self, named: Mapping[str, NamedSchema]) -> None:
        self._named = named
        self._source = SourceText(_SCOPE)
        self._records: dict[str, str] = {}

    def compiled(self, schema: Schema) -> Write:
        name = self._source.fresh("write")
        self._define(name, self._lines(schema, "v"))
        write: Write = self._source.compile(name)
        return write

    def _define(self, name: str, lines: list[str]) -> None:
        self._source.define(f"{name}(v, o)", ["put = o.append", *lines])

    def _lines(self, schema: Schema, value: str) -> list[str]:
        """Write what appends the value of an expression."""
        if isinstance(schema, str) and schema not in _PRIMITIVES:
            schema = self._named[schema]
        if isinstance(schema, str):
            return [f"x = {value}", *_PRIMITIVES[schema]]
        return self._union(schema, value) if isinstance(schema, list) else self._object(schema, value)

    def _object(self, schema: ObjectSchema, value: str) -> list[str]:
        if schema["type"] == "record" or schema["type"] == "error":
            return [f"{self._record(schema)}({value}, o)"]
        if schema["type"] == "array":
            return [f"{self._array(schema)}({value}, o)"]
        if schema["type"] == "map":
            return [f"{self._map(schema)}({value}, o)"]
        return self._scalar(schema, value)

    def _scalar(self, schema: ScalarSchema, value: str) -> list[str]:
        if schema["type"] == "enum":
            numbers = {symbol: number << 1 for number, symbol in enumerate(schema["symbols"])}
            return [f"b = {self._source.constant(numbers)}[{value}]", *_VARINT]
        meaning = meaning_of(schema)
        plain = value if meaning is None else f"{self._source.constant(meaning.write)}({value})"
        return [f"o += {plain}"] if schema["type"] == "fixed" else self._lines(schema["type"], plain)

    def _union(self, branches: list[Schema], value: str) -> list[str]:
        """The index and the datum, which come as the pair that `body_reader` reads."""
        datum = self._source.fresh("datum")
        others = [(index, schema) for index, schema in enumerate(branches) if schema != "null"]
        lines, word = [f"{datum} = {value}"], "if"
        if len(others) < len(branches):
            lines += [f"if {datum} is None:", *indented(_index(branches.index("null")))]
            word = "elif"
        if len(others) == 1:
            index, schema = others[0]
            return [*lines, "else:" if word == "elif" else "if True:", *self._branch(index, schema, datum)]
        for index, schema in others:
            lines += [f"{word} {datum}[0] == {index}:", *self._branch(index, schema, f"{datum}[1]")]
            word = "elif"
        return [*lines, f"else: raise ValueError(f'no branch {{{datum}[0]}}')"] if others else lines

    def _branch(self, index: int, schema: Schema, value: str) -> list[str]:
        return indented([*_index(index), *self._lines(schema, value)])

    def _record(self, schema: RecordSchema) -> str:
        known = self._records.get(schema["name"])
        if known is not None:
            return known
        name = self._records[schema["name"]] = self._source.fresh("write_record")
        self._define(name, [line for f in schema["fields"] for line in self._lines(f["type"], f"v[{f['name']!r}]")])
        return name

    def _array(self, schema: ArraySchema) -> str:
        name = self._source.fresh("write_array")
        items = ["if v:", "    b = len(v) << 1", *indented(_VARINT), "    for item in v:"]
        self._define(name, [*items, *indented(indented(self._lines(schema["items"], "item"))), "put(0)"])
        return name

    def _map(self, schema: MapSchema) -> str:
        name = self._source.fresh("write_map")
        parts = ["if v:", "    b = len(v) << 1", *indented(_VARINT), "    for key, part in v.items():"]
        lines = [*self._lines("string", "key"), *self._lines(schema["values"], "part")]
        self._define(name, [*parts, *indented(indented(lines)), "put(0)"])
        return name


def _index(number: int) -> list[str]:
    """Write what appends the index of a branch."""
    zigzag = number << 1
    return [f"put({zigzag})"] if zigzag < 128 else [f"tail({zigzag}, put)"]


def _tail(zigzag: int, put: Callable[[int], None]) -> None:
    while zigzag > 0x7F:
        put(zigzag & 0x7F | 0x80)
        zigzag >>= 7
    put(zigzag)


_SCOPE: Final[dict[str, object]] = {
    "tail": _tail,
    "utf8": str.encode,
    "float_bytes": struct.Struct("<f").pack,
    "double_bytes": struct.Struct("<d").pack,
}
