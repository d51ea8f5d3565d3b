"""Replaced and rescheduled jobs that wait are brought forward many at a time, and the poll thread goes on meanwhile."""

from __future__ import annotations

import time
from datetime import timedelta
from types import SimpleNamespace
from typing import Final

import pytest
from confluent_kafka import Message

from stoker.consumers.delays import look_pace, rescheduled_delays
from stoker.consumers.delays.calendar import Calendar
from stoker.consumers.delays.rescheduled_delays import RescheduledDelays
from stoker.consumers.intake import unique_arrivals
from stoker.consumers.intake.unique_arrivals import UniqueArrivals
from stoker.consumers.partitions.assignments import Assignments
from stoker.consumers.progress.assignment import Assignment
from stoker.consumers.records.record import Record
from stoker.consumers.sources.source import Delay
from stoker.consumers.standing_orders.reschedules import Reschedules
from stoker.consumers.unique.holders import Holders
from stoker.consumers.unique.unique_jobs import UniqueJobs
from stoker.topology.declaration.delays import DelayClass
from stoker.topology.wire.headers import DUE, JOB_ID, format_instant
from support.scenes.deliveries import NOW, NOW_S, declare

MONTH_S: Final = 30 * 86_400.0
RECORD_BYTES: Final = 300
"""The memory of a record of these tests, and a little more."""


class Scene:
    """Two partitions of a delay topic, whose calendar has `in_memory` of its records in memory, and no others."""

    def __init__(self, in_memory: int) -> None:
        self.places = [
            Assignment(number, f"delays-{number}", number, source=Delay(DelayClass.SHORT)) for number in (0, 1)
        ]
        self.reschedules = Reschedules()
        self.calendar = Calendar(MONTH_S, in_memory * RECORD_BYTES, self.reschedules)
        self.calendar.pop_due(NOW_S, 0)
        self.messages: dict[Assignment, list[Message]] = {place: [] for place in self.places}
        self.assignments = Assignments(declare().queue)
        self.unique = UniqueJobs({}, Holders({}, 10))
        self.assignments.ledgers._unique[0] = self.unique
        self.arrivals = UniqueArrivals(self.assignments, self.calendar, lambda _assignment: 0)
        self.rescheduled = RescheduledDelays(self.calendar, self.assignments)

    def write(self, count: int) -> None:
        """Add so many records to each partition, due one after the other in half an hour to two hours."""
        for place, messages in self.messages.items():
            for offset in range(count):
                due = format_instant(NOW + timedelta(seconds=1_800 + 5_400 * offset / count))
                message = Message(
                    topic=place.topic, partition=place.partition, offset=offset, key=b"k", value=b"v" * 20,
                    headers=[(JOB_ID, b"job-%d-%04d" % (place.number, offset)), (DUE, due)],
                    timestamp=(2, int(NOW_S * 1_000)),
                )  # fmt: skip
                messages.append(message)
                self.calendar.add(message, place)

    def come(self) -> list[tuple[Assignment, int]]:
        """Read again what is wanted, and take what comes out now."""
        came: list[Record] = []
        while wanted := self.calendar.take_wanted():
            for assignment, offsets in wanted.items():
                for offset in offsets:
                    self.calendar.take_reread(assignment, self.messages[assignment][offset])
            came += self.calendar.pop_due(NOW_S + 1, 1_000_000)
        return [(record.assignment, record.offset) for record in came]


@pytest.fixture
def without_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    """Looks may follow each other at once."""
    monkeypatch.setattr(look_pace, "REST_PART", 0)


@pytest.fixture(params=[1, 100, 100_000], ids=["by offset", "some in memory", "in memory"])
def scene(request: pytest.FixtureRequest) -> Scene:
    """Whatever is in memory."""
    scene = Scene(request.param)
    scene.write(1_000)
    return scene


def test_thousands_of_replaced_jobs_take_one_pass() -> None:
    """A pass for each of them would take some 10 s."""
    scene = Scene(10_000)
    scene.write(20_000)
    replaced = [(place, offset) for place in scene.places for offset in range(19_999, 15_999, -1)]
    scene.unique.replaced.extend(replaced)
    began_at_s = time.perf_counter()
    scene.arrivals.bring_forward()
    assert time.perf_counter() - began_at_s < 1.0
    assert sorted(map(repr, scene.come())) == sorted(map(repr, replaced))


@pytest.mark.usefixtures("without_rest")
def test_a_burst_of_replaced_jobs_is_spread_over_turns(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each turn brings a bounded number; all come, each once, and what was not replaced waits on."""
    monkeypatch.setattr(unique_arrivals, "PLACES_A_LOOK", 100)
    replaced = [(place, offset) for offset in range(0, 1_000, 8) for place in scene.places]
    scene.unique.replaced.extend(replaced)
    came = []
    for expected in (100, 100, 50, 0):
        scene.arrivals.bring_forward()
        came.append(scene.come())
        assert len(came[-1]) == expected
    assert {place for turn in came for place in turn} == set(replaced)
    assert (len(scene.calendar), scene.calendar.coming) == (2_000 - 250, 0)


@pytest.mark.usefixtures("without_rest")
def test_a_partition_that_leaves_between_two_turns_takes_nothing_from_others(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its records come no more; those of the other partition all do."""
    monkeypatch.setattr(unique_arrivals, "PLACES_A_LOOK", 100)
    gone, staying = scene.places
    scene.unique.replaced.extend((place, offset) for offset in range(200) for place in scene.places)
    scene.arrivals.bring_forward()
    came = scene.come()
    gone.leave()
    scene.calendar.drop([gone])
    for _ in range(2):
        scene.arrivals.bring_forward()
        came += scene.come()
    assert {offset for place, offset in came if place is staying} == set(range(200))
    assert len([place for place, _ in came if place is gone]) == 50
    assert (len(scene.calendar), scene.calendar.coming) == (800, 0)


def test_looks_leave_the_poll_thread_most_of_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a look of one second, the next one begins nineteen seconds later; until then the places are kept."""
    scene, now_s = Scene(100), 1_000.0
    scene.write(10)
    monkeypatch.setattr(look_pace, "time", SimpleNamespace(monotonic=lambda: now_s))
    look_again = scene.calendar.look_again

    def look_for_a_second(places: set[tuple[Assignment, int]]) -> set[tuple[Assignment, int]]:
        nonlocal now_s
        now_s += 1.0
        return look_again(places)

    monkeypatch.setattr(scene.calendar, "look_again", look_for_a_second)
    place = scene.places[0]
    for offset in range(3):
        scene.unique.replaced.append((place, offset))
        scene.arrivals.bring_forward()
    assert scene.come() == [(place, 0)]
    now_s += 18.9
    scene.arrivals.bring_forward()
    assert scene.come() == []
    now_s += 0.2
    scene.arrivals.bring_forward()
    assert scene.come() == [(place, 1), (place, 2)]


@pytest.mark.usefixtures("without_rest")
def test_rescheduled_jobs_are_looked_for_some_a_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Their places are not known, so each one takes a look at all that is in memory."""
    monkeypatch.setattr(rescheduled_delays, "JOBS_A_LOOK", 3)
    scene = Scene(100_000)
    scene.write(100)
    for offset in range(7):
        scene.reschedules.begin(f"job-1-{offset:04}", NOW_S, NOW_S + MONTH_S)
    came = []
    for expected in (3, 3, 1, 0):
        scene.rescheduled.bring_forward()
        came += (turn := scene.come())
        assert len(turn) == expected
    assert sorted(offset for _, offset in came) == list(range(7))
