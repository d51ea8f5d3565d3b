"""What an outcome puts on topics: the next record of the job, its entry in the ledger, its event. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Literal, assert_never

from ...schemas import LONGEST_DETAIL, wire_text
from ...topology import Queue
from ...topology.wire import headers as wire
from ...topology.wire.headers import HeaderList
from ...topology.wire.ledger_names import LONGEST_ATTEMPT_BYTES
from ..job.heartbeats import JobProgress
from ..partitions.ledger import moved_name, tried_name
from ..records.outcomes import (
    Cancelled,
    Dead,
    Deferred,
    Failure,
    Interrupted,
    NotDone,
    Rescheduled,
    Retried,
    Skipped,
    Snoozed,
    is_lasting,
)
from ..records.record import Record, attempt_or_1, first_failed

LedgerWord = Literal["moved", "cancelled"]
LONGEST_REASON_BYTES: Final = 50
"""Of a word that is not one of ours, and travels on with a record that waits."""

_DUE_ONLY = frozenset({wire.DUE, wire.ORIGIN, wire.FIRST_FAILED, wire.REASON, wire.WORKER})
"""What changes when a record moves on without having failed: its attempt and its last error stay."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Body:
    """What a truncated dead letter holds in place of its record's key and value; `is_bare`: as little as can be."""

    key: bytes | None
    value: bytes
    is_bare: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class NextRecord:
    """The job's next record: same partition, key and bytes; other topic and headers.

    Attributes:
        is_alone: whether it is written compressed, in a batch of its own.
        body: None but where the record does not fit the topic (`fitting.py`).
    """

    topic: str
    headers: HeaderList
    is_alone: bool = False
    body: Body | None = None


@dataclass(slots=True, kw_only=True)
class Writes:
    """What an outcome puts on topics; record and ledger must be durable before the source record is complete.

    Not frozen, since each job makes one.

    Attributes:
        record: in a retry tier or the dead letters; confirmed before the ledger is written.
        ledger: (name, word), or None where nothing is to be remembered.
        event: a `JobEvent` datum, or None; for the eye: published once all else is durable, and never waited for.
    """

    record: NextRecord | None = None
    ledger: tuple[str, LedgerWord] | None = None
    event: dict[str, Any] | None = None


NOTHING = Writes()


def plan_writes(record: Record, outcome: NotDone, *, queue: Queue, worker_id: str, now: datetime) -> Writes:
    """Say what settles an outcome; a result of a revoked partition is settled as late.

    Late, only what is true whoever owns the partition is written: that the job discarded itself. Everything else is
    left to the present owner, to whom the record is delivered again. (Jobs that are done do not come here: of them
    there is only a name to write, late or not.)
    """
    if not record.assignment.is_active and not is_lasting(outcome):
        return NOTHING
    return _Scribe(record=record, queue=queue, worker_id=worker_id, now=now).writes(outcome)


def progress_event(
    record: Record, latest: JobProgress, *, queue: Queue, worker_id: str, now: datetime
) -> dict[str, Any]:
    """The event that tells how far a running job is."""
    event = _Scribe(record=record, queue=queue, worker_id=worker_id, now=now).event("progress", reason=latest.note)
    total = {} if latest.total is None else {"total": f"{latest.total:.15g}"}
    return event | {"detail": {"done": f"{latest.done:.15g}", **total}}


