"""`MemoryBounds`: memory is bounded by number and by bytes, whichever is reached first (P11)."""

from __future__ import annotations

import time
from typing import cast

import pytest
from confluent_kafka import Consumer, TopicPartition

from stoker.consumers.in_flight.memory_bounds import PAUSE_AFTER_S, MemoryBounds
from stoker.consumers.in_flight.settled import SettledBatches
from stoker.consumers.partitions.assignments import Assignments
from stoker.consumers.records.record import Record
from stoker.consumers.settings import WorkerSettings
from support.scenes.deliveries import declare

KIB = 1_024


class Scene:
    """Memory bounds of 100 jobs and 64 KiB; `parked` is the count of the lanes."""

    def __init__(self) -> None:
        self.delivery = declare()
        self.parked = 0
        settings = WorkerSettings(max_in_flight=100, max_in_flight_bytes=64 * KIB)
        self.assignments = Assignments(self.delivery.queue)
        self.memory_bounds = MemoryBounds(self.assignments, settings, lambda: self.parked, SettledBatches())

    def begin(self, count: int, size_bytes: int = 0) -> list[Record]:
        """Take so many jobs of a size."""
        records = [self.delivery.record(value=b"x" * size_bytes) for _ in range(count)]
        self.memory_bounds.begin(records)
        return records


class PausedConsumer:
    """Notes which partitions rest."""

    def __init__(self) -> None:
        self.paused: set[tuple[str, int]] = set()

    def pause(self, places: list[TopicPartition]) -> None:
        """Let these rest."""
        self.paused |= {(place.topic, place.partition) for place in places}


class NotingConsumer:
    """Notes what it is asked for, in order."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, list[int]]] = []

    def resume(self, places: list[TopicPartition]) -> None:
        """End their rest."""
        self.calls.append(("resume", [place.partition for place in places]))

    def offsets_for_times(self, places: list[TopicPartition], timeout: float) -> list[TopicPartition]:
        """Ask their leaders."""
        self.calls.append(("ask", [place.partition for place in places]))
        return places

    def pause(self, places: list[TopicPartition]) -> None:
        """Let these rest."""


def test_partitions_whose_jobs_may_start_are_fetched_without_delay() -> None:
    """The client sleeps for up to a second while all is paused: after the resume of all, a question wakes it."""
    scene, consumer = Scene(), NotingConsumer()
    restored = scene.assignments.add([TopicPartition("unit.q", 0), TopicPartition("unit.q", 1)])
    scene.memory_bounds.admit(cast(Consumer, consumer), restored)
    assert consumer.calls == [("resume", [0, 1]), ("ask", [0, 1])]


def test_nobody_is_asked_while_there_is_no_room() -> None:
    """Partitions that begin meanwhile are resumed with all others."""
    scene, consumer = Scene(), NotingConsumer()
    restored = scene.assignments.add([TopicPartition("unit.q", 0)])
    scene.memory_bounds.pause(cast(Consumer, consumer))
    scene.memory_bounds.admit(cast(Consumer, consumer), restored)
    assert consumer.calls == []


def test_partitions_that_leave_are_paused_as_well() -> None:
    """A shutdown pauses them after they were closed: what is fetched of them would be thrown away, job by job."""
    scene, consumer = Scene(), PausedConsumer()
    scene.assignments.add([TopicPartition("unit.q", 0), TopicPartition("unit.q.retry.1s", 0)])
    scene.assignments.leave_all()
    scene.memory_bounds.pause(cast(Consumer, consumer))
    assert consumer.paused == {("unit.q", 0)}


def test_a_short_lack_of_room_is_waited_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pause throws the prefetch away: partitions rest only when there was no room for a second."""
    scene, consumer, now_s = Scene(), PausedConsumer(), [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now_s[0])
    scene.assignments.add([TopicPartition("unit.q", 0)])
    scene.begin(76)
    for passed_s in (0.0, PAUSE_AFTER_S / 2, PAUSE_AFTER_S / 2):
        now_s[0] += passed_s
        assert not scene.memory_bounds.may_fetch()
        scene.memory_bounds.rest(cast(Consumer, consumer))
    assert consumer.paused == set()
    now_s[0] += 0.01
    scene.memory_bounds.rest(cast(Consumer, consumer))
    assert consumer.paused == {("unit.q", 0)}


def test_fetching_stops_at_three_quarters_of_the_jobs() -> None:
    """75 of 100 leave room, 76 do not; what is settled makes room again."""
    scene = Scene()
    scene.begin(75)
    assert scene.memory_bounds.may_fetch()
    more = scene.begin(1)
    assert not scene.memory_bounds.may_fetch()
    scene.memory_bounds.end(more)
    assert scene.memory_bounds.may_fetch()


def test_fetching_stops_at_three_quarters_of_the_bytes() -> None:
    """However few jobs they are: 11 of 4 KiB are below 48 KiB, and 13 above."""
    scene = Scene()
    scene.begin(11, 4 * KIB)
    assert scene.memory_bounds.may_fetch()
    more = scene.begin(2, 4 * KIB)
    assert not scene.memory_bounds.may_fetch()
    assert scene.memory_bounds.room < 5, "as many as fit below the bound, and one"
    scene.memory_bounds.end(more)
    assert scene.memory_bounds.may_fetch()


@pytest.mark.parametrize(("taken", "parked", "may_fetch"), [(100, 25, True), (100, 24, False), (275, 200, True)])
def test_parked_jobs_do_not_count_against_the_number(taken: int, parked: int, *, may_fetch: bool) -> None:
    """One key that stands still stops nobody: what may park in memory has a bound of its own, in the lanes."""
    scene = Scene()
    scene.begin(taken)
    scene.parked = parked
    assert scene.memory_bounds.may_fetch() == may_fetch


def test_parked_jobs_count_against_the_bytes_always() -> None:
    """They are in memory, whatever holds them up."""
    scene = Scene()
    scene.begin(13, 4 * KIB)
    scene.parked = 12
    assert not scene.memory_bounds.may_fetch()
