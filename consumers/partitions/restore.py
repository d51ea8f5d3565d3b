"""Restores what a partition needs before its first job runs: the ledger's window, and how far its last owner came."""

from __future__ import annotations

import math
import time
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from confluent_kafka import Consumer, KafkaException, TopicPartition

from ...topology import ClusterSettings, Queue
from ..kafka.clients import make_reader
from ..kafka.log_tail import REQUEST_TIMEOUT_S, ShouldStop, Unrestorable, read_tail
from ..progress.assignment import Assignment
from .ledger import Ledger
from .ledger_reader import IsComplete, read_ledger
from .start_positions import StartPosition, StartPositions

ENDS_KEPT_S: Final = 3_600.0
"""Ends of unique jobs are read so far back at least: jobs that these have replaced may still wait in a delay topic."""
HAND_OVER_S: Final = 0.2
"""A partition whose ledger has been read for so long begins, before the ledgers of the others are read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Restored:
    """The ledgers and start positions that were read for some assignments; of a partition number all, or none.

    Attributes:
        ledgers: {partition number: ledger}.
        start_positions: where each of the assignments begins.
    """

    ledgers: Mapping[int, Ledger]
    start_positions: Mapping[Assignment, StartPosition]


def restore(
    cluster: ClusterSettings, queue: Queue, assignments: Collection[Assignment], should_stop: ShouldStop
) -> Iterator[Restored]:
    """Read the ledgers of the assignments' partitions, and how far the owners before had come; yield each in time.

    Raises:
        Unrestorable: the brokers did not answer within a bounded time, or `should_stop` returned true.
    """
    # A fetch that waits at the broker for news would hold up the requests behind it, half a second each.
    consumer = make_reader(cluster, queue, f"stoker-restore-{queue.name}", {"fetch.wait.max.ms": 10})
    try:
        yield from read_left_behind(consumer, queue, assignments, should_stop)
    except KafkaException as failure:
        raise Unrestorable(f"what queue {queue.name!r} has left behind", failure.args[0]) from failure
    finally:
        consumer.close()


def read_left_behind(
    consumer: Consumer, queue: Queue, assignments: Collection[Assignment], should_stop: ShouldStop
) -> Iterator[Restored]:
    """Read the ledgers and start positions with the consumer that is given, one partition after the other.

    Raises:
        Unrestorable, KafkaException: the brokers did not answer within a bounded time, or `should_stop` returned true.
    """
    positions = StartPositions(consumer, queue, assignments, should_stop)
    start_positions: dict[Assignment, StartPosition] = {}
    ledgers: dict[int, Ledger] = {}
    handed_over_at_s = time.monotonic()
    for number in positions.numbers:
        # First how far the owner before came, then its ledger: what is not complete by the one is in the other. Then
        # what waits in tiers: what the ledger names as moved is there already.
        of_number = positions.of(number)
        since_at_s = needed_since_at_s(consumer, queue, of_number, should_stop) if queue.unique else None
        ledgers[number] = read_ledger(consumer, queue, number, _complete_by(of_number), should_stop, since_at_s)
        start_positions |= positions.with_waiting(of_number)
        if time.monotonic() - handed_over_at_s >= HAND_OVER_S:
            yield Restored(ledgers=ledgers, start_positions=start_positions)
            ledgers, start_positions, handed_over_at_s = {}, {}, time.monotonic()
    if ledgers:
        yield Restored(ledgers=ledgers, start_positions=start_positions)


def needed_since_at_s(
    consumer: Consumer, queue: Queue, start_positions: Mapping[Assignment, StartPosition], should_stop: ShouldStop
) -> float:
    """Since when, in epoch seconds, ends of unique jobs of one partition number are needed.

    A job that is still to have its turn may have come before the end of another: so since the first of these came.
    """
    longest_s = max(unique.within_ms / 1_000 for unique in queue.unique.values())
    first_at_s = [
        _first_at_s(consumer, assignment, start.state.committed_offset, should_stop)
        for assignment, start in start_positions.items()
        if assignment.source.is_entry
    ]
    return min(time.time() - max(longest_s, ENDS_KEPT_S), *first_at_s, math.inf)


def _first_at_s(consumer: Consumer, entry: Assignment, offset: int, should_stop: ShouldStop) -> float:
    """When the record at an offset arrived, or the next one that is there; infinite where none is."""
    place = TopicPartition(entry.topic, entry.partition, offset)
    _, high = consumer.get_watermark_offsets(place, timeout=REQUEST_TIMEOUT_S)
    for message in read_tail(consumer, place, high, should_stop):
        return message.timestamp()[1] / 1_000
    return math.inf


def _complete_by(start_positions: Mapping[Assignment, StartPosition]) -> IsComplete:
    """Find which names of the ledger are those of records that are complete."""
    by_place = {f"{a.topic}/{a.partition}": start for a, start in start_positions.items()}

    def is_complete(name: str) -> bool:
        if "#" in name:  # of an attempt, which other records may have, or of a job whose id looks like one
            return False
        place, _, offset = name.rpartition("@")[2].rpartition("/")
        start = by_place.get(place)
        return start is not None and offset.isdecimal() and start.is_complete(int(offset))

    return is_complete
