"""Shapes of a schema that is given as `.avsc`, joined with the annotations of the function it belongs to."""

from __future__ import annotations

import enum
import types
from collections.abc import Sequence
from typing import Any, Final, Literal, Union, get_args, get_origin

from ..codec.avro import Codec, Schema, kind_of
from ..codec.meanings import is_decimal
from ..errors import Misfit
from . import logical, shapes
from .annotations import peeled
from .compound import ArrayShape, EnumShape, MapShape
from .declared_fields import record_fields
from .records import ABSENT, FieldShape, RecordShape, is_record
from .shapes import Scalar, Shape
from .unions import UnionShape

_PLAIN: dict[str, Scalar] = {
    str(scalar.avro): scalar
    for scalar in (
        shapes.NULL,
        shapes.BOOLEAN,
        shapes.INT,
        shapes.LONG,
        shapes.FLOAT,
        shapes.DOUBLE,
        shapes.BYTES,
        shapes.STRING,
    )
}

_LOGICAL: dict[tuple[str, str], Scalar] = {
    (scalar.avro["type"], scalar.avro["logicalType"]): scalar
    for scalar in (
        logical.DATE,
        logical.CLOCK,
        logical.CLOCK_MS,
        logical.MOMENT,
        logical.MOMENT_MS,
        logical.UUID_TEXT,
    )
    if isinstance(scalar.avro, dict)
}

# Avro means something by these, for which Python has no value that a job could take.
_NO_FORM: Final = frozenset({("long", "local-timestamp-millis"), ("long", "local-timestamp-micros")})


class Given:
    """Finds the shapes of one given schema."""

    def __init__(self, codec: Codec) -> None:
        self._codec = codec

    def record(self, annotations: dict[str, Any], owner: type[Any] | None) -> RecordShape:
        """Shape the schema's root record.

        Args:
            annotations: annotation of each field that has one.
            owner: class of the record, None when its values are dicts or the function's parameters.
        """
        root = self._codec.root
        if not isinstance(root, dict) or root["type"] != "record":
            raise Misfit("has a schema that is not a record; a payload is one record")
        return self._record(root, annotations, owner)

    def _record(self, schema: dict[str, Any], annotations: dict[str, Any], owner: type[Any] | None) -> RecordShape:
        fields = [self.field(field, annotations.get(field["name"])) for field in schema["fields"]]
        return RecordShape(schema["name"], fields, owner, schema)

    def field(self, field: dict[str, Any], annotation: Any) -> FieldShape:
        try:
            shape = self.shape(field["type"], annotation)
            default = _default(shape, field["default"]) if "default" in field else ABSENT
        except Misfit as misfit:
            raise misfit.within(field["name"]) from misfit.__cause__
        return FieldShape(name=field["name"], shape=shape, default=default)

    def shape(self, schema: Schema, annotation: Any) -> Shape:
        """Shape a part of the schema; `annotation` is None where there is none to agree with."""
        schema = self._codec.follow(schema)
        arms = _arms(annotation)
        if isinstance(schema, list):
            return self._union(schema, annotation)
        kind = kind_of(schema)
        if isinstance(schema, str) or kind in _PLAIN or kind == "fixed":
            return _agreeing(_scalar(schema), arms)
        if kind == "enum":
            return _enum(schema, arms)
        if kind == "record":
            return self._nested(schema, arms)
        return self._container(schema, kind, arms)

    def _union(self, branches: Sequence[Schema], annotation: Any) -> Shape:
        kinds: list[str] = []
        for branch in map(self._codec.follow, branches):
            kinds.append(str(branch["name"]) if isinstance(branch, dict) and "name" in branch else kind_of(branch))
        if doubled := next((kind for kind in kinds if kinds.count(kind) > 1), None):
            raise Misfit(f"is a union with two branches of {doubled}, which Avro forbids; wrap one of them in a record")
        return UnionShape([self.shape(branch, annotation) for branch in branches])

    def _nested(self, schema: dict[str, Any], arms: list[Any]) -> Shape:
        owner = _of_its_name(schema, [arm for arm in arms if is_record(arm)])
        if owner is not None:
            return self._record(schema, owner_annotations(schema, owner), owner)
        if arms and dict not in map(_origin, arms):
            raise Misfit(f"is a record in the schema, but is annotated {_shown(arms)}")
        return self._record(schema, {}, None)

    def _container(self, schema: dict[str, Any], kind: str, arms: list[Any]) -> Shape:
        python = {"array": (list, tuple), "map": (dict,)}[kind]
        matching = [arm for arm in arms if _origin(arm) in python]
        if arms and not matching:
            raise Misfit(f"is {kind} in the schema, but is annotated {_shown(arms)}")
        args = get_args(matching[0]) if matching else ()
        if kind == "map":
            return MapShape(self.shape(schema["values"], args[1] if len(args) == 2 else None))
        item = self.shape(schema["items"], args[0] if args else None)
        return ArrayShape(item, tuple if matching and _origin(matching[0]) is tuple else list)


