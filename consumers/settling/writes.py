"""`plan_writes`: what an outcome writes: the records that follow it, its ledger entry, its event. Pure.

To write another record with an outcome, write a function of a record, its outcome and the context, in a file of its
own, and add one line to `consumers/declared/writers.py`. The settler writes what all of them plan, and waits for the
brokers' confirmation of each, before it writes the ledger's entry. So a crash leads to the same records once more: give
them ids that follow from their cause, so that the second one can be recognised.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, Literal, assert_never

from ...schemas.own_records.job_events import JobEvent
from ...topology import Queue
from ..partitions.ledger import moved_name, tried_name
from ..records.outcomes import (
    Cancelled,
    Dead,
    Deferred,
    Delayed,
    Done,
    Interrupted,
    Outcome,
    Retried,
    Skipped,
    Snoozed,
    is_lasting,
)
from ..records.record import Record
from .events import outcome_event
from .next_records import NO_FACTS, EventFacts, SettlingContext, next_record
from .outgoing import OutgoingRecord

LedgerState = Literal["done", "moved", "cancelled"]
Followed = type[Done | Retried | Dead | Snoozed | Deferred | Delayed | Cancelled]
"""The outcomes that records may follow. Of a skipped job they were written before, of an interrupted one nothing is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Writer:
    """A pure function that plans records, and the outcomes after which the settler calls it.

    Attributes:
        is_ready: whether the records of an outcome can be planned now: the settler keeps it back until then. None
            where they always can.
    """

    follows: tuple[Followed, ...]
    plan: Callable[[Record, Outcome, SettlingContext], Iterable[OutgoingRecord]]
    is_ready: Callable[[Record, Outcome], bool] | None = None


WRITERS: Final[Sequence[Writer]] = (
    Writer(follows=(Retried, Dead, Snoozed, Deferred, Delayed), plan=next_record),  # the job itself
)
"""The writers of a queue that declares neither unique jobs nor followers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Writes:
    """The records that settle an outcome; the source record is complete once records and ledger are durable.

    Attributes:
        records: all are confirmed before the ledger is written.
        ledger: (name, state), or None where nothing is to be remembered.
        event: published once all else is durable, and never waited for.
    """

    records: tuple[OutgoingRecord, ...] = ()
    ledger: tuple[str, LedgerState] | None = None
    event: JobEvent | None = None


NOTHING = Writes()


def plan_writes(
    record: Record,
    outcome: Outcome,
    *,
    queue: Queue,
    worker_id: str,
    now: datetime,
    writers: Sequence[Writer] = WRITERS,
    facts: EventFacts = NO_FACTS,
) -> Writes:
    """Plan what settles an outcome.

    An outcome is late if its partition was revoked meanwhile. The settler writes a late one only if it is true for any
    owner of the partition: the job is done, has discarded itself, or was cancelled. It leaves all others to the present
    owner, to whom the record is delivered again.

    Args:
        facts: what the event has beside that.
    """
    if isinstance(outcome, Skipped | Interrupted):
        return NOTHING
    if not record.assignment.is_active and not is_lasting(outcome):
        return NOTHING
    context = SettlingContext(queue=queue, worker_id=worker_id, now=now, facts=facts)
    return Writes(
        records=_records(writers, record, outcome, context),
        ledger=ledger_entry(record, outcome),
        event=outcome_event(record, outcome, context),
    )


def _records(
    writers: Iterable[Writer], record: Record, outcome: Outcome, context: SettlingContext
) -> tuple[OutgoingRecord, ...]:
    """All records that follow an outcome, in the order of the table."""
    kind = type(outcome)
    return tuple(
        following for writer in writers if kind in writer.follows for following in writer.plan(record, outcome, context)
    )


def ledger_entry(record: Record, outcome: Outcome) -> tuple[str, LedgerState] | None:
    """Find the name that is settled; that of the job only where no other record of it may run."""
    match outcome:
        case Done():
            return _of_job(record, "done")
        case Cancelled(reason="discarded" | "cancelled"):
            return _of_job(record, "cancelled")
        case Cancelled():  # it never ran: its name stays free for another try
            return moved_name(record), "cancelled"
        case Retried() | Dead():
            return tried_name(record), "moved"
        case Snoozed() | Deferred() | Delayed():
            return moved_name(record), "moved"
        case Skipped() | Interrupted():
            return None
        case _:
            assert_never(outcome)


def _of_job(record: Record, state: LedgerState) -> tuple[str, LedgerState] | None:
    return None if record.deduplication_id is None else (record.deduplication_id, state)


def utc(epoch_s: float) -> datetime:
    """An epoch time as an aware datetime."""
    return datetime.fromtimestamp(epoch_s, UTC)
