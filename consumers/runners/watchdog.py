"""`Watchdog`: looks at all runs of one queue, ends those past their limits, and reports those that cannot be ended.

What a job does must not be able to hide that: it is a thread of its own, which takes no lock that a job could hold, and
where it fails itself, the worker stops.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from types import FrameType
from typing import Any, Final, Protocol, TypeVar

from ...topology.bounded_log import log_within
from ..errors import TooManyStuck
from ..guarded_thread import GuardedThread
from ..job.endings import InterruptReason
from ..job.heartbeats import JobProgress
from ..job.run import Run
from ..records.cancellation import Cancellation
from ..records.job_fields import job_fields
from .stacks import describe_frames

_LOGGER = logging.getLogger("stoker.timeouts")

TICK_S: Final = 0.05
ENDS_WITHIN_S: Final = 1.0
"""How long the end of the watchdog is awaited: it may be amid a log that blocks."""
STUCK_AFTER_S: Final = 5.0
"""How long past its timeout a job may go on before it is reported as stuck."""


@dataclass(frozen=True, slots=True)
class StuckWords:
    """The log's words on a stuck job of one kind of runners: why it goes on, and what helps."""

    why: str
    hint: str


RESISTS: Final = StuckWords(
    "interrupting it had no effect",
    "Give what it waits for a shorter timeout, or declare the job with isolation='process': a child process can be "
    "killed",
)

ReportProgress = Callable[[Run, JobProgress], None]


class RunnerSlot(Protocol):
    """Where a job runs: a thread's slot, or a task's."""

    name: str
    reported: Run | None

    @property
    def run(self) -> Run | None:
        """The job that runs; None between two."""
        ...

    def interrupt(self, run: Run, reason: InterruptReason) -> None:
        """End the run, unless it was interrupted before or has ended; its outcome follows from the reason."""
        ...

    def frames(self) -> list[FrameType]:
        """Where the job is, the innermost last."""
        ...


SlotT = TypeVar("SlotT", bound=RunnerSlot)


class WatchedRunners(Protocol[SlotT]):
    """Runners of one kind: what the watchdog needs of them.

    Attributes:
        stuck_words: what the log has about its stuck jobs.
        ends_within_s: how long its runners may take to end a run by themselves, which is not stuck before.
    """

    stuck_words: StuckWords
    ends_within_s: float

    @property
    def slots(self) -> Sequence[SlotT]:
        """All slots, also those of stuck jobs."""
        ...

    def check(self, now_s: float) -> None:
        """Check what is not in a slot, such as an event loop that does not turn."""
        ...

    def replace(self, slot: SlotT) -> bool:
        """Let another runner work in place of one that is stuck; False when there are as many as may be."""
        ...


