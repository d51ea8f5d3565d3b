"""`measure`: how well each job type keeps what its owner promises, by the index of jobs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from math import ceil
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from ...topology.declaration.catalogue import CataloguedSlo
    from ..job_index.index_reader import IndexReader

SAMPLE: Final = 10_000
"""Times are those of the newest done jobs of a type, so many at the most."""
PERCENTILE: Final = 0.99


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """The measured values of one job type; None where nothing was measured.

    Attributes:
        done, dead: how many jobs ended so.
        wait_p99_s: 99 of 100 jobs began within so long of their enqueueing.
        run_p99_s: 99 of 100 runs that succeeded took no longer.
    """

    done: int = 0
    dead: int = 0
    wait_p99_s: float | None = None
    run_p99_s: float | None = None

    @property
    def success(self) -> float | None:
        """The share of done jobs among those that are done or dead letters."""
        ended = self.done + self.dead
        return self.done / ended if ended else None

    def missed(self, slo: CataloguedSlo | None) -> tuple[str, ...]:
        """The promises that are not kept, of `success`, `wait` and `run`; none where nothing was measured."""
        if slo is None:
            return ()
        kept = {
            "success": self.success is None or self.success >= slo.success,
            "wait": _is_within(self.wait_p99_s, slo.wait_s),
            "run": _is_within(self.run_p99_s, slo.run_s),
        }
        return tuple(name for name, is_kept in kept.items() if not is_kept)


NOT_MEASURED: Final = Measured()


def _is_within(measured_s: float | None, promised_s: float | None) -> bool:
    return measured_s is None or promised_s is None or measured_s <= promised_s


def measure(reader: IndexReader, job_types: Iterable[str], since: datetime) -> dict[str, Measured]:
    """{job type: what the index knows of its jobs that have ended since}; the times are those of the newest ones."""
    from ..job_index.job_filter import JobFilter
    from ..job_index.states import State

    names = list(job_types)
    counted = reader.counts(("type", "state"), JobFilter(types=names, since=since)) if names else []
    counts = dict(counted)
    found = {}
    for name in names:
        done, dead = (counts.get((name, state.shown), 0) for state in (State.DONE, State.DEAD))
        times = reader.times(name, since, SAMPLE) if done else []
        found[name] = replace(
            Measured(done=done, dead=dead),
            wait_p99_s=percentile([wait_s for wait_s, _ in times if wait_s is not None]),
            run_p99_s=percentile([run_s for _, run_s in times if run_s is not None]),
        )
    return found


def percentile(values: Sequence[float], share: float = PERCENTILE) -> float | None:
    """The least of the values that so many of them do not pass; None of none.

    >>> percentile([0.1] * 99 + [7.0]), percentile([0.1] * 98 + [7.0, 7.0])
    (0.1, 7.0)
    """
    return sorted(values)[max(ceil(len(values) * share) - 1, 0)] if values else None
