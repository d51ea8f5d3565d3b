"""The metrics of schedules: for how long the first instant is overdue, whatever the cause, and what became of each."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from stoker.consumers.metrics.schedule_metrics import schedule_samples
from stoker.consumers.schedules.fired_queue import ScheduleFigures
from stoker.producers.metrics import all_metrics as metrics
from stoker.schemas.own_records.schedule_records import ScheduleRecord
from support.scenes.simulated_schedules import QUEUE, ScheduleWorld, SimulatedWorker

START = datetime(2026, 5, 5, 12, 0, 0, tzinfo=UTC)


def schedule(name: str, **fields: Any) -> ScheduleRecord:
    """A schedule that fires each minute, and may be overdue for a minute."""
    chosen = {"every_ms": 60_000, "grace_ms": 60_000, **fields}
    return ScheduleRecord(
        name=name, since=START, at=START, version="1", queue=QUEUE, job_type="act", value=b"x", operator="a", host="h",
        **chosen,
    )  # fmt: skip


@pytest.fixture
def world() -> ScheduleWorld:
    """Brokers that answer, and workers that live."""
    made = ScheduleWorld(1, START)
    made.is_calm = True
    return made


def pass_time(world: ScheduleWorld, worker: SimulatedWorker, minutes: float) -> ScheduleFigures:
    """Let a worker turn several times a second; returns what it shows then."""
    for _ in range(round(minutes * 240)):
        world.now += timedelta(milliseconds=250)
        world.turn(worker)
    return worker.figures()


def counts(figures: ScheduleFigures) -> tuple[int, int, int, int]:
    """Fired, missed and fired, missed and left out, overlap."""
    found = figures.instants
    return found.fired, found.missed_fired, found.missed_left_out, found.overlap


def test_schedules_that_fire_in_time_are_not_overdue(world: ScheduleWorld) -> None:
    """Each instant counts as fired, and paused schedules count for nothing."""
    world.topics.put(schedule("a"))
    world.topics.put(schedule("b", jitter_ms=20_000))
    world.topics.put(schedule("c", is_paused=True))
    shown = pass_time(world, world.start_worker(), 5.4)
    assert (shown.schedules, counts(shown)) == (2, (10, 0, 0, 0))
    assert shown.overdue_s is not None
    assert shown.overdue_s < 1


@pytest.mark.expected_errors("schedule 'broken' could not be fired")
def test_a_schedule_that_cannot_be_made_is_overdue_and_no_other(world: ScheduleWorld) -> None:
    """It is tried again every ten seconds, and overdue all the while; once it can be made, it is overdue no more."""
    world.topics.put(schedule("a"))
    world.topics.put(schedule("broken", missed="all"))
    worker = world.start_worker()
    worker.broken.add("broken")
    shown = pass_time(world, worker, 5.5)
    assert counts(shown) == (5, 0, 0, 0)
    assert shown.overdue_s == pytest.approx(270, abs=1)  # due after the first minute
    worker.broken.clear()
    shown = pass_time(world, worker, 0.4)
    assert counts(shown) == (6, 4, 0, 0)  # that of minute 5 is within its grace, those of 1 to 4 are not
    assert shown.overdue_s == 0


@pytest.mark.expected_errors("schedule 'broken' could not be fired")
def test_a_schedule_that_was_removed_is_not_overdue(world: ScheduleWorld) -> None:
    """Whoever removes the one that cannot be fired has dealt with it."""
    world.topics.put(schedule("a"))
    world.topics.put(schedule("broken"))
    worker = world.start_worker()
    worker.broken.add("broken")
    assert (pass_time(world, worker, 2.4).overdue_s or 0) > 60
    world.topics.put("broken")
    shown = pass_time(world, worker, 0.2)
    assert (shown.schedules, shown.overdue_s) == (1, 0)


@pytest.mark.parametrize("seed", range(6))
def test_a_schedule_that_was_removed_under_another_owner_is_not_overdue(seed: int) -> None:
    """A worker that gets the partition back knows of its schedules by the topic, and not by what it has read before."""
    world = ScheduleWorld(seed, START)
    world.is_calm = True
    world.topics.put(schedule("a"))
    worker = world.start_worker()
    pass_time(world, worker, 0.5)
    worker.owns_first = False
    world.turn(worker)
    world.topics.put("a")
    world.topics.are_away = worker.owns_first = True
    assert pass_time(world, worker, 5.0).overdue_s == 0


def test_a_schedule_that_is_removed_while_none_can_fire_is_not_overdue(world: ScheduleWorld) -> None:
    """Another one still is, and none when that is removed as well: nobody can fire what is not there."""
    for name in ("a", "b"):
        world.topics.put(schedule(name, every_ms=60_000 if name == "a" else 120_000))
    worker = world.start_worker()
    pass_time(world, worker, 0.5)
    world.topics.are_away = True
    assert pass_time(world, worker, 4.5).overdue_s == pytest.approx(240, abs=1)
    world.topics.put("a")
    assert pass_time(world, worker, 0.1).overdue_s == pytest.approx(186, abs=1)
    world.topics.put("b")
    assert pass_time(world, worker, 0.1).overdue_s == 0
    world.topics.are_away = False
    assert pass_time(world, worker, 1.0).overdue_s == 0


@pytest.mark.parametrize("takes_over", ["before they are away", "while they are away"])
def test_schedules_are_overdue_while_the_brokers_take_nothing(world: ScheduleWorld, takes_over: str) -> None:
    """Also on a worker that has never fired one; when the brokers answer, the instants are fired, or left out."""
    world.topics.put(schedule("a"))
    world.topics.are_away = takes_over.startswith("while")
    worker = world.start_worker()
    pass_time(world, worker, 0.5)
    world.topics.are_away = True
    assert pass_time(world, worker, 0.4).overdue_s == 0
    shown = pass_time(world, worker, 4.6)
    assert shown.overdue_s == pytest.approx(270, abs=1)
    world.topics.are_away = False
    shown = pass_time(world, worker, 0.4)
    assert (shown.overdue_s, counts(shown)) == (0, (1, 0, 4, 0))  # "latest" fires that of minute 5


def test_an_instant_that_waited_for_a_worker_is_missed_and_fired(world: ScheduleWorld) -> None:
    """Nothing is left out of a schedule with one instant, and yet somebody wants to know of it."""
    world.topics.put(schedule("a", every_ms=3_600_000))
    world.now += timedelta(hours=1, minutes=10)
    shown = pass_time(world, world.start_worker(), 0.1)
    assert (shown.overdue_s, counts(shown)) == (0, (0, 1, 0, 0))


def test_only_the_owner_shows_for_how_long_schedules_are_overdue(world: ScheduleWorld) -> None:
    """Else one that has lost them would show forever what it cannot change; its counts stay."""
    world.topics.put(schedule("a"))
    worker = world.start_worker()
    pass_time(world, worker, 1.5)
    worker.owns_first = False
    world.now += timedelta(minutes=5)
    world.turn(worker)
    shown = worker.figures()
    assert (shown.schedules, shown.overdue_s) == (None, None)
    samples = {(sample.metric.name, *sample.labels): sample.value for sample in schedule_samples([shown])}
    outcomes = ("fired", "missed_fired", "missed_left_out", "overlap")
    assert set(samples) == {(metrics.SCHEDULE_INSTANTS.name, QUEUE, word) for word in outcomes}
    assert samples[metrics.SCHEDULE_INSTANTS.name, QUEUE, "fired"] == 1
