"""`QueueWorker`: the poll thread of one queue. It owns the consumer and all progress, and never runs a job's code.

Each turn: note what was settled, commit, release delayed records that are due, and fetch while there is room. While
there is none it waits a moment for some; only when that lasts are the partitions paused, because pausing throws the
client's prefetched records away. Polling goes on all the while, so that long jobs keep their partitions.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter, deque
from datetime import timedelta
from typing import Final

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition

from ..producers.client import Outage, connect, producer_config
from ..schemas import Decoder
from ..topology import ClusterSettings, Pipeline, Queue
from ..topology import headers as wire
from . import log_keys
from .assignments import Assignments
from .client import make_consumer
from .held import HeldRecords
from .outcomes import INTERRUPTED
from .record import Assignment, Record
from .settings import WorkerSettings
from .settle import Settlement, Settler
from .snapshot import QueueSnapshot
from .stages import Stages
from .steps import Bench

_LOGGER = logging.getLogger("stoker.worker")

FETCH_LIMIT: Final = 1_000
POLL_TIMEOUT_S: Final = 0.1
ROOM_SHARE: Final = 0.75
ROOM_WAIT_S: Final = 0.02
PAUSE_AFTER_S: Final = 1.0
"""How long there must be no room before partitions are paused."""
HOUSEKEEPING_INTERVAL_S: Final = 1.0
SETTLE_AT_STOP: Final = timedelta(seconds=10)
MAX_WAIT_FACTOR: Final = 2
"""A record waits in a tier until due if that is within so many of the tier's delays, else it moves on after one."""


