"""`Shutdown`: ends the work on one queue, so that what has ended is settled and committed before the worker leaves."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Final

from ...topology.counts import counted
from .. import log_keys
from ..job.run import Run
from ..poll_thread_state import PollThreadState
from .fetching import Fetching
from .owned_partitions import OwnedPartitions
from .worker_threads import WorkerThreads

_LOGGER = logging.getLogger("stoker.worker")

SETTLE_AT_STOP: Final = timedelta(seconds=10)
LEAVE_S: Final = 10.0
LEAVE_NOW_S: Final = 1.0
EVENTS_AT_STOP_S: Final = 1.0
"""How long the last events may take to be confirmed, once the group is left."""

MOST_NAMED: Final = 3
"""Jobs whose names are logged, of those that go on."""

_WHY_RUNNING: Final = "the grace is over, and an interrupt had no effect. Raise --grace if jobs need longer"
_WHY_UNWRITTEN: Final = "an earlier message has the cause"


class Shutdown:
    """Asked for by any thread, and done by the poll thread.

    Args:
        grace: how long running jobs may go on.
        wake: ends a wait of the poll thread for settled records.
        close_events: publishes the last events; it takes how many seconds their confirmations may take.
    """

    def __init__(
        self,
        poll_state: PollThreadState,
        grace: timedelta,
        *,
        partitions: OwnedPartitions,
        fetching: Fetching,
        threads: WorkerThreads,
        wake: Callable[[], None],
        close_events: Callable[[float], None],
    ) -> None:
        self._poll_state = poll_state
        self._grace_s = grace.total_seconds()
        self._partitions = partitions
        self._fetching = fetching
        self._threads = threads
        self._wake = wake
        self._close_events = close_events

    def ask(self) -> None:
        """Have the poll thread begin it with its next turn."""
        self._poll_state.is_stopping.set()
        self._threads.stop_preparing()
        self._wake()

    def ask_now(self) -> None:
        """Have it begun without waiting for running jobs; they will be delivered again."""
        self._poll_state.is_stopping_now.set()
        self.ask()

    def run(self) -> None:
        """Stop taking, let running jobs end within the grace, settle and commit what ended, leave the group."""
        self._poll_state.is_stopping.set()
        self._threads.stop_restoring()
        self._poll_state.begin_grace(self._grace_s)
        try:
            self._partitions.begin_to_leave()
            self._await_running()
        finally:  # even if the consumer has failed: what has ended is settled
            self._poll_state.note_turn()
            running = self._threads.stop_jobs(timedelta(0) if self._is_at_once else SETTLE_AT_STOP)
            self._leave_in_time(running)
            self._close_events(0.0 if self._is_at_once else EVENTS_AT_STOP_S)

    @property
    def _is_at_once(self) -> bool:
        return self._poll_state.is_stopping_now.is_set()

    def _await_running(self) -> None:
        """Go on polling, so that the partitions stay ours while their last jobs run, and are settled where they can."""
        while self._has_hope() and self._threads.crashed is None and not self._poll_state.is_out_of_time:
            self._poll_state.note_turn()
            self._fetching.last_turn()
            self._partitions.last_turn()

    def _has_hope(self) -> bool:
        """Whether there are jobs that may still end and be settled, without a person's help."""
        return self._partitions.in_flight > self._threads.stranded

    def _leave_in_time(self, running: Sequence[Run]) -> None:
        """Commit and leave the group, but do not wait for brokers that do not answer: nothing is lost without it.

        Args:
            running: the jobs that went on when the others were settled.
        """
        self._poll_state.end_grace()
        queue = self._partitions.queue_name
        leaving = threading.Thread(target=self._leave, args=(running,), name=f"stoker-leave-{queue}", daemon=True)
        leaving.start()
        within_s = LEAVE_NOW_S if self._is_at_once else LEAVE_S
        leaving.join(within_s)
        if leaving.is_alive():
            _LOGGER.warning(
                "queue %r: the brokers did not answer within %g s; the worker ends without a last commit. Jobs that "
                "ended since the one before are delivered again, and skipped", queue, within_s,
                extra={log_keys.QUEUE: queue},
            )  # fmt: skip

    def _leave(self, runs: Sequence[Run]) -> None:
        queue = self._partitions.queue_name
        try:
            left = self._partitions.leave()
        except Exception:
            _LOGGER.exception(
                "queue %r: the worker could not commit for the last time, or leave its group. Its partitions move when "
                "the brokers detect its end, after the session timeout; jobs that ended since the commit before are "
                "delivered again, and skipped", queue,
                extra={log_keys.QUEUE: queue},
            )  # fmt: skip
            return
        going_on = runs[:left]
        if going_on:
            end = "what runs is delivered again, at no attempt's cost"
            self._report(_still_run(going_on), len(going_on), _WHY_RUNNING, end)
        unwritten = left - len(going_on)
        if unwritten:
            what = f"no outcome is written of {counted(unwritten, 'job')}"
            self._report(what, unwritten, _WHY_UNWRITTEN, "jobs without one are delivered again")

    def _report(self, what: str, count: int, in_time: str, end: str) -> None:
        """Log how many jobs are left; `in_time` is why, where the worker had the time that it has to end them."""
        queue, why = self._partitions.queue_name, in_time
        if self._is_at_once:
            why = "the worker stops at once"
        elif self._threads.crashed is not None:
            why = "the worker has failed"
        extra = {log_keys.QUEUE: queue, log_keys.COUNT: count}
        _LOGGER.warning("queue %r: %s: %s; %s", queue, what, why, end, extra=extra)


def _still_run(runs: Sequence[Run]) -> str:
    named = ", ".join(f"{run.shown_id} ({run.job_type})" for run in runs[:MOST_NAMED])
    if len(runs) == 1:
        return f"job {named} still runs"
    more = f" and {len(runs) - MOST_NAMED:,} more" if len(runs) > MOST_NAMED else ""
    return f"jobs {named}{more} still run"
