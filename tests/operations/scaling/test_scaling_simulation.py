"""A fleet that follows the rule rides out spikes, declines, limits and blindness, and neither flaps nor collapses."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stoker.operations.scaling.load import QueueLoad
from stoker.operations.scaling.rule import Bound
from support.sight.scaled_fleet import (
    POLICY,
    TICK_S,
    Plant,
    Step,
    no_look,
    steer,
    turns,
    without_rates,
    without_workers,
)

pytestmark = pytest.mark.timeout(60)

MINUTE = 60.0
STABILIZATION_S = POLICY.stabilization.total_seconds()


def spike(base: float, peak: float, begin_s: float, end_s: float) -> Callable[[float], float]:
    """So many jobs a second, and more of them for a while."""
    return lambda at_s: peak if begin_s <= at_s < end_s else base


def decline(begin: float, end: float, seconds: float) -> Callable[[float], float]:
    """From one rate to another in a straight line."""
    return lambda at_s: begin + (end - begin) * min(at_s / seconds, 1.0)


def wanted(step: Step) -> int:
    """The workers that a look has wanted."""
    assert step.found is not None
    assert step.found.wanted is not None
    return step.found.wanted


def gone_at(steps: list[Step], since_at_s: float, least: float) -> float:
    """When the backlog was gone for the first time since then."""
    return next((step.at_s for step in steps if step.at_s > since_at_s and step.waiting < least), math.inf)


def assert_no_collapse(steps: list[Step]) -> None:
    """No look wants fewer workers than the one before while jobs wait for too long."""
    looks = [step.found for step in steps if step.found is not None]
    for before, after in pairwise(looks):
        if after.is_behind and before.wanted is not None and after.wanted is not None:
            assert after.wanted >= before.wanted, (before, after)


@pytest.mark.parametrize("shows_runs", [True, False], ids=["statistics", "without statistics"])
def test_a_spike_is_gone_in_time_and_the_fleet_goes_back_by_steps(shows_runs: bool) -> None:
    """20 jobs/s become 200 for 5 minutes: a worker does 16/s. 16 x 0.8 = 12.8, so 2 workers, then 16 and more.

    30 s pass until new workers run, so 6,000 jobs wait; 120 s more were asked for to catch up, beside pauses.
    """
    plant = Plant(arrivals=spike(20, 200, 10 * MINUTE, 15 * MINUTE), shows_runs=shows_runs)
    steps = steer(plant, POLICY, 50 * MINUTE)
    assert gone_at(steps, 10 * MINUTE + 60, 400) <= 14 * MINUTE
    assert turns(steps) <= 2
    assert_no_collapse(steps)
    most = max(step.workers for step in steps)
    assert 16 <= most <= 24
    last_up = max(step.at_s for step, after in pairwise(steps) if wanted(after) > wanted(step))
    first_down = min(step.at_s for step, after in pairwise(steps) if wanted(after) < wanted(step))
    assert first_down >= last_up + STABILIZATION_S
    assert steps[-1].workers == 2


def test_it_goes_up_at_the_first_look_that_shows_the_spike() -> None:
    """All that are needed are wanted at once, in proportion, and not one by one."""
    steps = steer(Plant(arrivals=spike(20, 200, 10 * MINUTE, 15 * MINUTE)), POLICY, 11 * MINUTE)
    [first] = [step for step in steps if step.at_s == 10 * MINUTE]
    assert first.found is not None
    assert first.found.wanted == math.ceil(200 / 0.8 / 16)


def test_a_slow_decline_is_followed_without_a_turn() -> None:
    """The fleet only shrinks, and no job waits for too long."""
    plant = Plant(arrivals=decline(200, 20, 40 * MINUTE), workers=16)
    steps = steer(plant, POLICY, 60 * MINUTE)
    assert turns(steps) == 0
    assert max(step.waiting for step in steps) < 200 * 10 + 200 * TICK_S
    assert steps[-1].workers == 2
    assert_no_collapse(steps)


def test_a_load_that_swings_does_not_swing_the_fleet() -> None:
    """Each minute 40 and 80 jobs/s: within the window of stabilization the higher one counts."""
    plant = Plant(arrivals=lambda at_s: 80 if at_s % 120 < 60 else 40, workers=4)
    steps = steer(plant, POLICY, 60 * MINUTE)
    assert turns(steps) <= 1
    assert {step.workers for step in steps if step.at_s > 10 * MINUTE} == {max(step.workers for step in steps)}


def test_beyond_a_limit_no_worker_is_wanted() -> None:
    """100 jobs/s come and the limit lets 32 through: 2 to 3 workers do that, however many wait."""
    plant = Plant(arrivals=lambda _: 100.0, limit_per_s=32.0)
    steps = steer(plant, POLICY, 30 * MINUTE)
    assert max(step.workers for step in steps) <= 3
    last = steps[-1].found
    assert last is not None
    assert (last.bound_by, last.eta_s) == (Bound.LIMIT, math.inf)
    assert turns(steps) <= 1


def test_with_more_work_than_partitions_it_says_so() -> None:
    """1,000 jobs/s would take 63 workers and more; 24 partitions employ 24."""
    steps = steer(Plant(arrivals=lambda _: 1_000.0), POLICY, 20 * MINUTE)
    last = steps[-1].found
    assert last is not None
    assert (last.wanted, last.bound_by) == (24, Bound.PARTITIONS)
    assert "24 partitions employ no more" in last.reason
    assert steps[-1].workers == 24
    assert turns(steps) == 0


def test_a_stuck_key_calls_for_no_worker() -> None:
    """What waits for one key is run by no further worker, however long it waits."""
    steps = steer(Plant(arrivals=lambda _: 10.0, stuck=5_000), POLICY, 30 * MINUTE)
    assert {step.found.wanted for step in steps if step.found} == {2}
    assert steps[-1].found is not None
    assert steps[-1].found.bound_by == Bound.KEY


@pytest.mark.parametrize("blindness", ["no look", "no rates", "no workers"])
def test_what_is_not_known_changes_nothing(blindness: str) -> None:
    """During 10 blind minutes, in a spike, the fleet stays as it was; then it goes on as before."""
    blinded: Callable[[QueueLoad], QueueLoad | None] = {
        "no look": no_look,
        "no rates": without_rates,
        "no workers": without_workers,
    }[blindness]
    plant = Plant(arrivals=spike(20, 200, 10 * MINUTE, 22 * MINUTE))
    begin_s, end_s = 12 * MINUTE, 22 * MINUTE
    steps = steer(plant, POLICY, 40 * MINUTE, lambda load: blinded(load) if begin_s <= load.at_s < end_s else load)
    before = next(step for step in steps if step.at_s == begin_s - TICK_S)
    during = [step for step in steps if begin_s <= step.at_s < end_s]
    assert {step.workers + step.starting for step in during} == {before.workers + before.starting}
    assert steps[-1].workers < before.workers
    assert turns(steps) <= 2


def test_the_time_until_the_backlog_is_gone_is_right() -> None:
    """20,000 jobs before 12 workers that do 192/s, with 64/s that come: 156 s, within a half of it for all looks."""
    plant = Plant(arrivals=lambda _: 64.0, workers=12, start_s=1e9)  # no further worker ever starts
    plant.lot.append([0.0, 20_000.0])
    steps = steer(plant, replace(POLICY, maximum=12), 10 * MINUTE)
    gone_s = gone_at(steps, 0, 400)
    for step in steps:
        left_s = gone_s - step.at_s
        if left_s > 30:
            assert step.found is not None
            assert step.found.eta_s is not None
            assert left_s / 1.5 <= step.found.eta_s <= left_s * 1.5


def test_the_time_with_the_wanted_workers_counts_their_start() -> None:
    """At the first look at a backlog, the forecast with those that are still to start holds within a factor of two."""
    plant = Plant(arrivals=lambda _: 20.0)
    plant.lot.append([0.0, 20_000.0])
    steps = steer(plant, POLICY, 20 * MINUTE)
    first = steps[0].found
    assert first is not None
    assert first.eta_wanted_s is not None
    assert first.eta_s is not None
    assert first.eta_s > 20 * MINUTE
    assert gone_at(steps, 0, 200) / 2 <= first.eta_wanted_s <= gone_at(steps, 0, 200) * 2


@given(
    base=st.floats(1, 60),
    factor=st.floats(1, 15),
    begin=st.integers(60, 1_200),
    length=st.integers(10, 1_200),
    run_s=st.floats(0.05, 5.0),
    start_s=st.floats(0, 120),
    shows_runs=st.booleans(),
)
@settings(max_examples=60, deadline=None)
def test_whatever_comes_there_is_no_flapping_and_no_collapse(
    base: float, factor: float, begin: int, length: int, run_s: float, start_s: float, shows_runs: bool
) -> None:
    """One spike of any size makes the fleet go up and down once each; workers go only where no job waits too long."""
    plant = Plant(
        arrivals=spike(base, base * factor, begin, begin + length), run_s=run_s, start_s=start_s, shows_runs=shows_runs
    )
    steps = steer(plant, replace(POLICY, start=timedelta(seconds=start_s)), 90 * MINUTE)
    assert_no_collapse(steps)
    assert turns(steps) <= 3  # its first look finds any number of workers, so it may begin with a step down
    assert all(1 <= step.workers + step.starting <= plant.partitions for step in steps)
    if base * factor / 0.8 < plant.worker_per_s * plant.partitions:
        assert steps[-1].waiting <= max(base * factor, 1) * 60
