"""`QueueWorker`: the poll thread of one queue. It owns the consumer and all progress, and never runs a job's code.

Each turn: note what was settled, commit, release delayed records that are due, and fetch while there is room. Polling
goes on whatever the jobs do, so that long ones keep their partitions.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Iterable
from datetime import timedelta
from functools import partial
from typing import Final

from confluent_kafka import Message

from ..schemas import Contract, Decoder, SchemaStore
from ..topology import ClusterSettings, Pipeline, Queue
from . import log_keys
from .errors import WorkerCrashed
from .group.member import GroupMember
from .group.membership import Membership, view_group
from .group.rights_watch import RightsWatch, ask_cluster
from .inspection.holdups import Holdups
from .inspection.overview import Overview
from .inspection.queue_inspection import QueueInspection
from .inspection.snapshot import QueueSnapshot
from .kafka.clients import (
    events_producer,
    lone_producer,
    longest_callback_s,
    make_reader,
    settling_producer,
    spilling_producer,
)
from .partitions.assignments import Assignments
from .partitions.commits import Commits
from .partitions.counterparts import CounterpartsMissing, find_missing
from .partitions.restore_thread import Restoring
from .partitions.spill import Spill
from .polling.backpressure import Backpressure
from .polling.dispatch import Dispatch
from .polling.intake import Intake
from .polling.lag import Lags
from .polling.rebalance import Rebalance
from .polling.tier_reader import TierReader
from .records.assignment import Assignment
from .settings import WorkerSettings
from .settling.event_publisher import EventPublisher
from .settling.settle import Settler
from .settling.settlement import SettlementBatch
from .steps.schema_waits import SchemaWaits
from .steps.steps import StepContext

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

    def __init__(
        self, pipeline: Pipeline, queue: Queue, cluster: ClusterSettings, store: SchemaStore, settings: WorkerSettings
    ) -> None:
        self.queue = queue
        self.last_turn_s = time.monotonic()
        self._settings = settings
        self._stopping = threading.Event()
        self._stopping_now = threading.Event()
        self._assignments = Assignments(queue)
        self._rights = RightsWatch(queue, ask_cluster(pipeline, queue, cluster))
        self._restoring = Restoring(
            queue,
            cluster,
            find_missing=self._find_missing,
            on_restored=self._assignments.receive_restored,
            on_trouble=self._rights.alarm,
        )
        spill = Spill(queue, lambda: spilling_producer(cluster, settings.worker_id))
        self._commits = Commits(self._assignments, spill, settings.commit_interval, self._rights.alarm)
        self._events = EventPublisher(
            pipeline.events_topic, queue.name, lambda: events_producer(cluster, settings.worker_id)
        )
        self._settler = Settler(
            queue,
            publish_event=self._events.publish,
            worker_id=settings.worker_id,
            make_producer=lambda: settling_producer(cluster, settings.worker_id),
            make_lone_producer=lambda: lone_producer(cluster, settings.worker_id),
            on_settled=self._receive_settled,
        )
        waits = SchemaWaits(store, queue.name)
        self._decoder = Decoder(store, learn=waits.learn)
        step_context = StepContext(
            queue=queue, job_types=pipeline.job_types, decoder=self._decoder, ledgers=self._assignments.ledgers
        )
        self._dispatch = Dispatch(queue, step_context, self._settler, self._events, settings, waits=waits)
        self._backpressure = Backpressure(
            self._assignments, settings, lambda: self._dispatch.parked + self._dispatch.awaiting_schema
        )
        self._membership = Membership(queue, partial(view_group, cluster, queue, settings.worker_id))
        self._overview = Overview(
            queue,
            settings.worker_id,
            assignments=self._assignments,
            backpressure=self._backpressure,
            dispatch=self._dispatch,
            membership=self._membership,
            rights=self._rights,
        )
        self._holdups = Holdups(
            queue,
            worker_id=settings.worker_id,
            backpressure=self._backpressure,
            dispatch=self._dispatch,
            settler=self._settler,
            events=self._events,
        )
        self._thread_id = 0
        self._cluster = cluster
        self._tiers = TierReader(make_reader(cluster, queue, f"{settings.worker_id}-tiers", {}))
        self._rebalance = Rebalance(self._assignments, self._commits, self._backpressure, self._dispatch, self._tiers)
        self._member = GroupMember(
            queue,
            cluster,
            settings.worker_id,
            assignments=self._assignments,
            restoring=self._restoring,
            rebalance=self._rebalance,
            commits=self._commits,
            rights=self._rights,
            membership=self._membership,
            wait_ended=self._wait_ended,
        )
        self._intake = Intake(
            self._assignments, self._backpressure, self._dispatch, self._rebalance, self._member.note_error
        )
        self._lags = Lags()
        self._lag: int | None = None
        self._next_housekeeping_s = 0.0
        self._next_tiers_s = 0.0
        self._shutdown_by_s = math.inf

    def place(self, contracts: Iterable[Contract]) -> None:
        """Note that these contracts come after the versions that the schema store knows by now."""
        for contract in contracts:
            self._decoder.place(contract)

    def run(self) -> None:
        """Work until `stop` is called; then shut down gracefully.

        Raises:
            WorkerCrashed: a part of the worker failed; nothing is lost, but this process cannot go on.
        """
        self._thread_id = threading.get_ident()
        self._dispatch.start()
        self._member.join()
        try:
            while not self._stopping.is_set():
                self._turn()
        finally:
            self._wind_down()

    def stop(self) -> None:
        """Begin the graceful shutdown; called from any thread."""
        self._stopping.set()
        self._restoring.stop()
        self._rights.stop()
        self._backpressure.signal_room()

    def excuse_failures(self) -> None:
        """From now on, a job whose run fails is interrupted, at no attempt's cost; called amid any line."""
        self._dispatch.excuse.is_given = True

    def stop_now(self) -> None:
        """Shut down without waiting for running jobs; they will be delivered again."""
        self._stopping_now.set()
        self.stop()

    def snapshot(self) -> QueueSnapshot:
        """What the worker is doing for this queue, for people; called from any thread."""
        return self._overview.snapshot(self._intake.outcomes, self._lag)

    def inspect(self) -> QueueInspection:
        """What its runners, partitions and threads are doing; called from any thread."""
        return self._overview.inspect(self.last_turn_s, self._thread_id)

    def _turn(self) -> None:
        self.last_turn_s = time.monotonic()
        self._check_parts()
        self._member.stay(self.last_turn_s)
        self._intake.note_settled()
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
        due_s = self._backpressure.next_due_s
        if self._commits.is_opening:
            return SHORT_POLL_TIMEOUT_S  # the answer does not end a poll
        return POLL_TIMEOUT_S if due_s is None else min(POLL_TIMEOUT_S, max(0.0, due_s - time.time()))

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
        if now_s < self._next_tiers_s:
            return False
        delayed = self._tiers.fetch(self._backpressure.tier_room)
        self._take(delayed)
        self._next_tiers_s = now_s if delayed else now_s + TIERS_INTERVAL_S
        return bool(delayed)

    def _take(self, messages: Iterable[Message]) -> None:
        self._intake.take(messages, self._tiers.consumer)

    def _find_missing(self, partitions: Iterable[int]) -> CounterpartsMissing | None:
        return find_missing(self._settler.producer, self.queue, partitions)

    def _receive_settled(self, batch: SettlementBatch) -> None:
        self._intake.receive_settled(batch)

    def _wait_ended(self, leaving: list[Assignment]) -> None:
        """Let the running jobs of these partitions end and be settled, so that nobody runs them a second time."""
        grace_s = min(self._settings.revoke_grace.total_seconds(), longest_callback_s(self._cluster))
        give_up_s = min(time.monotonic() + grace_s, self._shutdown_by_s)
        self._intake.note_settled()
        while any(a.in_flight for a in leaving) and time.monotonic() < give_up_s and not self._stopping_now.is_set():
            self.last_turn_s = time.monotonic()  # bounded, so it does not hang
            self._backpressure.wait_for_change()
            self._intake.note_settled()

    # ---- housekeeping and the end

    def _keep_house(self) -> None:
        now_s = time.monotonic()
        if now_s >= self._next_housekeeping_s:
            self._next_housekeeping_s = now_s + HOUSEKEEPING_INTERVAL_S
            self._assignments.forget_old()
            if self._settler.stranded:
                self._rights.alarm()
            self._overview.note(now_s)
            self._member.look(now_s)
            self._holdups.report(self._overview.lowest, now_s)
            self._events.poll()
            readers = {None: self._member.consumer} | dict.fromkeys(self.queue.tiers, self._tiers.consumer)
            self._lag = self._lags.measure(readers, self._assignments.all(), is_resting=self._backpressure.is_resting)

    def _wind_down(self) -> None:
        """Stop taking, let running jobs end within the grace, settle and commit what ended, leave the group."""
        self._stopping.set()
        self._membership.leave()
        self._restoring.stop()
        self._shutdown_by_s = time.monotonic() + self._settings.grace.total_seconds()
        if self._dispatch.crashed is not None:
            self._commits.note_crash()
        everything = self._assignments.leave_all()
        try:
            self._backpressure.pause(self._member.consumer)
            self._rebalance.take_back(everything)
            self._await_running()
        finally:  # whatever the consumer says by now: what has ended is settled
            self._dispatch.stop(timedelta(0) if self._stopping_now.is_set() else SETTLE_AT_STOP)
            self._leave_in_time()
            self._events.close(0.0 if self._stopping_now.is_set() else EVENTS_AT_STOP_S)

    def _await_running(self) -> None:
        """Go on polling, so that the partitions stay ours while their last jobs run, and are settled where they can."""
        while self._has_hope() and self._crash_cause() is None and not self._is_out_of_time():
            self._take(self._fetch(SHORT_POLL_TIMEOUT_S))
            self._intake.note_settled()
            self._commits.commit_if_due(self._member.consumer)

    def _has_hope(self) -> bool:
        """Whether there are jobs that may still end and be settled, without a person's help."""
        return self._backpressure.in_flight > self._settler.stranded

    def _is_out_of_time(self) -> bool:
        return time.monotonic() >= self._shutdown_by_s or self._stopping_now.is_set()

    def _leave_in_time(self) -> None:
        """Commit and leave the group, but do not wait for brokers that do not answer: nothing is lost without it."""
        self._shutdown_by_s = 0.0
        leaving = threading.Thread(target=self._leave, name=f"stoker-leave-{self.queue.name}", daemon=True)
        leaving.start()
        leaving.join(LEAVE_NOW_S if self._stopping_now.is_set() else LEAVE_S)
        if leaving.is_alive():
            _LOGGER.warning("the brokers do not answer; leaving without them", extra={log_keys.QUEUE: self.queue.name})

    def _leave(self) -> None:
        self._intake.note_settled()
        assignments = self._assignments.all()
        left = sum(assignment.in_flight for assignment in assignments)
        self._commits.await_answer(self._member.consumer)
        self._commits.commit_last(self._member.consumer, assignments)
        self._member.consumer.close()
        self._tiers.close()
        if left:
            _LOGGER.warning(
                "%d jobs did not end within the grace; they cost no attempt and are delivered again", left,
                extra={log_keys.QUEUE: self.queue.name, log_keys.COUNT: left},
            )  # fmt: skip
