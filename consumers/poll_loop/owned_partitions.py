"""`OwnedPartitions`: what a turn does for the worker's partitions: it begins, commits and gives them back."""

from __future__ import annotations

from collections.abc import Callable

from ..commits.commits import Commits
from ..group.member import GroupMember
from ..in_flight.completion import Completion
from ..in_flight.memory_bounds import MemoryBounds
from ..partitions.assignments import Assignments
from ..rebalance.rebalance import Rebalance


class OwnedPartitions:
    """Called by the poll thread alone, but for `leave`, which another one calls when that turns no more.

    Args:
        close_readers: disconnects all consumers but the group's.
    """

    def __init__(
        self,
        assignments: Assignments,
        member: GroupMember,
        *,
        rebalance: Rebalance,
        commits: Commits,
        memory_bounds: MemoryBounds,
        completion: Completion,
        close_readers: Callable[[], None],
    ) -> None:
        self._assignments = assignments
        self._member = member
        self._rebalance = rebalance
        self._commits = commits
        self._memory_bounds = memory_bounds
        self._completion = completion
        self._close_readers = close_readers

    @property
    def queue_name(self) -> str:
        """The name of their queue."""
        return self._assignments.queue_name

    @property
    def in_flight(self) -> int:
        """How many of their records were handed to the lanes, and are not settled."""
        return self._memory_bounds.in_flight

    def join(self) -> None:
        """Ask the group for partitions; they come by the polls that follow."""
        self._member.join()

    def turn(self, now_s: float) -> None:
        """Stay in the group, take what was settled, begin what is restored, and commit what is complete."""
        self._member.stay(now_s)
        self._completion.note_settled()
        self._rebalance.begin_restored(self._member.consumer)
        self._commits.commit_if_due(self._member.consumer)

    def do_housekeeping(self, now_s: float) -> None:
        """Forget what is long gone, and check the membership; called once a second or so."""
        self._assignments.forget_old()
        self._member.check_membership(now_s)

    # ---- the end

    def begin_to_leave(self) -> None:
        """Take no more records of any partition, and drop those that have not begun."""
        self._member.begin_to_leave()
        everything = self._assignments.leave_all()
        self._memory_bounds.pause(self._member.consumer)
        self._rebalance.drop_unbegun(everything)

    def last_turn(self) -> None:
        """Take what was settled, and commit what is complete."""
        self._completion.note_settled()
        self._commits.commit_if_due(self._member.consumer)

    def leave(self) -> int:
        """Commit for the last time, and leave the group; returns how many jobs have no outcome."""
        self._completion.note_settled()
        assignments = self._assignments.all()
        left = sum(assignment.unsettled for assignment in assignments)
        try:
            self._commits.await_answer(self._member.consumer)
            self._rebalance.commit_last(self._member.consumer, assignments)
        finally:
            self._close()
        return left

    def _close(self) -> None:
        """Leave the group, and disconnect all others whatever comes of that."""
        try:
            self._member.consumer.close()
        finally:
            self._close_readers()
