"""`Backpressure`: memory is bounded by number and by bytes, whichever is reached first (P11)."""

from __future__ import annotations

from typing import cast

import pytest
from confluent_kafka import Consumer, TopicPartition

from stoker.consumers.partitions.assignments import Assignments
from stoker.consumers.polling.backpressure import Backpressure
from stoker.consumers.polling.settled import SettledBatches
from stoker.consumers.records.assignment import Assignment
from stoker.consumers.records.record import Record
from stoker.consumers.records.source import Tier
from stoker.consumers.settings import WorkerSettings
from support.scenes.deliveries import declare

KIB = 1_024


class Scene:
    """Backpressure with bounds of 100 jobs, 200 parked ones and 64 KiB; `parked` is the count of the lanes."""

    def __init__(self) -> None:
        self.delivery = declare()
        self.parked = 0
        settings = WorkerSettings(max_in_flight=100, max_parked=200, max_in_flight_bytes=64 * KIB)
        self.assignments = Assignments(self.delivery.queue)
        self.backpressure = Backpressure(self.assignments, settings, lambda: self.parked, SettledBatches())

    def begin(self, count: int, size_bytes: int = 0) -> list[Record]:
        """Take so many jobs of a size."""
        records = [self.delivery.record(value=b"x" * size_bytes) for _ in range(count)]
        self.backpressure.begin(records)
        return records

    def begin_delayed(self, count: int, size_bytes: int = 0) -> list[Record]:
        """The same, of a tier."""
        tier = self.delivery.queue.tiers[0]
        place = Assignment(2, self.delivery.queue.retry_topics[tier], 0, source=Tier(tier))
        records = [self.delivery.record(value=b"x" * size_bytes, assignment=place) for _ in range(count)]
        self.backpressure.begin(records)
        return records


class PausedConsumer:
    """Notes which partitions rest."""

    def __init__(self) -> None:
        self.paused: set[tuple[str, int]] = set()

    def pause(self, places: list[TopicPartition]) -> None:
        """Let these rest."""
        self.paused |= {(place.topic, place.partition) for place in places}


def test_partitions_that_leave_are_paused_as_well() -> None:
    """A shutdown pauses them after they were closed: what is fetched of them would be thrown away, job by job."""
    scene, consumer = Scene(), PausedConsumer()
    scene.assignments.add([TopicPartition("unit.q", 0), TopicPartition("unit.q.retry.1s", 0)])
    scene.assignments.leave_all()
    scene.backpressure.pause(cast(Consumer, consumer))
    assert consumer.paused == {("unit.q", 0)}


def test_fetching_stops_at_three_quarters_of_the_jobs() -> None:
    """75 of 100 leave room, 76 do not; what is settled makes room again."""
    scene = Scene()
    scene.begin(75)
    assert scene.backpressure.may_fetch()
    more = scene.begin(1)
    assert not scene.backpressure.may_fetch()
    scene.backpressure.end(more)
    assert scene.backpressure.may_fetch()


def test_fetching_stops_at_three_quarters_of_the_bytes() -> None:
    """However few jobs they are: 11 of 4 KiB are below 48 KiB, and 13 above."""
    scene = Scene()
    scene.begin(11, 4 * KIB)
    assert scene.backpressure.may_fetch()
    more = scene.begin(2, 4 * KIB)
    assert not scene.backpressure.may_fetch()
    assert scene.backpressure.room < 5, "as many as fit below the bound, and one"
    scene.backpressure.end(more)
    assert scene.backpressure.may_fetch()


@pytest.mark.parametrize(
    ("taken", "parked", "may_fetch"),
    [
        (100, 90, True),  # ten may run, fewer than a quarter: the parked ones do not count
        (100, 70, False),  # thirty may run: all count
        (209, 199, True),
        (210, 200, False),  # as many are parked as may be
    ],
)
def test_parked_jobs_count_where_many_may_run_or_very_many_are_parked(
    taken: int, parked: int, *, may_fetch: bool
) -> None:
    """One key that stands still stops the others only when `max_parked` jobs wait behind it."""
    scene = Scene()
    scene.begin(taken)
    scene.parked = parked
    assert scene.backpressure.may_fetch() == may_fetch


def test_parked_jobs_count_against_the_bytes_always() -> None:
    """They are in memory, whatever holds them up."""
    scene = Scene()
    scene.begin(13, 4 * KIB)
    scene.parked = 12
    assert not scene.backpressure.may_fetch()


def test_delayed_records_that_cannot_run_are_taken_up_to_a_bound() -> None:
    """A few are always taken, but no more than `max_parked` of those that wait; what has ended makes room again."""
    scene = Scene()
    taken: list[Record] = []
    while (room := scene.backpressure.tier_room) > 0 and len(taken) < 1_000:
        taken += scene.begin_delayed(min(room, 16))
        scene.parked = len(taken)
    assert 200 <= len(taken) < 250
    scene.backpressure.end(taken[:50])
    scene.parked -= 50
    assert scene.backpressure.tier_room > 0


def test_delayed_records_that_cannot_run_are_taken_up_to_a_bound_of_bytes() -> None:
    """The bound of all jobs is theirs beside it, so that the main topic's cannot keep out what they wait for."""
    scene = Scene()
    scene.parked = len(scene.begin(20, 4 * KIB))
    taken = 0
    while scene.backpressure.tier_room > 0 and taken < 100:
        scene.begin_delayed(1, 4 * KIB)
        taken += 1
        scene.parked += 1
    assert taken == 16
