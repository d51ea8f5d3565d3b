"""Shapes of a schema that is given as `.avsc`, joined with the annotations of the function it belongs to."""

from __future__ import annotations

import enum
import types
from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal, TypeVar, Union, get_args, get_origin

from ..codec.codec import Codec
from ..codec.logical_types import is_decimal
from ..codec.schema import (
    ArraySchema,
    EnumSchema,
    FieldSchema,
    FixedSchema,
    MapSchema,
    NamedSchema,
    ObjectSchema,
    PrimitiveSchema,
    RecordSchema,
    Schema,
    is_named,
    is_record_schema,
    kind_of,
    logical_type,
)
from ..errors import Misfit
from . import logical, primitives
from .annotations import peeled
from .compound import ArrayShape, EnumShape, MapShape
from .declared_fields import record_fields
from .records import ABSENT, FieldShape, RecordClass, RecordShape, is_record
from .shape import AnyScalar, AnyShape
from .unions import UnionShape

C = TypeVar("C", bound=type)

_PLAIN: dict[str, AnyScalar] = {
    str(scalar.avro): scalar
    for scalar in (
        primitives.NULL,
        primitives.BOOLEAN,
        primitives.INT,
        primitives.LONG,
        primitives.FLOAT,
        primitives.DOUBLE,
        primitives.BYTES,
        primitives.STRING,
    )
}

_LOGICAL: dict[tuple[str, str], AnyScalar] = {
    ("int", "date"): logical.DATE,
    ("long", "time-micros"): logical.CLOCK,
    ("int", "time-millis"): logical.CLOCK_MS,
    ("long", "timestamp-micros"): logical.MOMENT,
    ("long", "timestamp-millis"): logical.MOMENT_MS,
    ("string", "uuid"): logical.UUID_TEXT,
}

# Avro means something by these, for which Python has no value that a job could take.
_NO_FORM: Final = frozenset({("long", "local-timestamp-millis"), ("long", "local-timestamp-micros")})


class Given:
    """Finds the shapes of one given schema."""

    def __init__(self, codec: Codec) -> None:
        self._codec = codec

    def record(self, annotations: Mapping[str, object], owner: RecordClass | None) -> RecordShape:
        """Shape the schema's root record.

        Args:
            annotations: annotation of each field that has one.
            owner: class of the record, None when its values are dicts or the function's parameters.
        """
        root = self._codec.root
        if not is_record_schema(root):
            raise Misfit("has a schema that is not a record; a payload is one record")
        return self._record(root, annotations, owner)

    def _record(
        self, schema: RecordSchema, annotations: Mapping[str, object], owner: RecordClass | None
    ) -> RecordShape:
        fields = [self.field(field, annotations.get(field["name"])) for field in schema["fields"]]
        return RecordShape(schema["name"], fields, owner, schema)

    def field(self, field: FieldSchema, annotation: object) -> FieldShape:
        """Shape one field of a record."""
        try:
            shape = self.shape(field["type"], annotation)
            default = _default(shape, field["default"]) if "default" in field else ABSENT
        except Misfit as misfit:
            raise misfit.within(field["name"]) from misfit.__cause__
        return FieldShape(name=field["name"], shape=shape, default=default)

    def shape(self, schema: Schema, annotation: object) -> AnyShape:
        """Shape a part of the schema; `annotation` is None where there is none to agree with."""
        schema = self._codec.follow(schema)
        arms = _arms(annotation)
        if isinstance(schema, list):
            return self._union(schema, annotation)
        if isinstance(schema, str):
            return _agreeing(_PLAIN[schema], arms)
        return self._object(schema, arms)

    def _object(self, schema: ObjectSchema, arms: list[object]) -> AnyShape:
        if schema["type"] == "record" or schema["type"] == "error":
            return self._nested(schema, arms)
        if schema["type"] == "array":
            return self._array(schema, arms)
        if schema["type"] == "map":
            return self._map(schema, arms)
        return _enum(schema, arms) if schema["type"] == "enum" else _agreeing(_scalar(schema), arms)

    def _union(self, branches: Sequence[Schema], annotation: object) -> UnionShape:
        kinds: list[str] = []
        for branch in map(self._codec.follow, branches):
            kinds.append(branch["name"] if is_named(branch) else kind_of(branch))
        if doubled := next((kind for kind in kinds if kinds.count(kind) > 1), None):
            raise Misfit(f"is a union with two branches of {doubled}, which Avro forbids; wrap one of them in a record")
        return UnionShape([self.shape(branch, annotation) for branch in branches])

    def _nested(self, schema: RecordSchema, arms: list[object]) -> RecordShape:
        owner = _of_its_name(schema, [arm for arm in arms if is_record(arm)])
        if owner is not None:
            return self._record(schema, owner_annotations(schema, owner), owner)
        if arms and dict not in map(_origin, arms):
            raise Misfit(f"is a record in the schema, but is annotated {_shown(arms)}")
        return self._record(schema, {}, None)

    def _array(self, schema: ArraySchema, arms: list[object]) -> AnyShape:
        arm = _container(schema, arms, (list, tuple))
        item = self.shape(schema["items"], next(iter(get_args(arm)), None))
        return ArrayShape(item, tuple if _origin(arm) is tuple else list)

    def _map(self, schema: MapSchema, arms: list[object]) -> AnyShape:
        args = get_args(_container(schema, arms, (dict,)))
        return MapShape(self.shape(schema["values"], args[1] if len(args) == 2 else None))