class QueueWorker:
    """Runs the jobs of one queue in this process, until it is told to stop."""

    def __init__(
        self, pipeline: Pipeline, queue: Queue, cluster: ClusterSettings, decoder: Decoder, settings: WorkerSettings
    ) -> None:
        self.queue = queue
        self._settings = settings
        self._settled: deque[list[Settlement]] = deque()
        self._room = threading.Event()
        self._stopping = threading.Event()
        self._stopping_now = threading.Event()
        settler = Settler(
            queue,
            events_topic=pipeline.events_topic,
            worker_id=settings.worker_id,
            make_producer=lambda: _settling_producer(cluster, settings),
            on_settled=self._receive_settled,
        )
        self._assignments = Assignments(queue, cluster, self._stopping)
        bench = Bench(queue=queue, job_types=pipeline.job_types, decoder=decoder, ledgers=self._assignments.ledgers)
        self._settler = settler
        self._stages = Stages(queue, bench, settler, settings)
        self._held = HeldRecords(settings.max_held)
        self._consumer = make_consumer(cluster, queue, settings.worker_id, on_commit=self._note_commit)
        self._in_flight = 0
        self._in_flight_bytes = 0
        self._full_since_s: float | None = None
        self._is_paused = False
        self._full_tiers: set[Assignment] = set()
        self._next_commit_s = 0.0
        self._next_housekeeping_s = 0.0
        self._outcomes: Counter[str] = Counter()
        self._lag: int | None = None
        self.last_turn_s = time.monotonic()

    def run(self) -> None:
        """Work until `stop` is called; then shut down gracefully.

        Raises:
            WorkerCrashed: a part of the worker failed; nothing is lost, but this process cannot go on.
        """
        self._stages.start()
        self._consumer.subscribe(
            [self.queue.topic, *self.queue.retry_topics.values()],
            on_assign=self._on_assign,
            on_revoke=self._on_revoke,
            on_lost=self._on_lost,
        )
        try:
            while not self._stopping.is_set():
                self._turn()
                self._check_parts()
        finally:
            self._wind_down()

    def stop(self) -> None:
        """Begin the graceful shutdown; called from any thread."""
        self._stopping.set()
        self._room.set()

    def stop_now(self) -> None:
        """Shut down without waiting for running jobs; they will be delivered again."""
        self._stopping_now.set()
        self.stop()

    def snapshot(self) -> QueueSnapshot:
        """What the worker is doing for this queue, for people; called from any thread."""
        return QueueSnapshot(
            queue=self.queue.name,
            outcomes=dict(self._outcomes),
            in_flight=self._in_flight,
            held=len(self._held),
            partitions=self._assignments.main_partitions,
            lag=self._lag,
            is_paused=self._is_paused,
        )

    def _turn(self) -> None:
        self.last_turn_s = time.monotonic()
        self._note_settled()
        self._resume_restored()
        self._commit_if_due()
        self._release_due()
        self._keep_house()
        if self._has_room() and not self._is_paused:
            self._full_since_s = None
            self._intake(self._fetch(self._poll_timeout_s()))
        else:
            self._wait_for_room()

    def _check_parts(self) -> None:
        cause = self._stages.crashed or self._settler.crashed
        if cause is not None:
            raise WorkerCrashed(self.queue.name) from cause

    # ---- intake

    def _has_room(self) -> bool:
        """Room for a good handful, not for one: fetching record by record costs more than waiting."""
        return (
            self._in_flight <= self._settings.max_in_flight * ROOM_SHARE
            and self._in_flight_bytes < self._settings.max_in_flight_bytes
        )

    def _poll_timeout_s(self) -> float:
        due_s = self._held.next_due_s
        return POLL_TIMEOUT_S if due_s is None else min(POLL_TIMEOUT_S, max(0.0, due_s - time.time()))

    def _fetch(self, timeout_s: float) -> list[Message]:
        """Wait for one message, then take what else is there: `consume` alone would wait until its batch is full."""
        first = self._consumer.poll(timeout_s)
        if first is None:
            return []
        limit = min(FETCH_LIMIT, self._settings.max_in_flight - self._in_flight)
        return [first, *self._consumer.consume(limit, 0)] if limit > 0 else [first]

    def _intake(self, messages: list[Message]) -> None:
        runnable = []
        for message in messages:
            if message.error() is not None:
                self._note_error(message)
                continue
            assignment = self._assignments.find(message.topic(), message.partition())
            if assignment is None or not assignment.is_open:
                continue  # it was fetched before the partition went away, and will be delivered to its new owner
            record = Record(message, assignment)
            assignment.progress.take(record.offset)
            if assignment.tier is None or not self._hold_if_early(record, assignment.tier):
                runnable.append(record)
        if runnable:
            self._start(runnable)

    def _start(self, records: list[Record]) -> None:
        self._in_flight += len(records)
        for record in records:
            record.assignment.in_flight += 1
            self._in_flight_bytes += record.size_bytes
        self._stages.take(records)

    def _hold_if_early(self, record: Record, tier: timedelta) -> bool:
        until_s = wake_time_s(record, tier)
        if until_s <= time.time():
            return False
        assignment = record.assignment
        self._held.hold(record, until_s)
        if assignment not in self._full_tiers and self._held.is_full(assignment, self._assignments.tier_count):
            self._full_tiers.add(assignment)
            self._consumer.pause([_place(assignment)])
        return True

    def _release_due(self) -> None:
        room = self._settings.max_in_flight - self._in_flight
        if room > 0:
            due = self._held.pop_due(time.time(), room)
            if due:
                self._start(due)
        for assignment in [a for a in self._full_tiers if self._held.is_half_empty(a, self._assignments.tier_count)]:
            self._full_tiers.discard(assignment)
            if not self._is_paused:
                self._consumer.resume([_place(assignment)])

    def _note_error(self, message: Message) -> None:
        error = message.error()
        if error is None:
            return
        if error.code() == KafkaError._PARTITION_EOF:
            assignment, offset = self._assignments.find(message.topic(), message.partition()), message.offset()
            if assignment is not None and offset is not None:
                assignment.progress.pass_gap(offset)
        elif error.fatal():
            raise KafkaException(error)
        else:
            _LOGGER.warning("the consumer reports: %s", error, extra={log_keys.QUEUE: self.queue.name})

    # ---- room

    def _wait_for_room(self) -> None:
        now_s = time.monotonic()
        if self._is_paused:
            self._intake(self._fetch(POLL_TIMEOUT_S / 2))
            if self._in_flight <= self._settings.max_in_flight // 2 and self._has_room():
                self._resume_all()
        elif self._full_since_s is None:
            self._full_since_s = now_s
        elif now_s - self._full_since_s > PAUSE_AFTER_S:
            self._pause_all()
        else:
            self._room.wait(ROOM_WAIT_S)
            self._room.clear()

    def _pause_all(self) -> None:
        self._is_paused = True
        self._consumer.pause([_place(assignment) for assignment in self._assignments.all()])

    def _resume_all(self) -> None:
        self._is_paused = False
        self._full_since_s = None
        flowing = [a for a in self._assignments.all() if a not in self._full_tiers and self._assignments.is_restored(a)]
        self._consumer.resume([_place(assignment) for assignment in flowing])

    # ---- what was settled

    def _receive_settled(self, group: list[Settlement]) -> None:
        """Called by the settling thread."""
        self._settled.append(group)
        self._room.set()

    def _note_settled(self) -> None:
        while self._settled:
            group = self._settled.popleft()
            self._outcomes.update([type(item.outcome).__name__ for item in group])
            for item in group:
                record = item.record
                self._forget(record)
                if record.assignment.is_active and item.outcome is not INTERRUPTED:
                    record.assignment.progress.complete(record.offset)

    def _forget(self, record: Record) -> None:
        self._in_flight -= 1
        self._in_flight_bytes -= record.size_bytes
        record.assignment.in_flight -= 1

    # ---- commits

    def _commit_if_due(self) -> None:
        now_s = time.monotonic()
        if now_s < self._next_commit_s:
            return
        self._next_commit_s = now_s + self._settings.commit_interval.total_seconds()
        changed = self._to_commit(self._assignments.all())
        if changed:
            try:
                self._consumer.commit(offsets=changed, asynchronous=True)
            except KafkaException as failure:
                self._note_commit(failure.args[0], changed)

    def _to_commit(self, assignments: list[Assignment]) -> list[TopicPartition]:
        changed = []
        for assignment in assignments:
            offset = assignment.progress.committable()
            if offset is not None and offset != assignment.committed:
                assignment.committed = offset
                changed.append(TopicPartition(assignment.topic, assignment.partition, offset))
        return changed

    def _note_commit(self, error: KafkaError | None, places: list[TopicPartition]) -> None:
        """Take the outcome of an asynchronous commit: what failed is committed again with the next one."""
        for place in places:
            if error is None and place.error is None:
                continue
            assignment = self._assignments.find(place.topic, place.partition)
            if assignment is not None:
                assignment.committed = None
        if error is not None and error.code() != KafkaError._NO_OFFSET:
            _LOGGER.warning("offsets were not committed, and will be with the next: %s", error)

    # ---- assignments

    def _on_assign(self, consumer: Consumer, places: list[TopicPartition]) -> None:
        added = self._assignments.add(places)
        consumer.incremental_assign(places)
        held_back = [_place(a) for a in added if self._is_paused or not self._assignments.is_restored(a)]
        if held_back:
            consumer.pause(held_back)
        self._log_assignment("assigned", places)

    def _resume_restored(self) -> None:
        restored = self._assignments.take_restored()
        if restored and not self._is_paused:
            self._consumer.resume([_place(a) for a in restored if a not in self._full_tiers])

    def _on_revoke(self, consumer: Consumer, places: list[TopicPartition]) -> None:
        leaving = self._assignments.leave(places)
        self._take_back(leaving)
        grace_s = 0.0 if self._stopping.is_set() else self._settings.revoke_grace.total_seconds()
        self._wait_ended(leaving, grace_s)
        self._commit_now(leaving)
        self._assignments.end(leaving)
        consumer.incremental_unassign(places)
        self._log_assignment("revoked", places)

    def _on_lost(self, consumer: Consumer, places: list[TopicPartition]) -> None:
        leaving = self._assignments.leave(places)
        self._take_back(leaving)
        self._assignments.end(leaving)
        consumer.incremental_unassign(places)
        self._log_assignment("lost", places)

    def _take_back(self, leaving: list[Assignment]) -> None:
        """Drop what has not begun; it is delivered again to the next owner."""
        self._held.drop(leaving)
        self._full_tiers.difference_update(leaving)
        for record in self._stages.drop(leaving):
            self._forget(record)

    def _wait_ended(self, leaving: list[Assignment], within_s: float) -> None:
        """Let the running jobs of these partitions end and be settled, so that nobody runs them a second time."""
        give_up_s = time.monotonic() + within_s
        while any(a.in_flight for a in leaving) and time.monotonic() < give_up_s and not self._stopping_now.is_set():
            self._room.wait(ROOM_WAIT_S)
            self._room.clear()
            self._note_settled()

    def _commit_now(self, assignments: list[Assignment]) -> None:
        self._note_settled()
        changed = self._to_commit(assignments)
        if not changed:
            return
        try:
            self._consumer.commit(offsets=changed, asynchronous=False)
        except KafkaException as failure:
            _LOGGER.warning("the last offsets were not committed; their jobs are delivered again: %s", failure.args[0])

    def _log_assignment(self, what: str, places: list[TopicPartition]) -> None:
        numbers = sorted({place.partition for place in places})
        _LOGGER.info(
            "partitions %s: %s", what, numbers, extra={log_keys.QUEUE: self.queue.name, log_keys.PARTITIONS: numbers}
        )

    # ---- housekeeping and the end

    def _keep_house(self) -> None:
        now_s = time.monotonic()
        if now_s < self._next_housekeeping_s:
            return
        self._next_housekeeping_s = now_s + HOUSEKEEPING_INTERVAL_S
        self._assignments.forget_old()
        self._lag = self._measure_lag()

    def _measure_lag(self) -> int | None:
        total = 0
        for assignment in self._assignments.all():
            _, high = self._consumer.get_watermark_offsets(_place(assignment), cached=True)
            position = assignment.progress.committable()
            if position is not None and high >= 0:
                total += max(0, high - position)
        return total

    def _wind_down(self) -> None:
        """Stop taking, let running jobs end within the grace, settle and commit what ended, leave the group."""
        self._stopping.set()
        everything = self._assignments.all()
        for assignment in everything:
            assignment.is_open = False
        self._consumer.pause([_place(assignment) for assignment in everything])
        self._take_back(everything)
        self._await_running(self._settings.grace.total_seconds())
        self._stages.stop(timedelta(0) if self._stopping_now.is_set() else SETTLE_AT_STOP)
        self._commit_now(self._assignments.all())
        self._consumer.close()
        if self._in_flight:
            _LOGGER.warning(
                "%d jobs did not end within the grace; they cost no attempt and are delivered again", self._in_flight,
                extra={log_keys.QUEUE: self.queue.name, log_keys.COUNT: self._in_flight},
            )  # fmt: skip

    def _await_running(self, within_s: float) -> None:
        give_up_s = time.monotonic() + within_s
        while self._in_flight and time.monotonic() < give_up_s and not self._stopping_now.is_set():
            self._intake(self._fetch(ROOM_WAIT_S))
            self._note_settled()
            self._commit_if_due()


