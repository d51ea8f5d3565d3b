"""The records that the outcomes of unique jobs write beside those of others: when they came, and when they have ended.

A record that waits elsewhere carries when its job came. Of a job that has run and has ended, the ledger gets a record
before it gets the name: so the worker that skips the job knows its end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from datetime import datetime

from ...topology import Queue
from ...topology.wire import headers as wire
from ..records.outcomes import Cancelled, Dead, Deferred, Delayed, Done, Outcome, Retried, Snoozed, is_lasting
from ..records.record import Record
from ..unique.arrival import SECOND_MS, arrival_of, identity_of, with_times
from ..unique.ends import UniqueEnd, end_record
from ..unique.unique_jobs import UniqueJobs
from .next_records import SettlingContext, next_record
from .outgoing import OutgoingRecord
from .writes import WRITERS, Writer

FindUnique = Callable[[int], UniqueJobs | None]


def writers_of(queue: Queue, find: FindUnique) -> Sequence[Writer]:
    """The table of what follows an outcome, for a queue.

    Args:
        find: finds the unique jobs of a partition number, also of one that was given away a moment ago.
    """
    if not queue.unique:
        return WRITERS
    records = _UniqueRecords(queue, find)
    return (
        Writer(follows=(Done, Dead, Cancelled), plan=records.end),
        Writer(follows=(Retried, Dead, Snoozed, Deferred, Delayed), plan=records.next),
    )


class _UniqueRecords:
    """The writers of a queue with unique jobs."""

    def __init__(self, queue: Queue, find: FindUnique) -> None:
        self._queue, self._find = queue, find

    def next(self, record: Record, outcome: Outcome, context: SettlingContext) -> Sequence[OutgoingRecord]:
        """Plan the job's next record; where the job waits, it carries the times at which it arrived."""
        planned = next_record(record, outcome, context)
        unique = self._find(record.assignment.partition)
        times = [] if unique is None else unique.times_of(record)
        if not times or isinstance(outcome, Dead):
            return planned
        return [replace(following, headers=with_times(following.headers, times)) for following in planned]

    def end(self, record: Record, outcome: Outcome, context: SettlingContext) -> Iterable[OutgoingRecord]:
        """Plan the ledger's entry about the end of a unique job, if it has one."""
        unique = self._find(record.assignment.partition)
        end = self._late_end(record, outcome, context.now) if unique is None else unique.take_end(record, outcome)
        if end is None:
            return
        key, value = end_record(end)
        yield OutgoingRecord(
            topic=self._queue.ledger_topic, partition=record.assignment.partition, key=key, value=value, headers=[]
        )

    def _late_end(self, record: Record, outcome: Outcome, now: datetime) -> UniqueEnd | None:
        """The end of a job whose partition has gone meanwhile: the name is written, so this must be as well."""
        identity, job_type = identity_of(record), (record.header(wire.JOB_TYPE) or b"").decode(errors="replace")
        if identity is None or job_type not in self._queue.unique or not is_lasting(outcome):
            return None
        arrival, now_ms = arrival_of(record), round(now.timestamp() * SECOND_MS)
        return UniqueEnd(job_type, identity, arrival, arrival.at_ms, now_ms, now_ms)
