"""Reading again: what the worker knows by its offset comes back once, in order, or is reported as gone."""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

import pytest
from confluent_kafka import Consumer

from stoker.consumers.backlog import rereader as module
from stoker.consumers.backlog.rereader import SWEEP_OPTIONS, Rereader
from stoker.consumers.progress.assignment import Assignment
from support.clusters.cluster import Cluster
from support.waiting import wait_until


class Scene:
    """A topic of 300 records, and what reads it again."""

    def __init__(self, kafka: Cluster, *, is_compacted: bool = False) -> None:
        self.topic = kafka.make_topic(is_compacted=is_compacted)
        kafka.write(self.topic, *(b"%d" % number for number in range(300)))
        self.place = Assignment(1, self.topic, 0)
        self.rereader = Rereader(cast(Consumer, kafka.reader(SWEEP_OPTIONS)))
        self.found: list[int] = []
        self.gone: list[int] = []

    def read(self, *wanted: Iterable[int]) -> None:
        """Ask for these, a group after the other with a turn between, and wait until nothing is left to come."""
        for offsets in wanted:
            self.rereader.want(self.place, offsets)
            self._turn()
        wait_until(self._is_over, 60, "all to be read again")

    def _is_over(self) -> bool:
        self._turn()
        return not self.rereader.is_busy

    def _turn(self) -> None:
        reread = self.rereader.turn()
        for assignment, message in reread.found:
            assert assignment is self.place
            assert message.value() == b"%d" % (message.offset() or 0)
            self.found.append(message.offset() or 0)
        self.gone += [offset for _, offset in reread.gone]


def test_all_that_is_wanted_comes_once_in_ascending_order(kafka: Cluster) -> None:
    """And nothing of what lies between."""
    scene = Scene(kafka)
    scene.read([7, 200, 8, 299, 0])
    assert (scene.found, scene.gone) == ([0, 7, 8, 200, 299], [])


def test_what_is_wanted_behind_the_sweep_comes_with_the_next_one(kafka: Cluster) -> None:
    """Asked for again and again, with what lies ahead or was passed."""
    scene = Scene(kafka)
    scene.read([100, 250], [3, 260], [150, 1])
    scene.read([2])
    assert sorted(scene.found) == [1, 2, 3, 100, 150, 250, 260]
    assert len(scene.found) == 7


def test_a_wide_gap_is_sought_over(kafka: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was fetched ahead of the seek does not pass for what comes after it."""
    monkeypatch.setattr(module, "SEEK_ABOVE", 5)
    scene = Scene(kafka)
    scene.read(range(0, 300, 20), [299, 4])
    assert sorted(scene.found) == sorted([*range(0, 300, 20), 299, 4])


def test_what_retention_has_taken_is_gone(kafka: Cluster) -> None:
    """Nothing waits for it for ever, be it that all or a part of what was wanted is away."""
    scene = Scene(kafka)
    kafka.cut(scene.topic, 50)
    scene.read([10, 20, 60])
    assert (scene.found, scene.gone) == ([60], [10, 20])
    kafka.cut(scene.topic, 300)
    scene.read([70, 80])
    assert (scene.found, scene.gone) == ([60], [10, 20, 70, 80])


def test_nothing_comes_of_what_was_dropped(kafka: Cluster) -> None:
    """As when its partition goes to another worker."""
    scene = Scene(kafka)
    scene.rereader.want(scene.place, [5])
    scene.rereader.drop([scene.place])
    assert not scene.rereader.is_busy
    scene.place = Assignment(2, scene.topic, 0)
    scene.read([6])
    assert (scene.found, scene.gone) == ([6], [])
