"""What truly happened to one job: `Job`, its records as they were written (`Written`), and its runs (`Run`)."""

from __future__ import annotations

from dataclasses import dataclass, field

from simulation.brokers import Place
from simulation.processes import SimProcess
from stoker.consumers.progress.assignment import Assignment
from stoker.consumers.records.outcomes import Dead, Outcome
from stoker.consumers.records.record import Record
from stoker.topology.declaration.priorities import NORMAL


@dataclass(eq=False)
class Written:
    """A record that is on the main topic or in a tier."""

    record: Record
    place: Place
    names: frozenset[str]
    was_skipped: bool = False


@dataclass(eq=False)
class Job:
    """One acknowledged job.

    Attributes:
        priority: the priority under which it was published.
        order: its place among the jobs of its key and priority; None where it has no key or was delayed.
        failed: the attempts that have failed.
        ends: how it ended, each time that it did: more than once only where something explains that.
        is_dead_letter: whether a dead letter of it is on its topic.
        is_repeated: whether it was published twice.
        is_deferred: whether it was deferred before it ran, since nobody knew its schema.
    """

    job_id: str
    key: bytes | None
    order: int | None
    priority: str = NORMAL
    records: list[Written] = field(default_factory=list)
    runs: list[Run] = field(default_factory=list)
    failed: set[int] = field(default_factory=set)
    ends: list[str] = field(default_factory=list)
    is_dead_letter: bool = False
    is_repeated: bool = False
    is_deferred: bool = False

    @property
    def is_over(self) -> bool:
        """Whether nothing more is to be done for it: of a dead letter only once that is written."""
        return self.is_dead_letter or any(end != Dead.__name__ for end in self.ends)


@dataclass(eq=False)
class Run:
    """One run of an attempt."""

    process: SimProcess
    assignment: Assignment
    record: Record
    attempt: int
    at: int
    outcome: Outcome | None = None
    is_cut: bool = False

    @property
    def goes_on(self) -> bool:
        """Whether it has not ended yet."""
        return self.outcome is None and not self.is_cut

    @property
    def is_late(self) -> bool:
        """Whether its partition is another's by now."""
        return not self.assignment.is_active or self.process.is_fenced or not self.process.is_alive
