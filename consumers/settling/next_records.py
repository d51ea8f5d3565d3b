"""The job's own next record: in a retry tier, a delay topic or among the dead letters. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, assert_never

from ...topology import Queue
from ...topology.wire import headers as wire
from ...topology.wire.headers import HeaderList
from ...topology.wire.ledger_names import LONGEST_ATTEMPT_BYTES
from ..records.outcomes import Dead, Deferred, Delayed, Failure, Outcome, Retried, Snoozed
from ..records.record import Record, deferred_since, first_failed
from .outgoing import OutgoingRecord, Relation

LONGEST_REASON_BYTES: Final = 50
"""The bound on a word that is not one of ours, and travels on with a record that waits."""

FIRST_ERROR_BYTES: Final = 300
"""The bound on class and message of a job's first error, which travel on through all of its retries."""
_DUE_ONLY: Final = frozenset(
    {wire.DUE, wire.ORIGIN, wire.CARRIED, wire.FIRST_FAILED, wire.DEFERRED_SINCE, wire.REASON, wire.WORKER}
)
"""The headers that change when a record moves on without a failure: its attempt and its last error stay."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EventFacts:
    """The facts that only events have: what the worker runs, and `time.monotonic()` at that instant."""

    release: str = ""
    monotonic_s: float = 0.0


NO_FACTS: Final = EventFacts()


@dataclass(frozen=True, slots=True, kw_only=True)
class SettlingContext:
    """The facts that a writer of records has beside the record and its outcome."""

    queue: Queue
    worker_id: str
    now: datetime
    facts: EventFacts = NO_FACTS


def next_record(record: Record, outcome: Outcome, context: SettlingContext) -> Sequence[OutgoingRecord]:
    """Plan the record in which the job goes on; none where it does not."""
    match outcome:
        case Retried():
            return [_next_attempt(record, outcome, context)]
        case Dead():
            return [_dead_letter(record, outcome, context)]
        case Snoozed():
            return [_waiting(record, outcome, "snoozed", context)]
        case Deferred(reason=reason):
            return [_waiting(record, outcome, reason, context)]
        case Delayed():
            return [_waiting(record, outcome, None, context)]
        case _:
            return []


def _next_attempt(record: Record, outcome: Retried, context: SettlingContext) -> OutgoingRecord:
    added = [
        (wire.ATTEMPT, b"%d" % outcome.next_attempt),
        (wire.DUE, wire.format_instant(outcome.due)),
        *_failure(record, outcome.failure, "failed", context),
    ]
    headers = wire.replace_headers(record.pairs, drop=wire.RETRY_HEADERS, add=added)
    return _job(record, context.queue.retry_topics[outcome.tier], headers, Relation.WAITING)


def _dead_letter(record: Record, outcome: Dead, context: SettlingContext) -> OutgoingRecord:
    attempt = record.headers.get(wire.ATTEMPT, b"1")[:LONGEST_ATTEMPT_BYTES]
    added = [(wire.ATTEMPT, attempt), *_failure(record, outcome.failure, outcome.reason, context)]
    if outcome.reason == "never-known":
        added.extend(_deferred_before(record, context))
    if outcome.crashes:
        added.append((wire.CRASHES, b"%d" % outcome.crashes))
    headers = wire.replace_headers(record.pairs, drop=wire.RETRY_HEADERS, add=added)
    return _job(record, context.queue.dead_topic, headers, Relation.DEAD_LETTER)


def _waiting(
    record: Record, outcome: Snoozed | Deferred | Delayed, reason: str | None, context: SettlingContext
) -> OutgoingRecord:
    came_for = record.headers.get(wire.REASON, b"delayed")[:LONGEST_REASON_BYTES]
    added = [
        (wire.DUE, wire.format_instant(outcome.due)),
        (wire.REASON, came_for if reason is None else reason.encode()),
        *_failed_before(record, context),
        *_deferred_since(record, outcome, context),
        *_provenance(record, context),
    ]
    headers = wire.replace_headers(record.pairs, drop=_DUE_ONLY, add=added)
    return _job(record, context.queue.delay_topics[outcome.delay], headers, Relation.WAITING)


def _job(record: Record, topic: str, headers: HeaderList, relation: Relation) -> OutgoingRecord:
    """The job with its own key and bytes, in its own partition."""
    partition = record.assignment.partition
    return OutgoingRecord(
        topic=topic, partition=partition, key=record.key, value=record.value, headers=headers, relation=relation
    )


def _failure(record: Record, failure: Failure, reason: str, context: SettlingContext) -> HeaderList:
    return [
        *_first_failed(record, context),
        *_first_error(record),
        (wire.ERROR_TYPE, utf8(failure.error_type)),
        (wire.ERROR_MESSAGE, utf8(failure.message)),
        (wire.ERROR_STACK, utf8(failure.stack)),
        (wire.ERROR_FINGERPRINT, failure.fingerprint.encode()),
        (wire.REASON, reason.encode()),
        *_provenance(record, context),
    ]


def _first_error(record: Record) -> HeaderList:
    """The error of the job's first failed run, once another one follows: a part of the message is enough."""
    values = record.headers
    named = (
        (wire.FIRST_ERROR_TYPE, values.get(wire.FIRST_ERROR_TYPE) or values.get(wire.ERROR_TYPE)),
        (wire.FIRST_ERROR_MESSAGE, values.get(wire.FIRST_ERROR_MESSAGE) or values.get(wire.ERROR_MESSAGE)),
    )
    return [(name, _first_characters(value)) for name, value in named if value]


def _first_characters(value: bytes) -> bytes:
    """As many whole characters as fit: a cut inside one would leave a value that is no UTF-8."""
    return value[:FIRST_ERROR_BYTES].decode("utf-8", "ignore").encode()


def _provenance(record: Record, context: SettlingContext) -> HeaderList:
    return [(wire.ORIGIN, record.origin), (wire.WORKER, utf8(context.worker_id))]


def _first_failed(record: Record, context: SettlingContext) -> HeaderList:
    return _failed_before(record, context) or [(wire.FIRST_FAILED, wire.format_instant(context.now))]


def _failed_before(record: Record, context: SettlingContext) -> HeaderList:
    """When the job first failed, by its record; what is no instant, or lies ahead, is left out."""
    return _past(wire.FIRST_FAILED, first_failed(record.headers), context)


def _deferred_since(record: Record, outcome: Snoozed | Deferred | Delayed, context: SettlingContext) -> HeaderList:
    """When the first deferral in a row was; a run ends the row, and so does an order to wait until another time."""
    match outcome:
        case Snoozed():
            return []
        case Delayed(due=due):
            is_own = record.headers.get(wire.DUE) == wire.format_instant(due)
            return _deferred_before(record, context) if is_own else []
        case Deferred():
            return _deferred_before(record, context) or [(wire.DEFERRED_SINCE, wire.format_instant(context.now))]
        case _:
            assert_never(outcome)


def _deferred_before(record: Record, context: SettlingContext) -> HeaderList:
    """When the job was first deferred, by its record.

    What is no instant, or lies ahead, is left out: a job that is deferred until seven days later would never end.
    """
    return _past(wire.DEFERRED_SINCE, deferred_since(record.headers), context)


def _past(name: str, since: datetime | None, context: SettlingContext) -> HeaderList:
    return [] if since is None or since > context.now else [(name, wire.format_instant(since))]


def utf8(text: str) -> bytes:
    """Text as the wire has it; what is no UTF-8 is escaped."""
    return text.encode("utf-8", "backslashreplace")
