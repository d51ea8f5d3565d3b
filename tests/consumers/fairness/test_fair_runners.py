"""Runners that tenants share get what they begin soon; little of it while a heavy tenant is held back."""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, cast

from stoker.consumers.fairness.fair_runners import HELD_S, MEASURE_S, FairRunners
from stoker.consumers.records.record import Record
from stoker.consumers.runners.kinds import Runners
from stoker.topology import FairBy

SLOTS = 4


@dataclass(eq=False)
class Ready:
    """A record, as far as runners that tenants share look at it."""

    tenant: bytes


class Scene:
    """One kind of runners, and a clock."""

    def __init__(self) -> None:
        self.handed: list[Record] = []
        self.now_s = 100.0
        kind = SimpleNamespace(
            slots=range(SLOTS),
            own=lambda records: records,
            make_ready=self._hand,
            waiting_records=lambda: list(self.handed),
        )
        self.fair = FairRunners([cast(Runners[Any], kind)], FairBy(), clock=lambda: self.now_s)

    def _hand(self, records: list[Record]) -> None:
        self.handed += records

    def come(self, tenant: bytes, number: int) -> None:
        """Records are ready."""
        self.fair.make_ready(cast(list[Record], [Ready(tenant) for _ in range(number)]))

    def run(self) -> int:
        """All that was handed over runs; returns how many that were."""
        ended, self.handed = self.handed, []
        self.now_s += MEASURE_S
        self.fair.note_left(ended)
        return len(ended)


def test_runners_of_a_held_flood_get_more_with_each_turn_alone() -> None:
    """A twentieth of a second's work is at hand before, and a two hundredth's then; another tenant goes first."""
    scene = Scene()
    scene.come(b"flood", 100_000)
    while len(scene.handed) < 1_000:
        scene.run()
    usual = len(scene.handed)
    scene.fair.hold()
    scene.run()
    assert scene.handed == [], "no end of a run hands over the next ones"
    scene.come(b"small", 1)
    assert [record.tenant for record in scene.handed].count(b"small") == 1
    scene.run()
    scene.fair.turn()
    assert 0 < len(scene.handed) < usual / 4
    scene.run()
    scene.fair.let_go()
    assert scene.handed, "the runners go on at once"
    assert scene.run() > 0
    assert scene.handed


def test_a_held_flood_of_long_jobs_keeps_all_slots_busy() -> None:
    """Less than one job for each would stand still."""
    scene = Scene()
    scene.fair.hold()
    scene.come(b"flood", 100)
    assert len(scene.handed) == SLOTS
    assert HELD_S < MEASURE_S


def test_all_that_waits_is_known_whether_the_runners_have_it_or_not() -> None:
    """Those that wait for the turn of their tenant wait as well as those at hand."""
    scene = Scene()
    scene.come(b"flood", 100)
    assert len(scene.handed) < 100
    assert len(set(scene.fair.waiting_records())) == 100
