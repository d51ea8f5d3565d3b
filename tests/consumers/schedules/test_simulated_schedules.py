"""Simulated workers fire schedules, die at any line, freeze and keep wrong clocks: each instant fires once."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import takewhile
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from stoker.producers.schedules.instants import instants_after
from stoker.schemas.own_records.schedule_records import ScheduleRecord, decode_firing
from stoker.topology.wire.schedules import ScheduleKey
from support.scenes.simulated_schedules import QUEUE, ScheduleWorld

DAYLIGHT = {
    "Europe/Berlin": (datetime(2026, 3, 29, tzinfo=UTC), datetime(2026, 10, 25, tzinfo=UTC)),
    "America/New_York": (datetime(2026, 3, 8, 6, tzinfo=UTC), datetime(2026, 11, 1, 5, tzinfo=UTC)),
    "Australia/Lord_Howe": (datetime(2026, 10, 3, 14, tzinfo=UTC), datetime(2026, 4, 4, 14, tzinfo=UTC)),
    "America/Santiago": (datetime(2026, 9, 6, 3, tzinfo=UTC), datetime(2026, 4, 5, 2, tzinfo=UTC)),
}
"""{zone: an hour or so before clocks are put forward, and back}."""
LINES = {
    "before it connects",
    "after it has connected",
    "before it writes",
    "before it commits",
    "after it has committed",
}
CHANGES = [(zone, at) for zone, both in DAYLIGHT.items() for at in both]


def schedule(name: str, since: datetime, **fields: Any) -> ScheduleRecord:
    """A schedule that fires every few seconds, unless told otherwise."""
    if "cron" not in fields:
        fields.setdefault("every_ms", 5_000)
    shared: dict[str, Any] = {"version": "1", "queue": QUEUE, "job_type": "act", "value": b"x", "operator": "ann"}
    return ScheduleRecord(
        name=name, since=since, host="h", at=since, **{**shared, "missed": "all", "missed_limit": 10_000, **fields}
    )


def play(world: ScheduleWorld, turns: int, longest_s: float) -> None:
    """Let workers come, go, freeze and turn, while time passes."""
    chance = world.chance
    for _ in range(turns):
        if len(world.workers) < 3 and chance.random() < 0.2:
            world.start_worker(chance.choice([0.0, 0.0, -2.0, 1.5]))
        if world.workers:
            world.turn(chance.choice(world.workers))  # the others are frozen meanwhile, perhaps amid their ownership
        world.now += timedelta(seconds=chance.random() * longest_s * (chance.random() < 0.3))


def assert_each_once(world: ScheduleWorld, *schedules: ScheduleRecord) -> None:
    """Each instant has one job, and there are no others; none was enqueued early by the clock of its worker."""
    expected = [
        at for found in schedules for at in takewhile(lambda at: at <= world.now, instants_after(found, found.since))
    ]
    times = Counter(job.instant for job in world.topics.jobs)
    assert Counter(expected) == times
    assert [job for job in world.topics.jobs if job.early_s > 0] == []
    assert len({job.job_id for job in world.topics.jobs}) == len(world.topics.jobs)


@pytest.mark.parametrize("seed", range(40))
def test_each_instant_fires_once_whatever_dies(seed: int) -> None:
    """With kills at all lines of a transaction, lost answers, frozen owners and clocks that differ."""
    start = datetime(2026, 5, 5, 12, 0, 1, tzinfo=UTC)
    world = ScheduleWorld(seed, start)
    made = [schedule("a", start), schedule("b", start, every_ms=7_000, jitter_ms=3_000)]
    for one in made:
        world.topics.put(one)
    play(world, 200, 20.0)
    world.settle()
    by_name = {one.name: one for one in made}
    for name, one in by_name.items():
        instants = [job.instant for job in world.topics.jobs if job.job_id.startswith(f"{name}@")]
        due = world.now - timedelta(milliseconds=one.jitter_ms)
        expected = list(takewhile(lambda at: at <= due, instants_after(one, one.since)))  # noqa: B023  # used at once
        assert instants == sorted(set(instants))
        assert instants[: len(expected)] == expected


def test_the_simulation_kills_at_every_line() -> None:
    """It would prove nothing otherwise."""
    places: set[str] = set()
    for seed in range(25):
        start = datetime(2026, 5, 5, 12, 0, 1, tzinfo=UTC)
        world = ScheduleWorld(seed, start)
        world.topics.put(schedule("a", start))
        play(world, 200, 20.0)
        places |= world.deaths
    assert places == LINES


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("zone", "before"), CHANGES)
@pytest.mark.parametrize("expression", ["30 2 * * *", "*/10 * * * *", "0 0-4 * * *"])
def test_clocks_that_are_put_forward_or_back_neither_skip_nor_repeat(
    seed: int, zone: str, before: datetime, expression: str
) -> None:
    """Through both changes of daylight saving in four zones, with kills, in steps of up to ten minutes."""
    since = before - timedelta(hours=2)
    world = ScheduleWorld(seed, since)
    made = schedule("dst", since, cron=expression, zone=zone, grace_ms=600_000)
    world.topics.put(made)
    play(world, 250, 600.0)
    world.settle()
    assert_each_once(world, made)


@pytest.mark.parametrize(("zone", "change"), CHANGES)
@pytest.mark.parametrize("missed", ["skip", "latest", "all"])
def test_an_outage_over_a_change_of_daylight_saving_follows_the_policy(
    zone: str, change: datetime, missed: str
) -> None:
    """Three days without workers, the clocks are changed in the middle, and the workers that come then die."""
    since = change - timedelta(hours=36)
    world = ScheduleWorld(7, since)
    often = schedule("often", since, cron="*/30 * * * *", zone=zone, missed=missed)
    daily = schedule("daily", since, cron="30 2 * * *", zone=zone, missed=missed)
    for one in (often, daily):
        world.topics.put(one)
    world.now += timedelta(hours=72, minutes=15)
    back_at = world.now
    play(world, 150, 5.0)
    world.settle()
    jobs = [job for job in world.topics.jobs if job.instant <= back_at]
    halves = [job.instant for job in jobs if job.job_id.startswith("often@")]
    days = [job.instant.astimezone(ZoneInfo(zone)) for job in jobs if job.job_id.startswith("daily@")]
    all_halves = [since + timedelta(minutes=30) * number for number in range(1, 145)]
    all_days = [since.astimezone(ZoneInfo(zone)).date() + timedelta(days=number) for number in (1, 2, 3)]
    kept = {"skip": 0, "latest": 1, "all": 1_000}[missed]
    assert halves == all_halves[len(all_halves) - min(kept, len(all_halves)) :]
    assert [day.date() for day in days] == all_days[len(all_days) - min(kept, len(all_days)) :]
    assert {day.strftime("%H:%M") for day in days} <= {"02:30", "03:00"}


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(("missed", "jobs"), [("skip", 0), ("latest", 1), ("all", 20)])
def test_an_outage_follows_the_policy(seed: int, missed: str, jobs: int) -> None:
    """After an hour without any worker: none, the last, or the last twenty; then on as before, also with a kill."""
    start = datetime(2026, 5, 5, 12, 0, 0, 500_000, tzinfo=UTC)
    world = ScheduleWorld(seed, start)
    made = schedule("a", start, every_ms=60_000, missed=missed, missed_limit=20, grace_ms=30_000)
    world.topics.put(made)
    world.now += timedelta(hours=1, seconds=45)
    back_at = world.now
    for _ in range(60):
        if not world.workers:
            world.start_worker()
        world.turn(world.workers[0])
        world.now += timedelta(milliseconds=20)
    world.settle()
    before = [job for job in world.topics.jobs if job.instant <= back_at - timedelta(seconds=30)]
    assert len(before) == jobs
    assert [job.instant for job in before] == sorted(job.instant for job in before)
    assert not before or before[-1].instant == datetime(2026, 5, 5, 13, tzinfo=UTC)
    after = [job.instant for job in world.topics.jobs if job.instant > back_at]
    assert after == list(takewhile(lambda at: at <= world.now, instants_after(made, back_at)))


@pytest.mark.parametrize("seed", range(10))
def test_changes_take_hold_and_a_removed_schedule_is_silent(seed: int) -> None:
    """Of a schedule that is changed, paused and removed while workers die, none fires twice, nor after its end."""
    start = datetime(2026, 5, 5, 12, 0, 1, tzinfo=UTC)
    world = ScheduleWorld(seed, start)
    world.topics.put(schedule("a", start))
    play(world, 60, 10.0)
    world.settle()
    first = world.now
    world.topics.put(replace(schedule("a", first, every_ms=3_000), version="2"))
    world.is_calm = False
    play(world, 60, 10.0)
    world.settle()
    world.topics.put("a")
    world.settle()
    removed, count = world.now, len(world.topics.jobs)
    world.is_calm = False
    play(world, 60, 10.0)
    world.settle()
    times = Counter(job.instant for job in world.topics.jobs)
    assert set(times.values()) == {1}
    assert max(times) <= removed
    assert len(world.topics.jobs) == count


@pytest.mark.parametrize("seed", range(20))
def test_a_change_that_is_written_late_fires_nothing_again(seed: int) -> None:
    """Changes are made amid all else; their transactions last for seconds, in which the owner goes on firing."""
    start = datetime(2026, 5, 5, 12, 0, 1, tzinfo=UTC)
    world = ScheduleWorld(seed, start)
    made = schedule("a", start, every_ms=1_000)
    for number in range(20):
        world.topics.put(made)
        play(world, 40, 2.0)
        since = world.now - timedelta(seconds=world.chance.random() * 5)
        is_paused = number % 5 == 3
        made = replace(
            schedule("a", since, every_ms=number % 3 * 500 + 1_000), version=f"{number}", is_paused=is_paused
        )
    world.settle()
    times = Counter(job.instant for job in world.topics.jobs)
    assert len(times) > 20
    assert set(times.values()) == {1}


def test_a_job_of_an_overlap_is_left_out_and_noted() -> None:
    """With overlap="skip" fewer jobs than instants, and none twice."""
    start = datetime(2026, 5, 5, 12, 0, 1, tzinfo=UTC)
    world = ScheduleWorld(3, start)
    world.topics.put(schedule("a", start, overlap="skip"))
    play(world, 300, 5.0)
    world.settle()
    instants = [job.instant for job in world.topics.jobs]
    assert instants == sorted(set(instants))
    expected = list(takewhile(lambda at: at <= world.now, instants_after(schedule("a", start), start)))
    assert 1 < len(instants) < len(expected)


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("change", ["paused", "removed"])
def test_an_owner_that_was_frozen_fires_nothing_that_was_paused_or_removed_meanwhile(seed: int, change: str) -> None:
    """It comes to itself with an instant due, and reads of the change only after that."""
    start = datetime(2026, 5, 5, 12, 0, 1, tzinfo=UTC)
    world = ScheduleWorld(seed, start)
    made = schedule("a", start)
    world.topics.put(made)
    world.settle()
    (owner,) = world.workers
    fired = len(world.topics.jobs)
    world.now += timedelta(seconds=1)
    world.topics.put(replace(made, is_paused=True) if change == "paused" else "a")
    world.now += timedelta(seconds=60)
    for _ in range(50):
        owner.turn()
    assert len(world.topics.jobs) == fired > 0


def test_an_instant_whose_function_makes_no_job_is_not_left_out() -> None:
    """With overlap="skip" it counts as fired, and nobody reads that no worker fired it in time."""
    start = datetime(2026, 5, 5, 12, 0, 1, tzinfo=UTC)
    world = ScheduleWorld(3, start)
    world.topics.put(schedule("a", start, overlap="skip"))
    world.makes_none = True
    world.settle()
    values = [value for key, value in world.topics.records if key == ScheduleKey.FIRED.of("a") and value is not None]
    assert [decode_firing(value).skipped for value in values] == [0, 0, 0]