class Watchdog:
    """Looks twenty times a second."""

    def __init__(
        self,
        watched: Sequence[WatchedRunners[Any]],
        queue: str,
        *,
        on_progress: ReportProgress = lambda _context, _latest: None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._watched = watched
        self._queue = queue
        self._on_progress = on_progress
        self._monotonic = monotonic
        self._stopping = threading.Event()
        self._thread = GuardedThread(f"stoker-watchdog-{queue}", self._run)
        self._given_up: TooManyStuck | None = None

    def start(self) -> None:
        """Begin to watch."""
        self._thread.start()

    def stop(self) -> None:
        """End; jobs that still run have no timeout any more."""
        self._stopping.set()
        self._thread.join(ENDS_WITHIN_S)

    @property
    def crashed(self) -> BaseException | None:
        """Why the worker stops: too many jobs are stuck, or none has a timeout any more; None while all is well."""
        return self._given_up or self._thread.crashed

    def interrupt_all(self, reason: InterruptReason) -> None:
        """Interrupt all runs; those that resist go on."""
        for slot in self.slots:
            run = slot.run
            if run is not None:
                slot.interrupt(run, reason)

    def cancel(self, cancellation_of: Callable[[Run], Cancellation | None]) -> int:
        """End the runs for which there is a cancellation; returns how many are cancelled. Called from any thread.

        One that returns all the same is done. One that begins meanwhile may be missed.
        """
        return sum(_cancel(slot, run, cancellation_of(run)) for slot in self.slots if (run := slot.run) is not None)

    @property
    def slots(self) -> list[RunnerSlot]:
        """All slots of all kinds of runners."""
        return [slot for runners in self._watched for slot in runners.slots]

    @property
    def runs(self) -> list[Run]:
        """The jobs that run, the stuck ones included."""
        return [run for slot in self.slots if (run := slot.run) is not None]

    @property
    def running(self) -> int:
        """How many jobs run."""
        return len(self.runs)

    @property
    def stuck(self) -> int:
        """How many jobs go on past their timeout and could not be ended."""
        return sum(map(is_stuck, self.slots))

    @property
    def progress(self) -> dict[str, JobProgress]:
        """{job id: how far it is} of the jobs that run and have reported it."""
        return {run.shown_id: latest for run in self.runs if (latest := run.latest_progress) is not None}

    def _run(self) -> None:
        while not self._stopping.wait(TICK_S):
            self._look()

    def _look(self) -> None:
        now_s = self._monotonic()
        for runners in self._watched:
            runners.check(now_s)
            for slot in runners.slots:
                run = slot.run
                if run is None:
                    continue
                if run.heartbeats is not None:
                    self._pass_on(run, now_s)
                if now_s > run.deadline_at_s:
                    self._act(runners, slot, run, now_s - run.deadline_at_s)

    def _pass_on(self, run: Run, now_s: float) -> None:
        latest = None if run.heartbeats is None else run.heartbeats.take_news(now_s)
        if latest is not None:
            self._on_progress(run, latest)

    def _act(self, runners: WatchedRunners[Any], slot: RunnerSlot, run: Run, past_deadline_s: float) -> None:
        if run.interrupt_reason is None:
            slot.interrupt(run, "timeout")
        elif slot.reported is not run and past_deadline_s > STUCK_AFTER_S + runners.ends_within_s:
            slot.reported = run
            self._replace(runners, slot, run, past_deadline_s)

    def _replace(self, runners: WatchedRunners[Any], slot: RunnerSlot, run: Run, past_deadline_s: float) -> None:
        """Have another runner work in place of one that is stuck, or the worker stop; log which."""
        then = "the worker stops, since it starts no more runners in place of such ones"
        try:
            if runners.replace(slot):
                then = "another runner takes its place until it ends, and its key waits"
            elif self.crashed is None:
                self._given_up = TooManyStuck(self._queue, self.stuck)
        finally:
            report_stuck(run, slot, past_deadline_s, then, runners.stuck_words)


def _cancel(slot: RunnerSlot, run: Run, cancellation: Cancellation | None) -> bool:
    if cancellation is None:
        return False
    if run.interrupt_reason is None:
        run.note_cancelled(cancellation)
        slot.interrupt(run, "cancel")
    return run.interrupt_reason == "cancel"


def is_stuck(slot: RunnerSlot) -> bool:
    """Whether the job that runs there was reported as stuck."""
    run = slot.run
    return run is not None and slot.reported is run


def report_stuck(run: Run, slot: RunnerSlot, past_deadline_s: float, then: str, words: StuckWords) -> None:
    """Log which job ignores its timeout or its cancel, where it is, and what follows from that."""
    ignored = "cancel" if run.interrupt_reason == "cancel" else "timeout"
    report = partial(
        _LOGGER.error,
        "job %s (%s) is stuck: %.1f s past its %s, and %s; %s. %s\n%s",
        run.shown_id, run.job_type, past_deadline_s, ignored, words.why, then, words.hint,
        describe_frames(slot.frames()),
        extra=job_fields(run.record, run.queue),
    )  # fmt: skip
    log_within(report)  # the job may hang in the log itself
