"""`QueueInspection`: what each runner, lane and partition of one queue in a process does; `stoker worker --inspect`.

A thread that runs no jobs takes it. It waits for no lock but such as are held for moments, never while a job runs or a
broker is asked: so it can be had where jobs, event loop or poll thread hang.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from ...schemas import wire_text
from ...topology.counts import counted, counted_doing
from ..isolation.child_slot import ChildSlot
from ..isolation.pool import ChildCounts
from ..runners.loop_watch import LoopInspection
from ..runners.stacks import INNERMOST, innermost
from ..runners.watchdog import RunnerSlot, is_stuck

SLOW_TURN_S: Final = 3.0

RunState = Literal["running", "ending", "stuck"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunInspection:
    """One job that runs.

    Attributes:
        runner: the thread or task that runs it.
        record: `topic/partition/offset`.
        ran_s, left_s: since its begin, and until its deadline (negative: past it).
        state: `ending` after an interrupt, `stuck` when it has ignored that.
        progress: as the job has reported it; empty where it has reported none.
        stack: `file:line function`, the innermost last.
    """

    runner: str
    job_id: str
    job_type: str
    key: str | None
    attempt: int
    record: str
    ran_s: float
    left_s: float
    state: RunState
    progress: str
    stack: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PartitionInspection:
    """One partition of the main topic or of a tier.

    Attributes:
        state: `restoring` before its jobs may start, `leaving` while it is given away, else `running`.
        committed: the offset that was last committed; None before the first commit.
        lowest: the lowest incomplete offset; None where all that was delivered is complete.
        lowest_for_s: how long that has been so.
        incomplete: how many delivered records have no durable outcome yet.
    """

    topic: str
    partition: int
    state: Literal["restoring", "leaving", "running"]
    committed: int | None
    lowest: int | None
    lowest_for_s: float
    incomplete: int


@dataclass(frozen=True, slots=True, kw_only=True)
class GateInspection:
    """Jobs that wait at the gates for one reason: how many, and what ends that for people."""

    reason: str
    count: int
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueInspection:
    """One queue in one process.

    Attributes:
        ready: jobs that could run, were a runner free.
        parked: jobs that wait behind an earlier one of their key.
        delayed: jobs that are not due yet.
        in_flight: jobs taken and not yet settled, those that wait in memory included.
        held: jobs that may not start now, by reason; `awaiting_schema` are those of them that wait until the schema
            store was asked for their schema, `crashed` those that wait a little since their process has died.
        children: the child processes; None where none was ever needed.
        waits_for: why the worker has no partitions; empty where it has some.
        lost_right: what the brokers do not let it do any more; empty where all is allowed.
        is_leaving: whether the worker shuts down.
        polled_s: how long ago the poll thread turned last; `poll_stack` is where it is, if that is long ago.
    """

    queue: str
    worker: str
    ready: int
    parked: int
    delayed: int
    in_flight: int
    stuck: int
    is_paused: bool
    polled_s: float
    poll_stack: tuple[str, ...]
    partitions: tuple[PartitionInspection, ...]
    loops: tuple[LoopInspection, ...]
    runs: tuple[RunInspection, ...]
    crashed: int = 0
    awaiting_schema: int = 0
    held: tuple[GateInspection, ...] = ()
    children: ChildCounts | None = None
    waits_for: str = ""
    lost_right: str = ""
    is_leaving: bool = False

    @property
    def hints(self) -> tuple[str, ...]:
        """Why jobs that wait do not run, as far as this process knows."""
        return tuple(_hints(self))


def inspect_runs(slots: Sequence[RunnerSlot], now_s: float) -> tuple[RunInspection, ...]:
    """The jobs that run in these places, the longest first."""
    runs = [run for slot in slots if (run := _inspect_run(slot, now_s)) is not None]
    return tuple(sorted(runs, key=lambda run: -run.ran_s))


def _inspect_run(slot: RunnerSlot, now_s: float) -> RunInspection | None:
    run = slot.run
    if run is None:
        return None
    return RunInspection(
        runner=slot.name,
        job_id=run.shown_id,
        job_type=run.job_type,
        key=None if run.record.key is None else wire_text(run.record.key),
        attempt=run.attempt,
        record=str(run.record),
        ran_s=now_s - run.began_at_s,
        left_s=run.deadline_at_s - now_s,
        state="stuck" if is_stuck(slot) else "ending" if run.interrupt_reason else "running",
        progress=str(run.latest_progress or ""),
        stack=slot.child_frames()[-INNERMOST:] if isinstance(slot, ChildSlot) else innermost(slot.frames()),
    )


def _partition_hints(inspection: QueueInspection) -> Iterator[str]:
    if inspection.is_leaving:
        yield "the worker shuts down: it takes no jobs, and waits for those that run"
    elif not inspection.partitions:
        yield f"no partitions: {inspection.waits_for or 'they are about to come'}"
    if inspection.lost_right:
        yield inspection.lost_right
    restoring = sum(found.state == "restoring" for found in inspection.partitions)
    if restoring:
        yield f"{counted_doing(restoring, 'partition', 'wait')} until ledger and progress are read"


def _hints(inspection: QueueInspection) -> Iterator[str]:
    if inspection.polled_s > SLOW_TURN_S:
        yield f"the poll thread has not turned for {inspection.polled_s:.0f} s: nothing is fetched or committed"
    yield from _partition_hints(inspection)
    for loop in inspection.loops:
        if loop.blocked_s > 1:
            yield f"{loop.name} has not turned for {loop.blocked_s:.0f} s: a job holds it"
    if inspection.stuck:
        yield f"{counted_doing(inspection.stuck, 'stuck job', 'run')} past the timeout; other jobs of the key wait"
    if inspection.is_paused and not inspection.is_leaving:
        yield "fetching rests: the bounds on jobs in flight are reached"
    if inspection.ready and inspection.runs:
        waiting = counted_doing(inspection.ready, "ready job", "wait")
        yield f"{waiting} for a runner: all are busy, or take jobs by the handful"
    yield from _gate_hints(inspection)
    yield from _child_hints(inspection)
    if inspection.parked:
        yield f"{counted_doing(inspection.parked, 'job', 'wait')} behind an earlier one of the same key"


def _gate_hints(inspection: QueueInspection) -> Iterator[str]:
    for held in inspection.held:
        yield f"{counted(held.count, 'job')} may not start now ({held.reason}): {held.detail}"


def _child_hints(inspection: QueueInspection) -> Iterator[str]:
    children = inspection.children or ChildCounts()
    if children.trouble_in_words:
        yield children.trouble_in_words
    elif children.starting and not children.idle:
        yield f"{children.starting} child processes start, {children.busy} are busy: isolated jobs may wait for one"
