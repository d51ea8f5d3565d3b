"""`ReadySupply`: nothing is fetched to be put aside while the runners have work for a while."""

from __future__ import annotations

import time

import pytest

from stoker.consumers.in_flight.memory_bounds import PAUSE_AFTER_S, MemoryBounds
from stoker.consumers.in_flight.ready_supply import (
    FETCH_EVERY_S,
    LASTS_S,
    LEAST_READY,
    MEASURED_S,
    ReadySupply,
    may_overtake,
)
from stoker.consumers.in_flight.settled import SettledBatches
from stoker.consumers.partitions.assignments import Assignments
from stoker.consumers.settings import WorkerSettings
from stoker.topology import Pipeline
from stoker.topology.declaration.pipeline import QueueShape
from support.scenes.deliveries import declare


class Scene:
    """A supply whose answers a test sets, with a clock that stands still by itself."""

    def __init__(self) -> None:
        self.now_s, self.is_crowded, self.ready = 0.0, True, 0
        self.supply = ReadySupply(lambda: self.is_crowded, lambda: self.ready, clock=lambda: self.now_s)
        self.supply.spares_fetching()  # the first fetch


@pytest.mark.parametrize(
    ("is_crowded", "ready", "spares"),
    [(True, LEAST_READY, True), (True, LEAST_READY - 1, False), (False, 10 * LEAST_READY, False)],
)
def test_fetching_can_wait_only_where_parking_is_crowded(*, is_crowded: bool, ready: int, spares: bool) -> None:
    """And where enough jobs are ready."""
    scene = Scene()
    scene.is_crowded, scene.ready = is_crowded, ready
    assert scene.supply.spares_fetching() is spares


@pytest.mark.parametrize(("per_s", "enough"), [(100_000, 10_000), (20_000, 2_000), (3_200, LEAST_READY)])
def test_what_is_ready_must_last_for_a_while_at_the_present_pace(per_s: int, enough: int) -> None:
    """A tenth of a second: short jobs are not short of work while the poll thread waits."""
    scene = Scene()
    scene.supply.note_done(round(per_s * MEASURED_S))
    scene.now_s += MEASURED_S
    assert enough == max(LEAST_READY, round(per_s * LASTS_S))
    for scene.ready, spares in ((enough - 10, False), (enough + 10, True)):
        assert scene.supply.spares_fetching() is spares


def test_an_old_pace_is_forgotten() -> None:
    """Jobs that have become slow need no more than the least."""
    scene = Scene()
    scene.supply.note_done(100_000)
    scene.ready = LEAST_READY
    scene.now_s += MEASURED_S
    assert not scene.supply.spares_fetching()
    scene.now_s += MEASURED_S
    assert scene.supply.spares_fetching()


def test_a_fetch_is_made_now_and_then_all_the_same() -> None:
    """The group keeps its member by it, and no guess makes a queue stand still."""
    scene = Scene()
    scene.ready = 10 * LEAST_READY
    assert scene.supply.spares_fetching()
    scene.now_s += FETCH_EVERY_S
    assert [scene.supply.spares_fetching(), scene.supply.spares_fetching()] == [False, True]


def test_a_topic_does_not_rest_over_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pause would throw its prefetch away: there is room."""
    scene = Scene()
    monkeypatch.setattr(time, "monotonic", lambda: scene.now_s)
    assignments = Assignments(declare().queue)
    bounds = MemoryBounds(assignments, WorkerSettings(), lambda: 0, SettledBatches(), ready_supply=scene.supply)
    scene.ready = LEAST_READY
    for _ in range(30):
        scene.now_s += PAUSE_AFTER_S / 10
        assert bounds.may_fetch()
        bounds.is_spared()
    assert not bounds.is_paused


@pytest.mark.parametrize(
    ("shape", "is_mixed", "overtakes"),
    [
        ({}, False, False),
        ({}, True, True),
        ({"priorities": {"high": 2, "normal": 1}}, False, True),
        ({"fair_by": "tenant"}, False, True),
    ],
)
def test_jobs_of_other_runners_priorities_and_tenants_may_overtake(
    shape: QueueShape, *, is_mixed: bool, overtakes: bool
) -> None:
    """Such queues are read on: what is ready may not be what has the next turn."""
    pipeline = Pipeline("unit")
    queue = pipeline.queue("q", **shape)

    @pipeline.job(queue, name="sync")
    def run(number: int) -> None:
        """Do nothing."""

    @pipeline.job(queue, name="async")
    async def run_async(number: int) -> None:
        """Do nothing."""

    job_types = list(pipeline.job_types.values())
    assert may_overtake(queue, job_types if is_mixed else job_types[:1]) is overtakes
