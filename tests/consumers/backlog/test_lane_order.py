"""What a lane wants read again comes back in the lane's order, wherever the sweep is."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from stoker.consumers.backlog.rereader import _Sweep
from stoker.consumers.records.assignment import Assignment
from support.scenes.deliveries import plain_record


def _assignment() -> Assignment:
    return plain_record(0).assignment


def _swept(sweep: _Sweep) -> list[int]:
    """What this sweep brings, and then the next one."""
    found: list[int] = []
    while sweep.wanted or sweep.later:
        if not sweep.wanted:
            sweep.begin()
        found += sorted(sweep.wanted)
        sweep.wanted = []
    return found


@given(lane_of=st.dictionaries(st.integers(0, 60), st.integers(0, 4), min_size=1), at=st.integers(0, 60))
def test_a_lane_whose_first_record_is_behind_the_sweep_waits_for_the_next(lane_of: dict[int, int], at: int) -> None:
    """Else those ahead of the sweep came before it, and a later job of the key ran first."""
    lanes = [sorted(offset for offset, lane in lane_of.items() if lane == number) for number in range(5)]
    sweep = _Sweep(_assignment())
    sweep.position = at
    sweep.add([offset for lane in lanes for offset in lane])
    found = _swept(sweep)
    for lane in lanes:
        places = [found.index(offset) for offset in lane]
        assert places == sorted(places), f"{lane} comes as {found}, the sweep is at {at}"
