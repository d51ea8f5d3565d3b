"""Three of the five steps of a record: claim, decode, decide. `run_step.py` has *run*, and `pipe.py` has *settle*.

Each step takes values and returns one, so that a test can call it alone. A step that finds the end of the way returns
an `Outcome` in place of its usual result. Nothing here does I/O.

It is the third of the five files on the way of a job (docs/architecture.md); `settling/settle.py` is the next.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Final, Never, assert_never, overload

from ...schemas import LONGEST_DETAIL, Decoder, PayloadRefused, SchemaMismatch, Undecodable, UnknownSchema, wire_text
from ...topology import Queue, RetryPolicy
from ...topology.declaration.delays import delay_class
from ...topology.declaration.job_type import AnyJobType
from ...topology.declaration.retries import fitting_tier
from ...topology.wire import headers as wire
from ..breakers.dead_guards import NO_GUARDS, DeadGuards
from ..gates.gate import Wait
from ..gates.gate_row import NO_GATES, GateRow
from ..instruments.instruments import NO_INSTRUMENTS, Instruments
from ..job.answers import Accepted, Answer, Discarded, Failed, Postponed
from ..job.dependencies import Dependencies
from ..job.failure import make_failure
from ..job.run import Run
from ..partitions.ledger import Ledger
from ..records.cancellation import Cancellation
from ..records.outcomes import (
    DONE,
    INTERRUPTED,
    SKIPPED,
    Cancelled,
    Dead,
    DeadReason,
    DeferReason,
    Deferred,
    Delayed,
    Outcome,
    Retried,
    Snoozed,
)
from ..records.record import Record, attempt_of, deferred_since
from ..standing_orders.cancels import NO_CANCELS, Cancels
from ..standing_orders.reschedules import NO_RESCHEDULES, Reschedules
from ..tracing.run_spans import RunSpans
from ..unique.unique_jobs import UniqueJobs
from .results import RETURNED_NOTHING, Answered, Decided, Raised, Ran, Result, Returned, answer_to
from .schema_waits import SchemaAwaited

DEFER_DELAY = timedelta(minutes=1)
DEFER_LIMIT = timedelta(days=7)
"""A job whose type or schema is still unknown so long after its first deferral is a dead letter, where someone sees it.

