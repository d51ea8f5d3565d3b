"""`IsolatedRunners`: runs jobs in child processes, and decides what a job's crash leads to.

A thread for each job that may run at once waits for its child. A job whose child has died waits a little at the gates,
and then runs again in a child that has never run another job. Its lane stands still meanwhile, the others flow.
"""

from __future__ import annotations

import logging
import multiprocessing.spawn
import os
import pickle
import threading
import time
from collections.abc import Callable, Collection, Mapping
from typing import Final

from opentelemetry.trace import get_current_span

from ...topology.tracing.remote_context import span_headers
from ...topology.wire.headers import JOB_TYPE
from .. import log_keys
from ..gates.gate import Wait
from ..gates.gate_row import GateRow
from ..guarded_thread import first_crash
from ..progress.assignment import Assignment
from ..records.job_fields import job_fields
from ..records.outcomes import INTERRUPTED, Outcome
from ..records.record import Record, record_at
from ..runners.kinds import Ready, Runners
from ..runners.slots import SettleDone, Slot
from ..runners.thread_runners import RunOne, ThreadRunners
from ..runners.watchdog import StuckWords
from ..settings import WorkerSettings
from ..steps.last_look import hold_back
from ..steps.results import Decided, Ran, read_raised
from ..steps.steps import DecodedJob, StepContext
from ..tracing.run_spans import note_crash
from .child_process import KILL_WAIT_S, ChildProcess
from .child_run import Ending, NotBegun, run_in_child
from .child_slot import ENDS_WITHIN_S, ChildSlot
from .crashes import NOT_BEGUN_LIMIT, ChildDied, CrashPause, pause_after
from .handlers import HandlerAddress, addresses_of
from .job_deaths import JobDeaths
from .messages import ChildRecord, RunJob, Setup
from .pool import ChildCounts, ChildPool, Recycling
from .quarantine import quarantine
from .suspects import Suspects, crashes_before

_LOGGER = logging.getLogger("stoker.isolation")

MAIN_MODULE: Final = "__main__"
HANGS: Final = StuckWords(
    "the runner that waits for its child process hangs, so the child is killed",
    "The stack is that of the runner, in the worker: most likely a handler or filter of logging blocks",
)


