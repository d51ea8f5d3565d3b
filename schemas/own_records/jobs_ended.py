"""`JobsEnded`: the event of many jobs that are done, in columns.

An event for each job would cost more than a short job itself. Packed columns are built by a few calls for all jobs,
and those of several events are put together by appending.

In a record, columns of numbers are split by bytes, as Parquet's BYTE_STREAM_SPLIT has it: the first bytes of all
numbers, then the second ones, and so on. Numbers of neighbours differ in a few bytes, so lz4 finds the others in one
piece. Only `encode_jobs_ended` and `decode_jobs_ended` know of it.
"""

from __future__ import annotations

import sys
from array import array
from binascii import hexlify, unhexlify
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from operator import sub
from struct import Struct
from typing import Any, Final, TypeVar

from ..errors import Undecodable
from ..wire_text import wire_text
from .own import decode_own, encode_own

_TEXT_BYTES: Final = 36
_STEP: Final = _TEXT_BYTES + 1
_VERSION_AT: Final = 14
_OF_NO_DIGIT: Final = b"\0-ABCDEF"
"""Separators, and digits that would come back in lower case."""
_DASHES: Final = (8, 13, 18, 23)
_DIGITS: Final = [at for at in range(_TEXT_BYTES) if at not in _DASHES]
_UUID_BYTES: Final = 16
_TIME_BYTES: Final = 6
"""A UUID of version 7 begins with them: when it was made, in ms since 1970, the most significant byte first."""
BETWEEN: Final = b"\0"
"""Stands between two texts of a column."""
_MOST_FORMATS: Final = 4_096


ValueT = TypeVar("ValueT")
HashableT = TypeVar("HashableT", bound=Hashable)


@dataclass(frozen=True, slots=True, kw_only=True)
class JobsEnded:
    """Jobs that one worker has done, as columns; `JobsEnded.avsc` has the meaning and unit of each field."""

    queue: str
    worker: str
    release: str
    at: datetime
    clock_s: float
    count: int
    binary_ids: bytes = b""
    ids: bytes = b""
    id_sizes: bytes = b""
    types: Sequence[str] = ()
    type_indexes: bytes = b""
    topic: str = ""
    partitions: bytes = b""
    offsets: bytes = b""
    tenants: Sequence[str] = ()
    tenant_indexes: bytes = b""
    keys: bytes = b""
    key_sizes: bytes = b""
    attempts: bytes = b""
    enqueued_ms: bytes = b""
    replays: Sequence[str] = ()
    began_s: bytes = b""
    ended_s: bytes = b""


def packed(kind: str, numbers: Sequence[float]) -> bytes:
    """A column of numbers, of a kind as `struct` names them, which takes half the time of an `array`."""
    return _format(kind, len(numbers)).pack(*numbers)


@lru_cache(_MOST_FORMATS)
def _format(kind: str, count: int) -> Struct:
    """The format of a column; `struct` itself remembers a hundred."""
    return Struct(f"<{count}{kind}")


def unpacked(kind: str, column: bytes | bytearray) -> Sequence[Any]:  # whole numbers or floats, as the kind decides
    """The numbers of a column."""
    numbers = array(kind)
    numbers.frombytes(column)
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers


def indexed(values: Sequence[HashableT]) -> tuple[list[HashableT], bytes]:
    """The different values in the order in which they occur, and a column of their indexes; empty for one value."""
    if values.count(values[0]) == len(values):  # takes less time than a dict of them
        return [values[0]], b""
    names = dict.fromkeys(values)
    index = dict(zip(names, range(len(names)), strict=True))
    return list(names), packed("H", list(map(index.__getitem__, values)))


def joined(texts: Sequence[bytes]) -> tuple[bytes, bytes]:
    """A column of texts, and one of their sizes, which is empty where a zero byte tells them apart."""
    column = BETWEEN.join(texts)
    if column and column.count(BETWEEN) == len(texts) - 1:
        return column, b""
    return b"".join(texts), packed("i", list(map(len, texts)))


