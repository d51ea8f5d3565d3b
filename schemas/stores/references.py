"""Schemas that refer to definitions kept elsewhere, made whole."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..codec.avro import NAMED


def inlined(schema: Any, definitions: Mapping[str, Any]) -> Any:
    """Put each definition where its name is first used.

    Args:
        schema: as JSON data.
        definitions: {full name: schema}; they may use each other.

    >>> inlined({"type": "array", "items": "n.Leg"}, {"n.Leg": {"type": "fixed", "name": "n.Leg", "size": 2}})
    {'type': 'array', 'items': {'type': 'fixed', 'name': 'n.Leg', 'size': 2}}
    """
    return _put_in(schema, dict(definitions), "")


def _put_in(schema: Any, left: dict[str, Any], namespace: str) -> Any:
    """Copy a schema; a definition is taken out of `left` where it is put in, since a name is defined once."""
    if isinstance(schema, str):
        name = schema if "." in schema or not namespace else f"{namespace}.{schema}"
        name = name if name in left else schema
        return _put_in(left.pop(name), left, "") if name in left else schema
    if isinstance(schema, list):
        return [_put_in(branch, left, namespace) for branch in schema]
    if not isinstance(schema, dict):
        return schema
    if schema.get("type") in NAMED:
        namespace = _namespace_of(schema, namespace)
    return {key: _part(key, value, left, namespace) for key, value in schema.items()}


def _part(key: str, value: Any, left: dict[str, Any], namespace: str) -> Any:
    if key == "fields" and isinstance(value, list):
        return [{**field, "type": _put_in(field.get("type"), left, namespace)} for field in value]
    return _put_in(value, left, namespace) if key in {"type", "items", "values"} else value


def _namespace_of(schema: Mapping[str, Any], outer: str) -> str:
    name = str(schema.get("name", ""))
    return name.rpartition(".")[0] if "." in name else str(schema.get("namespace", outer))
