"""`EventWindow`: rates, lengths of runs and failures of the last minute, folded from events. Bounded in memory."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final, TypeVar

from ..job_index.entries import HistoryEntry, JobEntry
from ..job_index.states import State
from .picture import FailureLine, TypeLine

WINDOW_S: Final = 60.0
STEP_S: Final = 1.0
MOST_SAMPLES: Final = 200
"""Lengths of runs of a type that are kept for each step."""
MOST_GROUPS: Final = 1_000
"""Groups of failures in each step; further ones count together."""
_LONGEST_MESSAGE: Final = 200
_FAILED: Final = frozenset({State.RETRYING, State.DEAD})

T = TypeVar("T")
Kind = tuple[str, str]
"""(job type, queue)."""
Failure = tuple[str, str, str]
"""(job type, error class, fingerprint)."""


@dataclass(slots=True)
class _Step:
    """A second of events. Not frozen, because it counts."""

    at_s: float
    done: Counter[Kind] = field(default_factory=Counter)
    failed: Counter[Kind] = field(default_factory=Counter)
    took_s: dict[Kind, list[float]] = field(default_factory=dict)
    failures: Counter[Failure] = field(default_factory=Counter)


class EventWindow:
    """Counts events by the second in which they were read, and forgets them after a minute. Not thread-safe."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock, self._began_at_s = clock, clock()
        self._steps: deque[_Step] = deque()
        self._messages: dict[Failure, str] = {}

    @property
    def watched_s(self) -> float:
        """For how long it has counted, a minute at the most."""
        return min(self._clock() - self._began_at_s, WINDOW_S)

    def note(self, entries: Iterable[JobEntry]) -> int:
        """Take in what has happened to jobs; returns how many entries that were."""
        step, count = self._step(), 0
        for count, entry in enumerate(entries, start=1):  # noqa: B007  # the last number is the answer
            kind = entry.job_type, entry.queue
            if entry.state is State.DONE:
                step.done[kind] += 1
                samples = step.took_s.setdefault(kind, [])
                if len(samples) < MOST_SAMPLES and entry.took_us >= 0:
                    samples.append(entry.took_us / 1e6)
            elif entry.state in _FAILED:
                step.failed[kind] += 1
                for item in entry.history:
                    self._note_failure(step, entry.job_type, item)
        return count

    def types(self) -> list[TypeLine]:
        """The job types of the last minute, the busiest first."""
        self._forget()
        over_s = max(self.watched_s, STEP_S)
        done, failed = _sum(step.done for step in self._steps), _sum(step.failed for step in self._steps)
        lines = [self._line(kind, done[kind] / over_s, failed[kind] / over_s) for kind in {*done, *failed}]
        return sorted(lines, key=lambda one: (-one.done_per_s - one.failed_per_s, one.name))

    def failed_per_s(self, queue: str) -> float:
        """Failed runs of a queue."""
        self._forget()
        failed = _sum(step.failed for step in self._steps)
        return sum(count for (_, of), count in failed.items() if of == queue) / max(self.watched_s, STEP_S)

    def failures(self) -> list[FailureLine]:
        """The failures of the last minute that are alike, the most first."""
        self._forget()
        found = _sum(step.failures for step in self._steps)
        return [
            FailureLine(
                error_type=error,
                message=self._messages.get((job_type, error, digits), ""),
                job_type=job_type,
                fingerprint=digits,
                count=count,
            )
            for (job_type, error, digits), count in found.most_common()
        ]

    def _step(self) -> _Step:
        now_s = self._clock()
        if not self._steps or now_s - self._steps[-1].at_s >= STEP_S:
            self._steps.append(_Step(now_s))
        return self._steps[-1]

    def _forget(self) -> None:
        while self._steps and self._steps[0].at_s <= self._clock() - WINDOW_S:
            self._steps.popleft()
        known = {failure for step in self._steps for failure in step.failures}
        self._messages = {failure: message for failure, message in self._messages.items() if failure in known}

    def _note_failure(self, step: _Step, job_type: str, item: HistoryEntry) -> None:
        failure = job_type, item.error_type, item.fingerprint
        if failure in step.failures or len(step.failures) < MOST_GROUPS:
            step.failures[failure] += 1
            self._messages.setdefault(failure, item.message[:_LONGEST_MESSAGE])

    def _line(self, kind: Kind, done_per_s: float, failed_per_s: float) -> TypeLine:
        took = sorted(self._took(kind))
        return TypeLine(
            name=kind[0],
            queue=kind[1],
            done_per_s=done_per_s,
            failed_per_s=failed_per_s,
            median_s=_share(took, 0.5),
            p95_s=_share(took, 0.95),
        )

    def _took(self, kind: Kind) -> Iterator[float]:
        for step in self._steps:
            yield from step.took_s.get(kind, ())


def _sum(counters: Iterable[Counter[T]]) -> Counter[T]:
    found: Counter[T] = Counter()
    for one in counters:
        found.update(one)
    return found


def _share(ordered: list[float], share: float) -> float | None:
    """The value below which this share of them lies.

    >>> _share([1.0, 2.0, 3.0, 4.0], 0.5)
    3.0
    """
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)] if ordered else None
