"""`Recent`: what the statistics of the last hour have of each job type, where they are kept."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from .measurements import PERCENTILE, Measured

if TYPE_CHECKING:
    from ...topology import ClusterSettings, Pipeline
    from ..statistics.histograms import LengthHistogram
    from ..statistics.reading import Statistics, TypeStatistics


@dataclass(frozen=True, slots=True, kw_only=True)
class Recent:
    """The figures of the last hour.

    Attributes:
        types: {(queue, job type): figures}; empty unless statistics are fresh.
        note: how old they are, or why there are none, in a sentence.
        freshness: `fresh`, `stale` or `none`.
        at: up to when they are counted, as programs have it; None without statistics.
    """

    note: str
    freshness: str = "none"
    at: str | None = None
    types: Mapping[tuple[str, str], TypeStatistics] = field(default_factory=dict)

    def of(self, queue: str, job_type: str) -> TypeStatistics | None:
        """The figures of a job type; None where there are none."""
        return self.types.get((queue, job_type))

    def measured(self, pipeline: Pipeline) -> dict[str, Measured]:
        """{job type: its figures as they are compared with promises}."""
        named = ((job.name, self.of(job.queue.name, job.name)) for job in pipeline.job_types.values())
        return {name: _measured(found) for name, found in named if found is not None}


def read_recent(pipeline: Pipeline, cluster: ClusterSettings) -> Recent:
    """Read the statistics of the cluster, where it has some."""
    from ..statistics.reading import LONGEST, read_statistics_if_any

    return _recent(read_statistics_if_any(pipeline, cluster, LONGEST))


def _recent(found: Statistics) -> Recent:
    """The figures, where they are fresh; otherwise the reason why there are none."""
    from ..statistics.text import freshness_line, stale_line

    stale = stale_line(found)
    return Recent(
        note=f"Statistics are {freshness_line(found)}." if found.is_fresh else f"{stale[:1].upper()}{stale[1:]}",
        freshness=found.freshness,
        at=None if found.at is None else found.at.isoformat(),
        types={(one.queue, one.job_type): one for one in found.types} if found.is_fresh else {},
    )


def _measured(found: TypeStatistics) -> Measured:
    counts = found.tally.counts
    return Measured(
        done=counts["done"],
        dead=counts["dead"],
        wait_p99_s=_p99_s(found.tally.wait),
        run_p99_s=_p99_s(found.tally.run),
    )


def _p99_s(times: LengthHistogram) -> float | None:
    found_s = times.quantile_s(PERCENTILE)
    return None if found_s is None else float(f"{found_s:.3g}")
