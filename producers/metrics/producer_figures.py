"""`ProducerFigures`: counts what a producer sends and what fails, and how long the brokers take to confirm."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from threading import Lock
from typing import Final

from ...topology.declaration.job_type import JobCall
from ...topology.declaration.pipeline import Pipeline
from ..delivery import Outcome, Receipt, Settle
from ..errors import (
    BrokerUnreachable,
    BufferFull,
    DeliveryFailed,
    EnqueueError,
    NotAuthorized,
    PayloadRefused,
    PayloadTooLarge,
    QueueFull,
    RecordTooLarge,
    UnknownTopic,
)
from .all_metrics import ENQUEUE_FAILED, KAFKA, OPERATION_BOUNDS_S, OPERATION_SECONDS, SENT, SPOOLED
from .histogram import Histogram
from .sample import Sample, SampleSource

OPERATION: Final = "enqueue"
FROM_THE_START: Final = (
    *(PayloadRefused, PayloadTooLarge, RecordTooLarge, QueueFull),
    *(BufferFull, BrokerUnreachable, DeliveryFailed, NotAuthorized, UnknownTopic),
)
"""Errors that each type has a sample of before the first one: else no alert could see that one come."""


class ProducerFigures:
    """All methods are called by any thread.

    Args:
        spooled: how many jobs wait in the producer's spool; None without one.
    """

    def __init__(self, pipeline: Pipeline, spooled: Callable[[], int] | None = None) -> None:
        self.source = SampleSource(pipeline.namespace, self._samples)
        self._queues = {name: found.queue.name for name, found in pipeline.job_types.items()}
        self._spooled = spooled
        self._lock = Lock()
        self._sent = Counter(dict.fromkeys(self._queues, 0))
        self._failed = Counter({(name, error.__name__): 0 for name in self._queues for error in FROM_THE_START})
        self._latencies = {queue: Histogram(OPERATION_BOUNDS_S) for queue in pipeline.queues}

    def note_sent(self, job_type: str) -> None:
        """Count a job that is handed to the Kafka client."""
        with self._lock:
            self._sent[job_type] += 1

    def note_failed(self, job_type: str, error: EnqueueError) -> None:
        """Count a job that was refused, or not confirmed."""
        with self._lock:
            self._failed[job_type, type(error).__name__] += 1

    def watching(self, call: JobCall, settle: Settle) -> Settle:
        """Count a call that is handed over now, and give the `settle` that takes its outcome."""
        name = call.job_type.name
        self.note_sent(name)
        return partial(self._settle, name, time.monotonic(), settle)

    def _settle(self, job_type: str, began_at_s: float, settle: Settle, outcome: Outcome) -> None:
        if isinstance(outcome, Receipt):
            with self._lock:
                queue = self._queues.get(job_type, "")
                latency = self._latencies.get(queue)
                if latency is None:
                    latency = self._latencies[queue] = Histogram(OPERATION_BOUNDS_S)
                latency.note(time.monotonic() - began_at_s)
        else:
            self.note_failed(job_type, outcome)
        settle(outcome)

    def _samples(self) -> Iterator[Sample]:
        with self._lock:
            sent, failed = dict(self._sent), dict(self._failed)
            latencies = {queue: found.value() for queue, found in self._latencies.items()}
        for name, count in sent.items():
            yield Sample(SENT, (KAFKA, OPERATION, self._queues.get(name, ""), name), count)
        for (name, error), count in failed.items():
            yield Sample(ENQUEUE_FAILED, (self._queues.get(name, ""), name, error), count)
        for queue, value in latencies.items():
            yield Sample(OPERATION_SECONDS, (KAFKA, OPERATION, queue), value)
        if self._spooled is not None:
            yield Sample(SPOOLED, (), self._spooled())