class WorkerCrashed(Exception):
    """A part of a queue's worker failed on its own, not by a job; the process stops, and nothing is lost by it."""

    def __init__(self, queue: str) -> None:
        super().__init__(f"the worker of queue {queue!r} failed; its jobs are delivered again once it is restarted")
        self.queue = queue


def wake_time_s(record: Record, tier: timedelta) -> float:
    """The epoch time at which a record of a tier is to be looked at: when it is due, or when its tier's delay is over.

    A due time that cannot be read is no reason to wait: decoding will refuse the record.
    """
    delay_s = tier.total_seconds()
    began_s = record.timestamp_ms / 1_000
    value = record.headers.get(wire.DUE)
    try:
        due_s = began_s + delay_s if value is None else wire.parse_instant(value).timestamp() + 0.001
    except ValueError:
        return 0.0
    return due_s if due_s <= began_s + MAX_WAIT_FACTOR * delay_s else began_s + delay_s


def _place(assignment: Assignment) -> TopicPartition:
    return TopicPartition(assignment.topic, assignment.partition)


def _settling_producer(cluster: ClusterSettings, settings: WorkerSettings) -> Producer:
    config = producer_config(
        cluster, client_id=settings.worker_id, linger_ms=0, delivery_report_only_error=True, message_timeout_ms=30_000
    )
    return connect(config, Outage(cluster.bootstrap_servers))
