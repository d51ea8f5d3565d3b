"""The spreader wakes more runners only where those at work do not get through their records quickly."""

from __future__ import annotations

import threading
from collections import deque

import pytest

from stoker.consumers.records.record import Record
from stoker.consumers.runners.slots import Slot
from stoker.consumers.runners.spreading import SPREAD_INTERVAL_S, STALLED_AFTER_S, Spreader
from stoker.consumers.runners.thread_runner import ThreadRunner
from support.scenes.deliveries import declare, plain_record

RUN = declare().job().run


class Scene:
    """Two runners without threads, at which a spreader looks at instants of the test's own."""

    def __init__(self) -> None:
        self.runners = [ThreadRunner(Slot("a")), ThreadRunner(Slot("b"))]
        self.ready = deque[Record]()
        self._condition = threading.Condition()
        by_slot = {runner.slot: runner for runner in self.runners}
        self.spreader = Spreader(self._condition, self.ready, by_slot, 2, deque[Record].clear)
        self.now_s = 100.0

    def look(self, *, inside: int, begun: int = 1) -> bool:
        """Look an interval later, when so many runners are inside of jobs; tells whether runners may rest."""
        for number, runner in enumerate(self.runners):
            runner.slot.run = RUN if number < inside else None
        self.spreader.begun += begun
        self.now_s += SPREAD_INTERVAL_S
        with self._condition:
            self.spreader._look(self.now_s)
        return self.spreader.is_enough


def test_one_look_that_finds_runners_inside_of_jobs_is_taken_for_chance() -> None:
    """Only the second in succession shows that jobs wait or compute."""
    scene = Scene()
    assert scene.look(inside=0)
    assert scene.look(inside=1)
    assert not scene.look(inside=1)
    assert scene.look(inside=0)


def test_where_no_job_begins_for_a_while_more_runners_are_woken() -> None:
    """Also where none is inside of a job: what holds them up may be outside of it."""
    scene = Scene()
    assert scene.look(inside=0)
    looks = 1
    while scene.look(inside=0, begun=0):
        looks += 1
    assert looks * SPREAD_INTERVAL_S == pytest.approx(STALLED_AFTER_S, abs=2 * SPREAD_INTERVAL_S)
    assert scene.look(inside=0)


def test_what_a_runner_does_not_get_to_is_ready_again() -> None:
    """In its order, and ahead of what came later; that of a runner which goes on stays where it is."""
    scene, (slow, quick) = Scene(), (plain_record(n) for n in (1, 2))
    later, behind = plain_record(3), plain_record(4)
    scene.runners[0].mine.extend([slow, behind])
    scene.ready.append(later)
    for number in range(round(STALLED_AFTER_S / SPREAD_INTERVAL_S) + 2):
        scene.runners[1].mine = deque([plain_record(10 + number), quick])
        scene.look(inside=1)
    assert list(scene.ready) == [slow, behind, later]
    assert not scene.runners[0].mine
    assert quick in scene.runners[1].mine


def test_a_spreader_that_finds_nothing_waits_for_work() -> None:
    """Not while something that is done waits to be handed over: it hands that over, should its runner be slow."""
    scene = Scene()
    scene.spreader.has_work.set()
    scene.runners[0].slot.done.append(plain_record(1))
    scene.look(inside=0)
    assert scene.spreader.has_work.is_set()
    scene.runners[0].slot.done.clear()
    scene.look(inside=0)
    assert not scene.spreader.has_work.is_set()
