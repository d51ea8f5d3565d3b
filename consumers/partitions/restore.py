"""Restores what a partition needs before its first job runs: the ledger's window, and how far its last owner came."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from confluent_kafka import Consumer, KafkaException

from ...topology import ClusterSettings, Queue
from ..kafka.clients import make_reader
from ..kafka.log_tail import ShouldStop, Unrestorable
from ..records.assignment import Assignment
from .ledger import Ledger
from .ledger_reader import IsPassed, read_ledgers
from .start_positions import StartPosition, find_start_positions


@dataclass(frozen=True, slots=True, kw_only=True)
class Restored:
    """The ledgers and start positions that were read for some assignments.

    Attributes:
        ledgers: {partition number: ledger}.
        start_positions: where each of the assignments begins.
    """

    ledgers: Mapping[int, Ledger]
    start_positions: Mapping[Assignment, StartPosition]


def restore(
    cluster: ClusterSettings, queue: Queue, assignments: Collection[Assignment], should_stop: ShouldStop
) -> Restored:
    """Read the ledgers of the assignments' partitions, and how far the owners before had come.

    Raises:
        Unrestorable: the brokers did not answer within a bounded time, or `should_stop` returned true.
    """
    # A fetch that waits at the broker for news would hold up the requests behind it, half a second each.
    consumer = make_reader(cluster, queue, f"stoker-restore-{queue.name}", {"fetch.wait.max.ms": 10})
    try:
        return read_left_behind(consumer, queue, assignments, should_stop)
    except KafkaException as failure:
        raise Unrestorable(f"what queue {queue.name!r} has left behind", failure.args[0]) from failure
    finally:
        consumer.close()


def read_left_behind(
    consumer: Consumer, queue: Queue, assignments: Collection[Assignment], should_stop: ShouldStop
) -> Restored:
    """Read the ledgers and start positions with the consumer that is given.

    Raises:
        Unrestorable, KafkaException: the brokers did not answer within a bounded time, or `should_stop` returned true.
    """
    # First how far the owner before came, then its ledger: what is not complete by the one is in the other.
    start_positions = find_start_positions(consumer, queue, assignments, should_stop)
    partitions = {assignment.partition for assignment in assignments}
    ledgers = read_ledgers(consumer, queue, partitions, _passed_by(start_positions), should_stop)
    return Restored(ledgers=ledgers, start_positions=start_positions)


def _passed_by(start_positions: Mapping[Assignment, StartPosition]) -> IsPassed:
    """Tell which names of the ledger are those of records that are complete."""
    by_place = {f"{a.topic}/{a.partition}": start for a, start in start_positions.items()}

    def is_passed(name: str) -> bool:
        if "#" in name:  # of an attempt, which other records may have, or of a job whose id looks like one
            return False
        place, _, offset = name.rpartition("@")[2].rpartition("/")
        start = by_place.get(place)
        return start is not None and offset.isdecimal() and start.is_complete(int(offset))

    return is_passed
