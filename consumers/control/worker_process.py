"""`WorkerProcess`: what control sees of the process that it is in, and what it may ask of it."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from ...schemas.own_records.control_records import BREAKERS, ENDED, LIMITS, QueueShare, WorkerState, WorkerStatus
from ...schemas.own_records.job_events import JobEvent
from ...topology import Pipeline, Queue
from ...topology.actor import stoker_version
from ..breakers.breakers import NO_BREAKERS, Breakers
from ..breakers.dead_guards import NO_GUARDS, DeadGuards
from ..gates.pauses import Pauses
from ..inspection.queue_inspection import QueueInspection
from ..inspection.snapshot import QueueSnapshot
from ..limits.limits import Limits
from ..limits.reports import as_data
from ..machine import resident_bytes
from ..settings import WorkerSettings
from ..standing_orders.cancels import Cancels
from ..standing_orders.reschedules import Reschedules

EndCancelled = Callable[[], int]


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerProcess:
    """One worker process.

    Attributes:
        pauses: {queue: its pauses in this process}.
        cancels, reschedules: those that stand in this process.
        breakers, guards: those of the pipeline.
        limits: those of each queue.
        publish: takes an event.
        end_cancelled: ends the jobs for which a cancel stands and that run, or wait at gates in memory; returns how
            many run.
        end_cancelled_aside: as `end_cancelled`, for those that wait aside as well, which reads them again.
        runners: {queue: how many of its jobs may run at once}.
        snapshot, inspect: look at its queues.
        stop: begins the graceful shutdown.
        is_stopping: whether that has begun; `has_ended` whether no job runs any more.
    """

    worker_id: str
    pauses: Mapping[str, Pauses]
    cancels: Cancels
    reschedules: Reschedules
    end_cancelled: EndCancelled
    end_cancelled_aside: EndCancelled
    runners: Mapping[str, int]
    snapshot: Callable[[], Sequence[QueueSnapshot]]
    inspect: Callable[[], Sequence[QueueInspection]]
    stop: Callable[[], None]
    is_stopping: Callable[[], bool]
    has_ended: Callable[[], bool]
    breakers: Breakers = NO_BREAKERS
    guards: DeadGuards = NO_GUARDS
    limits: Sequence[Limits] = ()
    publish: Callable[[JobEvent], None] = lambda _event: None
    host: str = field(default_factory=socket.gethostname)
    pid: int = field(default_factory=os.getpid)
    started_at: datetime = field(default_factory=lambda: datetime.now(UTC))

    def status(self, state: WorkerState, *, control_offset: int, control_age_s: float) -> WorkerStatus:
        """The status of this process; the control thread adds the orders that it does not understand."""
        return WorkerStatus(
            id=self.worker_id,
            host=self.host,
            pid=self.pid,
            version=stoker_version(),
            state=state,
            started_at=self.started_at,
            at=datetime.now(UTC),
            queues=tuple(self._part_of(found) for found in self.snapshot()),
            memory_bytes=resident_bytes(self.pid) or 0,
            control_offset=control_offset,
            control_age_s=control_age_s,
            detail=self._detail(),
        )

    def _detail(self) -> dict[str, str]:
        parts = {
            ENDED: self.cancels.ended,
            BREAKERS: self.breakers.report() if self.breakers else None,
            LIMITS: as_data(gate.reports.look() for gate in self.limits),
        }
        return {name: json.dumps(part) for name, part in parts.items() if part}

    def _part_of(self, found: QueueSnapshot) -> QueueShare:
        return QueueShare(
            queue=found.queue,
            partitions=found.partitions,
            busy=found.running,
            runners=self.runners[found.queue],
        )


def count_runners(pipeline: Pipeline, queue: Queue, settings: WorkerSettings) -> int:
    """How many jobs of the queue may run at once in a process: those of each kind that the queue has."""
    of_queue = [job_type for job_type in pipeline.job_types.values() if job_type.queue is queue]
    isolated = any(job_type.isolation is not None for job_type in of_queue)
    asynchronous = any(job_type.is_async and job_type.isolation is None for job_type in of_queue)
    threaded = any(not job_type.is_async and job_type.isolation is None for job_type in of_queue)
    return (
        settings.concurrency * threaded
        + settings.async_concurrency * asynchronous
        + settings.isolated_concurrency * isolated
    )
