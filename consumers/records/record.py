"""`Record`: a delivered record on its way through the worker."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection
from datetime import datetime
from typing import Final

from confluent_kafka import Message

from ...schemas import wire_text
from ...topology.wire.headers import ATTEMPT, FIRST_FAILED, ORIGIN, HeaderList, HeaderMap, header_map, parse_instant
from ...topology.wire.ledger_names import deduplication_id
from .assignment import Assignment, Lane

LONGEST_PLACE_BYTES: Final = 300
"""A topic's name has 249 characters at the most, its partition and offset 10 and 19 digits."""
MAX_ATTEMPT: Final = 1_000_000


class Record:
    """What the job path needs of a Kafka message, read once; mutable by nobody after it was made.

    Attributes:
        headers: {name: value}.
        fault: why the headers could not be read at all; None where they could.
        deduplication_id: the record's name in the ledger: the idempotency key, else the job id, under the replay's
            name if a replay published it. None where the record carries no id at all.
        size_bytes: of value, key and header values: what the record counts for against the bounds on memory.
        lane: records of one lane run one at a time, in their order: those of a key, or else repetitions of one job.
    """

    __slots__ = (
        "_odd_pairs",
        "assignment",
        "deduplication_id",
        "fault",
        "headers",
        "key",
        "lane",
        "offset",
        "size_bytes",
        "timestamp_ms",
        "value",
    )

    def __init__(self, message: Message, assignment: Assignment) -> None:
        self.fault: str | None = None
        try:
            pairs: HeaderList = message.headers() or []  # type: ignore[assignment]  # a consumed one has them as a list
        except (SystemError, UnicodeDecodeError):  # so the client fails over a name that is not UTF-8
            pairs, self.fault = [], "the name of a header is not UTF-8, so none of them can be read"
        headers: HeaderMap = dict(pairs)
        self._odd_pairs: HeaderList | None = None
        try:
            is_plain, values = len(headers) == len(pairs), b"".join(headers.values())
        except TypeError:
            is_plain, values = False, b""
        if not is_plain:  # a name twice, or no value: Kafka allows both
            headers, self._odd_pairs = header_map(pairs), pairs
            values = b"".join(headers.values())
        self.assignment = assignment
        self.offset: int = message.offset()  # type: ignore[assignment]  # None only for messages not yet produced
        self.key: bytes | None = message.key()
        self.value: bytes | None = message.value()
        self.timestamp_ms: int = message.timestamp()[1]
        self.headers = headers
        self.deduplication_id = deduplication_id(headers)
        self.size_bytes = len(self.value or b"") + len(self.key or b"") + len(values)
        self.lane: Lane | None = self.key if assignment.keeps_order and self.key is not None else self.deduplication_id

    @property
    def pairs(self) -> HeaderList:
        """The headers as they came, in their order."""
        return list(self.headers.items()) if self._odd_pairs is None else self._odd_pairs

    @property
    def origin(self) -> bytes:
        """Where its job was first enqueued, the same for all its records: the header, or else its own place.

        What is longer than any place can be is none of ours; it would make the ledger's names too large to be written.
        """
        told = self.headers.get(ORIGIN)
        return told if told and len(told) <= LONGEST_PLACE_BYTES else str(self).encode()

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
    """When the job failed, or was put off as unknown, for the first time; None where nothing legible says so."""
    value = headers.get(FIRST_FAILED)
    try:
        return None if value is None else parse_instant(value)
    except ValueError:
        return None


def attempt_or_1(headers: HeaderMap) -> int:
    """The number of the run to come, 1 where the header cannot be read."""
    try:
        return attempt_of(headers)
    except ValueError:
        return 1


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
