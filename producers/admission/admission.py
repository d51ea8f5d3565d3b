"""`Admission`: lets the jobs of a producer wait or be refused while their queue is full.

A thread asks how many jobs wait, twice a second for each queue with `max_waiting` that gets jobs from this producer. A
reading allows as many jobs as there is room for; when they are sent, or a second is over, calls wait for the next one,
some milliseconds. No job is refused because a figure is missing: while the brokers do not answer, all are admitted.
"""

from __future__ import annotations

import atexit
import logging
import os
import threading
import time
from collections.abc import Callable, Iterable
from datetime import timedelta
from functools import partial
from typing import Final

from confluent_kafka import KafkaException

from ...topology.cluster.clients import ClientOptionRefused
from ...topology.cluster.settings import ClusterSettings, ClusterUnreachable, NotAuthorized
from ...topology.declaration.job_type import JobCall
from ...topology.declaration.queue import Queue
from ..delivery import Outcome, Settle
from ..errors import ProducerClosed, QueueFull
from .depth import DepthReader, KafkaDepth
from .door import Door, Full, Obstacle, Unread
from .renewed_reader import RenewedReader

_LOGGER = logging.getLogger("stoker.producers")

_JOIN_S: Final = 5.0
_LOOK_S: Final = 0.25
"""How long a waiting call looks away at the most."""
REST_S: Final = 1.0
"""How long the thread sleeps where no queue gets jobs, unless a call wakes it."""

MakeReader = Callable[[Queue], DepthReader]

UNREADABLE: Final = (KafkaException, ClusterUnreachable, NotAuthorized, ClientOptionRefused, TimeoutError)
"""Why a reading fails."""
UNREAD_S: Final = 1.0
"""How long a call waits for a reading. If none comes by then, the call is admitted, and so are all until one comes."""
MOST_UNREAD_S: Final = 5.0
"""How long a call waits at the most for its part of what readings allow, beside other calls that are as hasty."""


class Admission:
    """Admits the jobs of one producer; any thread may ask. It connects with the first job.

    Args:
        queues: those that declare `max_waiting`.
        bulks_in_flight: how many jobs of the producer's bulks the brokers have not confirmed.
        full_wait_s: how long a call waits for room, where the queue declares that it does.
    """

    def __init__(
        self, queues: Iterable[Queue], make_reader: MakeReader, bulks_in_flight: Callable[[], int], full_wait_s: float
    ) -> None:
        self._queues = {queue.name: queue for queue in queues}
        self._bulks_in_flight = bulks_in_flight
        self._make_reader = make_reader
        self._full_wait_s = full_wait_s
        self._doors = {name: Door(queue.max_waiting or 1) for name, queue in self._queues.items()}
        self._read = threading.Condition()
        self._wake = threading.Event()
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None
        self._pid: int | None = None

    def waiting_call(self, call: JobCall, *, may_wait: bool = True, in_bulk: bool = False) -> WaitingCall | None:
        """The call, where it is not admitted at once; None where it is.

        A call that is admitted, and is not part of a bulk, goes on to `reporting`, or to `give_back`.

        Raises:
            QueueFull: it is full, and refuses.
            ProducerClosed: `close` was called.
        """
        if call.job_type.queue.name not in self._doors:
            return None
        waiting = WaitingCall(self, call, may_wait=may_wait, in_bulk=in_bulk)
        return None if waiting.is_admitted() else waiting

    def admit(self, call: JobCall, *, may_wait: bool = True) -> None:
        """Return when the call is admitted, at once where its queue has no bound; raises as `waiting_call`."""
        waiting = self.waiting_call(call, may_wait=may_wait)
        while waiting is not None and not waiting.is_admitted():
            self._wait_reading(waiting)

    def reporting(self, call: JobCall, settle: Settle) -> Settle:
        """`settle`, which also counts an admitted call as confirmed or failed."""
        return partial(self._settle, call, settle) if call.job_type.queue.name in self._doors else settle

    def _settle(self, call: JobCall, settle: Settle, outcome: Outcome) -> None:
        self.give_back(call)
        settle(outcome)

    def give_back(self, call: JobCall) -> None:
        """Note that an admitted call is on its way no more."""
        door = self._doors.get(call.job_type.queue.name)
        if door is not None:
            with self._read:
                door.note_ended()

    def _wait_reading(self, waiting: WaitingCall) -> None:
        with self._read:
            self._read.wait_for(lambda: self._stopped.is_set() or self.number(waiting.queue) != waiting.seen, _LOOK_S)

    def number(self, queue: Queue) -> int:
        """How many readings of the queue's depth there have been."""
        return self._doors[queue.name].number

    def try_admit(self, queue: Queue, *, is_waiting: bool, in_bulk: bool) -> Obstacle | None:
        """Admit one job of a queue now, or return what is in the way.

        Raises:
            ProducerClosed: `close` was called.
        """
        if self._stopped.is_set():
            raise ProducerClosed
        door = self._doors[queue.name]
        with self._read:
            if self._thread is None:
                self._start()
            obstacle = door.try_admit(time.monotonic(), in_bulk=in_bulk)
            if isinstance(obstacle, Full) and is_waiting:
                door.note_waiting()
        if isinstance(obstacle, Unread) or (obstacle is not None and is_waiting):
            self._wake.set()
        return obstacle

    def admit_unread(self, queue: Queue, *, in_bulk: bool) -> None:
        """Admit one job of a queue though no reading allows it: none has come in time."""
        with self._read:
            self._doors[queue.name].admit(in_bulk=in_bulk)

    def give_up(self, queue: Queue) -> None:
        """Admit the jobs of a queue until a reading comes: none has come in time."""
        self._note_unread(queue, "no answer within a second")

    def full_error(self, call: JobCall, full: Full, waited_s: float) -> QueueFull:
        """The error for a call that finds no room."""
        queue = call.job_type.queue
        return QueueFull(
            call.job_type.name, queue.name, full.depth.waiting, queue.max_waiting or 0, full.depth.age,
            full.measured_ago, timedelta(seconds=waited_s),
        )  # fmt: skip

    @property
    def full_wait_s(self) -> float:
        """How long a call waits for room."""
        return self._full_wait_s

    # ---- the thread

    def _start(self) -> None:
        self._thread = threading.Thread(target=self._run, name="stoker-producer-depth", daemon=True)
        self._thread.start()
        self._pid = os.getpid()
        atexit.register(self.close)

    def _run(self) -> None:
        readers: dict[str, DepthReader] = {}
        try:
            while not self._stopped.is_set():
                self._wake.clear()
                for name in self._due(time.monotonic()):
                    self._ask(name, readers)
                pause_s = self._next_at_s() - time.monotonic()
                if pause_s > 0:
                    self._wake.wait(pause_s)
        finally:
            for reader in readers.values():
                reader.close()

    def _due(self, now_s: float) -> list[str]:
        with self._read:
            times = {name: door.due_at_s() for name, door in self._doors.items()}
        return [name for name, at_s in times.items() if at_s is not None and at_s <= now_s]

    def _next_at_s(self) -> float:
        with self._read:
            times = [at_s for door in self._doors.values() if (at_s := door.due_at_s()) is not None]
        return min(times, default=time.monotonic() + REST_S)

    def _ask(self, name: str, readers: dict[str, DepthReader]) -> None:
        door, queue = self._doors[name], self._queues[name]
        with self._read:
            door.begin_asking(self._bulks_in_flight(), time.monotonic())
        try:
            if name not in readers:
                readers[name] = RenewedReader(partial(self._make_reader, queue))
            depth = readers[name].read()
        except UNREADABLE as failure:
            self._note_unread(queue, str(failure))
            return
        except Exception as failure:  # without this thread each later call would wait in vain for a reading
            _LOGGER.exception(
                "queue %r: the producer failed as it counted the waiting jobs, and goes on", queue.name,
                extra={"queue": queue.name},
            )  # fmt: skip
            self._note_unread(queue, repr(failure))
            return
        with self._read:
            is_back = door.note_read(depth, time.monotonic())
            self._read.notify_all()
        if is_back:
            _LOGGER.info(
                "queue %r: how many jobs wait is known again; max_waiting holds",
                queue.name,
                extra={"queue": queue.name},
            )

    def _note_unread(self, queue: Queue, cause: str) -> None:
        with self._read:
            is_first = self._doors[queue.name].note_failed()
            self._read.notify_all()
        if is_first:
            _log_blind(queue, cause)

    def close(self) -> None:
        """End what waits, with `ProducerClosed`, and the thread. Harmless when repeated."""
        self._stopped.set()
        atexit.unregister(self.close)
        if self._pid not in {None, os.getpid()}:  # a forked child has no such thread, and perhaps a lock of another one
            return
        with self._read:
            self._read.notify_all()
        self._wake.set()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(_JOIN_S)


