"""The schemas of Stoker's own records, and their codec: single-object encoding."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any, Literal

from ..codec.codec import FINGERPRINT_BYTES, SINGLE_OBJECT, Codec
from ..codec.schema import RecordSchema
from ..errors import Undecodable, UnknownSchema
from ..wire_text import writable_text

OwnName = Literal[
    "LedgerEntry",
    "LedgerBatch",
    "UniqueEnd",
    "JobEvent",
    "JobsEnded",
    "ControlOrder",
    "WorkerStatus",
    "Schedule",
    "LastFiring",
    "ScheduleOwner",
    "ShareRecord",
    "ReservationRecord",
    "AuditEntry",
    "StatisticsPane",
    "StatisticsPosition",
]

_HEADER_BYTES = len(SINGLE_OBJECT) + FINGERPRINT_BYTES


@cache
def own_schema(name: OwnName) -> RecordSchema:
    """Return the Avro schema of one of Stoker's own records, as plain JSON data."""
    text = files(__package__).joinpath(f"{name}.avsc").read_text("utf-8")
    schema: RecordSchema = json.loads(text)
    return schema


@cache
def _own_codec(name: OwnName) -> tuple[Codec, bytes]:
    codec = Codec(own_schema(name))
    return codec, SINGLE_OBJECT + codec.fingerprint


@cache
def _own_defaults(name: OwnName) -> Mapping[str, Any]:
    return {field["name"]: field["default"] for field in own_schema(name)["fields"] if "default" in field}


def encode_own(name: OwnName, datum: Mapping[str, Any]) -> bytes:
    """Write one of Stoker's own records, framed; fields that are missing take the schema's defaults."""
    codec, header = _own_codec(name)
    return header + codec.encode({**_own_defaults(name), **datum})


def with_writable_texts(datum: Mapping[str, Any]) -> dict[str, Any]:
    """A datum whose texts come from people, command lines and hosts: what is no UTF-8 in them is escaped."""
    return {name: _writable(value) for name, value in datum.items()}


def _writable(value: Any) -> Any:  # of any type that a record may have
    if isinstance(value, str):
        return writable_text(value)
    return with_writable_texts(value) if isinstance(value, Mapping) else value


def is_own(name: OwnName, value: bytes | None) -> bool:
    """Whether the value is framed as that one of Stoker's own records."""
    return value is not None and value.startswith(_own_codec(name)[1])


def decode_own(name: OwnName, value: bytes | None) -> dict[str, Any]:
    """Read one of Stoker's own records, framed.

    Raises:
        Undecodable: the bytes are not such a record.
        UnknownSchema: another version of Stoker wrote them.
    """
    codec, _ = _own_codec(name)
    if value is not None and is_own(name, value):
        return codec.decode(value, _HEADER_BYTES)
    if value is None or len(value) < _HEADER_BYTES or not value.startswith(SINGLE_OBJECT):
        raise Undecodable(f"the value is not a framed {name}")
    raise UnknownSchema(value[len(SINGLE_OBJECT) : _HEADER_BYTES])