def joined_keys(keys: Sequence[bytes | None]) -> tuple[bytes, bytes]:
    """A column of keys, and one of their sizes; both are empty where no job has a key."""
    try:
        return joined(keys)  # type: ignore[arg-type]  # those of which a job has none are below
    except TypeError:
        some = [key for key in keys if key is not None]
    sizes = packed("i", [-1 if key is None else len(key) for key in keys]) if some else b""
    return b"".join(some), sizes


def packed_uuids(ids: bytes, count: int) -> bytes:
    """Pack so many ids, joined with `BETWEEN`, into 16 bytes each; empty unless all are UUIDs in lower case."""
    if len(ids) != _STEP * count - 1 or ids[_TEXT_BYTES::_STEP] != BETWEEN * (count - 1):
        return b""
    first, second, third, fourth = _DASHES
    if not ids[first::_STEP] == ids[second::_STEP] == ids[third::_STEP] == ids[fourth::_STEP] == b"-" * count:
        return b""
    digits = ids.translate(None, _OF_NO_DIGIT)
    if len(digits) != 2 * _UUID_BYTES * count:
        return b""
    try:
        return unhexlify(digits)
    except ValueError:
        return b""


def are_timed(ids: bytes, count: int) -> bool:
    """Whether so many joined UUIDs are of version 7: these begin with when they were made."""
    return ids[_VERSION_AT::_STEP] == b"7" * count


def encode_jobs_ended(event: JobsEnded) -> bytes:
    """Write the event, framed."""
    datum = {name: getattr(event, name) for name in _NAMES}
    for name, width in _WIDTHS.items():
        if column := datum[name]:
            datum[name] = b"".join([column[at::width] for at in range(width)])
    return encode_own("JobsEnded", datum)


_NAMES: Final = tuple(JobsEnded.__dataclass_fields__)
_WIDTHS: Final = {
    "binary_ids": _UUID_BYTES,
    "id_sizes": 4,
    "type_indexes": 2,
    "partitions": 4,
    "offsets": 8,
    "tenant_indexes": 2,
    "key_sizes": 4,
    "attempts": 4,
    "enqueued_ms": 8,
    "began_s": 8,
    "ended_s": 8,
}
"""{column that is split by bytes: bytes of an entry}."""


def decode_jobs_ended(value: bytes) -> JobsEnded:
    """Read the event.

    Raises:
        Undecodable: the bytes are no such event, or a column has not an entry for each job.
        UnknownSchema: another version of Stoker wrote them.
    """
    datum = decode_own("JobsEnded", value)
    for name, width in _WIDTHS.items():
        if column := datum[name]:
            _require(len(column) == width * datum["count"], name, datum)
            datum[name] = _whole(column, width)
    for name, is_there in _required(datum):
        _require(is_there, name, datum)
    return JobsEnded(**datum)


def _required(datum: Mapping[str, Any]) -> Iterator[tuple[str, object]]:
    """The columns that no event goes without, each with whether it has an entry for each job."""
    count = datum["count"]
    yield "count", count >= 0
    yield from ((name, datum[name] or not count) for name in ("partitions", "offsets", "began_s", "ended_s", "types"))
    yield "ids", datum["binary_ids"] or datum["id_sizes"] or _are_separate(datum["ids"], count)
    yield "enqueued_ms", datum["binary_ids"] or datum["enqueued_ms"] or not count
    yield "keys", datum["key_sizes"] or not datum["keys"] or _are_separate(datum["keys"], count)
    yield "replays", len(datum["replays"]) in (0, count)


def _are_separate(column: bytes, count: int) -> bool:
    return len(column.split(BETWEEN)) == count if column else not count


def _require(is_right: object, name: str, datum: Mapping[str, Any]) -> None:
    if not is_right:
        raise Undecodable(f"the {name} of the JobsEnded are not those of {datum['count']} jobs")


