"""`CarriedPartitions`: the carried jobs of each partition number, as they were restored."""

from __future__ import annotations

from collections.abc import Collection

from ..progress.assignment import Assignment
from .carried import CarriedJobs


class CarriedPartitions:
    """The carried jobs of one queue; owned by the poll thread."""

    def __init__(self) -> None:
        self._jobs: dict[int, CarriedJobs] = {}

    def begin(self, partition: int, jobs: CarriedJobs) -> None:
        """Take what was restored of a partition of the carried topic."""
        self._jobs[partition] = jobs

    def take(self, carried: Assignment) -> CarriedJobs | None:
        """The carried jobs of a partition of the carried topic as its assignment begins; given once."""
        jobs = self._jobs.get(carried.partition)
        if not carried.source.has_copies or jobs is None:
            return None
        self._jobs[carried.partition] = jobs.without_records()
        return jobs

    def superseded(self, assignment: Assignment) -> Collection[int]:
        """The offsets of its records of which copies were carried forward."""
        jobs = self._jobs.get(assignment.partition)
        return () if jobs is None else jobs.superseded.get(assignment.topic, ())

    def end(self, ended: Assignment) -> None:
        """Forget the carried jobs of an assignment of the carried topic."""
        if ended.source.has_copies:
            self._jobs.pop(ended.partition, None)
