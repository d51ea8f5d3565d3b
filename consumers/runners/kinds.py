"""`Runners`: what all kinds of runners have in common; `RunnerRow`: the kinds of one queue, in their order."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any, TypeAlias, TypeVar

from ..guarded_thread import first_crash
from ..priorities.ready import PriorityReady
from ..progress.assignment import Assignment
from ..records.record import Record, copied, take_out
from .watchdog import RESISTS, RunnerSlot, WatchedRunners

SlotT = TypeVar("SlotT", bound=RunnerSlot)
KindT = TypeVar("KindT", bound="Runners[Any]")
Ready: TypeAlias = deque[Record] | PriorityReady
"""The ready records of one kind: in the order in which they became ready, or by priority."""


class Runners(WatchedRunners[SlotT], ABC):
    """Runners of one kind. What has a body here holds for each kind that does not replace it.

    Attributes:
        kind: its name in metrics, such as `async`.
        size: how many jobs may run at once; 0 where the queue has no jobs that must run here.
    """

    kind: str
    size: int
    stuck_words = RESISTS
    ends_within_s = 0.0

    @property
    def crashed(self) -> BaseException | None:
        """Why its jobs cannot go on; None while they can."""
        return None

    def own(self, records: list[Record]) -> list[Record]:
        """The records among these that this kind runs: all, unless the kind overrides this."""
        return records

    @abstractmethod
    def start(self) -> None:
        """Start the threads."""

    @abstractmethod
    def make_ready(self, records: list[Record]) -> None:
        """Offer records of different lanes to the runners; called from any thread."""

    @abstractmethod
    def drop(self, assignments: Collection[Assignment]) -> list[Record]:
        """Take out the records of partitions that are being given away, as far as they have not begun."""

    @abstractmethod
    def interrupt(self) -> None:
        """Start no further record, and cut short what runs, as far as that can be done.

        It waits for no job. Isolated runners wait for their child processes to end, some seconds at the most.
        """

    @abstractmethod
    def wait_ended(self, give_up_at_s: float) -> None:
        """Wait, until this instant at the latest, for the outcomes of jobs that were interrupted."""

    @property
    @abstractmethod
    def ready(self) -> int:
        """Records that could run at once, were a runner free."""

    @abstractmethod
    def waiting_records(self) -> list[Record]:
        """These records, as far as none of them has begun meanwhile; called from any thread."""

    def begin(self, assignment: Assignment) -> None:
        """Note a restored assignment, before any of its records is ready."""
        return

    def note_settled(self) -> None:
        """Look again at what the assignments hold, now that outcomes are settled."""
        return

    def check(self, now_s: float) -> None:
        """Check what is not in a slot, such as an event loop that does not turn."""
        return

    def replace(self, slot: SlotT) -> bool:
        """Let another runner work in place of one that is stuck; False when there are as many as may be."""
        return True


def drop_ready(ready: Ready, assignments: Collection[Assignment]) -> list[Record]:
    """Take out the ready records of some assignments."""
    return take_out(ready, assignments) if isinstance(ready, deque) else ready.take_out(assignments)


def in_ready(ready: Ready) -> list[Record]:
    """The ready records, while runners go on taking them."""
    return copied(ready) if isinstance(ready, deque) else ready.records()


class RunnerRow:
    """The runners of one queue. Each kind is asked in turn for its records, so the last one takes all that is left."""

    def __init__(self, kinds: Sequence[Runners[Any]]) -> None:
        self._kinds = kinds

    def __iter__(self) -> Iterator[Runners[Any]]:
        return iter(self._kinds)

    def of(self, kind: type[KindT]) -> KindT | None:
        """The runners of one kind; None where this queue has none."""
        return next((runners for runners in self._kinds if isinstance(runners, kind)), None)

    @property
    def crashed(self) -> BaseException | None:
        """Why jobs cannot go on; None while they can."""
        return first_crash(self._kinds)

    @property
    def ready(self) -> int:
        """Records that could run at once, were a runner free."""
        return sum(runners.ready for runners in self._kinds)

    def waiting_records(self) -> list[Record]:
        """These records, as far as none of them has begun meanwhile; called from any thread."""
        return [record for runners in self._kinds for record in runners.waiting_records()]

    def start(self) -> None:
        """Start all threads."""
        for runners in self._kinds:
            runners.start()

    def begin(self, assignment: Assignment) -> None:
        """Note a restored assignment, before any of its records is ready."""
        for runners in self._kinds:
            runners.begin(assignment)

    def note_settled(self) -> None:
        """Note that a batch was settled."""
        for runners in self._kinds:
            runners.note_settled()

    def make_ready(self, records: list[Record]) -> None:
        """Give each record to the first kind that takes it."""
        for runners in self._kinds:
            own = runners.own(records)
            if not own:
                continue
            self._offer(runners, own)
            if len(own) == len(records):
                return
            taken = set(own)
            records = [record for record in records if record not in taken]

    def _offer(self, runners: Runners[Any], records: list[Record]) -> None:
        runners.make_ready(records)

    def note_left(self, records: Iterable[Record]) -> None:
        """Note that these are with the runners no more: only a row whose runners tenants share counts them."""
        return

    def drop(self, assignments: Collection[Assignment]) -> list[Record]:
        """Take back the records of these assignments that have not begun."""
        return [record for runners in self._kinds for record in runners.drop(assignments)]

    def interrupt(self) -> None:
        """Start no further record, and cut short what runs, as far as that can be done."""
        for runners in reversed(self._kinds):  # isolated ones, the first, wait for their children
            runners.interrupt()

    def wait_ended(self, give_up_at_s: float) -> None:
        """Wait, until this instant at the latest, for the outcomes of jobs that were interrupted.

        Call it after `interrupt`, so that no kind starts a record while another one is waited for.
        """
        for runners in self._kinds:
            runners.wait_ended(give_up_at_s)
