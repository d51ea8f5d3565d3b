"""`AsyncProducer`: the producer for an event loop; nothing in it blocks the loop."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from datetime import timedelta
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Final, ParamSpec, Self, TypeVar

from ..schemas import SchemaStore
from ..topology.cluster.settings import ClusterSettings
from ..topology.declaration.job_type import AnyJobType, ConfiguredJob, JobCall, JobType
from ..topology.declaration.pipeline import Pipeline
from .admission.admission import Admission
from .bulk import BulkRun
from .delivery import BulkResult, Outcome, Receipt
from .errors import UNREACHED, EnqueueError, QueueFull
from .instrument import ProducerInstrument
from .instrument_row import ProducerInstruments
from .metrics.sample import SampleSource
from .metrics.server import LOCAL, MetricsServer
from .publisher import Publisher
from .record import BuiltRecord
from .settings import CHECK_TIMEOUT, ProducerSettings
from .spooling import PART_CALLS, SpooledBulk, open_spool

if TYPE_CHECKING:
    from .outbox.spool import Spool, SpoolFile

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")

_ROOM_PAUSE_S: Final = 0.005
_FULL_PAUSE_S: Final = 0.02
_SLICE_S: Final = 0.005
"""How long a bulk may keep the loop before it lets others run."""

AnyCalls = Iterable[JobCall] | AsyncIterable[JobCall]


class AsyncProducer:
    """Enqueues the jobs of a pipeline from one event loop; `Producer` documents the arguments and errors.

    A call that is cancelled while it waits may have been published all the same.
    """

    def __init__(  # noqa: PLR0913  # as `Producer`
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
        # For what only blocks: verifying, registering, the end of a bulk. Its threads are made when they are needed.
        self._blocking = ThreadPoolExecutor(max_workers=4, thread_name_prefix="stoker-producer-blocking")
        self._mailboxes = LoopMailboxes()

    async def start(self) -> None:
        """Verify that the topics are as declared; the first call does it otherwise. Raises as `Producer.start`."""
        self._publisher.check_usable()
        await self._in_thread(partial(self._publisher.readiness.verify, time.monotonic()))

    async def check(self, timeout: timedelta = CHECK_TIMEOUT) -> None:
        """Ask the brokers whether they can take jobs at this moment; raises as `Producer.check`."""
        await self._in_thread(partial(self._publisher.check, timeout.total_seconds(), time.monotonic()))

    async def __aenter__(self) -> Self:
        if not self._is_lazy:
            await self.start()
        if self._spool is not None:
            await self._is_spooling(self._spool)  # what an earlier process has left is sent
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def enqueue(self, job: JobType[P, R] | ConfiguredJob[P, R], /, *args: P.args, **kwargs: P.kwargs) -> Receipt:
        """Publish one job and wait until the brokers have confirmed it. Raises as `Producer.enqueue`."""
        return await self.send(job.call(*args, **kwargs))

    async def send(self, call: JobCall) -> Receipt:
        """Publish one bound call, as `enqueue` does."""
        if self._spool is not None:
            return await self._send_or_spool(self._spool, call)
        return await (await self._publish(call))

    async def _send_or_spool(self, spool: SpoolFile, call: JobCall) -> Receipt:
        self._publisher.check_usable()
        call = spool.identified(call)
        if await self._is_spooling(spool):
            return await self._in_thread(partial(spool.put, call))
        try:
            return await (await self._publish(call))
        except UNREACHED as silence:
            return await self._in_thread(partial(spool.put, call, silence))

    async def _is_spooling(self, spool: SpoolFile) -> bool:
        return spool.may_be_active and await self._in_thread(spool.is_active)

    async def enqueue_future(
        self, job: JobType[P, R] | ConfiguredJob[P, R], /, *args: P.args, **kwargs: P.kwargs
    ) -> asyncio.Future[Receipt]:
        """Publish one job; wait for room only. The future has the receipt, or the error, within `confirm_timeout`."""
        return await self.send_future(job.call(*args, **kwargs))

    async def send_future(self, call: JobCall) -> asyncio.Future[Receipt]:
        """Publish one bound call, as `enqueue_future` does."""
        self._publisher.check_usable()
        if self._spool is not None and await self._is_spooling(self._spool):
            spooled: asyncio.Future[Receipt] = asyncio.get_running_loop().create_future()
            spooled.set_result(await self._in_thread(partial(self._spool.put_new, call)))
            return spooled
        return await self._publish(call)

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

    async def _publish(self, call: JobCall) -> asyncio.Future[Receipt]:
        try:
            return await self._publish_admitted(call)
        except EnqueueError as refusal:
            self._publisher.note_refused(call, refusal)
            raise

    async def _publish_admitted(self, call: JobCall) -> asyncio.Future[Receipt]:
        await self._prepare(call.job_type)
        admission = self._publisher.admission
        if admission is None:
            return await self._hand_over(call)
        await self._admit(admission, call)
        try:
            return await self._hand_over(call)
        except BaseException:
            admission.give_back(call)
            raise

    async def _hand_over(self, call: JobCall) -> asyncio.Future[Receipt]:
        record = self._publisher.build_spanned(call)
        future: asyncio.Future[Receipt] = asyncio.get_running_loop().create_future()
        settle = self._publisher.watched(call, record, self._mailboxes.settler(future))
        give_up_at_s = time.monotonic() + self._settings.room_wait_s
        while not self._publisher.offer(record, settle):
            if time.monotonic() >= give_up_at_s:
                raise self._publisher.full(record)
            await asyncio.sleep(_ROOM_PAUSE_S)
        return future

    async def _admit(self, admission: Admission, call: JobCall) -> None:
        waiting = admission.waiting_call(call)
        while waiting is not None and not waiting.is_admitted():
            await asyncio.sleep(_FULL_PAUSE_S)

    async def _prepare(self, job_type: AnyJobType) -> None:
        if not self._publisher.readiness.covers(job_type):
            await self._in_thread(partial(self._publisher.prepare, job_type, time.monotonic()))

    async def _in_thread(self, work: Callable[[], T]) -> T:
        """Do what blocks; the loop's own threads do it after `close`, and in a fork, which has none of those before."""
        threads = self._blocking if self._publisher.is_usable else None
        return await asyncio.get_running_loop().run_in_executor(threads, work)

    async def enqueue_many(self, calls: AnyCalls, *, max_in_flight: int | None = None) -> BulkResult:
        """Publish all calls of an iterable, plain or asynchronous, and return when all are confirmed.

        The iterable is read on the loop, in slices of a few milliseconds. Raises as `Producer.enqueue_many`.
        """
        self._publisher.check_usable()
        in_flight = self._settings.in_flight(max_in_flight)
        with self._publisher.spans.bulk():
            if self._spool is not None:
                return await self._spool_bulk(self._spool, calls, in_flight)
            return await self._run_bulk(calls, in_flight)

    async def _run_bulk(self, calls: AnyCalls, in_flight: int) -> BulkResult:
        run = await self._in_thread(partial(BulkRun, self._publisher, in_flight))
        settle = partial(run.settle, self._settings.report_wait_s)
        try:
            await self._take_all(run, calls)
        except BaseException as error:  # the iterable's own error, or cancellation: settle, then pass it on
            await asyncio.shield(self._in_thread(settle))
            run.note_on(error)
            raise
        await asyncio.shield(self._in_thread(settle))  # a run that no thread settles is collected with its records
        return run.result()

    async def _spool_bulk(self, spool: SpoolFile, calls: AnyCalls, in_flight: int) -> BulkResult:
        """As `spooling.run_spooled_bulk`, whose steps these are."""
        bulk = SpooledBulk(spool)
        try:
            async with aclosing(_each(calls)) as each:
                while await self._take_part(spool, bulk, each, in_flight):
                    pass
        except BaseException as error:
            bulk.note_on(error)
            raise
        return bulk.result()

    async def _take_part(
        self, spool: SpoolFile, bulk: SpooledBulk, each: AsyncGenerator[JobCall, None], in_flight: int
    ) -> bool:
        part: list[JobCall] = []
        try:
            await _read_part(bulk, each, part)
        finally:
            await self._send_part(spool, bulk, part, in_flight)
        return len(part) == PART_CALLS and not bulk.is_over

    async def _send_part(self, spool: SpoolFile, bulk: SpooledBulk, part: list[JobCall], in_flight: int) -> None:
        if not part:
            return
        if await self._is_spooling(spool):
            await self._in_thread(partial(bulk.put, part))
            return
        run = await self._in_thread(partial(BulkRun, self._publisher, in_flight))
        silence: Exception | None = None
        try:
            await self._take_all(run, part)
        except UNREACHED as unreached:
            silence = unreached
        finally:
            await asyncio.shield(self._in_thread(partial(run.settle_or_give_up, self._settings.report_wait_s)))
            await asyncio.shield(self._in_thread(partial(bulk.note_sent, part, run, silence)))

    async def _take_all(self, run: BulkRun, calls: AnyCalls) -> None:
        slice_ends_at_s = time.monotonic() + _SLICE_S
        async with aclosing(_each(calls)) as each:
            async for call in each:
                await self._take(run, call)
                if run.stopped:
                    return
                if time.monotonic() >= slice_ends_at_s:
                    await asyncio.sleep(0)
                    slice_ends_at_s = time.monotonic() + _SLICE_S

    async def _take(self, run: BulkRun, call: JobCall) -> None:
        job_type = run.unprepared(call)
        if job_type is not None:
            await self._prepare(job_type)
        is_admitted = self._publisher.admission is None or await self._is_admitted(self._publisher.admission, run, call)
        record = run.build(call) if is_admitted else None
        if record is not None and not run.offer(call, record):
            await self._offer_when_room(run, call, record)

    async def _is_admitted(self, admission: Admission, run: BulkRun, call: JobCall) -> bool:
        try:
            waiting = admission.waiting_call(call, in_bulk=True)
            while waiting is not None and not waiting.is_admitted():
                run.read_reports()
                await asyncio.sleep(_FULL_PAUSE_S)
        except QueueFull as full:
            run.refuse(call, full)
            return False
        return True

    async def _offer_when_room(self, run: BulkRun, call: JobCall, record: BuiltRecord) -> None:
        give_up_at_s = time.monotonic() + self._settings.report_wait_s
        while not run.offer(call, record):
            if time.monotonic() >= give_up_at_s:
                run.drop(call, record)
                return
            await asyncio.sleep(_ROOM_PAUSE_S)

    @property
    def spooled(self) -> int:
        """How many jobs wait in the spool, as `Producer.spooled`."""
        return 0 if self._spool is None else self._spool.jobs()

    async def flush(self, timeout: timedelta | None = None) -> None:
        """Wait until all jobs of pending futures are confirmed or have failed. Raises as `Producer.flush`."""
        timeout_s = self._settings.report_wait_s if timeout is None else timeout.total_seconds()
        await self._in_thread(partial(self._publisher.flush, timeout_s))

    async def close(self, timeout: timedelta | None = None) -> None:
        """Wait for pending jobs, then disconnect. Raises as `Producer.close`; harmless when repeated."""
        if self._publisher.is_closed:
            return
        timeout_s = self._settings.report_wait_s if timeout is None else timeout.total_seconds()
        try:
            if self._spool is not None:
                await self._in_thread(self._spool.close)
            await self._in_thread(partial(self._publisher.close, timeout_s))
        finally:
            self._blocking.shutdown(wait=False)