def _whole(column: bytes, width: int) -> bytes:
    """A column that was split by bytes, entry by entry."""
    count = len(column) // width
    entries = bytearray(len(column))
    for at in range(width):
        entries[at::width] = column[at * count : (at + 1) * count]
    return bytes(entries)


def columns_of(event: JobsEnded) -> tuple[Iterable[Any], ...]:  # each of its own type, zipped by callers
    """The columns of an event, as many entries each as it has jobs.

    Returns:
        Ids as 16 bytes or as texts, types, partitions, offsets, tenants, keys, attempts, when they were enqueued in ms
        since 1970, replays, and seconds: how long before the event's instant each run began, and how long it took.
    """
    return (
        _each_of(event.binary_ids) if event.binary_ids else ids_of(event),
        _by_index(event.types, event.type_indexes, event.count),
        unpacked("i", event.partitions),
        unpacked("q", event.offsets),
        _by_index(event.tenants or ("",), event.tenant_indexes, event.count),
        _keys(event),
        unpacked("I", event.attempts) if event.attempts else [1] * event.count,
        enqueued_ms_of(event),
        event.replays or [""] * event.count,
        began_before_s_of(event),
        took_s_of(event),
    )


def ids_of(event: JobsEnded) -> Sequence[str]:
    """The ids of its jobs, as texts."""
    if event.binary_ids:
        return _texts_of(event.binary_ids)
    texts = [text for _, text in _by_size(event.ids, event.id_sizes)] if event.id_sizes else event.ids.split(BETWEEN)
    return list(map(wire_text, texts))


def _texts_of(uuids: bytes) -> Sequence[str]:
    digits = hexlify(uuids)
    texts = bytearray(b"-" * (_TEXT_BYTES * (len(uuids) // _UUID_BYTES)))
    for at, place in enumerate(_DIGITS):
        texts[place::_TEXT_BYTES] = digits[at :: 2 * _UUID_BYTES]
    whole = texts.decode()
    return [whole[at : at + _TEXT_BYTES] for at in range(0, len(whole), _TEXT_BYTES)]


def enqueued_ms_of(event: JobsEnded) -> Sequence[int]:
    """When each of its jobs was enqueued, in ms since 1970, 0 where that is not known."""
    if event.enqueued_ms:
        return unpacked("q", event.enqueued_ms)
    column = bytearray(8 * (len(event.binary_ids) // _UUID_BYTES))
    for at in range(_TIME_BYTES):
        column[at::8] = event.binary_ids[_TIME_BYTES - 1 - at :: _UUID_BYTES]
    return unpacked("q", column)


def began_before_s_of(event: JobsEnded) -> Sequence[float]:
    """How many seconds before the event's instant the run of each job began."""
    return [event.clock_s - began_s for began_s in unpacked("d", event.began_s)]


def took_s_of(event: JobsEnded) -> Sequence[float]:
    """How many seconds each run took."""
    return list(map(sub, unpacked("d", event.ended_s), unpacked("d", event.began_s)))


def _each_of(raw: bytes) -> Sequence[bytes]:
    return [raw[at : at + _UUID_BYTES] for at in range(0, len(raw), _UUID_BYTES)]


def _by_index(values: Sequence[ValueT], indexes: bytes, count: int) -> Sequence[ValueT]:
    return [values[at] for at in unpacked("H", indexes)] if indexes else [values[0]] * count


def _keys(event: JobsEnded) -> Sequence[bytes | None]:
    if event.key_sizes:
        return [None if size < 0 else key for size, key in _by_size(event.keys, event.key_sizes)]
    return event.keys.split(BETWEEN) if event.keys else [None] * event.count


def _by_size(column: bytes, sizes: bytes) -> Iterator[tuple[int, bytes]]:
    start = 0
    for size in unpacked("i", sizes):
        yield size, column[start : start + max(size, 0)]
        start += max(size, 0)
