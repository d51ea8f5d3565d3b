"""`Worker`: one process that works on some of a pipeline's queues, one `QueueWorker` thread for each.

It stops as a whole: at SIGTERM or SIGINT, and when one of its queues cannot go on, or the thread of orders or of
schedules, since a process that looks alive while one of these stands still is worse than one that ends and is started
again.
"""

from __future__ import annotations

import gc
import logging
import math
import threading
from collections.abc import Iterable, Sequence
from datetime import timedelta
from functools import partial
from typing import Final

from ..producers.metrics.sample import SampleSource
from ..producers.metrics.server import LOCAL, MetricsServer
from ..schemas import SchemaStore
from ..topology import ClusterSettings, Pipeline, Queue
from ..topology.declaration.pipeline import UnknownName
from ..topology.own_loggers import keep_loggers_on
from ..topology.planning.contracts import ContractsRefused
from ..topology.planning.rights import Duty
from ..topology.planning.schema_store import schema_store
from ..topology.planning.verify import verify
from . import log_keys
from .assembly.control import make_control
from .assembly.queue_context import QueueContext
from .assembly.queue_parts import QueueParts, make_queue
from .assembly.schedules import make_schedules
from .breakers.failure_watch import FailureWatch
from .contract_check import ContractCheck
from .control.control_thread import ControlThread
from .control.worker_process import WorkerProcess, count_runners
from .ending.worker_failure import WorkerFailure
from .ending.worker_watch import WATCH_INTERVAL_S, WorkerWatch
from .errors import WorkerInChild
from .gates.pauses import Pause
from .inspection.handout import InspectionHandout, InspectionSink, log_inspections
from .inspection.queue_inspection import QueueInspection
from .inspection.snapshot import QueueSnapshot
from .inspection.view import QueueView
from .instruments.instrument import Instrument
from .instruments.instruments import Instruments
from .isolation import child_flag
from .metrics.queue_metrics import QueueMetrics
from .metrics.worker_health import WorkerHealth
from .metrics.worker_metrics import WorkerMetrics
from .poll_threads import PollThreads
from .queue_controls import QueueControls
from .queue_worker import QueueWorker
from .schedules.schedule_thread import ScheduleThread
from .settings import WorkerSettings
from .standard_streams import fill_descriptors
from .standing_orders.cancels import Cancels
from .standing_orders.reschedules import JobOrders, Reschedules
from .worker_signals import WorkerSignals

_LOGGER = logging.getLogger("stoker.worker")

GC_THRESHOLD: Final = 50_000
"""Thousands of jobs are alive at a time, none of them in a cycle: the default of 700 costs a seventh of the rate."""
LAST_WORDS_S: Final = 2.0
"""How long the process waits at its end for the word that this worker is gone to be written."""


