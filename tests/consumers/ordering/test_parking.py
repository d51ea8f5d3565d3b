"""Parking in memory has bounds, and full lanes that go on fast are waited for a moment."""

from __future__ import annotations

import pytest

from stoker.consumers.ordering.parking import FAST_PER_S, SLOW_FOR_S, Parking, ParkingLimits
from support.scenes.deliveries import plain_record


class Scene:
    """Room for 1,000 records, of which some park; the clock is the test's."""

    def __init__(self, parked: int) -> None:
        self.now_s = 0.0
        self.parking = Parking(ParkingLimits(1_000, patience_s=0.05), clock=lambda: self.now_s)
        self.records = [plain_record(offset) for offset in range(1_000)]
        for record in self.records[:parked]:
            self.parking.add(record)

    def go_on(self, records: int, within_s: float) -> None:
        """So many park no more, and as many others do."""
        self.now_s += within_s
        for record in self.records[:records]:
            self.parking.remove(record)
            self.parking.add(record)


@pytest.mark.parametrize(("parked", "is_draining"), [(749, False), (750, True)])
def test_only_where_memory_is_nearly_full_is_waited_for(parked: int, *, is_draining: bool) -> None:
    """Three quarters of the bound."""
    assert Scene(parked).parking.is_draining() is is_draining


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