def _container(schema: ArraySchema | MapSchema, arms: list[object], fitting: tuple[type, ...]) -> object:
    """Find the annotation of an array or a map; None where there is none to agree with."""
    found = next((arm for arm in arms if _origin(arm) in fitting), None)
    if arms and found is None:
        raise Misfit(f"is {schema['type']} in the schema, but is annotated {_shown(arms)}")
    return found


def _default(shape: AnyShape, default: object) -> object:
    try:
        return shape.undefault(default)
    except Misfit as misfit:
        raise Misfit(f"has a default that does not fit its type: {misfit.field} {misfit.reason}") from misfit


def owner_annotations(schema: RecordSchema, owner: RecordClass) -> dict[str, object]:
    """List the annotations of a class by field; it must have exactly the schema's fields."""
    annotations = {name: annotation for name, annotation, _ in record_fields(owner)}
    names = {field["name"] for field in schema["fields"]}
    if odd := sorted(names ^ annotations.keys()):
        where = "the schema" if odd[0] in names else f"class {owner.__name__}"
        raise Misfit(f"is only in {where}: the schema and {owner.__name__} must have the same fields").within(odd[0])
    return annotations


def _scalar(schema: PrimitiveSchema | FixedSchema) -> AnyScalar:
    kind, meaning = schema["type"], str(schema.get("logicalType"))
    if is_decimal(schema):
        return logical.decimal(int(schema["precision"]), int(schema.get("scale", 0)), schema)
    if meaning == "decimal":
        raise Misfit("is a decimal without a precision, or with a scale beyond it, which Avro takes for plain bytes")
    if (kind, meaning) in _LOGICAL:
        return _LOGICAL[kind, meaning]
    if (kind, meaning) in _NO_FORM:
        raise Misfit(f"has logical type {meaning}, which has no form here; use timestamp-micros or plain {kind}")
    return primitives.fixed(schema) if schema["type"] == "fixed" else _PLAIN[kind]


def _agreeing(shape: AnyShape, arms: list[object]) -> AnyShape:
    if arms and shape.value_type not in arms:
        raise Misfit(f"is {_label(shape.schema(set()))} in the schema, but is annotated {_shown(arms)}")
    return shape


def _enum(schema: EnumSchema, arms: list[object]) -> EnumShape:
    members = _of_its_name(schema, [arm for arm in arms if isinstance(arm, type) and issubclass(arm, enum.Enum)])
    if members is None:
        if arms and str not in arms:
            raise Misfit(f"is an enum in the schema, but is annotated {_shown(arms)}")
        return EnumShape(schema["name"], schema["symbols"], None, schema)
    if unknown := [symbol for symbol in schema["symbols"] if symbol not in members.__members__]:
        raise Misfit(f"has the symbol {unknown[0]} in the schema, which {members.__name__} has no member for")
    return EnumShape(schema["name"], schema["symbols"], members, schema)


def _of_its_name(schema: NamedSchema, classes: list[C]) -> C | None:
    """Find the class for a named type; among several of a union, each is for the type of its name."""
    if len(classes) < 2:
        return next(iter(classes), None)
    name = schema["name"].rpartition(".")[2]
    found = next((known for known in classes if known.__name__ == name), None)
    if found is None:
        raise Misfit(f"has {name} in the schema, whose class is ambiguous among {_shown(classes)}: name one {name}")
    return found


def _arms(annotation: object) -> list[object]:
    """List the alternatives of an annotation; none when anything goes."""
    if annotation is None:
        return []
    bare, _ = peeled(annotation)
    if bare is Any:
        return []
    if get_origin(bare) in (Union, types.UnionType):
        return [arm for part in get_args(bare) for arm in _arms(part) or [part]]
    if get_origin(bare) is Literal:
        return sorted({type(value) for value in get_args(bare)}, key=str)
    return [bare]


def _origin(arm: object) -> object:
    return get_origin(arm) or arm


def _label(schema: Schema) -> str:
    return (logical_type(schema) or kind_of(schema)) if isinstance(schema, dict) else kind_of(schema)


def _shown(arms: Sequence[object]) -> str:
    return " | ".join(getattr(arm, "__name__", str(arm)) for arm in arms)
