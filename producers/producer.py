"""`Producer`: puts jobs on their topics, and returns when the brokers have confirmed them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from datetime import timedelta
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, ParamSpec, Self, TypeVar

from ..schemas import SchemaStore
from ..topology.cluster.settings import ClusterSettings
from ..topology.declaration.job_type import ConfiguredJob, JobCall, JobType
from ..topology.declaration.pipeline import Pipeline
from .bulk import run_bulk
from .delivery import BulkResult, Outcome, Receipt
from .errors import BrokerUnreachable, EnqueueError
from .instrument import ProducerInstrument
from .instrument_row import ProducerInstruments
from .metrics.sample import SampleSource
from .metrics.server import LOCAL, MetricsServer
from .publisher import Publisher
from .record import BuiltRecord
from .settings import CHECK_TIMEOUT, ProducerSettings
from .spooling import open_spool, run_spooled_bulk

if TYPE_CHECKING:
    from .outbox.spool import Spool

_LOGGER = logging.getLogger("stoker.producers")

P = ParamSpec("P")
R = TypeVar("R")


class Producer:
    """Enqueues the jobs of a pipeline, from any number of threads.

    A confirmed job is on its topic with all in-sync replicas. Every wait is bounded by the settings. Making a producer
    opens no connection: the first call does, or `start`, which `with` calls.

    Order per key holds among jobs that one thread enqueues in the same way; between a pending future and a later bulk
    it holds when the future was awaited before.

    Args:
        pipeline: what may be enqueued.
        cluster: where; None reads the environment.
        source: the publishing service, the `source` of CloudEvents, such as `/shop/checkout`.
        store: where contracts are registered; None makes the one of the cluster settings, and closes it at the end.
        confirm_timeout: how long the brokers may take to confirm a job.
        lazy: whether `with` asks nothing of the brokers, so that a program starts while they are away. The first job
            verifies the topics then.
        settings: the remaining bounds; `source` and `confirm_timeout` given here win over it.
        instruments: called for each job that is confirmed.
        spool: keeps jobs in a local file while no broker answers, and sends them in order afterwards; `with` asks
            nothing of the brokers then. None keeps none: the call fails.

    Raises:
        NoCluster: none was given, and none is configured.
        SettingRefused: an option of the cluster would break a guarantee.
    """

    def __init__(  # noqa: PLR0913  # all but two by name: callers see one flat list of options
        self,
        pipeline: Pipeline,
        cluster: ClusterSettings | None = None,
        *,
        source: str | None = None,
        store: SchemaStore | None = None,
        confirm_timeout: timedelta | None = None,
        lazy: bool = False,
        settings: ProducerSettings | None = None,
        instruments: Iterable[ProducerInstrument] = (),
        spool: Spool | None = None,
    ) -> None:
        self._is_lazy = lazy or spool is not None
        self._settings = (settings or ProducerSettings()).with_overrides(source, confirm_timeout)
        cluster = cluster or ClusterSettings.from_environment()
        self._publisher = Publisher(pipeline, cluster, store, self._settings, ProducerInstruments(instruments))
        self._spool = open_spool(spool, pipeline, cluster, self._publisher, store)

    def start(self) -> None:
        """Verify that the topics are as declared; the first call does it otherwise.

        Raises:
            TopologyNotReady: they are not; the message names the command which fixes it.
            UnreachableAtStart: no broker answers.
        """
        self._publisher.check_usable()
        self._publisher.readiness.verify()

    def check(self, timeout: timedelta = CHECK_TIMEOUT) -> None:
        """Ask the brokers whether they can take jobs at this moment, for a health check; publishes nothing.

        The first check verifies the topics as well, which takes up to `confirm_timeout`.

        Raises:
            UnreachableAtStart: they do not answer in time, or a partition has no leader.
            TopologyNotReady, NotAuthorizedAtStart: topics are missing, or the credentials are refused.
        """
        self._publisher.check(timeout.total_seconds())

    def __enter__(self) -> Self:
        if not self._is_lazy:
            self.start()
        if self._spool is not None:
            self._spool.is_active()  # what an earlier process has left is sent
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def enqueue(self, job: JobType[P, R] | ConfiguredJob[P, R], /, *args: P.args, **kwargs: P.kwargs) -> Receipt:
        """Publish one job and wait until the brokers have confirmed it.

        Args:
            job: the job type, or `job_type.with_options(...)`.
            args, kwargs: the job's own parameters.

        Raises:
            EnqueueError: it could not be; `errors` has the tree; `maybe_published`: whether the job may be published.
        """
        return self.send(job.call(*args, **kwargs))

    def send(self, call: JobCall) -> Receipt:
        """Publish one bound call, as `enqueue` does."""
        self._publisher.refuse_in_callback()
        if self._spool is not None:
            self._publisher.check_usable()
            return self._spool.send(call, self._send_now)
        return self._send_now(call)

    def _send_now(self, call: JobCall) -> Receipt:
        record, future = self._publish(call, _settle)
        try:
            return future.result(self._settings.report_wait_s)
        except TimeoutError as silence:
            waited = f"no report in {self._settings.report_wait_s:g} s"
            raise BrokerUnreachable(record.job_id, record.topic, waited) from silence

    def enqueue_future(
        self, job: JobType[P, R] | ConfiguredJob[P, R], /, *args: P.args, **kwargs: P.kwargs
    ) -> Future[Receipt]:
        """Publish one job without waiting; the future has the receipt, or the error, within `confirm_timeout`.

        A callback of the future may run in any thread that uses the producer, and must not wait. It may enqueue more
        with this method; a full buffer refuses that at once.

        Raises:
            EnqueueError: the job was refused before it was sent.
        """
        return self.send_future(job.call(*args, **kwargs))

    def send_future(self, call: JobCall) -> Future[Receipt]:
        """Publish one bound call without waiting, as `enqueue_future` does."""
        self._publisher.check_usable()
        if self._spool is not None and self._spool.is_active():
            spooled: Future[Receipt] = Future()
            spooled.set_result(self._spool.put_new(call))
            return spooled
        return self._publish(call, _settle_and_tell)[1]

    def _publish(
        self, call: JobCall, settle: Callable[[Future[Receipt], Outcome], None]
    ) -> tuple[BuiltRecord, Future[Receipt]]:
        try:
            return self._publish_admitted(call, settle)
        except EnqueueError as refusal:
            self._publisher.note_refused(call, refusal)
            raise

    def _publish_admitted(
        self, call: JobCall, settle: Callable[[Future[Receipt], Outcome], None]
    ) -> tuple[BuiltRecord, Future[Receipt]]:
        self._publisher.prepare(call.job_type)
        admission = self._publisher.admission
        if admission is None:
            return self._hand_over(call, settle)
        admission.admit(call, may_wait=not self._publisher.connections.is_reader)
        try:
            return self._hand_over(call, settle)
        except BaseException:
            admission.give_back(call)
            raise

    def _hand_over(
        self, call: JobCall, settle: Callable[[Future[Receipt], Outcome], None]
    ) -> tuple[BuiltRecord, Future[Receipt]]:
        record = self._publisher.build_spanned(call)
        future: Future[Receipt] = Future()
        future.set_running_or_notify_cancel()  # what librdkafka has cannot be taken back
        self._publisher.publish(record, self._publisher.watched(call, record, partial(settle, future)))
        return record, future

    def enqueue_many(self, calls: Iterable[JobCall], *, max_in_flight: int | None = None) -> BulkResult:
        """Publish all calls of an iterable, read as fast as the brokers confirm, and return when all are confirmed.

        A call that is refused does not stop the others, unless 1,000 are; a job that the brokers do not take ends the
        reading. An error of the iterable itself, or of the first job of a type that finds the cluster not ready, passes
        through when what was published before is confirmed; its notes, and its attribute `bulk` (a `BulkFailed`), say
        how many were read and are confirmed, and which failed.

        With a spool, the jobs go there that no broker has answered for, and all that are read after them.

        Args:
            calls: `job_type.call(...)` of each job; may be endless or larger than memory.
            max_in_flight: unconfirmed jobs at the most; None takes `max_buffered_jobs`.

        Raises:
            BulkFailed: some calls failed; it lists which, and how many are confirmed.
        """
        self._publisher.refuse_in_callback()
        in_flight = self._settings.in_flight(max_in_flight)
        self._publisher.check_usable()
        with self._publisher.spans.bulk():
            if self._spool is not None:
                return run_spooled_bulk(self._publisher, self._spool, calls, in_flight)
            return run_bulk(self._publisher, calls, in_flight)

    def measure(self) -> SampleSource:
        """Count what this producer sends, and what fails, from now on. Harmless when repeated.

        Returns:
            The source of the samples, for a `MetricsServer`, a `StokerCollector`, or `observe_metrics`.
        """
        return self._publisher.measure(None if self._spool is None else self._spool.jobs)

    def serve_metrics(self, port: int, host: str = LOCAL) -> MetricsServer:
        """Make the server of `/metrics`, `/live` and `/ready` of this program, which answers in its `with` block.

        Raises:
            MetricsPortTaken: the address cannot be listened on.
        """
        return MetricsServer([self.measure()], port, host)

    @property
    def spooled(self) -> int:
        """How many jobs wait in the spool; the first look, or call, starts to send those of an earlier process."""
        return 0 if self._spool is None else self._spool.jobs()

    def flush(self, timeout: timedelta | None = None) -> None:
        """Wait until all jobs of pending futures are confirmed or have failed.

        Raises:
            Unconfirmed: some were not within the timeout; None takes `confirm_timeout` and a grace.
        """
        self._publisher.flush(self._settings.report_wait_s if timeout is None else timeout.total_seconds())

    def close(self, timeout: timedelta | None = None) -> None:
        """Wait for pending jobs as `flush` does, then disconnect. Harmless when repeated.

        Raises:
            Unconfirmed: some were not confirmed; each one's future has its error.
        """
        self._publisher.refuse_in_callback()
        if self._spool is not None:
            self._spool.close()
        self._publisher.close(self._settings.report_wait_s if timeout is None else timeout.total_seconds())


def _settle(future: Future[Receipt], outcome: Outcome) -> None:
    if isinstance(outcome, Receipt):
        future.set_result(outcome)
    else:
        future.set_exception(outcome)


def _settle_and_tell(future: Future[Receipt], outcome: Outcome) -> None:
    """Log a failure as well: nothing else reports it if the caller never looks at the future."""
    if isinstance(outcome, EnqueueError):
        _LOGGER.warning("%s", outcome)
    _settle(future, outcome)
