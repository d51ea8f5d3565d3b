"""The last commit of a partition closes it, unless jobs have brought its worker down: that counts as a death."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from datetime import timedelta
from typing import Final

import pytest
from confluent_kafka import TopicPartition

from stoker.consumers.assembly.queue_context import QueueContext
from stoker.consumers.assembly.queue_parts import make_queue
from stoker.consumers.errors import LoopLost, TooManyStuck
from stoker.consumers.job.run import Run
from stoker.consumers.progress.assignment import Assignment
from stoker.consumers.settings import WorkerSettings
from stoker.topology import ClusterSettings
from stoker.topology.wire.commit_metadata import CommitMetadata
from support.scenes.deliveries import EmptyStore, declare

NOBODY: Final = "127.0.0.1:1"
PLACE: Final = TopicPartition("unit.q", 0)
CAUSES = pytest.mark.parametrize(
    ("cause", "is_open"),
    [(TooManyStuck("q", 2), True), (LoopLost("q", "job-1", 1), True), (ValueError("its own"), False), (None, False)],
    ids=["too many stuck", "loop lost", "a fault of its own", "none"],
)


class Scene:
    """A worker that has one partition, and how its last commit leaves that."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        delivery = declare()
        cluster = ClusterSettings(bootstrap_servers=NOBODY)
        self.parts = make_queue(
            QueueContext(
                pipeline=delivery.pipeline,
                queue=delivery.queue,
                cluster=cluster,
                store=EmptyStore(),
                settings=WorkerSettings(),
            )
        )
        self.commits, self.running = self.parts.partitions.commits.last, self.parts.running
        self.member, self.rebalance = self.parts.group.member, self.parts.group.rebalance
        (assignment,) = self.parts.partitions.assignments.add([PLACE])
        assignment.note_restored(CommitMetadata(committed_offset=0, position=0))
        self.last: list[bool] = []
        monkeypatch.setattr(self.commits, "commit", self._note)
        monkeypatch.setattr(self.parts.worker._threads, "stop_jobs", self._stop_jobs)
        self.within_grace: Exception | None = None

    def shut_down(self) -> None:
        """As the poll thread does it, when it turns no more."""
        self.parts.worker._shutdown.run()

    def _stop_jobs(self, _settle_within: timedelta) -> list[Run]:
        self.running.watchdog._thread.crashed = self.within_grace
        return []

    def _note(self, _consumer: object, leaving: Collection[Assignment]) -> None:
        states = [self.commits._last_state(assignment) for assignment in leaving]
        self.last += [state.is_open for state in states if state is not None]


@pytest.fixture
def scene(monkeypatch: pytest.MonkeyPatch) -> Iterator[Scene]:
    """Its clients are closed afterwards."""
    made = Scene(monkeypatch)
    yield made
    made.member.consumer.close()
    made.parts.group.readers.side_reader.close()


@CAUSES
def test_what_happens_within_the_grace_of_a_shutdown_counts(
    scene: Scene, cause: Exception | None, is_open: bool
) -> None:
    """Else a job that brings down each worker as it ends would never be suspected."""
    scene.within_grace = cause
    scene.shut_down()
    assert scene.last == [is_open]


@CAUSES
def test_what_happens_within_the_grace_of_a_rebalance_counts(
    scene: Scene, cause: Exception | None, is_open: bool
) -> None:
    """The partition is given away before the worker ends."""

    def wait_ended(_leaving: list[Assignment]) -> None:
        scene.running.watchdog._thread.crashed = cause

    scene.rebalance.revoke(scene.member.consumer, [PLACE], wait_ended)
    assert scene.last == [is_open]


def test_a_worker_that_fails_at_a_record_closes_nothing(scene: Scene) -> None:
    """The next one fails at it as well, until the record is suspected and its job runs in a child."""
    scene.running.failure.error = ValueError("at the record")
    scene.shut_down()
    assert scene.last == [True]


def test_a_worker_that_ends_for_another_reason_closes_what_it_has(scene: Scene) -> None:
    """No job that ran beside it shall be suspected."""
    scene.parts.gating.waits.thread.crashed = ValueError("of the thread that asks for schemas")
    scene.shut_down()
    assert scene.last == [False]