class WaitingCall:
    """One call that waits to be admitted.

    Attributes:
        seen: the number of the last reading that it has seen.
    """

    def __init__(self, admission: Admission, call: JobCall, *, may_wait: bool, in_bulk: bool) -> None:
        self._admission, self._call, self._in_bulk = admission, call, in_bulk
        self.queue = call.job_type.queue
        self._may_wait = may_wait
        self._wait_s = admission.full_wait_s if may_wait and self.queue.when_full == "wait" else 0.0
        self._began_at_s = self._unread_at_s = time.monotonic()
        self.seen = -1

    def is_admitted(self) -> bool:
        """Whether the call is admitted by now.

        Raises:
            QueueFull: there is no room, and the call waits no longer.
            ProducerClosed: `close` was called.
        """
        obstacle = self._admission.try_admit(self.queue, is_waiting=self._wait_s > 0, in_bulk=self._in_bulk)
        if obstacle is None:
            return True
        now_s, number = time.monotonic(), self._admission.number(self.queue)
        if number != self.seen:
            self.seen, self._unread_at_s = number, now_s
        if isinstance(obstacle, Full):
            waited_s = now_s - self._began_at_s
            if waited_s >= self._wait_s:
                raise self._admission.full_error(self._call, obstacle, waited_s if self._wait_s else 0.0)
            return False
        if self._waits_for_reading(now_s):
            return False
        self._admission.admit_unread(self.queue, in_bulk=self._in_bulk)
        return True

    def _waits_for_reading(self, now_s: float) -> bool:
        if not self._may_wait:
            return False
        if now_s - self._unread_at_s >= UNREAD_S:
            self._admission.give_up(self.queue)
            return False
        return now_s - self._began_at_s < self._wait_s + MOST_UNREAD_S


def bounded(queues: Iterable[Queue]) -> list[Queue]:
    """The queues that bound how many jobs wait."""
    return [queue for queue in queues if queue.max_waiting is not None]


def depth_readers(cluster: ClusterSettings, partitions: Callable[[str], int | None]) -> MakeReader:
    """Makes the readers of a cluster.

    Args:
        partitions: how many a topic is known to have; None where that is not known.
    """
    return lambda queue: KafkaDepth(cluster, queue, partitions(queue.topic) or queue.partitions)


def _log_blind(queue: Queue, cause: str) -> None:
    message = "queue %r: how many jobs wait is not known (%s); all are admitted until it is, whatever max_waiting"
    _LOGGER.warning(message, queue.name, cause, extra={"queue": queue.name})
