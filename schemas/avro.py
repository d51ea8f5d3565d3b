"""Avro schemas as plain JSON data: names, canonical form, fingerprints, and the codec of one schema."""

from __future__ import annotations

import io
import re
import struct
from collections.abc import Mapping
from decimal import DecimalException
from typing import Any, Final, TypeAlias

from fastavro import schemaless_reader, schemaless_writer
from fastavro.schema import fingerprint, parse_schema, to_parsing_canonical_form
from fastavro.types import Schema as ParsedSchema

from .branches import named_branches
from .errors import Misfit, Undecodable

Schema: TypeAlias = str | list[Any] | dict[str, Any]

# The two framings of the wire: Avro's single-object encoding (marker, 8-byte fingerprint, body) and the one of
# Confluent's registries (marker, 4-byte big-endian id, body).
SINGLE_OBJECT: Final = b"\xc3\x01"
FINGERPRINT_BYTES: Final = 8
CONFLUENT: Final = b"\x00"
REGISTRY_ID_BYTES: Final = 4

_UNNAMED: Final = frozenset({"null", "boolean", "int", "long", "float", "double", "bytes", "string", "array", "map"})
NAMED: Final = frozenset({"record", "error", "enum", "fixed"})

# What fastavro lets out for bytes that are not the schema's: short reads, indexes and lengths out of range,
# text that is not UTF-8, and logical values that Python's types cannot hold.
_GARBAGE = (EOFError, ValueError, LookupError, OverflowError, TypeError, MemoryError, struct.error, DecimalException)


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


class Codec:
    """One schema, ready to write and read bodies (no framing).

    `named` holds every named type by full name, so that references can be followed.
    """

    __slots__ = ("_marks", "_names_branches", "_parsed", "canonical", "fingerprint", "name", "named", "root")

    def __init__(self, schema: Schema) -> None:
        self.named: dict[str, Any] = {}
        # fastavro leaves a marked schema as it is, and trusts its cached names: take the marks off first.
        self._parsed: ParsedSchema = parse_schema(unmarked(schema), named_schemas=self.named)
        self.root: Schema = self._parsed
        self._marks = _has_named_branch(self._parsed)
        self._names_branches = self._marks and _may_be_mistaken(self._parsed)
        self.canonical: str = to_parsing_canonical_form(self._parsed)
        self.fingerprint: bytes = bytes.fromhex(fingerprint(self.canonical, "CRC-64-AVRO"))
        self.name: str = self._parsed["name"] if isinstance(self._parsed, dict) else str(self._parsed)

    def follow(self, schema: Schema) -> Schema:
        """Return the definition behind a reference, or the schema itself."""
        return self.named[schema] if isinstance(schema, str) and schema in self.named else schema

    def encode(self, datum: Mapping[str, Any]) -> bytes:
        """Write a datum that already fits the schema."""
        out = io.BytesIO()
        if self._names_branches:
            datum = named_branches(datum, self._parsed, self.named)
        schemaless_writer(out, self._parsed, datum)
        return out.getvalue()

    def decode(self, value: bytes, start: int) -> dict[str, Any]:
        """Read one datum from `value[start:]`, all of it.

        Named types inside a union come as `(full name, datum)`, so that a reader can tell the branches apart.

        Raises:
            Undecodable: the bytes are not exactly one datum of this schema.
        """
        stream = io.BytesIO(value)
        stream.seek(start)
        try:
            datum: dict[str, Any] = self._read(stream)
        except _GARBAGE as error:
            raise Undecodable(f"the body is not a {self.name}: {type(error).__name__}: {error}") from error
        if stream.tell() != len(value):
            left = len(value) - stream.tell()
            raise Undecodable(f"{left} bytes follow the {self.name}")
        return datum

    def _read(self, stream: io.BytesIO) -> Any:
        # Asking for the marks costs a sixth of the reading, so only schemas that have such unions do.
        if self._marks:
            return schemaless_reader(stream, self._parsed, None, return_named_type=True)
        return schemaless_reader(stream, self._parsed, None)


def _has_named_branch(schema: Any) -> bool:
    """Tell whether any union has a branch with a name; a reference is a name too."""
    if isinstance(schema, list):
        return any(kind_of(branch) not in _UNNAMED for branch in schema) or any(map(_has_named_branch, schema))
    return any(map(_has_named_branch, _parts(schema)))


def _may_be_mistaken(schema: Any) -> bool:
    """Tell whether any union has branches that `named_branches` is for."""
    if isinstance(schema, list):
        kinds = [kind_of(branch) for branch in schema]
        if "string" in kinds and not _UNNAMED.issuperset(kinds):
            return True
        if any(_has_named_branch(branch) for branch in schema if kind_of(branch) in {"array", "map"}):
            return True
        return any(map(_may_be_mistaken, schema))
    return any(map(_may_be_mistaken, _parts(schema)))


def _parts(schema: Any) -> list[Any]:
    """The schemas that one is made of, unless it is a union."""
    if not isinstance(schema, dict):
        return []
    return [schema[key] for key in ("items", "values") if key in schema] + [
        field["type"] for field in schema.get("fields", ())
    ]


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
    items without any bytes lets a ten-byte body claim 2**63 of them.

    Raises:
        Misfit: the schema is one of these; its field is the path to it.
    """
    _bounded(codec, codec.root, ())


def _bounded(codec: Codec, schema: Schema, inside: tuple[str, ...]) -> bool:
    """Walk a schema; return whether its data always take at least one byte."""
    schema = codec.follow(schema)
    kind = kind_of(schema)
    if isinstance(schema, list):
        for branch in schema:
            _bounded(codec, branch, inside)
        return True
    if isinstance(schema, str):
        return kind != "null"
    if kind in {"record", "error"}:
        return _bounded_record(codec, schema, inside)
    if kind == "array" and not _bounded(codec, schema["items"], inside):
        raise Misfit("is an array of items that take no bytes, so a reader could not bound its length")
    if kind == "map":
        _bounded(codec, schema["values"], inside)
    return kind != "null" and not (kind == "fixed" and schema["size"] == 0)


def _bounded_record(codec: Codec, schema: dict[str, Any], inside: tuple[str, ...]) -> bool:
    if schema["name"] in inside:
        raise Misfit(f"is recursive ({schema['name']}), so a reader could not bound its depth")
    takes_bytes = False
    for field in schema["fields"]:
        try:
            takes_bytes |= _bounded(codec, field["type"], (*inside, schema["name"]))
        except Misfit as misfit:
            raise misfit.within(field["name"]) from misfit
    return takes_bytes
