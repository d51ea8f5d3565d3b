"""`FailureWatch`: what one worker process keeps of the failures of its jobs, for all of its queues."""

from __future__ import annotations

from dataclasses import dataclass

from ...topology import Pipeline
from .breakers import NO_BREAKERS, Breakers
from .dead_guards import NO_GUARDS, DeadGuards


@dataclass(frozen=True, slots=True, kw_only=True)
class FailureWatch:
    """The breakers and guards of a process; falsy ones where the pipeline declares none."""

    breakers: Breakers = NO_BREAKERS
    guards: DeadGuards = NO_GUARDS

    @classmethod
    def of_pipeline(cls, pipeline: Pipeline, worker_id: str) -> FailureWatch:
        """The breakers and guards that a pipeline declares."""
        return cls(
            breakers=Breakers.of_pipeline(pipeline, worker_id),
            guards=DeadGuards(pipeline.job_types.values()),
        )
