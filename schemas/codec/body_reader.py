"""Reads Avro bodies exactly: each datum is one that the schema could have written, or the reading fails.

fastavro's reader is laxer. It takes whole numbers modulo 2**64, negative indexes of symbols and branches, ints of more
than 32 bits and times beyond midnight, and rounds decimals. This one is written as Python source for each schema,
which is as fast for payloads of usual size.

In that source `d` is the bytes, `n` their number, `i` the position, `b` a varint before its zigzag is undone.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Mapping
from typing import Final, NoReturn, TypeAlias

from ..errors import Misfit
from .generated_source import SourceText, indented
from .logical_types import meaning_of
from .schema import (
    ArraySchema,
    MapSchema,
    NamedSchema,
    ObjectSchema,
    RecordSchema,
    ScalarSchema,
    Schema,
    is_record_schema,
)

Read: TypeAlias = Callable[[bytes, int, int], tuple[dict[str, object], int]]
"""`(bytes, position, number of bytes) -> (datum, position behind it)`; raises one of `FAULTS`."""

CUT_OFF: Final = (IndexError, struct.error)
BEYOND_64_BITS: Final = "holds a whole number of more than 64 bits"
FAULTS: Final = (Misfit, *CUT_OFF, UnicodeDecodeError)

# Of one or two bytes at once, since a call costs more than reading both.
_VARINT: Final = [
    "b = d[i]; i += 1",
    "if b > 127:",
    "    m = d[i]; i += 1",
    "    if m < 128: b = b & 127 | m << 7",
    "    else: b, i = tail(d, i - 2)",
]
_SIZED: Final = [*_VARINT, "e = i + (b >> 1)", "if b & 1 or e > n: refuse_size(b)"]
_PRIMITIVES: Final[dict[str, list[str]]] = {
    "null": ["x = None"],
    "boolean": ["b = d[i]; i += 1", "if b > 1: refuse_boolean(b)", "x = b == 1"],
    "int": [*_VARINT, "if b >> 32: refuse_int(b)", "x = b >> 1 ^ -(b & 1)"],
    "long": [*_VARINT, "x = b >> 1 ^ -(b & 1)"],
    "float": ["x = float_at(d, i)[0]; i += 4"],
    "double": ["x = double_at(d, i)[0]; i += 8"],
    "bytes": [*_SIZED, "x = d[i:e]; i = e"],
    "string": [*_SIZED, "x = d[i:e].decode(); i = e"],
}


def reader_of(schema: Schema, named: Mapping[str, NamedSchema]) -> Read:
    """Make the reader of a record's parsed schema; `named` has the definitions of its named types."""
    return _Reading(named).compiled(schema)


class _Reading:
    """Writes the source of one schema's reader: a function for each record, array and map."""

    def __init__(self, named: Mapping[str, NamedSchema]) -> None:
        self._named = named
        self._source = SourceText(_SCOPE)
        self._records: dict[str, str] = {}

    def compiled(self, schema: Schema) -> Read:
        if is_record_schema(schema):
            name = self._record(schema)
        else:
            name = self._source.fresh("read")
            self._source.define(f"{name}(d, i, n)", [*self._lines(schema, "x"), "return x, i"])
        read: Read = self._source.compile(name)
        return read

    def _lines(self, schema: Schema, target: str) -> list[str]:
        """Write what reads a datum and assigns it to the target."""
        if isinstance(schema, str) and schema not in _PRIMITIVES:
            schema = self._named[schema]
        if isinstance(schema, str):
            return [*_PRIMITIVES[schema], f"{target} = x"]
        return self._union(schema, target) if isinstance(schema, list) else self._object(schema, target)

    def _object(self, schema: ObjectSchema, target: str) -> list[str]:
        if schema["type"] == "record" or schema["type"] == "error":
            return [f"{target}, i = {self._record(schema)}(d, i, n)"]
        if schema["type"] == "array":
            return [f"{target}, i = {self._array(schema)}(d, i, n)"]
        if schema["type"] == "map":
            return [f"{target}, i = {self._map(schema)}(d, i, n)"]
        return self._scalar(schema, target)

    def _scalar(self, schema: ScalarSchema, target: str) -> list[str]:
        if schema["type"] == "enum":
            return [*self._symbol(schema["symbols"]), f"{target} = x"]
        if schema["type"] == "fixed":
            lines = [f"e = i + {int(schema['size'])}", "if e > n: raise IndexError(e)", "x = d[i:e]; i = e"]
        else:
            lines = self._lines(schema["type"], "x")
        meaning = meaning_of(schema)
        return [*lines, f"{target} = x" if meaning is None else f"{target} = {self._source.constant(meaning.read)}(x)"]

    def _symbol(self, symbols: list[str]) -> list[str]:
        names = self._source.constant(tuple(symbols))
        return [*_VARINT, f"if b & 1 or b >> 1 >= {len(symbols)}: refuse_symbol(b)", f"x = {names}[b >> 1]"]

    def _union(self, branches: list[Schema], target: str) -> list[str]:
        """None for null, and `(index, datum)` for other branches; the datum alone where there is one of these."""
        is_tagged = sum(branch != "null" for branch in branches) > 1
        lines, word = list(_VARINT), "if"
        for index, branch in enumerate(branches):
            inner = self._source.fresh("branch")
            shown = f"({index}, {inner})" if is_tagged and branch != "null" else inner
            lines += [f"{word} b == {index << 1}:", *indented([*self._lines(branch, inner), f"{target} = {shown}"])]
            word = "elif"
        return [*lines, "else: refuse_branch(b)"]

    def _record(self, schema: RecordSchema) -> str:
        known = self._records.get(schema["name"])
        if known is not None:
            return known
        name = self._records[schema["name"]] = self._source.fresh("read_record")
        fields = self._source.constant((*(field["name"] for field in schema["fields"]), ""))
        reading = [line for f in schema["fields"] for line in self._lines(f["type"], f"r[{f['name']!r}]")]
        found = ["raise located(fault, " + fields + "[len(r)]) from fault"]
        guarded = ["try:", *indented(reading or ["pass"]), "except FAULTS as fault:", *indented(found)]
        self._source.define(f"{name}(d, i, n)", ["r = {}", *guarded, "return r, i"])
        return name

    def _array(self, schema: ArraySchema) -> str:
        name = self._source.fresh("read_array")
        item = [*self._lines(schema["items"], "x"), "keep(x)"]
        self._source.define(f"{name}(d, i, n)", ["r = []; keep = r.append", *_blocks(item)])
        return name

    def _map(self, schema: MapSchema) -> str:
        name = self._source.fresh("read_map")
        key = [*_PRIMITIVES["string"], "k = x", "if k in r: refuse_twice(k)"]
        self._source.define(f"{name}(d, i, n)", ["r = {}", *_blocks([*key, *self._lines(schema["values"], "r[k]")])])
        return name


