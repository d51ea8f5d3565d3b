"""`Assignment`: the time that a partition is ours, and what the worker keeps of it meanwhile."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from enum import Enum
from types import MappingProxyType
from typing import Final

from ...topology.wire.commit_metadata import CommitMetadata
from ..sources.priorities import Priorities
from ..sources.source import MAIN, Source
from .commit_state import CommitState
from .crash_history import CrashHistory
from .offset_set import OffsetSet
from .partition_progress import PartitionProgress

Lane = bytes | str
Awaited = tuple[Source, int, bytes, int]
"""Source, partition, origin and attempt of a record that waits in a tier, or in a delay topic."""


class AssignmentState(Enum):
    """The life of a partition at this worker.

    | from                                           | transition      | to       |
    |------------------------------------------------|-----------------|----------|
    | RESTORING                                      | `note_restored` | OPENING  |
    | OPENING                                        | `note_running`  | RUNNING  |
    | RESTORING                                      | `replace`       | OPENING  |
    | RESTORING, OPENING, RUNNING                    | being replaced  | REPLACED |
    | RESTORING, OPENING, RUNNING, REPLACED, LEAVING | `leave`         | LEAVING  |
    | LEAVING, REPLACED                              | `end`           | ENDED    |

    `Assignments` makes all of them, but `note_running`, which `PartitionReading` makes when the first commit is
    answered, or when a consumer reads on from where the replacement begins. An assignment may leave twice: first a
    shutdown begins, then the consumer gives the partition back to the group.
    """

    RESTORING = "restoring"
    """The restoring thread reads ledger and progress; no record is fetched."""
    OPENING = "opening"
    """The first commit is on its way: it marks the partition as owned. Or a consumer is to read from here."""
    RUNNING = "running"
    """The poll thread fetches records, and jobs run."""
    REPLACED = "replaced"
    """Another assignment goes on with the partition. No job starts; what runs is settled in full."""
    LEAVING = "leaving"
    """The partition is being given away. No job starts; what runs is settled in full."""
    ENDED = "ended"
    """Another worker may own the partition. What runs is settled as late."""


CURRENT_STATES: Final = frozenset({AssignmentState.RESTORING, AssignmentState.OPENING, AssignmentState.RUNNING})
ENDING_STATES: Final = frozenset({AssignmentState.REPLACED, AssignmentState.LEAVING})


class ForbiddenTransition(Exception):
    """A part of the worker moved an assignment on in a way that `AssignmentState` does not allow: the worker stops."""

    def __init__(self, assignment: Assignment, to: AssignmentState) -> None:
        super().__init__(
            f"{assignment.topic}/{assignment.partition}: its assignment cannot become {to.value} after "
            f"{assignment.state.value}. The worker stops, and no job is lost. This is a fault of the worker: report it"
        )
        self.state, self.to = assignment.state, to


class Assignment:
    """One partition of one topic, from the moment it was assigned until it was revoked.

    Attributes:
        number: counts up over all assignments of this process; a result of an older one is settled as late.
        source: which of the queue's topics it is of.
        keeps_order: whether records of one key run one at a time.
        priorities: those of the queue; None where it declares none.
        state: where it is in its life; the transitions below change it, and nothing else does.
        is_current: whether its records may still be started; every record asks that, so it is an attribute, derived of
            `state`. False from LEAVING or REPLACED on.
        is_active: whether results are settled in full; derived as well, and False once it has ENDED.
        progress: which of its records are complete; owned by the poll thread.
        in_flight: how many of its records were handed to the lanes and are not settled; owned by the poll thread.
        commit_state: what of it is kept by the brokers; owned by the poll thread.
        crash_history: what is known of processes that died while they had it.
    """

    __slots__ = (
        "_awaited",
        "_replaced",
        "commit_state",
        "crash_history",
        "in_flight",
        "is_active",
        "is_current",
        "keeps_order",
        "number",
        "partition",
        "priorities",
        "progress",
        "source",
        "state",
        "topic",
    )

    def __init__(
        self,
        number: int,
        topic: str,
        partition: int,
        *,
        source: Source = MAIN,
        keeps_order: bool = True,
        priorities: Priorities | None = None,
    ) -> None:
        self.number = number
        self.topic = topic
        self.partition = partition
        self.source = source
        self.keeps_order = keeps_order
        self.priorities = priorities
        self.state = AssignmentState.RESTORING
        self.is_current = self.is_active = True
        self._replaced: Assignment | None = None
        self.progress = PartitionProgress()
        self.in_flight = 0
        self.commit_state = CommitState()
        self.crash_history = CrashHistory()
        self._awaited: Mapping[Lane, Mapping[int, Awaited]] = {}

    @property
    def is_running(self) -> bool:
        """Whether its jobs may start: what they need is restored, and its first commit is answered."""
        return self.state is AssignmentState.RUNNING

    @property
    def is_begun_anew(self) -> bool:
        """Whether it replaces one whose offsets went back, so that records may come that were complete before."""
        return self._replaced is not None

    @property
    def unsettled(self) -> int:
        """How many records are in flight of it and of those that it has replaced, which end when it does."""
        return self.in_flight + (self._replaced.unsettled if self._replaced is not None else 0)

    @property
    def is_staying(self) -> bool:
        """Whether its partition stays here: it is current, or another assignment goes on with the partition."""
        return self.is_current or self.state is AssignmentState.REPLACED

    def note_restored(
        self,
        state: CommitMetadata,
        incomplete: OffsetSet | None = None,
        *,
        commit_state: CommitState | None = None,
        awaited: Mapping[Lane, Mapping[int, Awaited]] = MappingProxyType({}),
    ) -> None:
        """Move on from RESTORING to OPENING, with what the owner before has left behind.

        Args:
            incomplete: the offsets that it left incomplete; None where `state` has them.
            commit_state: where on the progress topic these were found.
            awaited: of a tier, where order is strict: {key: {offset: a record there that is not complete}}.
        """
        self._move_to(AssignmentState.OPENING, {AssignmentState.RESTORING})
        self.progress.begin(state, incomplete)
        self.crash_history.restore(state)
        self.commit_state = commit_state or CommitState()
        self._awaited = awaited

    def take_awaited(self, superseded: Collection[int]) -> Mapping[Lane, Collection[Awaited]]:
        """The records that its lanes wait for as they begin; given once, since there may be a great many.

        Args:
            superseded: the offsets of which copies were carried forward: they never come, the copies run.
        """
        awaited, self._awaited = self._awaited, {}
        gone = set(superseded) if awaited else set()
        found = {lane: [name for at, name in names.items() if at not in gone] for lane, names in awaited.items()}
        return {lane: names for lane, names in found.items() if names}

    def note_running(self) -> None:
        """Move on from OPENING to RUNNING."""
        self._move_to(AssignmentState.RUNNING, {AssignmentState.OPENING})

    def replace(self, former: Assignment) -> None:
        """Go on with the partition of `former`, which ends when this one does: so its jobs are settled in full.

        The ledger of the partition is here already, and so is the first commit. What is known of crashes is shared: a
        job of `former` that still runs may crash, and comes again.
        """
        self._move_to(AssignmentState.OPENING, {AssignmentState.RESTORING})
        former._be_replaced()
        self._replaced = former
        self.crash_history = former.crash_history
        self.commit_state.take_over(former.commit_state)

    def _be_replaced(self) -> None:
        """Start no more records; what runs ends and is settled, until the assignment in its place ends."""
        self._move_to(AssignmentState.REPLACED, CURRENT_STATES)

    def leave(self) -> None:
        """Start no more records; what runs may still end and be settled, also of the assignments that it replaced."""
        self._move_to(AssignmentState.LEAVING, CURRENT_STATES | ENDING_STATES)
        if self._replaced is not None:
            self._replaced.leave()

    def end(self) -> None:
        """Settle what still runs as late, also of the assignments that this one has replaced."""
        self._move_to(AssignmentState.ENDED, ENDING_STATES)
        if self._replaced is not None:
            self._replaced.end()

    def _move_to(self, state: AssignmentState, allowed: Collection[AssignmentState]) -> None:
        """Make a transition.

        Raises:
            ForbiddenTransition: it is not allowed from the present state.
        """
        if self.state not in allowed:
            raise ForbiddenTransition(self, state)
        self.state = state
        self.is_current = state in CURRENT_STATES
        self.is_active = state is not AssignmentState.ENDED


Place = tuple[Assignment, int]
"""An assignment, and an offset of it: where a record stands."""
