"""`EndedColumns`: what the event of jobs that are done has of some of them, made while their memory is at hand.

Mostly, a runner makes the columns of a handful right after it has run it: each is a look at all of the records, and
they are in the processor's cache then. A tenth of a second later, in another thread, the same looks cost twice as much.
The event itself is put together from the columns of many handfuls, by appending.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Final, NamedTuple

from ...producers.metrics.histogram import Bins
from ...schemas import wire_text
from ...schemas.own_records.jobs_ended import (
    BETWEEN,
    JobsEnded,
    are_timed,
    indexed,
    joined,
    joined_keys,
    packed,
    packed_uuids,
)
from ...topology.wire.headers import JOB_ID, REPLAY
from ..progress.assignment import Assignment
from .header_layout import HeaderLayout
from .record import Record, attempt_or_1, enqueued

LONGEST_KEY_BYTES: Final = 512
"""Bytes of a key in an event, where the keys of its jobs are longer on average: a thousand keys then fit a record."""


class Durations(NamedTuple):
    """How long some jobs of one type waited and ran, in seconds, by the buckets of their histograms."""

    job_type: str
    jobs: int
    waits: Bins
    runs: Bins


class Handful(NamedTuple):
    """Records whose jobs are done, and what is read of each of them for more than one purpose.

    Attributes:
        began_at_s, ended_at_s: `time.monotonic()` at which their last runs began and ended.
    """

    records: Sequence[Record]
    layouts: list[HeaderLayout]
    began_at_s: list[float]
    ended_at_s: list[float]

    @property
    def are_alike(self) -> bool:
        """Whether the headers of all of them stand at the same places."""
        return self.layouts.count(self.layouts[0]) == len(self.layouts)


class EndedColumns:
    """The columns of records that have the same headers, and are of one topic.

    Attributes:
        sort: those of one sort can be in one event.
        types, tenants: a single value where all have the same; no tenant where none has the header.
        numbers: {field of `JobsEnded`: its packed numbers or UUIDs}.
        durations: what metrics count of these jobs; the caller sets it.
    """

    __slots__ = ("count", "durations", "ids", "keys", "numbers", "replays", "sort", "tenants", "topic", "types")

    def __init__(self, handful: Handful, partitions: bytes, only_type: bytes | None) -> None:
        records, layout = handful.records, handful.layouts[0]
        self.count = len(records)
        self.durations: Sequence[Durations] = ()
        self.topic = records[0].topic
        types = _occurring(records, layout.job_type_at) if only_type is None else [only_type]
        self.types = types or [b""]
        self.tenants = _occurring(records, layout.tenant_at)
        self.replays = _shown(records, layout.positions.get(REPLAY))
        uuids, enqueued_ms, self.ids, id_sizes = _ids(records)
        self.keys, key_sizes = _keys(records)
        self.numbers = {
            "binary_ids": uuids,
            "id_sizes": id_sizes,
            "partitions": partitions,
            "offsets": packed("q", [record.offset for record in records]),
            "key_sizes": key_sizes,
            "attempts": b"" if layout.is_of_first_run else packed("I", list(map(_attempt, records))),
            "enqueued_ms": enqueued_ms,
            "began_s": packed("d", handful.began_at_s),
            "ended_s": packed("d", handful.ended_at_s),
        }
        self.sort = (layout, self.topic, not uuids, not id_sizes, not enqueued_ms, not self.keys, not key_sizes)


def handful_of(records: Sequence[Record]) -> Handful:
    """Records, of which there is at least one, with what is read of each."""
    return Handful(
        records,
        [record.layout for record in records],
        [record.began_at_s for record in records],
        [record.ended_at_s for record in records],
    )


def columns_of_all(
    handful: Handful, assignments: Collection[Assignment], only_type: bytes | None
) -> EndedColumns | None:
    """The columns of records, None where they are not alike: such would take one event for each sort.

    Args:
        assignments: those of the records, each once; most often there is but one.
        only_type: of all jobs, where there is but one: then no record is asked for its own.
    """
    if not handful.are_alike or len({assignment.topic for assignment in assignments}) > 1:
        return None
    return EndedColumns(handful, _partitions(handful.records, assignments), only_type)


def columns_by_sort(records: Sequence[Record], only_type: bytes | None) -> list[EndedColumns]:
    """The columns of records of any sorts; there is at least one record."""
    columns = _columns_of_some(records, only_type)
    if columns is not None:
        return [columns]
    alike: dict[tuple[object, str], list[Record]] = {}
    for record in records:
        alike.setdefault((record.layout, record.topic), []).append(record)
    found = [_columns_of_some(some, only_type) for some in alike.values()]
    return [columns for columns in found if columns is not None]


def _columns_of_some(records: Sequence[Record], only_type: bytes | None) -> EndedColumns | None:
    return columns_of_all(handful_of(records), {record.assignment for record in records}, only_type)


def event_of(
    columns: Sequence[EndedColumns], *, queue: str, worker_id: str, release: str, at: datetime, clock_s: float
) -> JobsEnded:
    """The event of jobs whose columns are of one sort."""
    first = columns[0]
    types, type_indexes = _indexed([(some.types, some.count) for some in columns])
    tenants, tenant_indexes = _indexed([(some.tenants, some.count) for some in columns])
    numbers = _numbers(columns)
    return JobsEnded(
        queue=queue,
        worker=worker_id,
        release=release,
        at=at,
        clock_s=clock_s,
        count=sum(some.count for some in columns),
        ids=_between(numbers["id_sizes"] or not first.ids).join([some.ids for some in columns]),
        types=types,
        type_indexes=type_indexes,
        topic=first.topic,
        tenants=tenants,
        tenant_indexes=tenant_indexes,
        keys=_between(numbers["key_sizes"] or not first.keys).join([some.keys for some in columns]),
        replays=[replay for some in columns for replay in some.replays],
        **numbers,
    )


def _numbers(columns: Sequence[EndedColumns]) -> dict[str, bytes]:
    return {name: b"".join([some.numbers[name] for some in columns]) for name in columns[0].numbers}


def _between(sizes: object) -> bytes:
    return b"" if sizes else BETWEEN


def _ids(records: Sequence[Record]) -> tuple[bytes, bytes, bytes, bytes]:
    """The ids, and when their jobs were enqueued.

    Returns:
        UUIDs, instants in ms, texts, sizes of texts. Instants are empty where UUIDs tell, texts where all are UUIDs.
    """
    layout, count = records[0].layout, len(records)
    if layout.job_id_at is not None:
        ids = "\0".join([record.deduplication_id or "" for record in records]).encode()
        uuids = packed_uuids(ids, count)
        if uuids and are_timed(ids, count):
            return uuids, b"", b"", b""
    shown = _shown(records, layout.positions.get(JOB_ID)) or [""] * count  # they may be of any length
    return _ids_beside(packed("q", list(map(_enqueued_ms, records))), shown)


def _ids_beside(enqueued_ms: bytes, shown: Sequence[str]) -> tuple[bytes, bytes, bytes, bytes]:
    texts, sizes = joined([text.encode() for text in shown])
    uuids = b"" if sizes else packed_uuids(texts, len(shown))
    return (uuids, enqueued_ms, b"", b"") if uuids else (b"", enqueued_ms, texts, sizes)


def _keys(records: Sequence[Record]) -> tuple[bytes, bytes]:
    """The keys and their sizes; cut where the whole would be too large for a record with those of other handfuls."""
    keys = [record.key for record in records]
    column, sizes = joined_keys(keys)
    if len(column) <= (LONGEST_KEY_BYTES + 1) * len(keys):
        return column, sizes
    return joined_keys([None if key is None else key[:LONGEST_KEY_BYTES] for key in keys])


def _occurring(records: Sequence[Record], at: int | None) -> list[bytes]:
    """The values of a header: one where all have the same, none where it is absent."""
    if at is None:
        return []
    found = {record.values[at] for record in records}
    return list(found) if len(found) == 1 else [record.values[at] for record in records]


def _indexed(columns: Sequence[tuple[list[bytes], int]]) -> tuple[list[str], bytes]:
    """The texts that occur, and a column of their indexes; of each part its values and how many jobs it has."""
    first = columns[0][0]
    if not first:  # as in all of them: they have the same headers
        return [], b""
    if len(first) == 1 and all(values == first for values, _ in columns):
        return [wire_text(first[0])], b""
    each = [value for values, count in columns for value in (values * count if len(values) == 1 else values)]
    occurring, indexes = indexed(each)
    return [wire_text(value) for value in occurring], indexes


def _shown(records: Sequence[Record], at: int | None) -> list[str]:
    return [] if at is None else [wire_text(record.values[at]) for record in records]


def _partitions(records: Sequence[Record], assignments: Collection[Assignment]) -> bytes:
    """The numbers of partitions; those of a handful are most often the same."""
    if len(assignments) == 1:
        return packed("i", [records[0].partition]) * len(records)
    return packed("i", [record.partition for record in records])


def _attempt(record: Record) -> int:
    return attempt_or_1(record.headers)


def _enqueued_ms(record: Record) -> int:
    at = enqueued(record)
    return 0 if at is None else round(at.timestamp() * 1e3)
