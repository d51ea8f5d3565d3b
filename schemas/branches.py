"""Names the branches of unions for fastavro, which else finds them by trying.

It finds no array or map in whose parts there are named types that carry their names, and takes the text of a string for
a symbol of an enum that comes before it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

BARE: Final[Mapping[type, str]] = {list: "array", dict: "map", str: "string"}
"""{a datum's type: the branch that it is of, where it carries no name}."""


def named_branches(datum: Any, schema: Any, named: Mapping[str, Any]) -> Any:
    """Copy a datum with all branches of its unions named that fastavro might mistake.

    Args:
        schema: parsed, of the datum.
        named: {full name: definition} of the schema's named types.
    """
    if isinstance(schema, str):
        schema = named.get(schema, schema)
    if isinstance(schema, list):
        return _of_union(datum, schema, named)
    kind = schema["type"] if isinstance(schema, dict) else schema
    if isinstance(kind, dict | list):
        return named_branches(datum, kind, named)
    if kind == "record":
        return {field["name"]: named_branches(datum[field["name"]], field["type"], named) for field in schema["fields"]}
    if kind == "array":
        return [named_branches(item, schema["items"], named) for item in datum]
    if kind == "map":
        return {key: named_branches(value, schema["values"], named) for key, value in datum.items()}
    return datum


def _of_union(datum: Any, union: list[Any], named: Mapping[str, Any]) -> Any:
    name, inner = datum if type(datum) is tuple else (BARE.get(type(datum)), datum)
    for branch in union:
        if name is not None and name == _name_of(branch):
            return name, named_branches(inner, branch, named)
    return datum


def _name_of(branch: Any) -> Any:
    return branch.get("name", branch["type"]) if isinstance(branch, dict) else branch