async def _each(calls: AnyCalls) -> AsyncGenerator[JobCall, None]:
    if isinstance(calls, AsyncIterable):
        async for call in calls:
            yield call
    else:
        for call in calls:
            yield call


async def _read_part(bulk: SpooledBulk, each: AsyncGenerator[JobCall, None], part: list[JobCall]) -> None:
    """Read calls into a part until it is full."""
    slice_ends_at_s = time.monotonic() + _SLICE_S
    async for call in each:
        part.append(bulk.identified(call))
        if len(part) == PART_CALLS:
            return
        if time.monotonic() >= slice_ends_at_s:
            await asyncio.sleep(0)
            slice_ends_at_s = time.monotonic() + _SLICE_S


class LoopMailboxes:
    """A mailbox for each event loop: a producer may be used from one `asyncio.run` after another, or from two loops."""

    def __init__(self) -> None:
        self._latest: LoopMailbox | None = None

    def settler(self, future: asyncio.Future[Receipt]) -> Callable[[Outcome], None]:
        """The function that takes the future's outcome, from any thread."""
        loop, mailbox = future.get_loop(), self._latest
        if mailbox is None or mailbox.loop is not loop:
            mailbox = self._latest = LoopMailbox(loop)
        return partial(mailbox.put, future)


class LoopMailbox:
    """Brings outcomes from the thread that reads reports to one loop, which it wakes once for many of them."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop: Final = loop
        self._waiting: deque[tuple[asyncio.Future[Receipt], Outcome]] = deque()
        self._lock: Final = threading.Lock()
        self._called = False

    def put(self, future: asyncio.Future[Receipt], outcome: Outcome) -> None:
        """Take the outcome of one of the loop's futures."""
        with self._lock:
            self._waiting.append((future, outcome))
            wake, self._called = not self._called, True
        if wake:
            self._wake()

    def _wake(self) -> None:
        try:
            self.loop.call_soon_threadsafe(self._deliver)
        except RuntimeError:  # the loop is closed, so no task can be waiting
            self._take_waiting()

    def _deliver(self) -> None:
        for future, outcome in self._take_waiting():
            _settle(future, outcome)

    def _take_waiting(self) -> deque[tuple[asyncio.Future[Receipt], Outcome]]:
        with self._lock:
            ready, self._waiting, self._called = self._waiting, deque(), False
        return ready


def _settle(future: asyncio.Future[Receipt], outcome: Outcome) -> None:
    if future.done():  # its caller was cancelled
        return
    if isinstance(outcome, Receipt):
        future.set_result(outcome)
    else:
        future.set_exception(outcome)  # asyncio itself warns of one that is never retrieved
