"""`Overview`: looks at one queue's worker from outside, for people: figures (`QueueSnapshot`) and `QueueInspection`."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

from ...topology import Queue
from ..delays.calendar import Calendar
from ..dispatch.unbegun_counts import UnbegunCounts
from ..dispatch.unbegun_records import TENANTS_TURN
from ..gates.waiting_view import WaitingView
from ..group.membership import Membership
from ..group.rights_watch import RightsWatch
from ..in_flight.memory_bounds import MemoryBounds
from ..isolation.crashes import CrashPause
from ..isolation.isolated_runners import IsolatedRunners
from ..isolation.pool import ChildCounts
from ..partitions.assignments import Assignments
from ..progress.assignment import Assignment
from ..runners.async_runners import AsyncRunners
from ..runners.kinds import RunnerRow
from ..runners.loop_watch import LoopInspection
from ..runners.stacks import innermost, thread_frames
from ..runners.watchdog import Watchdog
from ..steps.schema_waits import AwaitedSchema
from .queue_inspection import SLOW_TURN_S, GateInspection, PartitionInspection, QueueInspection, inspect_runs
from .snapshot import QueueSnapshot

MOST_REASONS: Final = 10
"""Reasons to wait that are shown at most, those of the most jobs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OverviewParts:
    """The parts of one queue's worker that an overview looks at."""

    assignments: Assignments
    memory_bounds: MemoryBounds
    calendar: Calendar
    at_gates: WaitingView
    unbegun: UnbegunCounts
    runners: RunnerRow
    watchdog: Watchdog
    membership: Membership
    rights: RightsWatch


class Overview:
    """Called from any thread, but for `note`, which is the poll thread's.

    `lowest` has, of each assignment where jobs are incomplete, the lowest incomplete offset, and since when it is that.
    """

    def __init__(self, queue: Queue, worker_id: str, parts: OverviewParts) -> None:
        self._queue = queue
        self._worker_id = worker_id
        self._assignments = parts.assignments
        self._memory_bounds = parts.memory_bounds
        self._calendar = parts.calendar
        self._at_gates = parts.at_gates
        self._unbegun = parts.unbegun
        self._runners = parts.runners
        self._watchdog = parts.watchdog
        self._membership = parts.membership
        self._rights = parts.rights
        self.lowest: dict[Assignment, tuple[int, float]] = {}

    def note(self, now_s: float) -> None:
        """Take down since when the lowest incomplete offsets are what they are."""
        former = self.lowest
        lowest: dict[Assignment, tuple[int, float]] = {}
        for assignment in self._assignments.all():
            offset = assignment.progress.committable()
            if offset is not None and assignment.progress.incomplete:
                known = former.get(assignment)
                lowest[assignment] = known if known is not None and known[0] == offset else (offset, now_s)
        self.lowest = lowest

    def snapshot(self, outcomes: Mapping[str, int], unfinished: int | None) -> QueueSnapshot:
        """The queue's figures."""
        return QueueSnapshot(
            queue=self._queue.name,
            outcomes=dict(outcomes),
            in_flight=self._memory_bounds.in_flight,
            running=self._watchdog.running,
            stuck=self._watchdog.stuck,
            progress=self._watchdog.progress,
            delayed=len(self._calendar),
            partitions=self._assignments.main_partitions,
            unfinished=unfinished,
            is_paused=self._memory_bounds.is_paused,
            children=self._children(),
            member_state=self._membership.judgement.member_state,
            waits_for=self._membership.judgement.why,
            lost_right=self._rights.in_words(),
        )

    def inspect(self, polled_s: float, poll_thread_id: int) -> QueueInspection:
        """Collect the state of all runners, lanes and partitions."""
        now_s = time.monotonic()
        dog = self._watchdog
        return QueueInspection(
            queue=self._queue.name,
            worker=self._worker_id,
            ready=self._runners.ready,
            parked=self._unbegun.waiting_behind,
            delayed=len(self._calendar),
            in_flight=self._memory_bounds.in_flight,
            stuck=dog.stuck,
            is_paused=self._memory_bounds.is_paused,
            polled_s=polled_s,
            poll_stack=innermost(thread_frames(poll_thread_id)) if polled_s > SLOW_TURN_S else (),
            partitions=tuple(self._partition(found, now_s) for found in self._in_order()),
            waits_for=self._membership.judgement.why,
            lost_right=self._rights.in_words(),
            is_leaving=self._membership.judgement.member_state == "leaving",
            loops=self._loops(),
            runs=inspect_runs(dog.slots, now_s),
            crashed=self._at_gates.count_of(CrashPause),
            awaiting_schema=self._at_gates.count_of(AwaitedSchema),
            held=self._held(),
            children=self._children(),
        )

    def partition_states(self) -> Counter[str]:
        """{state, as of `PartitionInspection`: how many partitions are in it}."""
        return Counter(map(_state_of, self._assignments.all()))

    def _held(self) -> tuple[GateInspection, ...]:
        counts = Counter[tuple[str, ...]]()
        for why, count in self._at_gates.counts().items():
            counts[why.state, *why.detail.values()] += count
        if waiting := self._unbegun.waiting_for_turn:
            counts[TENANTS_TURN.state, TENANTS_TURN.ends_by] += waiting
        return tuple(
            GateInspection(reason=reason, count=count, detail=", ".join(detail))
            for (reason, *detail), count in counts.most_common(MOST_REASONS)
        )

    def _children(self) -> ChildCounts | None:
        isolated = self._runners.of(IsolatedRunners)
        return None if isolated is None else isolated.counts()

    def _loops(self) -> tuple[LoopInspection, ...]:
        """The event loops, and whether they turn."""
        runners = self._runners.of(AsyncRunners)
        return () if runners is None else tuple(loop.watch.inspect() for loop in runners.loops)

    def _in_order(self) -> list[Assignment]:
        return sorted(self._assignments.all(), key=lambda found: (found.topic, found.partition))

    def _partition(self, assignment: Assignment, now_s: float) -> PartitionInspection:
        offset, since_at_s = self.lowest.get(assignment, (None, now_s))
        sent = assignment.commit_state.sent
        return PartitionInspection(
            topic=assignment.topic,
            partition=assignment.partition,
            state=_state_of(assignment),
            committed=None if sent is None else sent.offset,
            lowest=offset,
            lowest_for_s=now_s - since_at_s,
            incomplete=assignment.progress.incomplete,
        )


def _state_of(assignment: Assignment) -> Literal["restoring", "leaving", "running"]:
    if not assignment.is_current:
        return "leaving"
    return "running" if assignment.is_running else "restoring"