class Worker:
    """Runs jobs until it is stopped. `health` has whether it lives, and whether it is ready.

    Raises:
        TopologyMismatch, ClusterUnreachable, NotAuthorized, ClientOptionRefused, UnknownName: from the constructor on,
            before any job runs.
        ContractsRefused: so too, where the schema store answers; else from `run` or `wait`, once it does.
        InvalidDeclaration: an isolated job type's handler cannot be found from another process.
        WorkerInChild: the application makes a worker where it is merely imported.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        cluster: ClusterSettings | None = None,
        settings: WorkerSettings | None = None,
        *,
        store: SchemaStore | None = None,
        instruments: Iterable[Instrument] = (),
        on_inspection: InspectionSink | None = None,
        inspect_every_s: float = math.inf,
    ) -> None:
        """Verify the topics; nothing is fetched before `run` or `start`.

        Args:
            instruments: called on the way of each job; the same ones for all queues.
            on_inspection: `run` calls it with each queue's inspection, on SIGUSR1 and every `inspect_every_s`; None
                logs it.
        """
        if child_flag.is_child:
            raise WorkerInChild
        fill_descriptors()
        keep_loggers_on()
        self._inspections = InspectionHandout(on_inspection or log_inspections, inspect_every_s, self.inspect)
        self.settings = settings or WorkerSettings()
        self._pipeline = pipeline
        self._cluster = cluster or ClusterSettings.from_environment()
        names = self.settings.queues or tuple(pipeline.queues)
        self._queues: list[Queue] = list(map(pipeline.find_queue, names))
        verify(pipeline, self._cluster, names, duty=Duty.WORKER)
        self._store = store or schema_store(pipeline, self._cluster)
        self._contracts = ContractCheck(pipeline, self._store, names)
        self._check_contracts()
        self._instruments = Instruments(instruments)
        self._orders = JobOrders(Cancels(), Reschedules())
        self._watch_failures = FailureWatch.of_pipeline(pipeline, self.settings.worker_id)
        self._parts = list(map(self._make_queue, self._queues))
        workers, self._controls, self._views = _by_kind(self._parts)
        if self._contracts.is_checked:
            self._note_contracts()
        self._stopped = threading.Event()
        self._metrics: SampleSource | None = None
        self._failure = WorkerFailure(self.stop)
        self._threads = PollThreads(workers, self.settings.grace, on_failure=self._failure.note_queue_end)
        self._watch = WorkerWatch(self._threads, self._failure, self._end)
        self.health = WorkerHealth(self.settings.worker_id, self._views, self._stopped.is_set, self._ended_by)
        self._signals = self._make_signals()
        self._control = self._make_control()
        self._schedules = self._make_schedules()

    def _check_contracts(self) -> None:
        """Compare the contracts with the store's; a worker that cannot be made leaves no open store behind."""
        try:
            self._contracts.check_at_start()
        except ContractsRefused:
            self._store.close()
            raise

    def _make_queue(self, queue: Queue) -> QueueParts:
        return make_queue(
            QueueContext(
                pipeline=self._pipeline,
                queue=queue,
                cluster=self._cluster,
                store=self._store,
                settings=self.settings,
                instruments=self._instruments,
                orders=self._orders,
                watch=self._watch_failures,
            )
        )

    def _make_signals(self) -> WorkerSignals:
        return WorkerSignals(
            self.settings.grace,
            stop=self.stop,
            stop_now=self.stop_now,
            hand_out_inspection=self._inspections.hand_out,
            excuse_failures=self._excuse_failures,
        )

    def _excuse_failures(self) -> None:
        for controls in self._controls:
            controls.excuse_failures()

    def _make_control(self) -> ControlThread:
        process = WorkerProcess(
            worker_id=self.settings.worker_id,
            pauses={controls.queue: controls.pauses for controls in self._controls},
            cancels=self._orders.cancels,
            reschedules=self._orders.reschedules,
            end_cancelled=lambda: sum(controls.end_cancelled() for controls in self._controls),
            end_cancelled_aside=lambda: sum(controls.end_cancelled_aside() for controls in self._controls),
            runners={queue.name: count_runners(self._pipeline, queue, self.settings) for queue in self._queues},
            snapshot=self.snapshot,
            inspect=self.inspect,
            stop=self.stop,
            is_stopping=self._stopped.is_set,
            has_ended=lambda: not self._threads.are_alive,
            breakers=self._watch_failures.breakers,
            guards=self._watch_failures.guards,
            limits=[controls.limits for controls in self._controls],
            publish=self._controls[0].publish,
        )
        return make_control(
            self._pipeline, self._cluster, process, on_crash=partial(self._failure.note_thread_end, "takes orders")
        )

    def _make_schedules(self) -> ScheduleThread:
        assignments = {parts.context.queue.name: parts.partitions.assignments for parts in self._parts}
        return make_schedules(
            self._pipeline,
            self._cluster,
            self._store,
            self._queues,
            self.settings.worker_id,
            owns_first=lambda queue: assignments[queue].owns_first_partition,
            on_crash=partial(self._failure.note_thread_end, "fires schedules"),
        )

    def _note_contracts(self) -> None:
        contracts = [job_type.contract for job_type in self._pipeline.job_types.values()]
        for controls in self._controls:
            controls.note_version_order(contracts)

    def run(self) -> None:
        """Work until `stop`, SIGTERM or SIGINT (where this is the main thread); a second signal stops at once.

        Raises:
            WorkerCrashed: a part of the worker failed, by the error that is its cause; start the process again.
            NotAuthorized: the group of a queue may not be joined.
            ContractsRefused: the schema store answers at last, and refuses a contract.
        """
        if threading.current_thread() is threading.main_thread():
            self._signals.install()
        gc.set_threshold(GC_THRESHOLD)
        self._start(daemon=True)  # an error of this thread ends the process
        while not self._watch.wait_ended(WATCH_INTERVAL_S):
            self._signals.handle()
            self._inspections.turn()
        self.wait()

    def start(self) -> None:
        """Start the threads and come back. The worker handles no signals; `stop` has it end, and `wait` waits for that.

        A thread of the worker watches the others, as `run` does. Where a part fails, the worker logs that, shuts down
        and keeps the error as its `failure`, while your program goes on: so let it call `wait`, or look at `failure` or
        `health` now and then, and end or make another worker. At its end, Python waits until the worker has ended.
        """
        self._start(daemon=False)

    def wait(self, within: timedelta | None = None) -> bool:
        """Wait until the worker has ended, for so long at the most; call `stop` before, unless it is to go on.

        Returns:
            False where it goes on after this time.

        Raises:
            WorkerCrashed, NotAuthorized, ContractsRefused: it has ended by that, as `run` raises it.
        """
        has_ended = self._watch.wait_ended(None if within is None else within.total_seconds())
        if has_ended and self._failure.error is not None:
            raise self._failure.error
        return has_ended

    @property
    def failure(self) -> BaseException | None:
        """Why the worker ends or has ended by itself, as `wait` raises it; None where nothing has failed."""
        return self._failure.error

    def _start(self, *, daemon: bool) -> None:
        if self._threads.are_started:
            return
        _LOGGER.info(
            "worker %s works on %s", self.settings.worker_id, ", ".join(queue.name for queue in self._queues),
            extra={log_keys.WORKER: self.settings.worker_id},
        )  # fmt: skip
        self._contracts.start(
            self._note_contracts,
            self._failure.note_refused,
            on_crash=partial(self._failure.note_thread_end, "compares contracts"),
        )
        self._threads.start(self._control.is_ready)
        self._control.start()
        self._schedules.start()
        self._watch.start(daemon=daemon)

    def _end(self) -> None:
        """End the other threads of the process, behind the poll threads."""
        self._schedules.stop()
        self._schedules.join(LAST_WORDS_S)
        self._control.join(LAST_WORDS_S)
        if not self._threads.are_alive:  # one that hangs may go on, and its jobs need their schemas
            self._store.close()

    def _ended_by(self) -> BaseException | None:
        """The error by which the worker has ended; None while a queue still works that does not hang."""
        return None if self._watch.is_alive else self._failure.error

    def stop(self) -> None:
        """Shut down gracefully: let running jobs end for the grace, settle, commit, leave."""
        self._begin_to_stop()
        self._threads.stop()

    def stop_now(self) -> None:
        """Shut down without waiting for running jobs; they are delivered again, at no attempt's cost."""
        self._begin_to_stop()
        self._threads.stop_now()

    def _begin_to_stop(self) -> None:
        """Note that the worker stops; compare no more contracts, and fire no more schedules."""
        self._stopped.set()
        self._contracts.stop()
        self._schedules.stop()

    def snapshot(self) -> list[QueueSnapshot]:
        """The figures of this process, queue by queue."""
        return [view.snapshot() for view in self._views]

    def inspect(self) -> list[QueueInspection]:
        """The state of all runners, partitions and threads, queue by queue; it needs none of them to answer."""
        return [view.inspect() for view in self._views]

    def measure(self) -> SampleSource:
        """Have the worker count what its metrics need, from now on; call it before `run`. Harmless when repeated.

        Returns:
            The source of their samples, for a `MetricsServer`, a `StokerCollector`, or `observe_metrics`.
        """
        if self._metrics is None:
            self._metrics = self._make_metrics()
        return self._metrics

    def _make_metrics(self) -> SampleSource:
        queues = list(map(QueueMetrics, self._parts))
        figures = WorkerMetrics(queues, self._watch_failures.breakers, self._schedules, self.settings, self.health)
        return SampleSource(self._pipeline.namespace, figures.samples)

    def serve_metrics(self, port: int, host: str = LOCAL) -> MetricsServer:
        """Make the server of `/metrics`, `/live` and `/ready`, which answers in its `with` block; call it before `run`.

        Raises:
            MetricsPortTaken: the address cannot be listened on.
        """
        return MetricsServer([self.measure()], port, host, health=self.health)

    def pause(self, queue: str | None = None, *, job_type: str | None = None, key: bytes | str | None = None) -> None:
        """Let jobs wait until `resume` is called with the same arguments; they cost no attempt, and running jobs end.

        The pause holds in this process, from before `run` if you like, and is gone with it. Later jobs of the key of
        a paused job wait behind it; no other job does. Called from any thread.

        Args:
            queue: its name; None for all queues of this worker.
            job_type: only jobs of this type.
            key: only jobs of this key, text in UTF-8. With neither, the whole queue is paused.

        Raises:
            UnknownName: this worker has no such queue, or the pipeline no such job type.
        """
        for controls in self._chosen(queue, job_type):
            controls.pause(job_type, _as_key(key))

    def resume(self, queue: str | None = None, *, job_type: str | None = None, key: bytes | str | None = None) -> None:
        """End the pause that was begun with these arguments, if it stands. Called from any thread.

        `resume("mails")` ends that of the whole queue, and not those of types or keys.

        Raises:
            UnknownName: this worker has no such queue, or the pipeline no such job type.
        """
        for controls in self._chosen(queue, job_type):
            controls.resume(job_type, _as_key(key))

    def pauses(self) -> list[Pause]:
        """The pauses that stand in this process, queue by queue, in the order in which they began."""
        return [pause for controls in self._controls for pause in controls.standing_pauses]

    def _chosen(self, queue: str | None, job_type: str | None) -> list[QueueControls]:
        if job_type is not None:
            self._pipeline.find_job_type(job_type)
        if queue is None:
            return self._controls
        by_name = {controls.queue: controls for controls in self._controls}
        if queue not in by_name:
            raise UnknownName("queue", queue, list(by_name))
        return [by_name[queue]]


def _by_kind(queues: Sequence[QueueParts]) -> tuple[list[QueueWorker], list[QueueControls], list[QueueView]]:
    """Sort the parts of all queues that the worker calls."""
    return [one.worker for one in queues], [one.controls for one in queues], [one.view for one in queues]


def _as_key(key: bytes | str | None) -> bytes | None:
    return key.encode() if isinstance(key, str) else key
