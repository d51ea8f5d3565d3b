"""Facts that are held against each other at two places: when they are written, and against what was there before."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping

from confluent_kafka import Message

from simulation.brokers import Place
from simulation.jobs import Job
from simulation.known import Known
from simulation.processes import SimProcess
from stoker.consumers.partitions.ledger import moved_name, tried_name
from stoker.consumers.partitions.start_positions import StartPosition
from stoker.consumers.progress.assignment import Assignment, AssignmentState
from stoker.consumers.progress.offset_set import OffsetSet
from stoker.consumers.records.outcomes import Cancelled, Dead, Deferred, Delayed, Done, Outcome, Retried, Snoozed
from stoker.consumers.records.record import Record, attempt_of
from stoker.topology.wire.headers import ATTEMPT, TENANT, TRUNCATED_FROM


def check_not_passed(
    process: SimProcess, place: Place, committed: Known, waits_as_copy: Callable[[Record], bool]
) -> None:
    """A commit says of nothing to be complete that its process still has in hand.

    Of what the process itself means by it, since others may know better: an owner that was cut off has settled a record
    and spills that, while the next one has the same record in hand, and will skip it for what the ledger says.

    Args:
        waits_as_copy: whether a copy of a record is there that is not complete.
    """
    for record in in_hand(process):
        if record.assignment._replaced is not None:
            continue  # offsets went back: a commit that was on its way may pass what is delivered once more
        if record.assignment.state is AssignmentState.REPLACED and waits_as_copy(record):
            continue  # it came once more while it ran, and waited until it was carried forward: its copy is delivered
        if (record.assignment.topic, record.assignment.partition) == place and record.assignment.is_active:
            assert not committed.is_complete(record.offset), f"{record} is committed as complete, and in hand"
    for assignment, offset in (*process.parts.lanes.backlog.places(), *process.calendar.places()):
        if (assignment.topic, assignment.partition) == place and assignment.is_active:
            assert not committed.is_complete(offset), f"{place}/{offset} is committed as complete, and waits"


def in_hand(process: SimProcess) -> Iterable[Record]:
    """What has been delivered to a process and has not ended there."""
    yield from (running.record for running in (*process.running, *process.frozen))
    yield from process.done
    yield from process.startable
    yield from process.parts.lanes.parked_records()


def check_next_record(job: Job, record: Record) -> None:
    """A record in a tier carries the job's own bytes, and an attempt that is the next of one that has failed."""
    first, attempts = job.records[0].record, {attempt_of(written.record.headers) for written in job.records}
    assert (record.key, record.value) == (first.key, first.value), f"{record} is not the job that was enqueued"
    assert (record.tenant, record.partition) == (first.tenant, first.partition), f"{record} has left its tenant"
    attempt = attempt_of(record.headers)
    assert attempt in attempts or attempt - 1 in job.failed, f"{record}: attempt {attempt - 1} has not failed"


def check_dead_letter(job: Job, dead: Message) -> None:
    """A dead letter carries the job's own bytes, but where it says that they were cut, and an attempt that it had."""
    headers, first = dict(dead.headers() or []), job.records[0].record
    if TRUNCATED_FROM not in headers:
        assert (dead.key(), dead.value()) == (first.key, first.value), f"{job.job_id}: its dead letter is another"
    placed = headers.get(TENANT), dead.partition()
    assert placed == (first.tenant, first.partition), f"{job.job_id}: its dead letter has left its tenant"
    attempts = {b"%d" % attempt_of(written.record.headers) for written in job.records}
    assert headers[ATTEMPT] in attempts, f"{job.job_id}: its dead letter counts attempts that it never had"


def name_of(record: Record, outcome: Outcome) -> str | None:
    """What the ledger shall have of an outcome; None where it has nothing."""
    match outcome:
        case Done() | Cancelled(reason="discarded" | "cancelled"):
            return record.deduplication_id
        case Retried() | Dead():
            return tried_name(record)
        case Snoozed() | Deferred() | Delayed() | Cancelled():
            return moved_name(record)
        case _:
            return None


def check_named(name: str, ended: Collection[str]) -> None:
    """The ledger names nothing that has not ended in the way that the name stands for."""
    assert name in ended, f"the ledger has {name}, and no such outcome was handed in"


def check_restored(
    starts: Mapping[Assignment, StartPosition], before: Mapping[Assignment, Known], after: Mapping[Assignment, Known]
) -> None:
    """What an assignment begins with is what was committed, unless the log was cut meanwhile.

    An owner that was cut off may have written meanwhile what it has completed; what is here may be of any moment.
    """
    for assignment, start in starts.items():
        known, restored = before[assignment], start.state
        if (known.state.committed_offset, known.position) == (restored.committed_offset, restored.position):
            left = frozenset(offset for run in (start.incomplete or OffsetSet()).runs() for offset in range(*run))
            assert after[assignment].left & known.left <= left <= known.left, f"{known} was restored as {left}"
