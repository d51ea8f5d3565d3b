"""Producers that record what is enqueued in place of publishing it, and refuse what the real ones refuse."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, Iterable
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import timedelta
from types import TracebackType
from typing import Final, ParamSpec, Self, TypeVar

from ..producers import BulkResult, EnqueueError, Receipt
from ..producers.bulk import MAX_DETAILED, MAX_REFUSED
from ..producers.errors import BulkFailed, CallRefused, FailedCall, ProducerClosed
from ..producers.metrics.producer_figures import ProducerFigures
from ..producers.metrics.sample import SampleSource
from ..producers.metrics.server import LOCAL, MetricsServer
from ..producers.readiness import Readiness
from ..producers.record import RecordBuilder
from ..schemas.stores.memory_store import MemorySchemaStore
from ..topology import JobType, Pipeline
from ..topology.declaration.job_type import AnyJobType, ConfiguredJob, JobCall
from ..topology.declaration.priorities import NORMAL
from ..topology.wire.headers import TENANT, priority_of

P = ParamSpec("P")
R = TypeVar("R")

SOURCE: Final = "/tests"


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedJob:
    """One job that was enqueued.

    Attributes:
        job_type: its job type; `job.call` runs it again with a `JobRunner`.
        args, kwargs: as they were given.
        key, tenant, job_id: the ordering key, for whom it is, and the id that its receipt has.
        priority: `normal` where neither the call nor the job type names another.
        headers: {name: value} as on the wire.
    """

    job_type: AnyJobType
    args: tuple[object, ...]
    kwargs: dict[str, object]
    key: str | None
    tenant: str | None
    job_id: str
    headers: dict[str, bytes]
    call: JobCall
    priority: str = NORMAL


class RecordingProducer:
    """Takes the place of a `Producer` in a test: the same calls, receipts and refusals, and no Kafka.

    Args:
        pipeline: what may be enqueued.
        fails_with: raised by each call in place of recording it, to try how a program takes an outage.

    Attributes:
        jobs: what was enqueued, in order.
    """

    def __init__(self, pipeline: Pipeline, *, fails_with: EnqueueError | None = None) -> None:
        self.jobs: list[RecordedJob] = []
        self.fails_with = fails_with
        store = MemorySchemaStore()
        self._pipeline = pipeline
        self._readiness = Readiness(pipeline, store, _DeclaredTopics(pipeline))
        self._builder = RecordBuilder(store, SOURCE, self._readiness.partitions)
        self._is_closed = False

    def start(self) -> None:
        """There is nothing to verify."""

    def check(self, timeout: timedelta | None = None) -> None:
        """Answer as the brokers would: with `fails_with`, if that is set."""
        self._require_usable()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def enqueue(self, job: JobType[P, R] | ConfiguredJob[P, R], /, *args: P.args, **kwargs: P.kwargs) -> Receipt:
        """Record one job. Raises as `Producer.enqueue` where a value or an option is refused."""
        return self.send(job.call(*args, **kwargs))

    def send(self, call: JobCall) -> Receipt:
        """Record one bound call."""
        self._require_usable()
        self._readiness.prepare(call.job_type)
        record = self._builder.build(call)
        headers = {name: value or b"" for name, value in record.headers}
        self.jobs.append(
            RecordedJob(
                job_type=call.job_type,
                args=call.args,
                kwargs=call.kwargs,
                key=None if record.key is None else record.key.decode(),
                tenant=headers[TENANT].decode() if TENANT in headers else None,
                job_id=record.job_id,
                headers=headers,
                call=call,
                priority=priority_of(headers) or NORMAL,
            )
        )
        return Receipt(
            job_id=record.job_id, topic=record.topic, partition=0, offset=len(self.jobs) - 1, due_at=record.due_at
        )

    def enqueue_future(
        self, job: JobType[P, R] | ConfiguredJob[P, R], /, *args: P.args, **kwargs: P.kwargs
    ) -> Future[Receipt]:
        """Record one job; the future has its receipt."""
        return self.send_future(job.call(*args, **kwargs))

    def send_future(self, call: JobCall) -> Future[Receipt]:
        """Record one bound call; the future has its receipt."""
        future: Future[Receipt] = Future()
        future.set_result(self.send(call))
        return future

    def enqueue_many(self, calls: Iterable[JobCall], *, max_in_flight: int | None = None) -> BulkResult:
        """Record calls as `Producer.enqueue_many` reads them: not beyond `fails_with`, nor beyond 1,000 refusals."""
        bulk = _RecordedBulk(self)
        for call in calls:
            if not bulk.take(call):
                break
        return bulk.result()

    def flush(self, timeout: timedelta | None = None) -> None:
        """There is nothing to wait for."""

    def measure(self) -> SampleSource:
        """The figures of a producer that has sent nothing."""
        return ProducerFigures(self._pipeline).source

    def serve_metrics(self, port: int, host: str = LOCAL) -> MetricsServer:
        """Make a server that answers with these figures. Raises as `Producer.serve_metrics`."""
        return MetricsServer([self.measure()], port, host)

    def close(self, timeout: timedelta | None = None) -> None:
        """Refuse what comes after, as a closed producer does."""
        self._is_closed = True

    def _require_open(self) -> None:
        if self._is_closed:
            raise ProducerClosed

    def _require_usable(self) -> None:
        self._require_open()
        if self.fails_with is not None:
            raise self.fails_with


class AsyncRecordingProducer:
    """Takes the place of an `AsyncProducer`; arguments and attributes as those of `RecordingProducer`."""

    def __init__(self, pipeline: Pipeline, *, fails_with: EnqueueError | None = None) -> None:
        self._recording = RecordingProducer(pipeline, fails_with=fails_with)

    @property
    def jobs(self) -> list[RecordedJob]:
        """The enqueued jobs, in order."""
        return self._recording.jobs

    @property
    def fails_with(self) -> EnqueueError | None:
        """Raised by each call in place of recording it."""
        return self._recording.fails_with

    @fails_with.setter
    def fails_with(self, error: EnqueueError | None) -> None:
        """Begin or end an outage."""
        self._recording.fails_with = error

    async def start(self) -> None:
        """There is nothing to verify."""

    async def check(self, timeout: timedelta | None = None) -> None:
        """As `RecordingProducer.check`."""
        self._recording.check(timeout)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def enqueue(self, job: JobType[P, R] | ConfiguredJob[P, R], /, *args: P.args, **kwargs: P.kwargs) -> Receipt:
        """Record one job."""
        return self._recording.send(job.call(*args, **kwargs))

    async def send(self, call: JobCall) -> Receipt:
        """Record one bound call."""
        return self._recording.send(call)

    async def enqueue_future(
        self, job: JobType[P, R] | ConfiguredJob[P, R], /, *args: P.args, **kwargs: P.kwargs
    ) -> asyncio.Future[Receipt]:
        """Record one job; the future has its receipt."""
        return await self.send_future(job.call(*args, **kwargs))

    async def send_future(self, call: JobCall) -> asyncio.Future[Receipt]:
        """Record one bound call; the future has its receipt."""
        future: asyncio.Future[Receipt] = asyncio.get_running_loop().create_future()
        future.set_result(self._recording.send(call))
        return future

    async def enqueue_many(
        self, calls: Iterable[JobCall] | AsyncIterable[JobCall], *, max_in_flight: int | None = None
    ) -> BulkResult:
        """Record all calls of an iterable, plain or asynchronous."""
        if not isinstance(calls, AsyncIterable):
            return self._recording.enqueue_many(calls)
        bulk = _RecordedBulk(self._recording)
        async for call in calls:
            if not bulk.take(call):
                break
        return bulk.result()

    async def flush(self, timeout: timedelta | None = None) -> None:
        """There is nothing to wait for."""

    def measure(self) -> SampleSource:
        """The figures of a producer that has sent nothing."""
        return self._recording.measure()

    def serve_metrics(self, port: int, host: str = LOCAL) -> MetricsServer:
        """Make a server that answers with these figures. Raises as `Producer.serve_metrics`."""
        return MetricsServer([self.measure()], port, host)

    async def close(self, timeout: timedelta | None = None) -> None:
        """Refuse what comes after."""
        self._recording.close()


class _DeclaredTopics:
    """A cluster whose topics are as declared."""

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline

    def verify(self) -> None:
        """They are."""

    def partitions(self, topic: str) -> int:
        """As declared."""
        return next(queue.partitions for queue in self._pipeline.queues.values() if queue.topic == topic)


class _RecordedBulk:
    """One bulk of a recording producer."""

    def __init__(self, producer: RecordingProducer) -> None:
        producer._require_open()
        self._producer, self._read, self._failures = producer, 0, list[FailedCall]()

    def take(self, call: JobCall) -> bool:
        """Record the next call; whether more should be read, which the real one decides alike."""
        index, self._read = self._read, self._read + 1
        try:
            self._producer.send(call)
        except EnqueueError as error:
            job_id = call.options.job_id
            self._failures.append(FailedCall(index=index, job_type=call.job_type.name, job_id=job_id, error=error))
            return isinstance(error, CallRefused) and len(self._failures) < MAX_REFUSED
        return True

    def result(self) -> BulkResult:
        """The outcome. Raises as `Producer.enqueue_many`."""
        confirmed = self._read - len(self._failures)
        if self._failures:
            indexes = tuple(failure.index for failure in self._failures)
            raise BulkFailed(confirmed, self._read, tuple(self._failures[:MAX_DETAILED]), indexes)
        return BulkResult(confirmed=confirmed)
