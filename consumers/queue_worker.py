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

from confluent_kafka import Message

from ..schemas import Contract
from . import log_keys
from .assembly import WorkerParts
from .errors import WorkerCrashed
from .inspection.queue_inspection import QueueInspection
from .inspection.snapshot import QueueSnapshot
from .records.source import Reader

_LOGGER = logging.getLogger("stoker.worker")

FETCH_LIMIT: Final = 1_000
POLL_TIMEOUT_S: Final = 0.1
SHORT_POLL_TIMEOUT_S: Final = 0.02
TIERS_INTERVAL_S: Final = 0.02
HOUSEKEEPING_INTERVAL_S: Final = 1.0
SETTLE_AT_STOP: Final = timedelta(seconds=10)
LEAVE_S: Final = 10.0
LEAVE_NOW_S: Final = 1.0
EVENTS_AT_STOP_S: Final = 1.0
"""How long the last events may take to be confirmed, once the group is left."""


class QueueWorker:
    """Runs the jobs of one queue in this process, until it is told to stop."""

    def __init__(self, parts: WorkerParts) -> None:
        self.queue = parts.queue
        self._settings, self._poll_state = parts.settings, parts.poll_state
        self._assignments, self._commits, self._rights = parts.assignments, parts.commits, parts.rights
        self._events, self._settled, self._settler = parts.events, parts.settled, parts.settler
        self._decoder, self._dispatch = parts.decoder, parts.dispatch
        self._backpressure, self._completion = parts.backpressure, parts.completion
        self._restoring, self._tiers, self._rebalance = parts.restoring, parts.tiers, parts.rebalance
        self._membership, self._member, self._intake = parts.membership, parts.member, parts.intake
        self._lags, self._overview, self._holdups = parts.lags, parts.overview, parts.holdups
        self._lag: int | None = None
        self._next_housekeeping_at_s = 0.0
        self._next_tiers_at_s = 0.0

    @property
    def last_turn_at_s(self) -> float:
        """When the poll thread turned last, by the monotonic clock."""
        return self._poll_state.last_turn_at_s

    def place(self, contracts: Iterable[Contract]) -> None:
        """Note that these contracts come after the versions that the schema store knows by now."""
        for contract in contracts:
            self._decoder.place(contract)

    def run(self) -> None:
        """Work until `stop` is called; then shut down gracefully.

        Raises:
            WorkerCrashed: a part of the worker failed; nothing is lost, but this process cannot go on.
        """
        self._poll_state.begin()
        self._dispatch.start()
        self._member.join()
        try:
            while not self._poll_state.is_stopping.is_set():
                self._turn()
        finally:
            self._wind_down()

    def stop(self) -> None:
        """Begin the graceful shutdown; called from any thread."""
        self._poll_state.is_stopping.set()
        self._restoring.stop()
        self._rights.stop()
        self._settled.wake()

    def excuse_failures(self) -> None:
        """From now on, a job whose run fails is interrupted, at no attempt's cost; called amid any line."""
        self._dispatch.excuse.is_given = True

    def stop_now(self) -> None:
        """Shut down without waiting for running jobs; they will be delivered again."""
        self._poll_state.is_stopping_now.set()
        self.stop()

    def snapshot(self) -> QueueSnapshot:
        """What the worker is doing for this queue, for people; called from any thread."""
        return self._overview.snapshot(self._completion.outcomes, self._lag)

    def inspect(self) -> QueueInspection:
        """What its runners, partitions and threads are doing; called from any thread."""
        return self._overview.inspect(self._poll_state.last_turn_at_s, self._poll_state.ident)

    def _turn(self) -> None:
        self._poll_state.note_turn()
        self._check_parts()
        self._member.stay(self._poll_state.last_turn_at_s)
        self._completion.note_settled()
        self._rebalance.begin_restored(self._member.consumer)
        self._commits.commit_if_due(self._member.consumer)
        self._keep_house()
        self._intake.take_due(self._tiers.consumer)
        has_more = self._intake_delayed()
        if self._backpressure.may_fetch():
            self._take(self._fetch(0.0 if has_more else self._poll_timeout_s()))
        else:
            self._backpressure.rest(self._member.consumer)
            if self._backpressure.is_paused:
                self._take(self._fetch(SHORT_POLL_TIMEOUT_S))

    def _check_parts(self) -> None:
        cause = self._crash_cause()
        if cause is not None:
            raise WorkerCrashed(self.queue.name) from cause

    def _crash_cause(self) -> BaseException | None:
        return self._dispatch.crashed or self._settler.crashed or self._restoring.crashed

    # ---- intake

    def _poll_timeout_s(self) -> float:
        due_at_s = min(filter(None, (self._backpressure.next_due_at_s, self._dispatch.gates.next_at_s)), default=None)
        if self._commits.is_opening:
            return SHORT_POLL_TIMEOUT_S  # the answer does not end a poll
        return POLL_TIMEOUT_S if due_at_s is None else min(POLL_TIMEOUT_S, max(0.0, due_at_s - time.time()))

    def _fetch(self, timeout_s: float) -> list[Message]:
        """Take what is there, or wait for one message: `consume` with a timeout would wait until its batch is full.

        In this order because each call gives up the interpreter, and under load gets it back late.
        """
        at_hand = self._member.consumer.consume(max(1, min(FETCH_LIMIT, self._backpressure.room)), 0)
        if at_hand or timeout_s == 0:
            return at_hand
        first = self._member.consumer.poll(timeout_s)
        return [] if first is None else [first]

    def _intake_delayed(self) -> bool:
        """Take records of the tiers, now and then: they come before they are due. True if there may be more."""
        now_s = time.monotonic()
        if now_s < self._next_tiers_at_s:
            return False
        delayed = self._tiers.fetch(self._backpressure.tier_room)
        has_more = bool(delayed)
        self._take(delayed)
        self._next_tiers_at_s = now_s if has_more else now_s + TIERS_INTERVAL_S
        return has_more

    def _take(self, messages: list[Message]) -> None:
        self._intake.take(messages, self._tiers.consumer)

    # ---- housekeeping and the end

    def _keep_house(self) -> None:
        now_s = time.monotonic()
        if now_s >= self._next_housekeeping_at_s:
            self._next_housekeeping_at_s = now_s + HOUSEKEEPING_INTERVAL_S
            self._assignments.forget_old()
            if self._settler.stranded:
                self._rights.alarm()
            self._overview.note(now_s)
            self._member.look(now_s)
            self._holdups.report(self._overview.lowest, now_s)
            self._events.poll()
            readers = {Reader.GROUP: self._member.consumer, Reader.TIERS: self._tiers.consumer}
            self._lag = self._lags.measure(readers, self._assignments.all(), is_resting=self._backpressure.is_resting)

    def _wind_down(self) -> None:
        """Stop taking, let running jobs end within the grace, settle and commit what ended, leave the group."""
        self._poll_state.is_stopping.set()
        self._membership.leave()
        self._restoring.stop()
        self._poll_state.leave_at_s = time.monotonic() + self._settings.grace.total_seconds()
        if self._dispatch.crashed is not None:
            self._commits.note_crash()
        everything = self._assignments.leave_all()
        try:
            self._backpressure.pause(self._member.consumer)
            self._rebalance.take_back(everything)
            self._await_running()
        finally:  # whatever the consumer says by now: what has ended is settled
            self._dispatch.stop(timedelta(0) if self._poll_state.is_stopping_now.is_set() else SETTLE_AT_STOP)
            self._leave_in_time()
            self._events.close(0.0 if self._poll_state.is_stopping_now.is_set() else EVENTS_AT_STOP_S)

    def _await_running(self) -> None:
        """Go on polling, so that the partitions stay ours while their last jobs run, and are settled where they can."""
        while self._has_hope() and self._crash_cause() is None and not self._poll_state.is_out_of_time:
            self._take(self._fetch(SHORT_POLL_TIMEOUT_S))
            self._completion.note_settled()
            self._commits.commit_if_due(self._member.consumer)

    def _has_hope(self) -> bool:
        """Whether there are jobs that may still end and be settled, without a person's help."""
        return self._backpressure.in_flight > self._settler.stranded

    def _leave_in_time(self) -> None:
        """Commit and leave the group, but do not wait for brokers that do not answer: nothing is lost without it."""
        self._poll_state.leave_at_s = 0.0
        leaving = threading.Thread(target=self._leave, name=f"stoker-leave-{self.queue.name}", daemon=True)
        leaving.start()
        leaving.join(LEAVE_NOW_S if self._poll_state.is_stopping_now.is_set() else LEAVE_S)
        if leaving.is_alive():
            _LOGGER.warning("the brokers do not answer; leaving without them", extra={log_keys.QUEUE: self.queue.name})

    def _leave(self) -> None:
        self._completion.note_settled()
        assignments = self._assignments.all()
        left = sum(assignment.unsettled for assignment in assignments)
        self._commits.await_answer(self._member.consumer)
        self._commits.commit_last(self._member.consumer, assignments)
        self._member.consumer.close()
        self._tiers.close()
        if left:
            _LOGGER.warning(
                "%d jobs did not end within the grace; they cost no attempt and are delivered again", left,
                extra={log_keys.QUEUE: self.queue.name, log_keys.COUNT: left},
            )  # fmt: skip
