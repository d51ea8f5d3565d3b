"""The codec of one schema: its canonical form and fingerprint, and bodies written and read by it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from fastavro.schema import fingerprint, parse_schema, to_parsing_canonical_form

from ..errors import Misfit, Undecodable
from .body_reader import FAULTS, Read, located, reader_of
from .body_writer import Write, writer_of
from .schema import NamedSchema, Schema, is_tagged, unmarked

# The two framings of the wire: Avro's single-object encoding (marker, 8-byte fingerprint, body) and the one of
# Confluent's registries (marker, 4-byte big-endian id, body).
SINGLE_OBJECT: Final = b"\xc3\x01"
FINGERPRINT_BYTES: Final = 8
CONFLUENT: Final = b"\x00"
REGISTRY_ID_BYTES: Final = 4


class Codec:
    """One schema, ready to write and read bodies (no framing).

    `named` holds every named type by full name, so that references can be followed. The reader and the writer are made
    when they are first needed, since many codecs are only compared.
    """

    __slots__ = ("_read", "_write", "canonical", "fingerprint", "name", "named", "root")

    def __init__(self, schema: Schema) -> None:
        """Check a schema.

        Raises:
            NOT_A_SCHEMA: one of these, where it is none.
        """
        named: dict[str, Any] = {}  # filled by fastavro, as is the next; both are schemas, or it has raised
        # fastavro leaves a marked schema as it is, and trusts its cached names: take the marks off first.
        parsed: Any = parse_schema(unmarked(schema), named_schemas=named)
        self.root: Schema = parsed
        self.named: Mapping[str, NamedSchema] = named
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
        """Make the reader now, so that a schema without one raises before a body is read.

        Raises:
            Misfit: it is nested or branched too far, or means a decimal of too many digits.
        """
        try:
            self._read = reader_of(self.root, self.named)
        except RecursionError as error:
            raise Misfit("is nested or branched too far to be read") from error

    def encode(self, datum: Mapping[str, object]) -> bytes:
        """Write a datum that already fits the schema."""
        if self._write is None:
            self._write = writer_of(self.root, self.named)
        out = bytearray()
        self._write(datum, out)
        return bytes(out)

    def decode(self, value: bytes, start: int) -> dict[str, object]:
        """Read one datum from `value[start:]`, all of it.

        A value of a union comes as `(index of its branch, datum)`. None, and the value of an optional, come bare.

        Raises:
            Undecodable: the bytes are not exactly one datum of this schema.
        """
        if self._read is None:
            self._read = reader_of(self.root, self.named)
        try:
            datum, end = self._read(value, start, len(value))
        except FAULTS as fault:
            raise Undecodable(f"the body is not a {self.name}: {_in_words(located(fault, ''))}") from fault
        if end != len(value):
            raise Undecodable(f"{len(value) - end} bytes follow the {self.name}")
        return datum


def _in_words(misfit: Misfit) -> str:
    return f"field {misfit.field!r} {misfit.reason}" if misfit.field else f"it {misfit.reason}"
