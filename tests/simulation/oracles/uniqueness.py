"""`Uniqueness`: whether one of several jobs of an identity runs, and none is lost, by what truly happened."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from datetime import timedelta

from simulation.jobs import Job
from simulation.processes import SimProcess
from simulation.virtual_time import CLOCK
from stoker.consumers.records.outcomes import Cancelled, Dead, Done, Outcome, is_lasting
from stoker.consumers.records.record import Record
from stoker.consumers.unique.arrival import Identity, identity_of
from stoker.topology import Unique

MODES = {
    "drop": Unique(),
    "throttle": Unique(while_=(), within=timedelta(seconds=5)),
    "replace": Unique(on_conflict="replace"),
    "keep the last": Unique(on_conflict="replace", while_=("waiting",)),
    "put off": Unique(on_conflict="put_off", wait=timedelta(seconds=2), longest=timedelta(seconds=5)),
}


@dataclass(eq=False)
class UniqueRun:
    """One run of a job; times in epoch milliseconds."""

    record: Record
    began_ms: int
    ended_ms: int | None = None
    is_late: bool = False


@dataclass(eq=False)
class Life:
    """One job of an identity: when it came, and how its records ended, each time.

    One that was published twice came twice, so nothing follows from when it came.
    """

    job: Job
    job_id: str
    identity: Identity
    came: tuple[int, int]
    runs: list[UniqueRun] = field(default_factory=list)
    winners: list[str] = field(default_factory=list)
    ends_ms: list[int] = field(default_factory=list)
    has_given_up: bool = False
    has_late_end: bool = False


class Uniqueness:
    """All jobs that have an identity, under one rule."""

    def __init__(self, rule: Unique) -> None:
        self._rule = rule
        self._lives: dict[str, Life] = {}
        self._by_identity: defaultdict[Identity, list[Life]] = defaultdict(list)

    def note_enqueued(self, job: Job) -> None:
        """A record of a job is on its main topic; of one that was published twice, the first counts."""
        record = job.records[0].record
        identity = identity_of(record)
        if identity is not None and job.job_id not in self._lives:
            life = self._lives[job.job_id] = Life(job, job.job_id, identity, (record.timestamp_ms, record.offset))
            self._by_identity[identity].append(life)

    def begin_run(self, process: SimProcess, record: Record, job_id: str) -> None:
        """No job runs that came while another was in its way."""
        life = self._lives.get(job_id)
        if life is None:
            return
        if not self._rule.replaces and not process.is_fenced:
            for other in self._by_identity[life.identity]:
                if other.came < life.came and not (other.job.is_repeated or life.job.is_repeated):
                    self._check_is_free(other, life, record)
        life.runs.append(UniqueRun(record, _now_ms()))

    def _check_is_free(self, other: Life, life: Life, record: Record) -> None:
        """Another job that has run, and that came before, had ended when this one came, and its period was over.

        Whether one that was cancelled has run, the next owner may not know; a dead letter may be written much later.
        """
        if other.has_given_up or other.has_late_end or other.job.is_dead_letter:
            return
        if not any(run.ended_ms is not None and not run.is_late for run in other.runs):
            return
        within_ms = other.came[0] + self._rule.within_ms
        assert life.came[0] >= within_ms, f"{record} runs within the period of {other.job_id}"
        if "running" in self._rule.states:
            assert other.ends_ms, f"{record} runs, and {other.job_id} waits for its retry"
            assert life.came[0] >= max(other.ends_ms), f"{record} runs, and came before the end of {other.job_id}"

    def note_end(self, process: SimProcess, record: Record, outcome: Outcome, job_id: str) -> None:
        """Take note of what became of a record."""
        life = self._lives.get(job_id)
        if life is None:
            return
        is_late = process.is_fenced or not record.assignment.is_active
        for run in life.runs:
            if run.record is record:
                run.ended_ms, run.is_late = _now_ms(), is_late
        if isinstance(outcome, Cancelled) and outcome.reason == "duplicate":
            assert outcome.winner in self._lives, f"{record} has lost to {outcome.winner!r}, which is no job"
            assert self._lives[outcome.winner].identity == life.identity, f"{record} has lost to another identity"
            life.winners.append(outcome.winner)
        elif is_late:
            life.has_late_end = life.has_late_end or is_lasting(outcome)
        elif isinstance(outcome, Done | Dead | Cancelled):
            life.ends_ms.append(_now_ms())
            life.has_given_up = life.has_given_up or isinstance(outcome, Cancelled)

    def check_rest(self) -> None:
        """Whoever has lost has done so to a job that ran, in time, or that ended in another way."""
        for life in self._lives.values():
            if life.winners and not (life.runs or life.ends_ms or life.job.is_repeated):
                self._check_served(life, self._last_winner(life))

    def _last_winner(self, life: Life) -> Life:
        seen = [life]
        while seen[-1].winners and not seen[-1].runs and not seen[-1].ends_ms:
            seen.append(self._lives[seen[-1].winners[-1]])
            assert len(set(map(id, seen))) == len(seen), f"{life.job_id} has lost to itself, by {len(seen)} others"
        return seen[-1]

    def _check_served(self, life: Life, winner: Life) -> None:
        """The work was done for it as well: by a run that ended after it had come, or began after, as guaranteed."""
        if winner.has_given_up or winner.job.is_dead_letter or (winner.ends_ms and not winner.runs):
            return  # it has expired, was cancelled, or is unreadable
        assert winner.runs, f"{life.job_id} has lost to {winner.job_id}, which never ran"
        runs = [run for other in self._by_identity[life.identity] for run in other.runs]
        came_ms = life.came[0]
        if self._rule.within_ms and came_ms < winner.came[0] + self._rule.within_ms:
            return
        ends_after = "running" in self._rule.states
        times = [(run.ended_ms or _now_ms()) if ends_after else run.began_ms for run in runs]
        assert max(times) >= came_ms, f"{life.job_id} came after all runs of its identity, and is lost"


def _now_ms() -> int:
    return int(CLOCK.time() * 1_000)
