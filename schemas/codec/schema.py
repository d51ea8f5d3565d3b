"""Avro schemas as plain JSON data: their types, their kinds, and the names that Avro allows.

Data that claim to be a schema have the type `Schema` from the start. `Codec` checks the claim.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final, Literal, NotRequired, TypeAlias, TypedDict

from fastavro.schema import SchemaParseException, UnknownType

from ..json_data import Json

if TYPE_CHECKING:
    from typing_extensions import TypeIs

NOT_A_SCHEMA: Final = (SchemaParseException, UnknownType, LookupError, TypeError, AttributeError, RecursionError)
"""The errors of a `Codec` for data that are no schema, or a schema nested deeper than Python can follow."""
NAMED: Final = frozenset({"record", "error", "enum", "fixed"})

Primitive: TypeAlias = Literal["null", "boolean", "int", "long", "float", "double", "bytes", "string"]


class FieldSchema(TypedDict):
    """One field of a record."""

    name: str
    type: Schema
    default: NotRequired[Json]
    aliases: NotRequired[list[str]]


class RecordSchema(TypedDict):
    """A record, or an error, which is one by another name."""

    type: Literal["record", "error"]
    name: str
    fields: list[FieldSchema]
    namespace: NotRequired[str]
    aliases: NotRequired[list[str]]


class EnumSchema(TypedDict):
    """An enum; readers take `default` for symbols that they do not know."""

    type: Literal["enum"]
    name: str
    symbols: list[str]
    default: NotRequired[str]
    namespace: NotRequired[str]
    aliases: NotRequired[list[str]]


class FixedSchema(TypedDict):
    """Bytes of one length, bare or with a logical type."""

    type: Literal["fixed"]
    name: str
    size: int
    namespace: NotRequired[str]
    aliases: NotRequired[list[str]]
    logicalType: NotRequired[str]
    precision: NotRequired[int]
    scale: NotRequired[int]


class PrimitiveSchema(TypedDict):
    """A primitive as an object, mostly because it has a logical type."""

    type: Primitive
    logicalType: NotRequired[str]
    precision: NotRequired[int]
    scale: NotRequired[int]


class ArraySchema(TypedDict):
    """An array."""

    type: Literal["array"]
    items: Schema


class MapSchema(TypedDict):
    """A map from text."""

    type: Literal["map"]
    values: Schema


NamedSchema: TypeAlias = RecordSchema | EnumSchema | FixedSchema
ScalarSchema: TypeAlias = PrimitiveSchema | EnumSchema | FixedSchema
ObjectSchema: TypeAlias = NamedSchema | PrimitiveSchema | ArraySchema | MapSchema
Schema: TypeAlias = "str | list[Schema] | ObjectSchema"
"""A primitive or the full name of a named type; a union; or an object."""


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
    return schema if isinstance(schema, str) else schema["type"]


def is_record_schema(schema: Schema) -> TypeIs[RecordSchema]:
    """Whether a schema is a record, or an error."""
    return isinstance(schema, dict) and schema["type"] in ("record", "error")


def is_named(schema: Schema) -> TypeIs[NamedSchema]:
    """Whether a schema defines a named type."""
    return isinstance(schema, dict) and schema["type"] in NAMED


def logical_type(schema: Schema) -> str | None:
    """Name the logical type of a schema that has one, whether Avro knows it or not."""
    found = schema.get("logicalType") if isinstance(schema, dict) else None
    return found if isinstance(found, str) else None


def is_tagged(union: list[Schema]) -> bool:
    """Whether data of a union come with the index of their branch: null and one other branch need none."""
    return len(union) - union.count("null") > 1


def unmarked(data: Any) -> Any:  # of JSON from outside, which only `Codec` finds to be a schema or none
    """Copy a schema without the marks that fastavro leaves in the ones it parsed."""
    if isinstance(data, list):
        return [unmarked(branch) for branch in data]
    if isinstance(data, dict):
        return {key: unmarked(part) for key, part in data.items() if not key.startswith("__")}
    return data
