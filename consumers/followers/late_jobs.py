"""`LateJobs`: enqueues followers of late jobs, found where they begin, or while they wait in the worker's memory.

A thread and a client of its own find and write them, so that no runner waits. What is not confirmed is written again,
until the worker ends. A job that is late twice, or on two workers, has one follower: its id is made of the job alone.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Final

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from ...producers.delivery import why_unconfirmed
from ...schemas import wire_text
from ...topology import Queue
from ...topology.cluster.kafka_errors import as_error
from ...topology.counts import counted
from ...topology.wire.headers import JOB_ID
from .. import log_keys
from ..guarded_thread import GuardedThread
from ..kafka.lazy_producer import LazyProducer
from ..progress.assignment import Place
from ..records.record import Record
from ..settling.outgoing import OutgoingRecord, produce
from .late_notes import MOST_WAITING, LateNotes
from .story_records import StoryRecords

_LOGGER = logging.getLogger("stoker.followers")

POLL_S: Final = 0.1
AT_STOP_S: Final = 2.0
REST_S: Final = 5.0
"""How long nothing is written after a client has failed for good: the next one may fail as soon."""
MOST_KNOWN: Final = 50_000
"""Late jobs of which the process remembers that they have a follower; the ledger knows it of the others."""

LOOK_S: Final = 1.0
"""How often the waiting records are looked at."""
LOOKING_RATIO: Final = 0.02
"""The part of the thread's time at the most, and so of the interpreter's: where many jobs wait, looks are rarer."""


class LateJobs:
    """The thread of one queue's worker that writes the followers of late jobs.

    Attributes:
        thread: what writes them; the worker stops where it crashes.
    """

    def __init__(
        self,
        queue: Queue,
        notes: LateNotes,
        stories: StoryRecords,
        make_producer: Callable[[], Producer],
        find_waiting: Callable[[], list[Record]],
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Begin with nothing.

        Args:
            find_waiting: the records that wait in memory, and have not begun before it is called.
        """
        self._queue, self._stories, self._clock = queue.name, stories, clock
        self._notes, self._waiting, self._wake = notes, notes.waiting, notes.wake
        self._find_waiting = find_waiting
        self._found: set[Place] = set()
        self._next_look_at_s = self._rest_ends_at_s = 0.0
        self._known: dict[str, None] = {}
        self._unconfirmed: deque[OutgoingRecord] = deque()
        self._under_way: dict[OutgoingRecord, None] = {}
        self._producer = LazyProducer(make_producer, self._write_again)
        self._stopping = threading.Event()
        self.thread = GuardedThread(f"stoker-late-{queue.name}", self._run)

    def start(self) -> None:
        """Begin to write followers, where any are declared."""
        if self._notes.is_declared:
            self.thread.start()

    def stop(self) -> None:
        """Write what is left, for a moment at the most."""
        self._stopping.set()
        self._wake.set()
        self.thread.join(AT_STOP_S)

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._wake.wait(POLL_S if self._has_work else LOOK_S)
            self._wake.clear()
            self._look()
            self._turn()
        self._turn()
        self._producer.flush(AT_STOP_S)
        self._report_left()

    def _report_left(self) -> None:
        """Log what was not written to the end: the jobs may be over by now, and then nothing finds them late again."""
        left = len(self._waiting) + len(self._unconfirmed) + len(self._under_way)
        if left:
            _LOGGER.error(
                "queue %r: the worker ends, and has not written %d of the followers of late jobs. A job that has not "
                "ended is found late again by the next worker; one that has ended has no follower", self._queue, left,
                extra={log_keys.QUEUE: self._queue, log_keys.COUNT: left},
            )  # fmt: skip

    @property
    def _has_work(self) -> bool:
        return bool(self._waiting or self._unconfirmed or self._under_way)

    def _look(self) -> None:
        """Note the late ones among the records that wait, each once; now and then.

        Those for which there is no room are found by a later look, since they wait on.
        """
        began_at_s = time.monotonic()
        if began_at_s < self._next_look_at_s:
            return
        now_s, still = self._clock(), set[Place]()
        for record in self._find_waiting():
            place = record.assignment, record.offset
            if place in self._found or self._notes.note_waiting(record, now_s):
                still.add(place)
        self._found = still
        self._next_look_at_s = time.monotonic() + max(LOOK_S, (time.monotonic() - began_at_s) / LOOKING_RATIO)

    def _turn(self) -> None:
        self._plan()
        if self._unconfirmed and (self._stopping.is_set() or time.monotonic() >= self._rest_ends_at_s):
            self._write_all(self._producer.client())
        self._producer.poll()
        lost, last = self._notes.take_lost()
        if last is not None:
            job_id = wire_text(last.header(JOB_ID))
            _LOGGER.error(
                "queue %r: no follower is enqueued for %s, the last of them job %s, since more than %d wait to be "
                "written", self._queue, counted(lost, "late job"), job_id, MOST_WAITING,
                extra={log_keys.JOB_ID: job_id, log_keys.QUEUE: self._queue, log_keys.COUNT: lost},
            )  # fmt: skip

    def _plan(self) -> None:
        """Make the records of followers, as far as these are ready."""
        for _ in range(len(self._waiting)):
            record, at = self._waiting.popleft()
            if not self._stories.is_late_ready(record):
                self._waiting.append((record, at))
                continue
            job_id, planned = self._stories.of_late(record, at)
            if job_id not in self._known:
                self._known[job_id] = None
                self._unconfirmed.extend(planned())
            if len(self._known) > MOST_KNOWN:
                del self._known[next(iter(self._known))]

    def _write_all(self, producer: Producer) -> None:
        for _ in range(len(self._unconfirmed)):
            self._write(producer, self._unconfirmed.popleft())
            if not self._producer:
                return  # it has failed for good: a later turn has another one

    def _write(self, producer: Producer, written: OutgoingRecord) -> None:
        try:
            produce(producer, written, partial(self._note_answer, written))
        except (BufferError, KafkaException) as refusal:
            self._unconfirmed.append(written)
            self._producer.drop_if_fatal(as_error(refusal))
        else:
            self._under_way[written] = None

    def _note_answer(self, written: OutgoingRecord, error: KafkaError | None, message: Message) -> None:
        if written not in self._under_way:
            return  # a client that failed for good had it, and another one has it now
        del self._under_way[written]
        fault = why_unconfirmed(error, message)
        if fault is not None:
            job_id = wire_text(dict(written.headers).get(JOB_ID))
            _LOGGER.error(
                "job %s, which follows a late one, could not be written to %s, and is written again: %s", job_id,
                written.topic, fault.str(), extra={log_keys.JOB_ID: job_id, log_keys.QUEUE: self._queue},
            )  # fmt: skip
            self._unconfirmed.append(written)
            self._producer.drop_if_fatal(fault)

    def _write_again(self, error: KafkaError) -> None:
        """Have another client write what a finished one has not confirmed, after a rest: it answers no more."""
        self._unconfirmed.extend(self._under_way)
        self._under_way.clear()
        self._rest_ends_at_s = time.monotonic() + REST_S
        _LOGGER.error(
            "the client that writes the followers of late jobs of queue %s has failed for good (%s): another one is "
            "made in %g s, and what was not confirmed is written again", self._queue, error.str(), REST_S,
            extra={log_keys.QUEUE: self._queue},
        )  # fmt: skip