def _remember(record: Record, word: LedgerWord) -> tuple[str, LedgerWord] | None:
    return None if record.deduplication_id is None else (record.deduplication_id, word)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Scribe:
    """Writes the records of one outcome."""

    record: Record
    queue: Queue
    worker_id: str
    now: datetime

    def writes(self, outcome: NotDone) -> Writes:
        """Everything that one outcome asks for."""
        match outcome:
            case Skipped() | Interrupted():
                return NOTHING
            case Cancelled(reason="discarded", detail=detail):
                return Writes(ledger=_remember(self.record, "cancelled"), event=self.event("discarded", reason=detail))
            case Cancelled(reason=reason, detail=detail):  # it never ran: its name stays free for another try
                return Writes(ledger=(moved_name(self.record), "cancelled"), event=self.event(reason, reason=detail))
            case Retried(failure=failure):
                moved = self.after_failure(outcome)
                event = self.event("retried", reason=failure.message, error_type=failure.error_type)
                return Writes(record=moved, ledger=(tried_name(self.record), "moved"), event=event)
            case Dead(reason=reason, failure=failure, crashes=crashes):
                buried = self.dead_letter(reason, failure, crashes)
                event = self.event("dead", reason=reason, error_type=failure.error_type)
                return Writes(record=buried, ledger=(tried_name(self.record), "moved"), event=event)
            case Snoozed():
                return self.moves(self.waits(outcome, "snoozed"), self.event("snoozed"))
            case Deferred(reason=reason, detail=detail):
                return self.moves(self.waits(outcome, reason), self.event("deferred", reason=detail))
            case Rescheduled():
                return self.moves(self.waits(outcome, None), None)
            case _:
                assert_never(outcome)

    def moves(self, following: NextRecord, event: dict[str, Any] | None) -> Writes:
        return Writes(record=following, ledger=(moved_name(self.record), "moved"), event=event)

    def after_failure(self, outcome: Retried) -> NextRecord:
        added = [
            (wire.ATTEMPT, b"%d" % outcome.next_attempt),
            (wire.DUE, wire.format_instant(outcome.due)),
            *self._failure(outcome.failure, "failed"),
        ]
        return self._next(self.queue.retry_topics[outcome.tier], wire.RETRY_HEADERS, added)

    def dead_letter(self, reason: str, failure: Failure, crashes: int) -> NextRecord:
        attempt = self.record.headers.get(wire.ATTEMPT, b"1")[:LONGEST_ATTEMPT_BYTES]
        added = [(wire.ATTEMPT, attempt), *self._failure(failure, reason)]
        if crashes:
            added.append((wire.CRASHES, b"%d" % crashes))
        return self._next(self.queue.dead_topic, wire.RETRY_HEADERS, added)

    def waits(self, outcome: Snoozed | Deferred | Rescheduled, reason: str | None) -> NextRecord:
        came_for = self.record.headers.get(wire.REASON, b"delayed")[:LONGEST_REASON_BYTES]
        first_failed = self._first_failed() if isinstance(outcome, Deferred) else self._failed_before()
        added = [
            (wire.DUE, wire.format_instant(outcome.due)),
            (wire.REASON, came_for if reason is None else reason.encode()),
            *first_failed,
            *self._provenance(),
        ]
        return self._next(self.queue.retry_topics[outcome.tier], _DUE_ONLY, added)

    def event(self, kind: str, *, reason: str = "", error_type: str = "") -> dict[str, Any]:
        record = self.record
        return {
            "event": kind,
            "job_id": wire_text(record.headers.get(wire.JOB_ID)),
            "job_type": wire_text(record.headers.get(wire.JOB_TYPE)),
            "queue": self.queue.name,
            "topic": record.assignment.topic,
            "partition": record.assignment.partition,
            "offset": record.offset,
            "attempt": attempt_or_1(record.headers),
            "at": self.now,
            "worker": self.worker_id,
            "reason": wire_text(_utf8(reason), LONGEST_DETAIL),
            "error_type": wire_text(_utf8(error_type)),
            "detail": {},
        }

    def _next(self, topic: str, drop: frozenset[str], added: HeaderList) -> NextRecord:
        return NextRecord(topic=topic, headers=wire.replace_headers(self.record.pairs, drop=drop, add=added))

    def _failure(self, failure: Failure, reason: str) -> HeaderList:
        return [
            *self._first_failed(),
            (wire.ERROR_TYPE, _utf8(failure.error_type)),
            (wire.ERROR_MESSAGE, _utf8(failure.message)),
            (wire.ERROR_STACK, _utf8(failure.stack)),
            (wire.ERROR_FINGERPRINT, failure.fingerprint.encode()),
            (wire.REASON, reason.encode()),
            *self._provenance(),
        ]

    def _provenance(self) -> HeaderList:
        return [(wire.ORIGIN, self.record.origin), (wire.WORKER, _utf8(self.worker_id))]

    def _first_failed(self) -> HeaderList:
        return self._failed_before() or [(wire.FIRST_FAILED, wire.format_instant(self.now))]

    def _failed_before(self) -> HeaderList:
        """When it first failed, as its record says.

        What is no instant, or lies ahead, is left out: a job that is put off until seven days later would never end.
        """
        since = first_failed(self.record.headers)
        return [] if since is None or since > self.now else [(wire.FIRST_FAILED, wire.format_instant(since))]


def _utf8(text: str) -> bytes:
    return text.encode("utf-8", "backslashreplace")


def utc(epoch_s: float) -> datetime:
    """An epoch time as an aware datetime."""
    return datetime.fromtimestamp(epoch_s, UTC)
