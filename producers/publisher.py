"""`Publisher`, shared by producers: it builds the records of jobs, hands them over, and settles each."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import Final

from confluent_kafka import KafkaError, Message

from ..schemas import SchemaStore
from ..topology.cluster.clients import ClientOptionRefused
from ..topology.cluster.settings import ClusterSettings, Option
from ..topology.counts import counted
from ..topology.declaration.job_type import AnyJobType, JobCall
from ..topology.declaration.pipeline import Pipeline
from ..topology.planning.schema_store import schema_store
from .admission.admission import Admission, bounded, depth_readers
from .client import producer_config
from .connection import Connection, Connections
from .delivery import Outcome, Receipt, Settle, delivery_error, receipt_of, why_unconfirmed
from .errors import BufferFull, EnqueueError, ProducerClosed, ProducerForked, SettingRefused, Unconfirmed, WouldDeadlock
from .instrument_row import NO_INSTRUMENTS, ProducerInstruments
from .metrics.producer_figures import ProducerFigures
from .metrics.sample import SampleSource
from .readiness import KafkaCheck, Readiness
from .record import BuiltRecord, RecordBuilder
from .settings import ProducerSettings, default_source
from .tracing.spans import EnqueueSpans, SpannedRecord

_LOGGER = logging.getLogger("stoker.producers")

_BULK: Final[dict[str, Option]] = {"linger_ms": 5, "compression_type": "lz4"}
"""Batches of a few milliseconds cost the brokers a tenth of single records."""
_REPORTS_EVERY: Final = 64


class Publisher:
    """Publishes records and settles each with its outcome.

    A thread of its connections reads the delivery reports. It needs Python's lock for each, and a caller that computes
    without a pause leaves it to others rarely, so those who publish read reports as well, after every 64th record.

    Attributes:
        connections: all of its connections, with the thread that reads the brokers' answers.
        store: where contracts are registered; frames payloads.
        admission: admits jobs to queues that bound what waits; None where no queue does.
        figures: count what is sent and what fails; None without metrics.
        spans: makes the spans of jobs; those of the SDK that is set up when the producer is used first.
        is_closed: whether `close` was called.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        cluster: ClusterSettings,
        store: SchemaStore | None,
        settings: ProducerSettings,
        instruments: ProducerInstruments = NO_INSTRUMENTS,
    ) -> None:
        self.settings, self.instruments = settings, instruments
        self.figures: ProducerFigures | None = None
        self._pipeline = pipeline
        self._topics = tuple(queue.topic for queue in pipeline.queues.values())
        self.connections = Connections(
            producer_config(cluster, **_bounds(settings), linger_ms=0),
            producer_config(cluster, **_bounds(settings), **_BULK),
            self._close_at_exit,
        )
        self._own_store = store is None
        self.store = store or _open_store(pipeline, cluster)
        self.readiness = Readiness(pipeline, self.store, KafkaCheck(pipeline, cluster, settings.confirm_s))
        self.admission = self._admission(pipeline, cluster)
        source = default_source() if settings.source is None else settings.source
        self._builder = RecordBuilder(self.store, source, self.readiness.partitions, baggage=settings.baggage)
        self.spans = EnqueueSpans(None)
        self.is_closed = False
        self._pid: int | None = None
        self._published = 0

    def _admission(self, pipeline: Pipeline, cluster: ClusterSettings) -> Admission | None:
        queues = bounded(pipeline.queues.values())
        readers = depth_readers(cluster, self.readiness.partitions.get)
        in_flight = self.connections.bulks_in_flight
        return Admission(queues, readers, in_flight, self.settings.full_wait_s) if queues else None

    @property
    def is_usable(self) -> bool:
        """Whether `check_usable` refuses nothing."""
        return not self.is_closed and self._pid in {None, os.getpid()}

    def check_usable(self) -> None:
        """Refuse to work after `close`, and in a child of the process that started.

        Raises:
            ProducerClosed, ProducerForked: it is so.
        """
        if self.is_closed:
            raise ProducerClosed
        if self._pid is None:
            self._pid = os.getpid()
            self.spans = EnqueueSpans.find()
        elif self._pid != os.getpid():
            raise ProducerForked

    def build(self, call: JobCall) -> BuiltRecord:
        """Make the record of a call; its job type must be prepared."""
        return self._builder.build(call)

    def build_spanned(self, call: JobCall) -> BuiltRecord:
        """Make the record of a job that is sent by itself, with a span of its own where spans are recorded."""
        return self.spans.send(call, self._builder.build)

    def prepare(self, job_type: AnyJobType, asked_at_s: float | None = None) -> None:
        """Do what must be done before a job of this type is published; blocks on the cluster the first time."""
        self.check_usable()
        if not self.readiness.covers(job_type):
            self.readiness.prepare(job_type, asked_at_s)

    def check(self, timeout_s: float, asked_at_s: float | None = None) -> None:
        """Ask whether the brokers can take jobs at this moment; raises as `Producer.check`."""
        self.check_usable()
        self.refuse_in_callback()
        self.readiness.verify(asked_at_s)
        connection = self.connections.live()
        give_up_at_s = time.monotonic() + timeout_s
        for topic in tuple(self.readiness.partitions) or self._topics[:1]:
            connection.ask(topic, max(0.1, give_up_at_s - time.monotonic()))

    def publish(self, record: BuiltRecord, settle: Settle) -> None:
        """Hand a record over, waiting for room if need be, but not in a callback, which would wait for itself.

        Raises:
            BufferFull: there was none in time.
            EnqueueError: the client refuses the record at once.
        """
        give_up_at_s = time.monotonic() + self.settings.room_wait_s
        while not self.offer(record, settle):
            if time.monotonic() >= give_up_at_s or self.connections.is_reader:
                raise self.full(record)
            self.connections.live().poll(0.02)

    def watched(self, call: JobCall, record: BuiltRecord, settle: Settle) -> Settle:
        """`settle`, with the instruments called before it, and the due time of a delayed job in its receipt."""
        watched = partial(self._settle_watched, call, settle) if self.instruments else settle
        if self.figures is not None:
            watched = self.figures.watching(call, watched)
        if isinstance(record, SpannedRecord):  # the others are spared a call
            watched = partial(_settle_spanned, record, watched)
        if self.admission is not None:
            watched = self.admission.reporting(call, watched)
        return partial(_settle_delayed, record.due_at, watched) if call.options.is_delayed else watched

    def _settle_watched(self, call: JobCall, settle: Settle, outcome: Outcome) -> None:
        if isinstance(outcome, Receipt):
            self.instruments.enqueued(call, outcome)
        settle(outcome)

    def measure(self, spooled: Callable[[], int] | None = None) -> SampleSource:
        """Count what is sent and what fails from now on; `spooled` counts the jobs that wait in the spool."""
        if self.figures is None:
            self.figures = ProducerFigures(self._pipeline, spooled)
        return self.figures.source

    def note_refused(self, call: JobCall, error: EnqueueError) -> None:
        """Count a call that was refused before it was sent."""
        if self.figures is not None:
            self.figures.note_failed(call.job_type.name, error)

    def offer(self, record: BuiltRecord, settle: Settle) -> bool:
        """Hand a record over, unless the buffer is full; then False."""
        self.check_usable()
        connection = self.connections.live()
        try:
            taken = connection.offer(record, partial(_report, connection, record.job_id, record.topic, settle))
        except EnqueueError as refusal:
            record.ended(refusal)
            raise
        if taken and self.is_closed:  # since the check above: nobody reads reports any more
            connection.abandon()
        self._published += 1  # threads may lose a count; it only paces the reading of reports
        if not self._published % _REPORTS_EVERY:
            connection.poll(0)
        return taken

    def full(self, record: BuiltRecord) -> BufferFull:
        """The error for a record that found no room."""
        waited_s = 0.0 if self.connections.is_reader else self.settings.room_wait_s
        waiting = f"{counted(self.connections.live().in_flight, 'job')} unconfirmed after {waited_s:g} s"
        error = BufferFull(record.job_id, record.topic, waiting)
        record.ended(error)
        return error

    def flush(self, timeout_s: float) -> None:
        """Wait until all is confirmed.

        Raises:
            Unconfirmed: it was not in time.
            WouldDeadlock: a callback asks for it.
        """
        self.refuse_in_callback()
        left = self.connections.flush(timeout_s) if self._pid == os.getpid() else 0
        if left:
            raise Unconfirmed(left, timeout_s)

    def close(self, timeout_s: float) -> None:
        """Wait until all is confirmed, then end; in a forked child only the child's copy ends. Harmless when repeated.

        Raises:
            Unconfirmed: it was not in time; each job's future has an error then.
            WouldDeadlock: a callback asks for it, and the producer goes on.
        """
        if self.is_closed:
            return
        self.refuse_in_callback()
        if self.admission is not None:
            self.admission.close()
        try:
            self.flush(timeout_s)
        finally:
            self.is_closed = True
            if self._pid in {None, os.getpid()}:
                self._end()

    def refuse_in_callback(self) -> None:
        """Refuse a call that waits for reports, from a callback.

        Raises:
            WouldDeadlock: it is one.
        """
        if self.connections.is_reader:
            raise WouldDeadlock

    def _end(self) -> None:
        self.connections.end()
        if self._own_store:
            self.store.close()

    def _close_at_exit(self) -> None:
        try:
            self.close(self.settings.report_wait_s)
        except Unconfirmed as unconfirmed:
            _LOGGER.error("the program ended with a producer open: %s", unconfirmed)


