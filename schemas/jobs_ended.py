"""`JobsEnded`: the event of many jobs that are done, in columns, and its jobs one by one for those who read it.

An event for each job would cost more than a short job itself. Packed columns are built by a few calls for all jobs.
"""

from __future__ import annotations

import sys
import uuid
from array import array
from binascii import unhexlify
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from struct import Struct, pack
from typing import Any, Final, TypeVar

from .own import decode_own, encode_own

_TEXT_BYTES: Final = 36
_DASHES: Final = (8, 13, 18, 23)
_VERSION_AT: Final = 14
_OF_NO_DIGIT: Final = b"-ABCDEF"
"""Dashes, and digits that would come back in lower case."""
_ID_BYTES: Final = 16
_FIRST_HALF: Final = Struct(">Q8x")
"""Of an id: the upper 48 of these 64 bits are the time of a UUID of version 7."""


ValueT = TypeVar("ValueT")
HashableT = TypeVar("HashableT", bound=Hashable)


@dataclass(frozen=True, slots=True, kw_only=True)
class JobsEnded:
    """Jobs that one worker has done, as columns; `events/JobsEnded.avsc` has the meaning and unit of each field."""

    queue: str
    worker: str
    release: str
    at: datetime
    count: int
    ids: bytes = b""
    id_texts: Sequence[str] = ()
    types: Sequence[str] = ()
    type_indexes: bytes = b""
    places: Sequence[Mapping[str, Any]] = ()
    place_indexes: bytes = b""
    offsets: bytes = b""
    tenants: Sequence[str] = ()
    tenant_indexes: bytes = b""
    key_sizes: bytes = b""
    keys: bytes = b""
    attempts: bytes = b""
    enqueued_ms: bytes = b""
    replays: Sequence[str] = ()
    began_before_s: bytes = b""
    took_s: bytes = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class EndedJob:
    """One job of a `JobsEnded`.

    Attributes:
        key: None where it has none.
        enqueued_ms: since 1970; 0 where it is not known.
        replay: the id of the replay that has published it; empty for most.
    """

    job_id: str
    job_type: str
    topic: str
    partition: int
    offset: int
    tenant: str
    key: bytes | None
    attempt: int
    enqueued_ms: int
    replay: str
    began: datetime
    took_s: float


def packed(kind: str, numbers: Sequence[float]) -> bytes:
    """A column of numbers, of a kind as `struct` names them, which takes half the time of an `array`."""
    return pack(f"<{len(numbers)}{kind}", *numbers)


def unpacked(kind: str, column: bytes) -> Sequence[Any]:  # whole numbers or floats, as the kind decides
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


def packed_ids(ids: Sequence[bytes]) -> tuple[bytes, bool]:
    """The ids as 16 bytes each, and whether all tell when they were made; empty unless all are UUIDs in lower case."""
    whole = b"".join(ids)
    count = len(ids)
    dashes = b"-" * count
    if len(whole) != _TEXT_BYTES * count or any(whole[at::_TEXT_BYTES] != dashes for at in _DASHES):
        return b"", False
    digits = whole.translate(None, _OF_NO_DIGIT)
    if len(digits) != 2 * _ID_BYTES * count:
        return b"", False
    try:
        return unhexlify(digits), whole[_VERSION_AT::_TEXT_BYTES] == b"7" * count
    except ValueError:
        return b"", False


def encode_jobs_ended(event: JobsEnded) -> bytes:
    """Write the event, framed."""
    return encode_own("JobsEnded", {name: getattr(event, name) for name in _NAMES})


_NAMES: Final = tuple(JobsEnded.__dataclass_fields__)


def decode_jobs_ended(value: bytes) -> JobsEnded:
    """Read the event.

    Raises:
        Undecodable: the bytes are no such event.
        UnknownSchema: another version of Stoker wrote them.
    """
    return JobsEnded(**decode_own("JobsEnded", value))


def columns_of(event: JobsEnded) -> tuple[Iterable[Any], ...]:  # each of its own type, zipped by callers
    """The columns of an event, as many entries each as it has jobs.

    Returns:
        Ids as 16 bytes or as texts, types, (topic, partition), offsets, tenants, keys, attempts, when they were
        enqueued in ms since 1970, replays, and seconds: how long before the event's instant each run began, and how
        long it took.
    """
    places = [(place["topic"], place["partition"]) for place in event.places]
    return (
        _stored_ids(event),
        _by_index(event.types, event.type_indexes, event.count),
        _by_index(places, event.place_indexes, event.count),
        unpacked("q", event.offsets),
        _by_index(event.tenants or ("",), event.tenant_indexes, event.count),
        _keys(event),
        _numbers("I", event.attempts, event.count, 1),
        enqueued_ms_of(event),
        event.replays or [""] * event.count,
        unpacked("f", event.began_before_s),
        unpacked("f", event.took_s),
    )


def jobs_of(event: JobsEnded) -> Iterator[EndedJob]:
    """Read the jobs one by one, in their order.

    Raises:
        ValueError: its columns have not as many entries as it has jobs.
    """
    columns = columns_of(event)
    for job_id, job_type, (topic, partition), offset, tenant, key, attempt, enqueued, replay, before, took in zip(
        ids_of(event), *columns[1:], strict=True
    ):
        yield EndedJob(
            job_id=job_id,
            job_type=job_type,
            topic=topic,
            partition=partition,
            offset=offset,
            tenant=tenant,
            key=key,
            attempt=attempt,
            enqueued_ms=enqueued,
            replay=replay,
            began=event.at - timedelta(seconds=before),
            took_s=took,
        )


def _stored_ids(event: JobsEnded) -> Sequence[bytes | str]:
    raw = event.ids
    return [raw[at : at + _ID_BYTES] for at in range(0, len(raw), _ID_BYTES)] if raw else event.id_texts


def ids_of(event: JobsEnded) -> Sequence[str]:
    """The ids of its jobs, as texts."""
    if not event.ids:
        return event.id_texts
    raw = event.ids
    return [str(uuid.UUID(bytes=raw[at : at + _ID_BYTES])) for at in range(0, len(raw), _ID_BYTES)]


def enqueued_ms_of(event: JobsEnded) -> Sequence[int]:
    """When each of its jobs was enqueued, in ms since 1970, 0 where that is not known."""
    if event.enqueued_ms:
        return unpacked("q", event.enqueued_ms)
    raw = event.ids
    return [first >> 16 for (first,) in _FIRST_HALF.iter_unpack(raw)]


def _by_index(values: Sequence[ValueT], indexes: bytes, count: int) -> Sequence[ValueT]:
    return [values[at] for at in unpacked("H", indexes)] if indexes else [values[0]] * count


def _numbers(kind: str, column: bytes, count: int, without: int) -> Sequence[int]:
    return unpacked(kind, column) if column else [without] * count


def _keys(event: JobsEnded) -> Iterator[bytes | None]:
    if not event.key_sizes:
        yield from [None] * event.count
    start = 0
    for size in unpacked("i", event.key_sizes):
        yield None if size < 0 else event.keys[start : start + size]
        start += max(size, 0)
