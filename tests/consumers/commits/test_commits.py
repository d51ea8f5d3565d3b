"""When commits are sent, and what the last one of a partition says of its owner."""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import Any, cast

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from stoker.consumers.commits import commits as module
from stoker.consumers.commits.commits import Commits
from stoker.consumers.commits.spill import Spill
from stoker.consumers.instruments.instruments import Instruments
from stoker.consumers.partitions.assignments import Assignments
from stoker.consumers.progress.assignment import Assignment
from stoker.topology.wire.commit_metadata import CommitMetadata
from support.scenes.deliveries import declare
from support.scenes.instruments import CountingInstrument

MAIN = TopicPartition("unit.q", 0)


class Coordinator:
    """Takes every commit, but for so many of the next ones as it is to refuse."""

    def __init__(self) -> None:
        self.sent: list[TopicPartition] = []
        self.refusals: list[KafkaError] = []

    def commit(self, *, offsets: list[TopicPartition], asynchronous: bool) -> list[TopicPartition]:
        """Take it."""
        assert offsets
        if self.refusals:
            raise KafkaException(self.refusals.pop())
        self.sent += offsets
        return [] if asynchronous else [TopicPartition(place.topic, place.partition) for place in offsets]


class Scene:
    """One partition, its commits, and a clock of its own."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now_s = 100.0
        monkeypatch.setattr(module.time, "monotonic", lambda: self.now_s)  # type: ignore[attr-defined]  # as it imports
        queue = declare().queue
        self.assignments = Assignments(queue)
        (self.assignment,) = self.assignments.add([MAIN])
        self.counts = CountingInstrument()
        self.commits = Commits(
            self.assignments,
            Spill(queue, cast(Any, None)),
            timedelta(milliseconds=250),
            instruments=Instruments([self.counts]),
        )
        self.coordinator = Coordinator()
        self.assignment.progress.begin(CommitMetadata(committed_offset=0, position=0))

    def complete(self, offset: int) -> None:
        """A job is done, and the poll thread turns."""
        self.assignment.progress.note_delivered(offset)
        self.assignment.progress.complete(offset)
        self.turn()

    def turn(self) -> None:
        """What is due is sent, and answered at once."""
        known = len(self.coordinator.sent)
        self.commits.commit_if_due(cast(Consumer, self.coordinator))
        if self.coordinator.sent[known:]:
            self.commits.note_answer(None, self.coordinator.sent[known:])

    def last(self) -> CommitMetadata:
        """What the last commit says, when the partition goes away."""
        self.commits.last.commit(cast(Consumer, self.coordinator), [self.assignment])
        place = self.coordinator.sent[-1]
        state = CommitMetadata.decode(place.metadata, place.offset)
        assert state is not None
        return state


def test_instruments_see_what_the_brokers_have_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each commit once it is answered, and the last one of an assignment; none that was refused."""
    scene = Scene(monkeypatch)
    place = scene.assignment.topic, scene.assignment.partition
    scene.complete(0)
    assert scene.counts.offsets == {place: 1}
    scene.commits.note_answer(KafkaError(KafkaError._TIMED_OUT), [TopicPartition(*place, 9)])
    assert scene.counts.offsets == {place: 1}
    scene.complete(1)
    assert scene.counts.offsets == {place: 1}, "it is not due"
    scene.last()
    assert scene.counts.offsets == {place: 2}


@pytest.mark.parametrize(("deaths", "interval_s"), [(0, 0.25), (1, 0.05)])
def test_commits_are_sent_more_often_after_a_death(
    deaths: int, interval_s: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every 250 ms; where an owner has died, every 50 ms, so that the next one knows well what was running."""
    scene = Scene(monkeypatch)
    scene.assignment.crash_history.deaths, scene.assignment.crash_history.window_end = deaths, 1_000
    scene.complete(0)
    scene.now_s += interval_s - 0.001
    scene.complete(1)
    assert [place.offset for place in scene.coordinator.sent] == [1]
    scene.now_s += 0.002
    scene.turn()
    assert [place.offset for place in scene.coordinator.sent] == [1, 2]


def test_deaths_are_forgotten_when_an_owner_has_come_beyond_what_was_running(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not before: the next one to die must be known to be the second."""
    scene = Scene(monkeypatch)
    scene.assignment.crash_history.deaths, scene.assignment.crash_history.window_end = 1, 2
    scene.complete(0)
    assert scene.assignment.crash_history.deaths == 1
    scene.now_s += 1
    scene.complete(1)
    assert scene.assignment.crash_history.deaths == 0


def test_a_worker_that_ends_well_closes_its_partitions_also_where_a_job_is_left_running(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It lives to settle it as late, so nobody has died."""
    scene = Scene(monkeypatch)
    scene.assignment.progress.note_delivered(0)
    assert scene.last() == CommitMetadata(committed_offset=0, position=1, incomplete=((0, 1),), is_open=False)


def test_a_worker_that_fails_over_its_jobs_closes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a job which ends one worker after the other comes to be suspected."""
    scene = Scene(monkeypatch)
    scene.assignment.progress.note_delivered(0)
    scene.commits.last.note_crash()
    assert scene.last().is_open


def test_a_last_commit_that_a_loading_coordinator_refuses_is_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the partition stayed open, and the next owner counted a death that was none."""
    scene = Scene(monkeypatch)
    scene.coordinator.refusals = [KafkaError(KafkaError.COORDINATOR_LOAD_IN_PROGRESS)]
    assert not scene.last().is_open


@pytest.mark.parametrize("code", [KafkaError.COORDINATOR_LOAD_IN_PROGRESS, KafkaError.GROUP_AUTHORIZATION_FAILED])
def test_a_last_commit_that_stays_refused_is_sent_when_the_consumer_closes(
    code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its partitions are revoked then; one that is refused for good is not repeated before. Each refusal counts."""
    scene = Scene(monkeypatch)
    refusals = 2 if code == KafkaError.COORDINATOR_LOAD_IN_PROGRESS else 1
    scene.coordinator.refusals = [KafkaError(code)] * refusals
    scene.commits.last.commit(cast(Consumer, scene.coordinator), [scene.assignment])
    assert scene.coordinator.refusals == []
    assert scene.coordinator.sent == []
    assert scene.commits.answers.counts["refused"] == refusals
    assert not scene.last().is_open


def test_a_crash_that_was_noted_is_kept_until_its_job_has_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    """The next owner goes on counting; of a job that is done, it would count against nobody."""
    scene = Scene(monkeypatch)
    running: Assignment = scene.assignment
    running.progress.note_delivered(0)
    running.progress.note_delivered(1)
    running.crash_history.crashes.update({0: 2, 1: 1})
    running.progress.complete(1)
    assert scene.last().crashes == {0: 2}


def test_refused_commits_are_logged_now_and_then(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """While a coordinator loads, each commit is refused, four a second; of ten seconds the log has one."""
    caplog.set_level(logging.INFO)
    scene = Scene(monkeypatch)
    loading = KafkaError(KafkaError.COORDINATOR_LOAD_IN_PROGRESS)
    for _ in range(40):
        scene.commits.note_answer(loading, [MAIN])
    scene.now_s += 11
    scene.commits.note_answer(loading, [MAIN])
    text = "queue 'q': offsets of partitions [0] were not committed, and will be with the next commit: "
    logged = [(record.getMessage(), record.__dict__["partitions"]) for record in caplog.records]
    assert logged == [(f"{text}Broker: Coordinator load in progress", [0])] * 2