def _default(shape: Shape, default: Any) -> Any:
    try:
        return shape.undefault(default)
    except Misfit as misfit:
        raise Misfit(f"has a default that does not fit its type: {misfit.field} {misfit.reason}") from misfit


def owner_annotations(schema: dict[str, Any], owner: type[Any]) -> dict[str, Any]:
    """List the annotations of a class by field; it must have exactly the schema's fields."""
    annotations = {name: annotation for name, annotation, _ in record_fields(owner)}
    names = {field["name"] for field in schema["fields"]}
    if odd := sorted(names ^ annotations.keys()):
        where = "the schema" if odd[0] in names else f"class {owner.__name__}"
        raise Misfit(f"is only in {where}: the schema and {owner.__name__} must have the same fields").within(odd[0])
    return annotations


def _scalar(schema: Schema) -> Shape:
    if not isinstance(schema, dict):
        return _PLAIN[kind_of(schema)]
    kind, meaning = kind_of(schema), str(schema.get("logicalType"))
    if is_decimal(schema):
        return logical.decimal(int(schema["precision"]), int(schema.get("scale", 0)), schema)
    if meaning == "decimal":
        raise Misfit("is a decimal without a precision, or with a scale beyond it, which Avro takes for plain bytes")
    if (kind, meaning) in _LOGICAL:
        return _LOGICAL[kind, meaning]
    if (kind, meaning) in _NO_FORM:
        raise Misfit(f"has logical type {meaning}, which has no form here; use timestamp-micros or plain {kind}")
    return shapes.fixed(schema) if kind == "fixed" else _PLAIN[kind]


def _agreeing(shape: Shape, arms: list[Any]) -> Shape:
    if arms and shape.value_type not in arms:
        raise Misfit(f"is {_label(shape.schema(set()))} in the schema, but is annotated {_shown(arms)}")
    return shape


def _enum(schema: dict[str, Any], arms: list[Any]) -> Shape:
    members = _of_its_name(schema, [arm for arm in arms if isinstance(arm, type) and issubclass(arm, enum.Enum)])
    if members is None:
        if arms and str not in arms:
            raise Misfit(f"is an enum in the schema, but is annotated {_shown(arms)}")
        return EnumShape(schema["name"], schema["symbols"], None, schema)
    if unknown := [symbol for symbol in schema["symbols"] if symbol not in members.__members__]:
        raise Misfit(f"has the symbol {unknown[0]} in the schema, which {members.__name__} has no member for")
    return EnumShape(schema["name"], schema["symbols"], members, schema)


def _of_its_name(schema: dict[str, Any], classes: list[Any]) -> Any:
    """Find the class for a named type; among several of a union, each is for the type of its name."""
    if len(classes) < 2:
        return next(iter(classes), None)
    name = str(schema["name"]).rpartition(".")[2]
    found = next((known for known in classes if known.__name__ == name), None)
    if found is None:
        raise Misfit(f"has {name} in the schema, whose class cannot be told among {_shown(classes)}: name one {name}")
    return found


def _arms(annotation: Any) -> list[Any]:
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


def _origin(arm: Any) -> Any:
    return get_origin(arm) or arm


def _label(schema: Schema) -> str:
    if isinstance(schema, dict):
        return str(schema.get("logicalType") or kind_of(schema))
    return kind_of(schema)


def _shown(arms: list[Any]) -> str:
    return " | ".join(getattr(arm, "__name__", str(arm)) for arm in arms)
