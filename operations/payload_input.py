"""Payloads as people type them: `field=value` pairs and JSON text, made into calls of a job type."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Final

from ..schemas import Contract, PayloadRefused
from ..schemas.codec.schema import Schema, kind_of, logical_type
from ..schemas.json_data import Json
from ..topology import JobCall
from ..topology.declaration.job_type import AnyJobType, CallOptions

_JSON_PRIMITIVES: Final = frozenset({"int", "long", "float", "double", "boolean"})
_JSON_CONTAINERS: Final = frozenset({"array", "map", "record"})


class InputRefused(Exception):
    """The typed payload cannot even be read; the message names the place."""


def call_from_json(job_type: AnyJobType, data: object, options: CallOptions) -> JobCall:
    """Make a call from JSON data, by the rules of the job type's contract.

    Raises:
        PayloadRefused: the data does not fit; the field is named.
    """
    return job_type.call_from_json(data, options)


def parse_json(text: str, where: str) -> Json:
    """Read JSON text.

    Raises:
        InputRefused: it is not JSON; `where` and the place in it are named.
    """
    try:
        data: Json = json.loads(text)
    except json.JSONDecodeError as wrong:
        raise InputRefused(f"{where} is not JSON: {wrong.msg} at line {wrong.lineno}, column {wrong.colno}") from wrong
    return data


def payload_from_pairs(contract: Contract, pairs: Iterable[str]) -> dict[str, object]:
    """Read `field=value` pairs; a value is text where the field is text, a moment or a decimal, and JSON elsewhere.

    Raises:
        InputRefused: a pair has no `=`, or a field is given twice.
    """
    types = {field["name"]: field["type"] for field in contract.schema["fields"]}
    payload: dict[str, object] = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not equals:
            raise InputRefused(f"{pair!r} is not field=value; the fields are: {', '.join(types) or 'none'}")
        if name in payload:
            raise InputRefused(f"field {name!r} is given twice; give it once")
        payload[name] = _value(text, types.get(name, "string"))
    return payload


def _value(text: str, avro_type: Schema) -> object:
    branches: list[Schema] = avro_type if isinstance(avro_type, list) else [avro_type]
    if text == "null" and "null" in branches:
        return None
    if not any(_is_written_as_json(branch) for branch in branches) and not _names_branch(text, branches):
        return text
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text  # the contract refuses it by name where text does not fit


def _names_branch(text: str, branches: list[Schema]) -> bool:
    """Whether text is `{"<branch>": value}`, for a union whose branches could be taken for each other."""
    return len(branches) - branches.count("null") > 1 and text.startswith("{") and text.endswith("}")


def _is_written_as_json(avro_type: Schema) -> bool:
    kind = kind_of(avro_type)
    return logical_type(avro_type) is None and (kind in _JSON_PRIMITIVES or kind in _JSON_CONTAINERS)


def calls_from_lines(
    job_type: AnyJobType, lines: Iterable[str], options: CallOptions, refuse: Callable[[int, Exception], None]
) -> Iterable[JobCall]:
    """Make a call from each line of JSON, one at a time; empty lines are passed over.

    Args:
        refuse: called with the number of a line (from 1) that cannot be a call, and why; the line is left out.
    """
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            yield call_from_json(job_type, parse_json(line, f"line {number}"), options)
        except (InputRefused, PayloadRefused) as refused:
            refuse(number, refused)