class IsolatedRunners(Runners[Slot]):
    """The runners of one queue whose jobs run in children; `run_one` must not raise, and calls `run`.

    They take the jobs of isolated types, and suspects. Threads and children are started with `start` where the queue
    has isolated types, or else when the first record comes.

    Attributes:
        size: how many jobs run at once; 0 where the queue has no isolated types.
        crashes: how many crashes there were: a child died while a job ran, or `NOT_BEGUN_LIMIT` did before it began.
    """

    kind = "isolated"
    stuck_words = HANGS
    ends_within_s = ENDS_WITHIN_S

    def __init__(
        self,
        step_context: StepContext,
        settings: WorkerSettings,
        run_one: RunOne,
        settle_done: SettleDone,
        *,
        send_back: Callable[[Record, Wait], bool],
        ready: Ready | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._queue, self._send_back, self._clock = step_context.queue, send_back, clock
        isolated = [job_type for job_type in step_context.job_types.values() if job_type.isolation]
        self._names = frozenset(job_type.name.encode() for job_type in isolated)
        self._is_expected = any(job_type.queue.name == step_context.queue.name for job_type in isolated)
        self.addresses = addresses_of(step_context.job_types)
        self._suspects = Suspects(step_context.queue, [name.encode() for name in self.addresses])
        size = settings.isolated_concurrency
        self.size, self.crashes = size if self._is_expected else 0, 0
        self._pool = ChildPool(
            make_setup(step_context, self.addresses),
            size=size,
            recycling=Recycling(after_jobs=settings.recycle_after_jobs, above_bytes=settings.recycle_above_bytes),
        )
        self._threads = ThreadRunners(
            size,
            run_one,
            f"{step_context.queue.name}-isolated",
            ChildSlot,
            settle_done=settle_done,
            ready=ready,
        )
        self._lock = threading.Lock()
        self._is_started = False
        self._is_stopping = False
        self._deaths = JobDeaths()

    @property
    def crashed(self) -> BaseException | None:
        """Why isolated jobs cannot go on; None while they can."""
        return first_crash((self._pool.thread, self._threads))

    @property
    def slots(self) -> list[Slot]:
        """One for each job that may run at once."""
        return self._threads.slots

    def own(self, records: list[Record]) -> list[Record]:
        """Jobs of isolated types, and suspects."""
        names, suspects = self._names, self._suspects
        if not names and not suspects:
            return []
        return [r for r in records if r.header(JOB_TYPE) in names or suspects.includes(r)]

    def begin(self, assignment: Assignment) -> None:
        """Note which jobs of a new assignment are suspects."""
        self._suspects.begin(assignment)

    def note_settled(self) -> None:
        """Forget suspects that are settled, and the deaths of jobs that are, also where they did not run any more."""
        if self._suspects:
            self._suspects.forget_cleared()
        if self._deaths:
            self._deaths.forget_settled()

    def start(self) -> None:
        """Start threads and children, where the queue has isolated job types."""
        if self._is_expected:
            self._start()

    def _start(self) -> None:
        with self._lock:
            if self._is_started or self._pool.is_stopping:
                return
            self._is_started = True
        self._pool.start()
        self._threads.start()

    def make_ready(self, records: list[Record]) -> None:
        """Offer records of different lanes to the runners."""
        self._start()
        self._threads.make_ready(records)

    def drop(self, assignments: Collection[Assignment]) -> list[Record]:
        """Take out the records of partitions that are being given away, as far as they have not begun."""
        self._suspects.end(assignments)
        self._deaths.forget_gone(
            assignments, {record_at(run.record) for slot in self.slots if (run := slot.run) is not None}
        )
        return self._threads.drop(assignments)

    def interrupt(self) -> None:
        """Start no further record, interrupt what runs, at no attempt's cost, and end all children."""
        self._is_stopping = True
        self._threads.stop()
        for slot in self.slots:
            if (run := slot.run) is not None:  # its runner may end it meanwhile
                slot.interrupt(run, "shutdown")
        self._pool.stop()

    def wait_ended(self, give_up_at_s: float) -> None:
        """Wait for the threads, whose children are killed by now: what one has sent before is its outcome."""
        self._threads.wait_ended(give_up_at_s)

    @property
    def ready(self) -> int:
        """Records that could run at once, were a runner free."""
        return self._threads.ready

    def waiting_records(self) -> list[Record]:
        """These records, as far as none of them has begun meanwhile; called from any thread."""
        return self._threads.waiting_records()

    def replace(self, slot: Slot) -> bool:
        """Kill the child of a run whose runner hangs, and start another runner; False where as many as may be were."""
        run = slot.reported
        if isinstance(slot, ChildSlot) and run is not None:
            slot.kill_child_of(run)
        return self._threads.replace(slot)

    def counts(self) -> ChildCounts | None:
        """How many children do what; None where none was ever needed."""
        return self._pool.counts() if self._is_started else None

    def process_ids(self) -> list[int]:
        """The process ids of all children."""
        return self._pool.process_ids()

    def run(self, job: DecodedJob, slot: Slot, step_context: StepContext) -> Ran:
        """Run one job in a child. If that dies, the worker decides: the job comes again in a while, or never."""
        try:
            arguments = pickle.dumps((job.args, job.kwargs), pickle.HIGHEST_PROTOCOL)
        except Exception as error:  # noqa: BLE001  # the application's classes may raise anything while they are pickled
            return read_raised(error, job.job_type)
        ending = self._run(job, _job_message(job, arguments), slot, step_context)
        if isinstance(ending, ChildDied):
            return Decided(self._after_crash(job, ending, step_context.gates))
        if not (isinstance(ending, Decided) and ending.outcome is None):  # else it comes again, and may crash once more
            self._deaths.forget(job.record)
        return ending

    def _run(self, job: DecodedJob, message: RunJob, slot: Slot, step_context: StepContext) -> Ran | ChildDied:
        record, assignment = job.record, job.record.assignment
        while True:
            has_died = record.offset in assignment.crash_history.crashes or record in self._deaths
            child = self._pool.acquire(lambda: assignment.is_current, fresh=has_died)
            if child is None:
                return Decided(INTERRUPTED)
            ending = self._run_in(child, job, message, slot, step_context)
            if not isinstance(ending, NotBegun):
                return ending
            deaths = self._deaths.note_not_begun(record) if ending.was_given else 0
            if deaths >= NOT_BEGUN_LIMIT:
                return ending.died
            _log_not_begun(job, ending.died, deaths)
            step_context.gates.note_ended(record, INTERRUPTED)  # it was counted a while ago, and is counted again

    def _run_in(
        self, child: ChildProcess, job: DecodedJob, message: RunJob, slot: Slot, step_context: StepContext
    ) -> Ran | Ending:
        if isinstance(slot, ChildSlot):
            slot.child = child
        slot.begin(job.run, job.job_type.run_limits)
        if self._is_stopping:  # `interrupt` has looked at this slot already
            slot.interrupt(job.run, "shutdown")
        try:
            # An order may have come while the job waited for a child.
            if (held := hold_back(job, slot, step_context)) is not None:
                return held
            return run_in_child(child, message, job.run, job.job_type.memory_limit_bytes)
        finally:
            slot.end()
            has_outlived = child.has_outlived and not child.ended() and not self._is_stopping
            self._pool.give_back(child)  # first, since a handler of logging may raise, or block
            if has_outlived:
                _log_outliving(job, child.pid)

    # ---- crashes

    def _after_crash(self, job: DecodedJob, died: ChildDied, gates: GateRow) -> Outcome | None:
        record, limit = job.record, self._queue.crash_limit
        crashes = crashes_before(record, limit) + 1
        record.assignment.crash_history.note(record.offset, crashes)
        with self._lock:
            self.crashes += 1
        deaths = self._deaths.note_crash(record, died)
        self._log_crash(job, died, crashes)
        if crashes >= limit:
            self._deaths.forget(record)
            return quarantine(job.run.job_type, crashes, deaths)
        note_crash(job.run, str(died), crashes)
        gates.note_ended(record, INTERRUPTED)  # before it may be taken anew
        if self._send_back(record, self._pause_after(crashes)):
            return None
        if not record.assignment.is_staying:
            self._deaths.forget(record)
        return INTERRUPTED

    def _pause_after(self, crashes: int) -> Wait:
        pause = pause_after(crashes)
        return Wait(until_at_s=self._clock() + pause.total_seconds(), why=CrashPause(pause))

    def _log_crash(self, job: DecodedJob, died: ChildDied, crashes: int) -> None:
        run = job.run
        _LOGGER.warning(
            "job %s (%s): %s; that is crash %d, and %d quarantine it; it costs no attempt",
            run.shown_id, run.job_type, died, crashes, self._queue.crash_limit,
            extra={**job_fields(job.record, run.queue), log_keys.ATTEMPT: run.attempt},
        )  # fmt: skip


def _log_outliving(job: DecodedJob, process_id: int) -> None:
    run = job.run
    _LOGGER.error(
        "job %s (%s): its process %d was killed and has not ended after %g s: the kernel holds it, most likely in "
        "input or output. None of its code runs any more, so the run is over, and another process takes its place",
        run.shown_id, run.job_type, process_id, KILL_WAIT_S,
        extra={**job_fields(job.record, run.queue), log_keys.ATTEMPT: run.attempt},
    )  # fmt: skip


def _log_not_begun(job: DecodedJob, died: ChildDied, deaths: int) -> None:
    """Log a child's death; `deaths` is 0 where nothing of the job can have caused it."""
    run = job.run
    counted = f"{NOT_BEGUN_LIMIT} such deaths are a crash, and this is number {deaths}"
    if not deaths:
        counted = "nothing is counted, since it had not been given the job"
    _LOGGER.warning(
        "job %s (%s): %s; the job runs in another process, at no attempt's cost; %s",
        run.shown_id, run.job_type, died, counted,
        extra={**job_fields(job.record, run.queue), log_keys.ATTEMPT: run.attempt},
    )  # fmt: skip


def _job_message(job: DecodedJob, arguments: bytes) -> RunJob:
    run = job.run
    context = run.trace_context
    return RunJob(
        job_type=job.job_type.name,
        arguments=arguments,
        job_id=run.job_id,
        attempt=run.attempt,
        attempts=run.attempts,
        record=ChildRecord.of(job.record),
        trace=[] if context is None else span_headers(get_current_span(context).get_span_context()),
    )


def make_setup(step_context: StepContext, addresses: Mapping[str, HandlerAddress]) -> Setup:
    """The setup of the children of one queue."""
    return Setup(
        parent_id=os.getpid(),
        main=_main_of_worker(any(address.module == MAIN_MODULE for address in addresses.values())),
        queue=step_context.queue.name,
        addresses=pickle.dumps(tuple(addresses.values())),
        log_levels={},
        stack_file=-1,
    )


def _main_of_worker(needs_main_module: bool) -> dict[str, object]:
    """As `multiprocessing` prepares its own children; the main module is run again only where handlers are in it."""
    data = multiprocessing.spawn.get_preparation_data("stoker-child")
    wanted = {"name", "sys_path", "sys_argv", "orig_dir", "dir"}
    if needs_main_module:
        wanted |= {"init_main_from_name", "init_main_from_path"}
    return {name: value for name, value in data.items() if name in wanted}
