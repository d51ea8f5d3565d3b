"""Dead guards: too many dead letters of a type within a while pause it, once, and with the figures."""

from __future__ import annotations

from datetime import timedelta

import pytest

from simulation.fleets.breakers import Clock
from stoker.consumers.breakers.dead_guards import DeadGuards, TooManyDead
from stoker.topology import DeadGuard, Pipeline


def declare() -> Pipeline:
    """Two types of one queue, of which one has a guard of its own."""
    pipeline = Pipeline("unit")
    queue = pipeline.queue("q", dead_guard=DeadGuard(2, within=timedelta(minutes=1)))

    @pipeline.job(queue)
    def mail(number: int) -> None:
        """Nothing."""

    @pipeline.job(queue, dead_guard=DeadGuard(0, within=timedelta(minutes=1)))
    def charge(number: int) -> None:
        """Nothing."""

    return pipeline


class Scene:
    """Guards, their clock, and what they have found."""

    def __init__(self) -> None:
        self.clock, self.found = Clock(), list[TooManyDead]()
        self.guards = DeadGuards(declare().job_types.values(), clock=self.clock)
        self.guards.report_to(self.found.append)

    def note(self, job_type: bytes | None, *passed_s: float) -> None:
        """Dead letters of a type, so long after one another."""
        for length_s in passed_s:
            self.clock.now_s += length_s
            self.guards.note(job_type, "permanent: ValueError")


def test_one_more_than_may_pass_pauses_the_type() -> None:
    """The count begins anew after that: the operator who resumes it has room for as many again."""
    scene = Scene()
    scene.note(b"mail", 0.0, 5.0, 5.0)
    assert [(found.job_type, found.queue, found.reason) for found in scene.found] == [
        (
            "mail",
            "q",
            "3 dead letters within 10.0 s; at most 2 may come within 1m, the last one by permanent: ValueError",
        )
    ]
    scene.note(b"mail", 1.0, 1.0)
    assert len(scene.found) == 1
    scene.note(b"mail", 1.0)
    assert len(scene.found) == 2


@pytest.mark.parametrize(
    ("passed_s", "trips"), [((0.0, 30.0, 30.0), 1), ((0.0, 30.0, 30.1), 0), ((0.0, 61.0, 59.0), 0)]
)
def test_only_those_within_the_window_count(passed_s: tuple[float, ...], trips: int) -> None:
    """The window moves with each dead letter."""
    scene = Scene()
    scene.note(b"mail", *passed_s)
    assert len(scene.found) == trips


def test_each_type_is_counted_for_itself() -> None:
    """One declares that none may come; jobs of an unknown type are nobody's."""
    scene = Scene()
    scene.note(b"mail", 0.0, 0.0)
    scene.note(None, 0.0)
    scene.note(b"other", 0.0)
    scene.note(b"charge", 0.0)
    assert [found.job_type for found in scene.found] == ["charge"]


def test_without_guards_nothing_is_asked() -> None:
    """The settling of a dead letter looks whether there are any."""
    assert not DeadGuards()
    assert Scene().guards