def _settle_spanned(record: SpannedRecord, settle: Settle, outcome: Outcome) -> None:
    record.ended(outcome)
    settle(outcome)


def _settle_delayed(due_at: datetime | None, settle: Settle, outcome: Outcome) -> None:
    settle(replace(outcome, due_at=due_at) if isinstance(outcome, Receipt) else outcome)


def _open_store(pipeline: Pipeline, cluster: ClusterSettings) -> SchemaStore:
    try:
        return schema_store(pipeline, cluster)
    except ClientOptionRefused as refusal:
        raise SettingRefused(refusal.option, refusal.reason) from refusal


def _bounds(settings: ProducerSettings) -> dict[str, int]:
    return {
        "delivery_timeout_ms": round(settings.confirm_s * 1_000),
        "queue_buffering_max_messages": settings.max_buffered_jobs,
        "queue_buffering_max_kbytes": settings.max_buffered_bytes // 1_024,
    }


def _report(  # librdkafka gives the last two by position, and a partial binds the others
    connection: Connection, job_id: str, topic: str, settle: Settle, error: KafkaError | None, message: Message
) -> None:
    """Turn librdkafka's delivery report into the job's outcome."""
    fault = why_unconfirmed(error, message)
    if fault is not None:
        settle(delivery_error(fault, job_id, topic, connection.outage))
        return
    connection.outage.end()
    settle(receipt_of(message, job_id, topic))
