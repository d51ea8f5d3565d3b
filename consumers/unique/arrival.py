"""`Arrival`: when a unique job came, by which it is decided what was in its way; and what its records carry of that."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from ...topology.wire import headers as wire
from ...topology.wire.headers import HeaderList
from ...topology.wire.ledger_names import name_of
from ..records.record import Record

Identity = tuple[bytes, bytes]
"""Key of the record, and what its producer has made of the arguments. Jobs are unique within their key."""
SECOND_MS: Final = 1_000
NEVER_MS: Final = 1 << 62
TIME_HEADERS: Final = frozenset({wire.ARRIVED, wire.PUT_OFF_SINCE})


@dataclass(frozen=True, slots=True, order=True)
class Arrival:
    """One job's place in the order in which the jobs of its identity came.

    Attributes:
        at_ms: when the brokers took it.
        offset: where, on the topic that it was published to: all jobs of a type are on one.
        name: the job's name in the ledger.
        job_id: its id, for people.
        replayed: the name of the job that a replay has published anew; None where none has.
        expires_ms: when its job expires; `NEVER_MS` where it does not.
    """

    at_ms: int
    offset: int
    name: str
    job_id: str = field(default="", compare=False)
    replayed: str | None = field(default=None, compare=False)
    expires_ms: int = field(default=NEVER_MS, compare=False)

    def is_replay_of(self, other: Arrival) -> bool:
        """Whether it is the other's job, which a replay has published anew."""
        return self.replayed is not None and (other.name == self.replayed or other.name.endswith(f":{self.replayed}"))


def identity_of(record: Record) -> Identity | None:
    """The identity of a record; None where it has none."""
    identity = record.header(wire.UNIQUE)
    return (record.key or b"", identity) if identity else None


def arrival_of(record: Record) -> Arrival:
    """When the job of a record came: its own time where it was published, or what it has of that elsewhere."""
    at_ms = record.timestamp_ms
    if not record.assignment.source.is_entry:
        at_ms = instant_ms(record.header(wire.ARRIVED), at_ms)
    job_id = (record.header(wire.JOB_ID) or b"").decode("utf-8", "backslashreplace")
    expires_ms = instant_ms(record.header(wire.EXPIRES), NEVER_MS)
    return Arrival(at_ms, _offset_of(record), record.deduplication_id or "", job_id, _replayed(record), expires_ms)


def _replayed(record: Record) -> str | None:
    """The name that the job of a replay's record had before; None of other records."""
    if record.header(wire.REPLAY) is None:
        return None
    return name_of(record.header(wire.IDEMPOTENCY_KEY) or record.header(wire.JOB_ID))


def _offset_of(record: Record) -> int:
    offset = record.origin.rpartition(b"/")[2]
    return int(offset) if offset.isdigit() and len(offset) <= 19 else record.offset


def is_accepted(record: Record) -> bool:
    """Whether a record is that of a job which was the holder of its identity when the record was written."""
    return not record.assignment.source.is_entry and None not in (
        record.header(wire.ARRIVED),
        record.header(wire.REASON),
    )


def instant_ms(value: bytes | None, otherwise: int) -> int:
    """A header's instant in epoch milliseconds; where it is absent, or no instant, the other number."""
    try:
        return otherwise if value is None else round(wire.parse_instant(value).timestamp() * SECOND_MS)
    except (ValueError, OverflowError):
        return otherwise


def time_headers(arrival: Arrival, first_ms: int | None = None) -> HeaderList:
    """Headers that hold when the job of a record that waits elsewhere came, and since when it is put off."""
    found = [(wire.ARRIVED, _written(arrival.at_ms))]
    return found if first_ms is None else [*found, (wire.PUT_OFF_SINCE, _written(first_ms))]


def with_times(headers: HeaderList, times: HeaderList) -> HeaderList:
    """Headers with these times, and no others."""
    return [pair for pair in headers if pair[0] not in TIME_HEADERS] + times


def _written(at_ms: int) -> bytes:
    return wire.format_instant(utc_of(at_ms))


def utc_of(at_ms: int) -> datetime:
    """An epoch time in milliseconds as an aware datetime; the last one there is, of later times."""
    return datetime.fromtimestamp(min(at_ms, wire.LAST_MS) / SECOND_MS, UTC)
