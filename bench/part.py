"""`Part`: what one process of a measurement gets and returns: JSON in its arguments, JSON lines out."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass

from jobs import QUEUE, Kind, Note, declare

from stoker.topology import ClusterSettings, Pipeline, Queue
from stoker.topology.declaration.job_type import AnyJobType

Result = dict[str, float | list[float]]
Say = Callable[[], None]
"""Says that the process is ready."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One process's share of a measurement.

    Attributes:
        does: what it does, a name in `process.py`.
        kind: of the jobs.
        jobs: how many.
    """

    does: str
    namespace: str
    kind: Kind
    jobs: int

    def to_json(self) -> str:
        """The process's argument."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Part:
        """Read the process's argument."""
        return cls(**json.loads(text))

    @property
    def cluster(self) -> ClusterSettings:
        """Where; every process has it from the environment."""
        return ClusterSettings.from_environment()

    def pipeline(self, note: Note = lambda _seconds: None) -> Pipeline:
        """The declared job, with what takes its handler's measurements."""
        return declare(self.namespace, self.kind, note)


def only_queue(pipeline: Pipeline) -> Queue:
    """The one queue of a measurement's pipeline whose jobs are measured."""
    return pipeline.find_queue(QUEUE)


def only_job(pipeline: Pipeline) -> AnyJobType:
    """The one job type of that queue."""
    (job,) = (job_type for job_type in pipeline.job_types.values() if job_type.queue.name == QUEUE)
    return job
