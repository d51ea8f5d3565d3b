"""`make_shares` and `make_reservations`: the threads of one queue's limits, with their clients."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final

from confluent_kafka import Producer

from ...producers.control.log_reader import LogReader
from ...topology import ClusterSettings, Pipeline, Queue
from ...topology.declaration.limits import shared_limits
from ...topology.declaration.topics import reserves_limits
from ..kafka.clients import make_reader, shares_producer
from ..reservations.clients import LevelLogReader, LevelLogWriter
from ..reservations.ports import ReservationParts
from ..reservations.reservations import Reservations
from ..shares.ports import OnWritten, SharesParts
from ..shares.shares import Shares
from ..turn_thread import TurnThread
from .limits import Limits, Startable

END_MS: Final = 250
LAST_S: Final = 1.0


class ShareWriter:
    """Writes to the topic of shares."""

    def __init__(self, producer: Producer, topic: str) -> None:
        self._producer, self._topic = producer, topic

    def write(self, value: bytes, on_written: OnWritten | None) -> None:
        """Write a record."""
        try:
            if on_written is None:
                self._producer.produce(self._topic, value, partition=0)
            else:
                self._producer.produce(self._topic, value, partition=0, on_delivery=on_written)
        except BufferError:  # the brokers are away: amounts count up, so that a later record has it all
            self._producer.poll(0)

    def poll(self) -> None:
        """Serve what was written."""
        self._producer.poll(0)

    def close(self) -> None:
        """Write the last ones."""
        self._producer.flush(LAST_S)


def make_shares(
    pipeline: Pipeline,
    queue: Queue,
    cluster: ClusterSettings,
    worker_id: str,
    *,
    owns_first: Callable[[], bool],
    on_crash: Callable[[BaseException], None],
) -> Callable[[Limits], Startable] | None:
    """Make what makes the thread; None where the queue has no part in shared limits.

    Args:
        owns_first: whether this process owns the first partition of the queue.
    """
    shared = shared_limits(pipeline.queues.values(), pipeline.job_types.values())
    givers = pipeline.share_givers
    if not any(declared.queue == queue.name for declared in shared):
        return None
    parts = SharesParts(
        queue=queue.name,
        worker_id=worker_id,
        given={declared.name: declared.limit for declared in shared if givers[declared.name] == queue.name},
        owns_first=owns_first,
        make_reader=partial(
            LogReader,
            cluster,
            pipeline.shares_topic,
            client_id=f"{worker_id}-shares",
            options={"fetch.wait.max.ms": END_MS},
        ),
        make_writer=lambda: ShareWriter(shares_producer(cluster, worker_id), pipeline.shares_topic),
    )
    return lambda limits: TurnThread(Shares(limits.sharing, parts), f"stoker-shares-{queue.name}", on_crash)


def make_reservations(
    pipeline: Pipeline,
    queue: Queue,
    cluster: ClusterSettings,
    worker_id: str,
    *,
    on_crash: Callable[[BaseException], None],
) -> Callable[[Limits], Startable] | None:
    """Make what makes the thread; None where the queue has no limits of which reservations are written."""
    if not reserves_limits(pipeline, queue):
        return None
    topic = queue.limits_topic
    parts = ReservationParts(
        queue=queue.name,
        topic=topic,
        make_reader=lambda: LevelLogReader(
            make_reader(cluster, queue, f"{worker_id}-limits", {"fetch.wait.max.ms": END_MS}), topic
        ),
        make_writer=lambda: LevelLogWriter(shares_producer(cluster, worker_id), topic),
    )
    name = f"stoker-reservations-{queue.name}"
    return lambda limits: TurnThread(Reservations(limits.reservations, parts), name, on_crash)
