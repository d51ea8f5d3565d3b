"""`Record`: a delivered record on its way through the worker."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection
from datetime import UTC, datetime
from typing import Final

from confluent_kafka import Message

from ...schemas import wire_text
from ...topology.declaration.priorities import NORMAL
from ...topology.wire.headers import (
    ATTEMPT,
    DEFERRED_SINCE,
    FIRST_FAILED,
    LAST_MS,
    ORIGIN,
    PRIORITY,
    TIME,
    HeaderList,
    HeaderMap,
    header_map,
    parse_instant,
)
from ...topology.wire.ledger_names import deduplication_id, name_of
from ..progress.assignment import Assignment, Lane
from .header_layout import LAYOUTS

LONGEST_PLACE_BYTES: Final = 300
"""A topic's name has 249 characters at the most, its partition and offset 10 and 19 digits."""
MAX_ATTEMPT: Final = 1_000_000
_NO_HEADERS: Final[tuple[tuple[str, ...], tuple[bytes, ...]]] = ((), ())


class Record:
    """The part of a Kafka message that the job path needs, read once.

    Attributes:
        layout: where each header stands in `values`.
        values: of the headers, in their order; an absent value is empty.
        fault: why the headers could not be read at all; None where they could.
        deduplication_id: the record's name in the ledger: the idempotency key, else the job id, under the replay's
            name if a replay published it. None where the record carries no id at all.
        size_bytes: of value, key and header values: what the record counts for against the bounds on memory.
        lane: records of one lane run one at a time, in their order: those of a key, or else repetitions of one job. Of
            each priority but the normal one, a key has a lane of its own.
        began_at_s, ended_at_s: `time.monotonic()` at which its last run began and ended; 0 before, and where its job
            ends without one. `began_at_s` is NaN where the run ended before a slot began it. Only these
            change after the record was made. `Pipe` sets them, as fields: a method here would cost each job a call.
    """

    __slots__ = (
        "_headers",
        "_odd_pairs",
        "assignment",
        "began_at_s",
        "deduplication_id",
        "ended_at_s",
        "fault",
        "key",
        "lane",
        "layout",
        "offset",
        "size_bytes",
        "timestamp_ms",
        "value",
        "values",
    )

    def __init__(self, message: Message, assignment: Assignment) -> None:
        self.began_at_s = self.ended_at_s = 0.0
        self.fault: str | None = None
        self._headers: HeaderMap | None = None
        self._odd_pairs: HeaderList | None = None
        try:
            pairs: HeaderList = message.headers()  # type: ignore[assignment]  # a consumed one has them as a list, or None
        except (SystemError, UnicodeDecodeError):  # so the client fails over a name that is not UTF-8
            pairs, self.fault = [], "the name of a header is not UTF-8, so none of them can be read"
        names: tuple[str, ...]
        values: tuple[bytes, ...]
        names, values = zip(*pairs) if pairs else _NO_HEADERS  # noqa: B905  # all are pairs; `strict` costs time here
        self.layout, self.values = LAYOUTS[names], values
        try:
            headers_bytes = len(b"".join(self.values)) if self.layout.is_plain else self._index(pairs)
        except TypeError:  # a header without a value, which Kafka allows
            headers_bytes = self._index(pairs)
        key = self.key = message.key()
        value = self.value = message.value()
        self.assignment = assignment
        self.offset: int = message.offset()  # type: ignore[assignment]  # None only for messages not yet produced
        self.timestamp_ms: int = message.timestamp()[1]
        at = self.layout.job_id_at
        self.deduplication_id = deduplication_id(self.headers) if at is None else name_of(self.values[at])
        self.size_bytes = headers_bytes + (0 if value is None else len(value))
        self.lane: Lane | None = self.deduplication_id
        if key is not None:
            self.size_bytes += len(key)
            self.lane = key if assignment.keeps_order else self.deduplication_id
        if assignment.priorities is not None:
            self.lane = assignment.priorities.lane(self.priority, self.lane)

    def _index(self, pairs: HeaderList) -> int:
        """Take headers of which a name comes twice, or has no value; returns their bytes."""
        self._odd_pairs = pairs
        headers = self._headers = header_map(pairs)
        self.layout, self.values = LAYOUTS[tuple(headers)], tuple(headers.values())
        return len(b"".join(self.values))

    def header(self, name: str) -> bytes | None:
        """The value of one header; None where it is absent."""
        at = self.layout.positions.get(name)
        return None if at is None else self.values[at]

    @property
    def tenant(self) -> bytes | None:
        """For whom its job is; None where the header is absent or empty."""
        at = self.layout.tenant_at
        return None if at is None else self.values[at] or None

    @property
    def priority(self) -> str:
        """The priority of its job; normal in a queue that declares none."""
        priorities = self.assignment.priorities
        return NORMAL if priorities is None else priorities.of(self.assignment.source, self.header(PRIORITY))

    @property
    def normal_lane(self) -> Lane | None:
        """The lane that it would have as a normal job: one record of it runs at a time, whatever the priority."""
        return self.key if self.assignment.keeps_order and self.key is not None else self.deduplication_id

    @property
    def topic(self) -> str:
        """The topic that it is on."""
        return self.assignment.topic

    @property
    def partition(self) -> int:
        """The number of its partition."""
        return self.assignment.partition

    @property
    def headers(self) -> HeaderMap:
        """{name: value}; of a repeated name the last one."""
        headers = self._headers
        if headers is None:
            headers = self._headers = dict(zip(self.layout.names, self.values, strict=True))
        return headers

    @property
    def pairs(self) -> HeaderList:
        """The headers as they came, in their order."""
        return list(zip(self.layout.names, self.values, strict=True)) if self._odd_pairs is None else self._odd_pairs

    @property
    def origin(self) -> bytes:
        """Where its job was first enqueued, the same for all its records: the header, or else its own place.

        What is longer than any place can be is none of ours; it would make the ledger's names too large to be written.
        """
        named = self.header(ORIGIN)
        return named if named and len(named) <= LONGEST_PLACE_BYTES else str(self).encode()

    def __str__(self) -> str:
        """Where the record stands, as `topic/partition/offset`, the form of the `stoker-origin` header."""
        return f"{self.assignment.topic}/{self.assignment.partition}/{self.offset}"


