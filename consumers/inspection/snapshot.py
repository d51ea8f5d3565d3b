"""`QueueSnapshot`: what a worker is doing for one queue at a moment, for people and their screens."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ..group.membership import MemberState
from ..isolation.pool import ChildCounts
from ..job.heartbeats import JobProgress


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueSnapshot:
    """One queue's figures in one process.

    Attributes:
        outcomes: {outcome's class name, such as "Done" or "Retried": count since the start}.
        in_flight: jobs taken and not yet settled, those that wait in memory included.
        delayed: records that are not due, in memory or known by their offsets.
        partitions: the main topic's partitions that this process owns.
        unfinished: records of all owned partitions that are not complete, those of `delayed` included; None before they
            were counted.
        is_paused: whether fetching rests because the bounds on jobs in flight are reached.
        running, stuck: jobs that run, and those of them that go on past their timeout and cannot be ended.
        progress: {job id: how far it is} of running jobs that have reported it.
        member_state: `working` where the group has given it partitions, `joining` before, `spare` where there are more
            workers than partitions, `outside` where it has had none for 30 s without such a reason, `leaving` while it
            shuts down.
        waits_for: why it has no partitions, in words; empty where it has some.
        lost_right: what the brokers do not let it do any more, in words; empty where all is allowed.
        children: the child processes for isolated jobs; None where there are none. While their `trouble` is not None,
            isolated jobs go on in those that are busy or idle, and wait where none is.
    """

    queue: str
    outcomes: Mapping[str, int]
    in_flight: int
    delayed: int
    partitions: tuple[int, ...]
    unfinished: int | None
    is_paused: bool
    running: int = 0
    stuck: int = 0
    progress: Mapping[str, JobProgress] = field(default_factory=dict)
    children: ChildCounts | None = None
    member_state: MemberState = "working"
    waits_for: str = ""
    lost_right: str = ""

    @property
    def is_ready(self) -> bool:
        """Whether it works, or would if a partition came: what a probe of readiness asks."""
        return self.member_state in ("working", "spare") and not self.lost_right

    @property
    def settled(self) -> int:
        """All outcomes together."""
        return sum(self.outcomes.values())
