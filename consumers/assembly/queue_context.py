"""`QueueContext`: what a queue's worker is made from, as it is declared, set, and shared by the process."""

from __future__ import annotations

from dataclasses import dataclass, field

from ...schemas import SchemaStore
from ...topology import ClusterSettings, Pipeline, Queue
from ...topology.declaration.job_type import AnyJobType
from ..breakers.failure_watch import FailureWatch
from ..instruments.instruments import NO_INSTRUMENTS, Instruments
from ..settings import WorkerSettings
from ..standing_orders.reschedules import JobOrders


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueContext:
    """All queues of a process have the same, but for `queue`.

    Attributes:
        orders: the orders about single jobs that stand in this process.
        watch: what the process counts of failures.
    """

    pipeline: Pipeline
    queue: Queue
    cluster: ClusterSettings
    store: SchemaStore
    settings: WorkerSettings
    instruments: Instruments = NO_INSTRUMENTS
    orders: JobOrders = field(default_factory=JobOrders)
    watch: FailureWatch = field(default_factory=FailureWatch)

    @property
    def worker_id(self) -> str:
        """The name of the process."""
        return self.settings.worker_id

    @property
    def job_types(self) -> list[AnyJobType]:
        """The queue's job types."""
        return [found for found in self.pipeline.job_types.values() if found.queue is self.queue]
