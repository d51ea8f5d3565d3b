"""`QueueWorker`: the poll thread of one queue. It owns the consumer and all progress, and never runs a job's code.

Each turn: note what was settled, commit, release delayed records that are due, and fetch while there is room. Polling
goes on whatever the jobs do, so that long ones keep their partitions.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterable
from datetime import timedelta
from typing import Final

from confluent_kafka import Consumer, Message

from ..schemas import Contract
from ..schemas.job_events import JobEvent
from . import log_keys
from .assembly import WorkerParts
from .errors import WorkerCrashed
from .gates.pauses import Pause, Pauses
from .inspection.queue_inspection import QueueInspection
from .inspection.snapshot import QueueSnapshot
from .limits.limits import Limits
from .records.source import MAIN, Reader, ReaderOf

_LOGGER = logging.getLogger("stoker.worker")

FETCH_LIMIT: Final = 1_000
POLL_TIMEOUT_S: Final = 0.1
SHORT_POLL_TIMEOUT_S: Final = 0.02
REREAD_TIMEOUT_S: Final = 0.001
BACKLOG_TIMEOUT_S: Final = 0.005
PRIORITIES_TIMEOUT_S: Final = 0.01
"""Only a record of the main topic ends a poll; one of a priority is seen after it."""
TIERS_INTERVAL_S: Final = 0.02
HOUSEKEEPING_INTERVAL_S: Final = 1.0
LAG_INTERVAL_S: Final = 0.1
SETTLE_AT_STOP: Final = timedelta(seconds=10)
LEAVE_S: Final = 10.0
LEAVE_NOW_S: Final = 1.0
EVENTS_AT_STOP_S: Final = 1.0
"""How long the last events may take to be confirmed, once the group is left."""


class QueueWorker:
    """Runs the jobs of one queue in this process, until `stop` is called."""

    def __init__(self, parts: WorkerParts) -> None:
        self.queue = parts.queue
        self._parts = parts
        self._pauses = parts.pauses
        self._lag: int | None = None
        self._next_housekeeping_at_s = 0.0
        self._next_lag_at_s = 0.0
        self._next_tiers_at_s = 0.0

    @property
    def last_turn_at_s(self) -> float:
        """When the poll thread turned last, by the monotonic clock."""
        return self._parts.poll_state.last_turn_at_s

    def note_order(self, contracts: Iterable[Contract]) -> None:
        """Note that these contracts come after the versions that the schema store knows by now."""
        for contract in contracts:
            self._parts.decoder.note_order(contract)

    def run(self, may_begin: threading.Event) -> None:
        """Work until `stop` is called, once jobs may begin; then shut down gracefully.

        Raises:
            WorkerCrashed: a part of the worker failed; nothing is lost, but this process cannot go on.
        """
        parts = self._parts
        parts.poll_state.begin()
        parts.dispatch.start()
        parts.followers.start()
        parts.late.start()
        try:
            while not (parts.poll_state.is_stopping.is_set() or may_begin.wait(POLL_TIMEOUT_S)):
                parts.poll_state.note_turn()
            parts.member.join()
            while not parts.poll_state.is_stopping.is_set():
                self._turn()
        finally:
            self._wind_down()

    def stop(self) -> None:
        """Begin the graceful shutdown; called from any thread."""
        parts = self._parts
        parts.poll_state.is_stopping.set()
        parts.restoring.stop()
        parts.rights.stop()
        parts.followers.stop()
        parts.settled.wake()

    def excuse_failures(self) -> None:
        """From now on, a job whose run fails is interrupted, at no attempt's cost; called amid any line."""
        self._parts.dispatch.excuse.is_given = True

    def stop_now(self) -> None:
        """Shut down without waiting for running jobs; they will be delivered again."""
        self._parts.poll_state.is_stopping_now.set()
        self.stop()

    def snapshot(self) -> QueueSnapshot:
        """The figures of this queue's worker, for people; called from any thread."""
        return self._parts.overview.snapshot(self._parts.completion.outcomes, self._lag)

    def inspect(self) -> QueueInspection:
        """The state of this queue's runners, partitions and threads; called from any thread."""
        parts = self._parts
        return parts.overview.inspect(parts.poll_state.last_turn_at_s, parts.poll_state.ident)

    def pause(self, job_type: str | None, key: bytes | None) -> None:
        """Let the queue's jobs wait, or those of a type or key; called from any thread."""
        self._pauses.begin(Pause(self.queue.name, job_type, key))

    def resume(self, job_type: str | None, key: bytes | None) -> None:
        """End a pause; called from any thread."""
        self._pauses.end(Pause(self.queue.name, job_type, key))

    def end_cancelled(self, *, aside_too: bool = False) -> int:
        """Let the jobs at gates go on for which a cancel stands, and end those that run; called from any thread.

        Args:
            aside_too: whether jobs that wait aside are to be looked at as well, which reads them again.

        Returns:
            How many run.
        """
        cancels, name = self._parts.cancels, self.queue.name
        self._parts.dispatch.gates.release_cancelled(aside_too=aside_too)
        return self._parts.dispatch.watchdog.cancel(lambda run: cancels.of(run.record, name))

    def publish(self, event: JobEvent) -> None:
        """Publish an event that is of no job; called from any thread."""
        self._parts.events.publish(event)

    @property
    def owns_first_partition(self) -> bool:
        """Whether the first partition of the queue is this process's; asked from any thread."""
        return 0 in self._parts.assignments.main_partitions

    @property
    def limits(self) -> Limits:
        """The limits of this queue, for those who order them."""
        return self._parts.limits

    @property
    def gate(self) -> Pauses:
        """All its pauses, for those who order them."""
        return self._pauses

    @property
    def pauses(self) -> tuple[Pause, ...]:
        """The pauses that stand."""
        return self._pauses.standing

    def _turn(self) -> None:
        parts = self._parts
        parts.poll_state.note_turn()
        self._check_parts()
        parts.member.stay(parts.poll_state.last_turn_at_s)
        parts.completion.note_settled()
        parts.rebalance.begin_restored(parts.member.consumer)
        parts.commits.commit_if_due(parts.member.consumer)
        self._keep_house()
        self._intake_priorities()
        parts.intake.take_due()
        parts.intake.reread()
        self._intake_priorities()  # again: what was read above may have taken a while
        has_more = self._intake_delayed()
        if parts.backpressure.may_fetch():
            self._take(self._fetch(0.0 if has_more else self._poll_timeout_s()))
        else:
            # What lanes wait for is read again turn by turn, and may be all that there is to do.
            within_s = REREAD_TIMEOUT_S if parts.intake.is_rereading else SHORT_POLL_TIMEOUT_S
            parts.backpressure.rest(parts.member.consumer, within_s)
            if parts.backpressure.is_paused:
                self._take(self._fetch(within_s))

    def _check_parts(self) -> None:
        cause = self._crash_cause()
        if cause is not None:
            raise WorkerCrashed(self.queue.name) from cause

    def _crash_cause(self) -> BaseException | None:
        parts = self._parts
        return (
            parts.dispatch.crashed
            or parts.settler.crashed
            or parts.restoring.crashed
            or parts.followers.crashed
            or parts.late.crashed
        )

    # ---- intake

    def _poll_timeout_s(self) -> float:
        parts = self._parts
        due_at_s = min(filter(None, (parts.calendar.next_due_at_s, parts.dispatch.gates.next_at_s)), default=None)
        if parts.intake.is_rereading:
            return REREAD_TIMEOUT_S
        if parts.dispatch.lanes.backlog:
            return BACKLOG_TIMEOUT_S  # what a lane wants does not end a poll
        if parts.commits.is_opening:
            return SHORT_POLL_TIMEOUT_S  # the answer does not end a poll
        longest_s = PRIORITIES_TIMEOUT_S if parts.tiers.priorities else POLL_TIMEOUT_S
        return longest_s if due_at_s is None else min(longest_s, max(0.0, due_at_s - time.time()))

    def _fetch(self, timeout_s: float) -> list[Message]:
        """Take what is there, or wait for one message: `consume` with a timeout would wait until its batch is full.

        In this order because each call gives up the interpreter, and under load gets it back late.
        """
        parts = self._parts
        room, ahead = parts.backpressure.room, parts.dispatch.read_ahead
        limit = min(FETCH_LIMIT, room) if ahead is None else ahead.limit(FETCH_LIMIT, room)
        at_hand = parts.member.consumer.consume(max(1, limit), 0)
        if at_hand or timeout_s == 0:
            return at_hand
        first = parts.member.consumer.poll(timeout_s)
        return [] if first is None else [first]

    def _intake_priorities(self) -> None:
        """Take jobs of the queue's priorities, as far as there is room for them."""
        if self._parts.tiers.priorities:
            self._take(self._parts.tiers.priorities.fetch(time.monotonic(), self._parts.room_for))

    def _intake_delayed(self) -> bool:
        """Take records of tiers and delays, now and then, before they are due. True if there may be more."""
        now_s = time.monotonic()
        if now_s < self._next_tiers_at_s:
            return False
        delayed = self._parts.tiers.fetch()
        has_more = bool(delayed)
        self._take(delayed)
        self._next_tiers_at_s = now_s if has_more else now_s + TIERS_INTERVAL_S
        return has_more

    def _take(self, messages: list[Message]) -> None:
        self._parts.intake.take(messages)

    # ---- housekeeping and the end

    def _keep_house(self) -> None:
        parts = self._parts
        now_s = time.monotonic()
        if parts.dispatch.fair is not None and now_s >= self._next_lag_at_s:
            self._next_lag_at_s = now_s + LAG_INTERVAL_S
            main = [assignment for assignment in parts.assignments.all() if assignment.source is MAIN]
            ends = parts.lags.ends(parts.member.consumer, [one for one in main if one.is_running])
            parts.intake.look_ahead(ends, self._measure_lag(is_resting=False))
        if now_s >= self._next_housekeeping_at_s:
            self._next_housekeeping_at_s = now_s + HOUSEKEEPING_INTERVAL_S
            parts.assignments.forget_old()
            if parts.settler.stranded:
                parts.rights.alarm()
            parts.overview.note(now_s)
            parts.member.check_membership(now_s)
            parts.holdups.report(parts.overview.lowest, now_s)
            parts.waiting_counts.report(now_s)
            parts.events.poll()
            self._lag = self._measure_lag(is_resting=parts.backpressure.is_paused)

    def _measure_lag(self, *, is_resting: bool) -> int:
        parts = self._parts
        readers: dict[ReaderOf, Consumer] = {
            Reader.GROUP: parts.member.consumer,
            Reader.TIERS: parts.tiers.consumer,
            **parts.tiers.priorities.consumers,
        }
        return parts.lags.measure(readers, parts.assignments.all(), is_resting=is_resting)

    def _wind_down(self) -> None:
        """Stop taking, let running jobs end within the grace, settle and commit what ended, leave the group."""
        parts = self._parts
        parts.poll_state.is_stopping.set()
        parts.membership.leave()
        parts.restoring.stop()
        parts.poll_state.leave_at_s = time.monotonic() + parts.settings.grace.total_seconds()
        everything = parts.assignments.leave_all()
        try:
            parts.backpressure.pause(parts.member.consumer)
            parts.rebalance.take_back(everything)
            self._await_running()
        finally:  # even if the consumer has failed: what has ended is settled
            parts.dispatch.stop(timedelta(0) if parts.poll_state.is_stopping_now.is_set() else SETTLE_AT_STOP)
            parts.late.stop()
            self._leave_in_time()
            parts.done_jobs.close()
            parts.events.close(0.0 if parts.poll_state.is_stopping_now.is_set() else EVENTS_AT_STOP_S)

    def _await_running(self) -> None:
        """Go on polling, so that the partitions stay ours while their last jobs run, and are settled where they can."""
        parts = self._parts
        while self._has_hope() and self._crash_cause() is None and not parts.poll_state.is_out_of_time:
            self._take(self._fetch(SHORT_POLL_TIMEOUT_S))
            parts.completion.note_settled()
            parts.commits.commit_if_due(parts.member.consumer)

    def _has_hope(self) -> bool:
        """Whether there are jobs that may still end and be settled, without a person's help."""
        return self._parts.backpressure.in_flight > self._parts.settler.stranded

    def _leave_in_time(self) -> None:
        """Commit and leave the group, but do not wait for brokers that do not answer: nothing is lost without it."""
        self._parts.poll_state.leave_at_s = 0.0
        leaving = threading.Thread(target=self._leave, name=f"stoker-leave-{self.queue.name}", daemon=True)
        leaving.start()
        within_s = LEAVE_NOW_S if self._parts.poll_state.is_stopping_now.is_set() else LEAVE_S
        leaving.join(within_s)
        if leaving.is_alive():
            _LOGGER.warning(
                "queue %r: the brokers did not answer within %g s; the worker ends without a last commit. Jobs that "
                "ended since the one before are delivered again, and skipped", self.queue.name, within_s,
                extra={log_keys.QUEUE: self.queue.name},
            )  # fmt: skip

    def _leave(self) -> None:
        parts = self._parts
        parts.completion.note_settled()
        assignments = parts.assignments.all()
        left = sum(assignment.unsettled for assignment in assignments)
        parts.commits.await_answer(parts.member.consumer)
        parts.rebalance.commit_last(parts.member.consumer, assignments)
        parts.member.consumer.close()
        parts.tiers.close()
        parts.rereader.close()
        if left:
            _LOGGER.warning(
                "queue %r: %d jobs did not end within the grace; they cost no attempt and are delivered again. Raise "
                "--grace if they need longer", self.queue.name, left,
                extra={log_keys.QUEUE: self.queue.name, log_keys.COUNT: left},
            )  # fmt: skip