The clock runs on while no worker runs, or the schema store is out of reach. So every such job comes to an end.
"""


MakeDependencies = Callable[[Record, RetryPolicy], Dependencies]
"""Makes the dependencies that the blocks of a job may name."""


@dataclass(slots=True)
class DecodedJob:
    """A decoded record: the job that is to run. Not frozen, for the reason that `Run` gives."""

    record: Record
    job_type: AnyJobType
    args: tuple[object, ...]
    kwargs: dict[str, object]
    run: Run


@dataclass(frozen=True, slots=True, kw_only=True)
class StepContext:
    """The parts that the steps work with, for one queue.

    Attributes:
        job_types: {name on the wire: job type} of this queue and of all others of the pipeline, since a record is
            published under its type's name wherever it stands.
        ledgers: {partition number: ledger} of what is assigned; changed by the poll thread.
        cancels: those that stand in this process.
        gates: those of the queue; they hold a record that may not start after all, or that a step has sent back.
        reschedules: those that stand in this process.
        unique: finds the unique jobs of a partition number, also of one that is given away just now.
        dependencies: None where the pipeline declares none.
        guards: count dead letters.
        note_begun: takes each record whose job begins; None where no job type has `on_late`.
        note_held: takes why a record waits that a step has sent back.
        spans: of runs; None without a tracer.
    """

    queue: Queue
    job_types: Mapping[str, AnyJobType]
    decoder: Decoder
    ledgers: Mapping[int, Ledger]
    clock: Callable[[], float] = time.time
    chance: Callable[[], float] = random.random
    instruments: Instruments = NO_INSTRUMENTS
    cancels: Cancels = NO_CANCELS
    gates: GateRow = NO_GATES
    reschedules: Reschedules = NO_RESCHEDULES
    unique: Callable[[int], UniqueJobs | None] = lambda _partition: None
    dependencies: MakeDependencies | None = None
    guards: DeadGuards = NO_GUARDS
    note_begun: Callable[[Record], None] | None = None
    note_held: Callable[[Wait], None] = lambda _wait: None
    spans: RunSpans | None = None


def claim(record: Record, step_context: StepContext) -> Outcome | None:
    """Check what is known of a record before it is read: gone, settled, or cancelled; None lets it go on."""
    if not record.assignment.is_current:
        return INTERRUPTED
    ledger = step_context.ledgers.get(record.assignment.partition)
    if ledger is not None and ledger.remembers(record):
        return SKIPPED
    return cancelled_before(record, step_context) if step_context.cancels.stands else None


def cancelled_before(record: Record, step_context: StepContext) -> Cancelled | None:
    """The outcome of a job that was cancelled before it ran; None where no order cancels it."""
    by = step_context.cancels.of(record, step_context.queue.name)
    return None if by is None else cancelled(by, "before it ran")


Decoded = DecodedJob | Wait | Outcome
"""A job that may begin; or why its record waits, or what becomes of it."""


def decode(record: Record, step_context: StepContext) -> Decoded:
    """Read headers and payload; what cannot be read is dead, what may be readable elsewhere is deferred.

    A record whose schema is not at hand is neither before the store was asked for it.
    """
    layout, values = record.layout, record.values
    try:
        name = values[layout.positions[wire.JOB_TYPE]].decode() or _refuse(wire.JOB_TYPE)
        job_id = values[layout.positions[wire.JOB_ID]].decode() or _refuse(wire.JOB_ID)
        is_plain = layout.is_of_first_run and not step_context.reschedules.stands
        conditions = _FIRST_RUN if is_plain else _conditions_of(record, step_context.reschedules)
    except KeyError as missing:
        return _without(record, missing.args[0])
    except ValueError as error:
        return _unreadable(record, "malformed", f"a header cannot be read: {error}")
    if conditions is not _FIRST_RUN and (refused := _not_now(record, conditions, step_context)) is not None:
        return refused
    job_type = step_context.job_types.get(name)
    if job_type is None:
        return _defer(record, step_context, "unknown-type", f"no handler for job type {wire_text(name)!r}")
    run = Run(job_id, job_type.name, step_context.queue.name, conditions.attempt, job_type.retry.attempts, record)
    return _decode_payload(record, job_type, run, conditions, step_context)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Conditions:
    """Which run of its job a record asks for, and when that may start."""

    attempt: int
    due: datetime | None
    expires: datetime | None
    is_rescheduled: bool = False
    has_prioritized_copy: bool = False

    @classmethod
    def of(cls, headers: wire.HeaderMap) -> _Conditions:
        """Read the headers.

        Raises:
            ValueError: one of them cannot be read.
        """
        due, expires = headers.get(wire.DUE), headers.get(wire.EXPIRES)
        return cls(
            attempt=attempt_of(headers),
            due=None if due is None else wire.parse_instant(due),
            expires=None if expires is None else wire.parse_instant(expires),
        )


_FIRST_RUN: Final = _Conditions(attempt=1, due=None, expires=None)


def _conditions_of(record: Record, reschedules: Reschedules) -> _Conditions:
    """Read the conditions of the headers, with the time at which an operator lets the job start, if one does."""
    conditions = _FIRST_RUN if record.layout.is_of_first_run else _Conditions.of(record.headers)
    if reschedules.stands and reschedules.has_prioritized_copy(record):
        return replace(conditions, has_prioritized_copy=True)
    due_at_s = reschedules.due_at_s(record) if reschedules.stands else None
    if due_at_s is None:
        return conditions
    return replace(conditions, due=datetime.fromtimestamp(due_at_s, UTC), is_rescheduled=True)


def _not_now(record: Record, conditions: _Conditions, step_context: StepContext) -> Outcome | None:
    """The outcome of a job that must not start any more, or not yet; None where it may start."""
    if conditions.has_prioritized_copy:
        return SKIPPED
    due, expires, now = conditions.due, conditions.expires, _now(step_context)
    if expires is not None and expires <= now:
        return Cancelled(reason="expired", detail=f"it could not start before {expires.isoformat()}")
    if due is not None and due > now:
        return Delayed(due=due, delay=delay_class(due - now))
    return None


def _refuse(name: str) -> Never:
    raise ValueError(f"{name} is empty")


def _decode_payload(
    record: Record, job_type: AnyJobType, run: Run, conditions: _Conditions, step_context: StepContext
) -> Decoded:
    try:
        args, kwargs = job_type.contract.arguments(step_context.decoder.decode(job_type.contract, record.value))
    except SchemaAwaited as awaited:
        return Wait(until_at_s=None, why=awaited.why)
    except UnknownSchema as error:
        return _defer(record, step_context, "unknown-schema", str(error))
    except SchemaMismatch as error:
        if error.newer:
            return _defer(record, step_context, "unknown-schema", str(error))
        return _unreadable(record, "schema-mismatch", str(error))
    except (Undecodable, PayloadRefused) as error:
        return _unreadable(record, "undecodable", str(error))
    if conditions.is_rescheduled:
        step_context.reschedules.note_begun(record)
    if step_context.dependencies is not None:
        run.use_dependencies(step_context.dependencies(record, job_type.retry))
    return DecodedJob(record, job_type, args, kwargs, run)


def _without(record: Record, header: str) -> Dead:
    """The outcome of a record without one of its headers, such as one whose headers cannot be read at all."""
    return _unreadable(record, "malformed", record.fault or f"the record has no {header} header")


def _unreadable(record: Record, reason: DeadReason, message: str) -> Dead:
    job_type = wire_text(record.headers.get(wire.JOB_TYPE))
    return Dead(reason=reason, failure=make_failure(job_type, error_type=reason, message=message))


def _defer(record: Record, step_context: StepContext, reason: DeferReason, detail: str) -> Outcome:
    now, detail = _now(step_context), wire_text(detail, LONGEST_DETAIL)
    since = deferred_since(record.headers)
    if since is not None and now - since > DEFER_LIMIT:
        since_when = f"deferred since {since:%Y-%m-%d %H:%M} UTC, more than {DEFER_LIMIT.days} days"
        return _unreadable(record, "never-known", f"{since_when}: {detail}")
    delay = fitting_tier(DEFER_DELAY, step_context.queue.tiers)
    return Deferred(due=now + delay, delay=delay_class(delay), reason=reason, detail=detail)


@overload
def decide(job: DecodedJob, result: Result | Answered, step_context: StepContext) -> Outcome: ...
@overload
def decide(job: DecodedJob, result: Ran, step_context: StepContext) -> Outcome | None: ...
def decide(job: DecodedJob, result: Ran, step_context: StepContext) -> Outcome | None:
    """Choose the outcome of a run; pure but for clock and chance, which `step_context` has."""
    if result is RETURNED_NOTHING:
        return DONE
    match result:
        case Returned():
            return DONE
        case Raised():
            return _decide_answer(job, answer_to(result, job.job_type), step_context)
        case Answered(answer):
            return _decide_answer(job, answer, step_context)
        case Decided(outcome):
            return outcome
        case _:
            assert_never(result)


def _decide_answer(job: DecodedJob, answer: Answer, step_context: StepContext) -> Outcome:
    if job.run.interrupt_reason == "cancel":
        return cancelled(job.run.cancellation, "while it ran")
    match answer:
        case Failed() if job.run.interrupt_reason == "shutdown":
            return INTERRUPTED
        case Accepted():
            return DONE
        case Discarded(reason):
            return Cancelled(reason="discarded", detail=reason)
        case Postponed(after, is_limited):
            return Snoozed(due=_now(step_context) + after, delay=delay_class(after), is_limited=is_limited)
        case Failed(failure=failure, is_permanent=True):
            return Dead(reason="permanent", failure=failure)
        case Failed(failure=failure) if job.run.attempt >= job.job_type.retry.attempts:
            return Dead(reason="attempts-spent", failure=failure)
        case Failed():
            return _retry(job, answer, step_context)
        case _:
            assert_never(answer)


def cancelled(by: Cancellation | None, when: str) -> Cancelled:
    """The outcome of a job that somebody has cancelled."""
    who = "" if by is None else f", {by}"
    return Cancelled(reason="cancelled", detail=f"it was cancelled {when}{who}", by=by)


def _retry(job: DecodedJob, failed: Failed, step_context: StepContext) -> Retried:
    policy = job.job_type.retry
    next_attempt = job.run.attempt + 1
    delay = failed.after
    if delay is None:
        delay = policy.delay_before(next_attempt, step_context.queue.tiers, step_context.chance())
    # Of this queue's tiers: the policy's may be another's, where the job's type was moved from one to the other.
    tier = fitting_tier(delay, step_context.queue.tiers)
    return Retried(due=_now(step_context) + delay, tier=tier, next_attempt=next_attempt, failure=failed.failure)


def _now(step_context: StepContext) -> datetime:
    return datetime.fromtimestamp(step_context.clock(), UTC)
