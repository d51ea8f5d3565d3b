"""`WorkerMetrics`: the samples of a worker process, queue by queue."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence

from ...producers.metrics import all_metrics as metrics
from ...producers.metrics.health import Health
from ...producers.metrics.sample import Sample
from ...topology.actor import stoker_version
from ..breakers.breakers import Breakers
from ..machine import resident_bytes
from ..schedules.schedule_thread import ScheduleThread
from ..settings import WorkerSettings
from .queue_metrics import QueueMetrics
from .schedule_metrics import schedule_samples

PHASES = ("closed", "open", "half-open")


class WorkerMetrics:
    """The figures of a worker process, queue by queue, and of the process itself."""

    def __init__(
        self,
        queues: Sequence[QueueMetrics],
        breakers: Breakers,
        schedules: ScheduleThread,
        settings: WorkerSettings,
        health: Health,
    ) -> None:
        self._queues, self._breakers, self._schedules = queues, breakers, schedules
        self._settings, self._health = settings, health

    def samples(self) -> Iterator[Sample]:
        """Yield the samples of this moment; called by any thread."""
        for queue in self._queues:
            yield from queue.samples()
        yield from schedule_samples(self._schedules.figures())
        for target, state in self._breakers.states.items():
            now = state.phase
            for phase in PHASES:
                yield Sample(metrics.BREAKER, (str(target), phase), phase == now)
        yield Sample(metrics.MEMORY, (), resident_bytes(os.getpid()) or 0)
        yield Sample(metrics.INFO, (self._settings.worker_id, stoker_version(), self._settings.release), 1)
        yield Sample(metrics.IS_READY, (), self._health.ready().is_well)
