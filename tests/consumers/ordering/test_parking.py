"""Parking in memory has bounds, and full lanes that go on fast are waited for a moment."""

from __future__ import annotations

import pytest

from stoker.consumers.ordering.key_lanes import KeyLanes
from stoker.consumers.ordering.parking import FAST_PER_S, SLOW_FOR_S, Parking, ParkingLimits
from stoker.consumers.ordering.strict_lanes import StrictLanes
from stoker.consumers.progress.assignment import Assignment
from support.scenes.deliveries import plain_record


class Scene:
    """Room for 1,000 records, of which some park; the clock is the test's."""

    def __init__(self, parked: int) -> None:
        self.now_s = self.cpu_s = 0.0
        self.parking = Parking(
            ParkingLimits(1_000, patience_s=0.05), clock=lambda: self.now_s, cpu_clock=lambda: self.cpu_s
        )
        self.records = [plain_record(offset) for offset in range(1_000)]
        for record in self.records[:parked]:
            self.parking.add(record)

    def go_on(self, records: int, within_s: float, cpu_share: float = 1.0) -> None:
        """So many park no more, and as many others do; the process has this share of the time for itself."""
        self.now_s += within_s
        self.cpu_s += within_s * cpu_share
        for record in self.records[:records]:
            self.parking.remove(record)
            self.parking.add(record)


@pytest.mark.parametrize(("parked", "is_draining"), [(749, False), (750, True)])
def test_only_where_memory_is_nearly_full_is_waited_for(parked: int, *, is_draining: bool) -> None:
    """Three quarters of the bound."""
    assert Scene(parked).parking.is_draining() is is_draining


@pytest.mark.parametrize(("share", "is_draining"), [(0.9, False), (1.1, True)])
def test_a_single_lane_is_waited_for_where_it_has_nearly_used_up_its_share(share: float, *, is_draining: bool) -> None:
    """Three quarters of half the bound: a backlog of one key comes to no more, and would be read twice.

    A lane that stands still is waited for once, though it stays as long as it is.
    """
    scene = Scene(400)
    lane = scene.records[:400]
    assert scene.parking.park(scene.records[-1], lane[:374])
    assert not scene.parking.is_draining()
    assert scene.parking.park(scene.records[-1], lane)
    assert scene.parking.is_draining()
    scene.go_on(int(share * FAST_PER_S * 0.05), 0.05)
    assert scene.parking.is_draining() is is_draining
    scene.go_on(0, SLOW_FOR_S)
    assert not scene.parking.is_draining()


def test_a_lane_that_became_short_is_waited_for_no_longer() -> None:
    """Then fetching goes on at once."""
    scene = Scene(400)
    lane = scene.records[:400]
    assert scene.parking.park(scene.records[-1], lane)
    assert scene.parking.is_draining()
    del lane[300:]
    assert not scene.parking.is_draining()


def test_lanes_that_stand_still_are_waited_for_no_longer_than_it_takes_to_see() -> None:
    """And not again for a second: the other keys have their jobs meanwhile."""
    scene = Scene(1_000)
    assert scene.parking.is_draining()
    scene.go_on(0, 0.049)
    assert scene.parking.is_draining()
    scene.go_on(0, 0.002)
    assert not scene.parking.is_draining()
    scene.go_on(0, SLOW_FOR_S - 0.01)
    assert not scene.parking.is_draining()


@pytest.mark.parametrize(("share", "is_draining"), [(0.9, False), (1.1, True)])
def test_lanes_that_go_on_fast_are_waited_for(share: float, *, is_draining: bool) -> None:
    """As fast as it takes to put a record aside and to read it again."""
    scene = Scene(1_000)
    assert scene.parking.is_draining()
    scene.go_on(int(share * FAST_PER_S * 0.05), 0.05)
    assert scene.parking.is_draining() is is_draining


@pytest.mark.parametrize(
    ("cpu_share", "rate_per_s", "is_draining"),
    [(0.5, 6_000, True), (0.5, 4_900, False), (0.1, 4_900, False), (0.7, 6_000, False)],
)
def test_on_a_busy_machine_a_lane_is_as_fast_as_its_share_of_the_time_allows(
    cpu_share: float, rate_per_s: int, *, is_draining: bool
) -> None:
    """Reading again is as slow there. Jobs that wait take no CPU time, so 5,000 a second by the clock are asked for."""
    scene = Scene(1_000)
    assert scene.parking.is_draining()
    scene.go_on(int(rate_per_s * 0.05), 0.05, cpu_share)
    assert scene.parking.is_draining() is is_draining


def test_the_bounds_hold_for_records_and_for_bytes() -> None:
    """Whichever is reached first; what parks no more makes room."""
    scene = Scene(1_000)
    assert scene.parking.is_full
    scene.parking.remove(scene.records[0])
    assert not scene.parking.is_full
    small = Parking(ParkingLimits(1_000, size_bytes=3 * scene.records[0].size_bytes))
    for record in scene.records[:3]:
        small.add(record)
    assert small.is_full


@pytest.mark.parametrize("make_lanes", [KeyLanes, StrictLanes])
def test_records_that_are_given_back_have_not_gone_on(make_lanes: type[KeyLanes | StrictLanes]) -> None:
    """A rebalance takes many away at once: fetching is not to wait for lanes that stand still."""
    now_s, leaving, staying = [0.0], Assignment(1, "t", 0), Assignment(2, "t", 1)
    lanes = make_lanes(lambda _records: None)
    lanes.parking = Parking(ParkingLimits(2_000), clock=lambda: now_s[0], cpu_clock=lambda: 0.0)
    places = [staying if number % 5 else leaving for number in range(2_000)]
    assert lanes.add([plain_record(number, f"key {number % 5}", place) for number, place in enumerate(places)]) == []
    assert lanes.parking.is_draining()
    dropped = lanes.drop([leaving])
    now_s[0] = 0.05
    assert (len(dropped), lanes.parking.count) == (399, 1_596)
    assert not lanes.parking.is_draining()