def _blocks(item: Iterable[str]) -> list[str]:
    """Write what reads items by the block; a negative count is followed by the block's size in bytes.

    Each item takes at least a byte, so a count above the rest of the bytes is refused before anything is kept.
    """
    return [
        *_VARINT,
        "while b:",
        "    c, end = b >> 1, None",
        "    if b & 1: c, end, i = sized_block(d, i, b)",
        "    if c > n - i: refuse_count(c)",
        "    for _ in range(c):",
        *indented(indented(item)),
        "    if end is not None and i != end: refuse_block()",
        *indented(_VARINT),
        "return r, i",
    ]


def _tail(data: bytes, at: int) -> tuple[int, int]:
    """Read a whole varint: up to ten bytes, of 64 bits."""
    number = shift = 0
    while True:
        byte = data[at]
        at += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            break
        shift += 7
        if shift == 70:
            raise Misfit(BEYOND_64_BITS)
    if number >> 64:
        raise Misfit(BEYOND_64_BITS)
    return number, at


def _sized_block(data: bytes, at: int, zigzag: int) -> tuple[int, int, int]:
    """Read the size behind a negative count: the count, where the block ends, where its first item begins."""
    size, at = _tail(data, at)
    return (zigzag >> 1) + 1, at + (size >> 1) ^ -(size & 1), at


def located(fault: BaseException, field: str) -> Misfit:
    """Say in which field something went wrong."""
    if isinstance(fault, CUT_OFF):
        fault = Misfit("is cut off")
    elif isinstance(fault, UnicodeDecodeError):
        fault = Misfit(f"is text that is not UTF-8: {fault.reason} at byte {fault.start}")
    assert isinstance(fault, Misfit)
    return fault.within(field) if field else fault


def _refuse_boolean(byte: int) -> NoReturn:
    raise Misfit(f"is no boolean: the byte is {byte:02x}")


def _refuse_int(zigzag: int) -> NoReturn:
    raise Misfit(f"is out of the range of a 32-bit integer: {zigzag >> 1 ^ -(zigzag & 1)}")


def _refuse_size(zigzag: int) -> NoReturn:
    if zigzag & 1:
        raise Misfit(f"has a negative length: {zigzag >> 1 ^ -1}")
    raise IndexError(zigzag)


def _refuse_symbol(zigzag: int) -> NoReturn:
    raise Misfit(f"is a symbol that its enum does not have: number {zigzag >> 1 ^ -(zigzag & 1)}")


def _refuse_branch(zigzag: int) -> NoReturn:
    raise Misfit(f"is a branch that its union does not have: number {zigzag >> 1 ^ -(zigzag & 1)}")


def _refuse_count(count: int) -> NoReturn:
    raise Misfit(f"announces {count} items, which is more than there are bytes")


def _refuse_block() -> NoReturn:
    raise Misfit("has a block of another size than it states")


def _refuse_twice(key: str) -> NoReturn:
    raise Misfit("has this key twice").within(key)


_SCOPE: Final[dict[str, object]] = {
    "tail": _tail,
    "sized_block": _sized_block,
    "float_at": struct.Struct("<f").unpack_from,
    "double_at": struct.Struct("<d").unpack_from,
    "located": located,
    "FAULTS": FAULTS,
    "refuse_boolean": _refuse_boolean,
    "refuse_int": _refuse_int,
    "refuse_size": _refuse_size,
    "refuse_symbol": _refuse_symbol,
    "refuse_branch": _refuse_branch,
    "refuse_count": _refuse_count,
    "refuse_block": _refuse_block,
    "refuse_twice": _refuse_twice,
}