def attempt_of(headers: HeaderMap) -> int:
    """The number of the run to come.

    Raises:
        ValueError: the header is not a number from 1 to `MAX_ATTEMPT`.
    """
    if ATTEMPT not in headers:
        return 1
    text = headers[ATTEMPT]
    # Python would read blanks, signs and underscores as well, and other workers need not.
    if not text.isdigit() or not 1 <= len(text) <= 20 or not 1 <= (attempt := int(text)) <= MAX_ATTEMPT:
        raise ValueError(f"{ATTEMPT} is {wire_text(text)!r}, and no number from 1 to {MAX_ATTEMPT:,}")
    return attempt


def first_failed(headers: HeaderMap) -> datetime | None:
    """When the job failed for the first time; None if no readable header has it."""
    return _instant_of(headers, FIRST_FAILED)


def deferred_since(headers: HeaderMap) -> datetime | None:
    """When the job was deferred for the first time since its last run; None if no readable header has it."""
    return _instant_of(headers, DEFERRED_SINCE)


def _instant_of(headers: HeaderMap, name: str) -> datetime | None:
    value = headers.get(name)
    try:
        return None if value is None else parse_instant(value)
    except ValueError:
        return None


def enqueued(record: Record) -> datetime | None:
    """When the job of a record was enqueued: by its header, or else by the record's own timestamp."""
    stated = record.header(TIME)
    try:
        if stated is not None:
            return parse_instant(stated)
    except ValueError:
        pass
    is_known = 0 < record.timestamp_ms <= LAST_MS  # a foreign client may have written microseconds
    return datetime.fromtimestamp(record.timestamp_ms / 1e3, UTC) if is_known else None


def attempt_or_1(headers: HeaderMap) -> int:
    """The number of the run to come, 1 where the header cannot be read."""
    try:
        return attempt_of(headers)
    except ValueError:
        return 1


def copied(records: deque[Record]) -> list[Record]:
    """The records of a queue that other threads go on changing."""
    while True:
        try:
            return list(records)
        except RuntimeError:  # it was changed amid this
            continue


def take_out(records: deque[Record], assignments: Collection[Assignment]) -> list[Record]:
    """Remove the records of some assignments from a queue that its runner goes on emptying meanwhile."""
    dropped: list[Record] = []
    kept: list[Record] = []
    while True:
        try:
            record = records.popleft()
        except IndexError:
            break
        (dropped if record.assignment in assignments else kept).append(record)
    records.extend(kept)
    return dropped


RecordAt = tuple[str, int, int]
"""Topic, partition and offset of a record: it keeps them where its partition begins anew, unlike a `Place`."""


def record_at(record: Record) -> RecordAt:
    """Where a record is."""
    return record.topic, record.partition, record.offset
