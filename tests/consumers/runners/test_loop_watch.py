"""A loop that does not answer is blocked, and the job that holds it is known."""

from __future__ import annotations

import threading

import pytest

from stoker.consumers.runners.async_slots import AsyncSlot, LoopState
from stoker.consumers.runners.loop_watch import BLOCKED_AFTER_S, LoopWatch
from support.scenes.deliveries import declare


async def _wait() -> None:
    """Stand for a job."""


class Scene:
    """The watch of a loop that the test turns itself, with a job in each of two slots."""

    def __init__(self) -> None:
        self.state = LoopState()
        self.state.thread_id = threading.get_ident()
        self.watch = LoopWatch("loop", self.state)
        self.slots = [AsyncSlot(name, self.state, lambda _what: None) for name in ("holds", "waits")]
        for slot in self.slots:
            job, coroutine = declare().job(), _wait()
            coroutine.close()
            slot.begin(job.run, job.job_type.run_limits, coroutine)
        self.asked_at_s = self.slots[1].run.began_at_s + 1.0 if self.slots[1].run else 0.0

    def deadlines_s(self) -> list[float]:
        """When each job is to be ended."""
        return [slot.run.deadline_at_s for slot in self.slots if slot.run is not None]


def test_a_loop_that_answers_is_not_blocked() -> None:
    """However late the watchdog looks."""
    scene = Scene()
    scene.watch.note_asked(scene.asked_at_s)
    scene.watch.note_answer()
    scene.watch.look(scene.asked_at_s + 60.0, scene.slots)
    assert (scene.watch.blocked_s, scene.watch.is_asked) == (0.0, False)
    assert scene.watch.inspect().stack == ()


def test_the_job_that_holds_a_loop_is_reported_once(caplog: pytest.LogCaptureFixture) -> None:
    """Not before the loop has stood for a while; from then on an inspection has its stack."""
    scene = Scene()
    scene.state.inside = scene.slots[0]
    scene.watch.note_asked(scene.asked_at_s)
    scene.watch.look(scene.asked_at_s + BLOCKED_AFTER_S, scene.slots)
    assert (scene.watch.blocking_slot, caplog.records) == (scene.slots[0], [])
    for later_s in (0.1, 0.2):
        scene.watch.look(scene.asked_at_s + BLOCKED_AFTER_S + later_s, scene.slots)
    (warning,) = caplog.records
    assert "job job-1 (work) has held the event loop for 1.1 s" in warning.getMessage()
    assert scene.watch.inspect().blocked_s == pytest.approx(BLOCKED_AFTER_S + 0.2)
    assert scene.watch.inspect().stack


def test_only_a_job_that_was_held_up_gets_the_time_back() -> None:
    """All that the loop has not turned; the one that has held it has used the time itself."""
    scene = Scene()
    holds_s, waits_s = scene.deadlines_s()
    scene.state.inside = scene.slots[0]
    scene.watch.note_asked(scene.asked_at_s)
    scene.watch.look(scene.asked_at_s + 7.0, scene.slots)
    scene.state.inside = None
    scene.watch.note_answer()
    scene.watch.look(scene.asked_at_s + 8.0, scene.slots)
    assert scene.deadlines_s() == pytest.approx([holds_s, waits_s + 7.0])
    assert (scene.watch.blocked_s, scene.state.is_blocked, scene.watch.blocking_slot) == (0.0, False, None)
