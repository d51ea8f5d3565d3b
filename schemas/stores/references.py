"""Schemas that refer to definitions kept elsewhere, made whole."""

from __future__ import annotations

from collections.abc import Mapping

from ..codec.schema import NamedSchema, ObjectSchema, Schema, is_named


def inlined(schema: Schema, definitions: Mapping[str, Schema]) -> Schema:
    """Put each definition where its name is first used.

    Args:
        schema: as JSON data; `Codec` checks the result.
        definitions: {full name: schema}; they may use each other.

    >>> inlined({"type": "array", "items": "n.Leg"}, {"n.Leg": {"type": "fixed", "name": "n.Leg", "size": 2}})
    {'type': 'array', 'items': {'type': 'fixed', 'name': 'n.Leg', 'size': 2}}
    """
    return _put_in(schema, dict(definitions), "")


def _put_in(schema: Schema, left: dict[str, Schema], namespace: str) -> Schema:
    """Copy a schema; a definition is taken out of `left` where it is put in, since a name is defined once."""
    if isinstance(schema, str):
        name = schema if "." in schema or not namespace else f"{namespace}.{schema}"
        name = name if name in left else schema
        return _put_in(left.pop(name), left, "") if name in left else schema
    if isinstance(schema, list):
        return [_put_in(branch, left, namespace) for branch in schema]
    return _with_parts(schema, left, _namespace_of(schema, namespace) if is_named(schema) else namespace)


def _with_parts(schema: ObjectSchema, left: dict[str, Schema], namespace: str) -> ObjectSchema:
    if schema["type"] == "array":
        return {**schema, "items": _put_in(schema["items"], left, namespace)}
    if schema["type"] == "map":
        return {**schema, "values": _put_in(schema["values"], left, namespace)}
    if schema["type"] == "record" or schema["type"] == "error":
        fields = schema.get("fields", [])
        return {**schema, "fields": [{**field, "type": _put_in(field["type"], left, namespace)} for field in fields]}
    return schema


def _namespace_of(schema: NamedSchema, outer: str) -> str:
    name = schema["name"]
    return name.rpartition(".")[0] if "." in name else schema.get("namespace", outer)
