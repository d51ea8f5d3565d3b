"""`ReadySupply`: nothing is fetched to be put aside while the runners have work for a while."""

from __future__ import annotations

import time
from typing import cast

import pytest
from confluent_kafka import Consumer

from stoker.consumers.in_flight.memory_bounds import PAUSE_AFTER_S, MemoryBounds
from stoker.consumers.in_flight.ready_supply import LASTS_S, LEAST_READY, MEASURED_S, ReadySupply
from stoker.consumers.in_flight.settled import SettledBatches
from stoker.consumers.partitions.assignments import Assignments
from stoker.consumers.settings import WorkerSettings
from support.scenes.deliveries import declare


class Scene:
    """A supply whose answers a test sets, with a clock that stands still by itself."""

    def __init__(self) -> None:
        self.now_s, self.is_crowded, self.ready = 0.0, True, 0
        self.supply = ReadySupply(lambda: self.is_crowded, lambda: self.ready, clock=lambda: self.now_s)


class Noting:
    """Notes whether the topic rests."""

    is_paused = False

    def pause(self, _places: object) -> None:
        """Let it rest."""
        self.is_paused = True

    def resume(self, _places: object) -> None:
        """End its rest."""
        self.is_paused = False


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
    scene.supply.note_ended(round(per_s * MEASURED_S))
    scene.now_s += MEASURED_S
    assert enough == max(LEAST_READY, round(per_s * LASTS_S))
    for scene.ready, spares in ((enough - 10, False), (enough + 10, True)):
        assert scene.supply.spares_fetching() is spares


def test_an_old_pace_is_forgotten() -> None:
    """Jobs that have become slow need no more than the least."""
    scene = Scene()
    scene.supply.note_ended(100_000)
    scene.ready = LEAST_READY
    scene.now_s += MEASURED_S
    assert not scene.supply.spares_fetching()
    scene.now_s += MEASURED_S
    assert scene.supply.spares_fetching()


def test_a_topic_that_rests_goes_on_when_it_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else it would rest and go on in turn, and each time throw its prefetch away."""
    scene, consumer = Scene(), Noting()
    monkeypatch.setattr(time, "monotonic", lambda: scene.now_s)
    assignments = Assignments(declare().queue)
    bounds = MemoryBounds(assignments, WorkerSettings(), lambda: 0, SettledBatches(), ready_supply=scene.supply)
    scene.ready = LEAST_READY
    for passed_s in (0.0, PAUSE_AFTER_S + 0.1, 0.1):
        scene.now_s += passed_s
        assert not bounds.may_fetch()
        bounds.rest(cast(Consumer, consumer), within_s=0.0)
    assert consumer.is_paused, "it has rested for long, and what is ready still lasts"
    scene.ready = LEAST_READY - 1
    bounds.rest(cast(Consumer, consumer), within_s=0.0)
    assert not consumer.is_paused
    assert bounds.may_fetch()
