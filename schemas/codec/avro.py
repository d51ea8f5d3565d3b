"""Avro schemas as plain JSON data: names, canonical form, fingerprints, and the codec of one schema."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from fastavro.schema import SchemaParseException, UnknownType, fingerprint, parse_schema, to_parsing_canonical_form
from fastavro.types import Schema as ParsedSchema

from ..errors import Misfit, Undecodable
from .body_reader import FAULTS, Read, located, reader_of
from .body_writer import Write, writer_of

Schema: TypeAlias = str | list[Any] | dict[str, Any]

# The two framings of the wire: Avro's single-object encoding (marker, 8-byte fingerprint, body) and the one of
# Confluent's registries (marker, 4-byte big-endian id, body).
SINGLE_OBJECT: Final = b"\xc3\x01"
FINGERPRINT_BYTES: Final = 8
CONFLUENT: Final = b"\x00"
REGISTRY_ID_BYTES: Final = 4

NOT_A_SCHEMA: Final = (SchemaParseException, UnknownType, LookupError, TypeError, AttributeError, RecursionError)
"""What a `Codec` raises of data that are no schema, or one that lies in itself deeper than Python can follow."""
NAMED: Final = frozenset({"record", "error", "enum", "fixed"})
MOST_PARTS: Final = 100_000
"""Fields, items and branches of a schema that is read. The largest that people write have some thousands."""


def avro_name(text: str) -> str:
    """Make a valid Avro name of any text, the same on every machine: what Avro forbids becomes `_`.

    >>> avro_name("claims.assess-delay")
    'claims_assess_delay'
    """
    name = re.sub(r"[^A-Za-z0-9_]", "_", text)
    return name if re.match(r"[A-Za-z_]", name) else f"_{name}"


def avro_namespace(text: str) -> str:
    """Make a valid dotted Avro namespace of a pipeline's namespace.

    >>> avro_namespace("air-claims.2013")
    'air_claims._2013'
    """
    return ".".join(avro_name(part) for part in text.split(".") if part)


def kind_of(schema: Schema) -> str:
    """Name what a schema is: a primitive, `array`, `map`, `union`, a named kind, or the full name it refers to."""
    if isinstance(schema, list):
        return "union"
    if isinstance(schema, str):
        return schema
    inner = schema["type"]
    return inner if isinstance(inner, str) else kind_of(inner)


def is_tagged(union: list[Any]) -> bool:
    """Whether data of a union come with the index of their branch: null and one other branch need none."""
    return len(union) - union.count("null") > 1


class Codec:
    """One schema, ready to write and read bodies (no framing).

    `named` holds every named type by full name, so that references can be followed. The reader and the writer are made
    when they are first needed, since many codecs are only compared.
    """

    __slots__ = ("_read", "_write", "canonical", "fingerprint", "name", "named", "root")

    def __init__(self, schema: Schema) -> None:
        self.named: dict[str, Any] = {}
        # fastavro leaves a marked schema as it is, and trusts its cached names: take the marks off first.
        parsed: ParsedSchema = parse_schema(unmarked(schema), named_schemas=self.named)
        self.root: Schema = parsed
        self._read: Read | None = None
        self._write: Write | None = None
        self.canonical: str = to_parsing_canonical_form(parsed)
        self.fingerprint: bytes = bytes.fromhex(fingerprint(self.canonical, "CRC-64-AVRO"))
        self.name: str = parsed["name"] if isinstance(parsed, dict) else str(parsed)

    def follow(self, schema: Schema) -> Schema:
        """Return the definition behind a reference, or the schema itself."""
        return self.named[schema] if isinstance(schema, str) and schema in self.named else schema

    def only_branch(self, schema: Schema) -> Schema:
        """Return the definition of the one branch beside null, of any other schema its own."""
        schema = self.follow(schema)
        if not isinstance(schema, list) or is_tagged(schema):
            return schema
        return self.follow(next((branch for branch in schema if branch != "null"), "null"))

    def prepare_reading(self) -> None:
        """Make the reader now, so that a schema of which none can be made is told before a body is.

        Raises:
            Misfit: it is nested or branched too far, or means a decimal of too many digits.
        """
        try:
            self._read = reader_of(self.root, self.named)
        except RecursionError as error:
            raise Misfit("is nested or branched too far to be read") from error

    def encode(self, datum: Mapping[str, Any]) -> bytes:
        """Write a datum that already fits the schema."""
        if self._write is None:
            self._write = writer_of(self.root, self.named)
        out = bytearray()
        self._write(datum, out)
        return bytes(out)

    def decode(self, value: bytes, start: int) -> dict[str, Any]:
        """Read one datum from `value[start:]`, all of it.

        A value of a union comes as `(index of its branch, datum)`. None, and the value of an optional, come bare.

        Raises:
            Undecodable: the bytes are not exactly one datum of this schema.
        """
        if self._read is None:
            self._read = reader_of(self.root, self.named)
        datum: dict[str, Any]
        try:
            datum, end = self._read(value, start, len(value))
        except FAULTS as fault:
            raise Undecodable(f"the body is not a {self.name}: {_in_words(located(fault, ''))}") from fault
        if end != len(value):
            raise Undecodable(f"{len(value) - end} bytes follow the {self.name}")
        return datum


def _in_words(misfit: Misfit) -> str:
    return f"field {misfit.field!r} {misfit.reason}" if misfit.field else f"it {misfit.reason}"


def unmarked(schema: Any) -> Any:
    """Copy a schema without the marks that fastavro leaves in the ones it parsed."""
    if isinstance(schema, list):
        return [unmarked(branch) for branch in schema]
    if isinstance(schema, dict):
        return {key: unmarked(part) for key, part in schema.items() if not key.startswith("__")}
    return schema


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
        kind = kind_of(schema)
        if isinstance(schema, list):
            return _Measure(True, 1 + sum(self.measure(branch, inside).parts for branch in schema))
        if isinstance(schema, str):
            return _Measure(kind != "null")
        if kind in {"record", "error"}:
            return self._record(schema, inside)
        if kind in {"array", "map"}:
            return self._container(schema, kind, inside)
        if kind == "fixed" and schema["size"] < 0:
            raise Misfit("is a fixed type of less than no bytes")
        return _Measure(kind != "null" and not (kind == "fixed" and schema["size"] == 0))

    def _container(self, schema: dict[str, Any], kind: str, inside: tuple[str, ...]) -> _Measure:
        part = self.measure(schema["items" if kind == "array" else "values"], inside)
        if kind == "array" and not part.takes_bytes:
            raise Misfit("is an array of items that take no bytes, so a reader could not bound its length")
        return _Measure(True, 1 + part.parts)

    def _record(self, schema: dict[str, Any], inside: tuple[str, ...]) -> _Measure:
        name = schema["name"]
        if name in inside:
            raise Misfit(f"is recursive ({name}), so a reader could not bound its depth")
        if name not in self._records:
            self._records[name] = self._fields(schema, (*inside, name))
        return self._records[name]

    def _fields(self, schema: dict[str, Any], inside: tuple[str, ...]) -> _Measure:
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
