"""Offsets that somebody moved, records that somebody deleted, topics made anew: the worker goes on, and says so."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer
from confluent_kafka import Producer as PlainProducer

from stoker.consumers.commits.commits import Commits
from stoker.operations.broker.embedded import EmbeddedBroker
from stoker.producers import Producer
from stoker.topology import ClusterSettings, JobType, Pipeline, Queue
from stoker.topology.declaration.queue import LedgerWindow
from stoker.topology.planning.apply import ensure_topology
from support.kafka.commits import DEADLINE_S, commit_of, delete_records, move_group, state_of, wait_state
from support.scenes.worker import (
    Gate,
    Journal,
    create,
    delete_topics,
    ends,
    running_worker,
    wait_all_committed,
)
from support.waiting import wait_until

Noting = JobType[[int], None]


def declare_noting(namespace: str, journal: Journal, gate: Gate, second: Gate) -> tuple[Pipeline, Queue, Noting]:
    """One partition, next to no ledger; negative numbers stand still, -2 for as long as `second` does."""
    pipeline = Pipeline(namespace)
    queue = pipeline.queue("work", partitions=1, ledger=LedgerWindow(jobs=1))

    @pipeline.job(queue)
    def note(number: int) -> None:
        journal.note(number)
        if number < 0:
            (second if number == -2 else gate).wait()

    return pipeline, queue, note


class Scene:
    """A queue of one partition, and what its jobs did."""

    def __init__(self, cluster: ClusterSettings, namespace: str) -> None:
        self.cluster, self.journal, self.gate, self.second = cluster, Journal(), Gate(), Gate()
        self.pipeline, self.queue, self.note = declare_noting(namespace, self.journal, self.gate, self.second)
        create(self.pipeline, cluster)

    def enqueue(self, *numbers: int, key: str | None = None) -> None:
        """Publish jobs."""
        with Producer(self.pipeline, self.cluster) as producer:
            for number in numbers:
                producer.enqueue(self.note.with_options(key=key) if key else self.note, number)

    def work_off(self) -> None:
        """Run what is there, and stop."""
        with running_worker(self.pipeline, self.cluster):
            wait_all_committed(self.cluster, self.queue)


@pytest.fixture
def scene(cluster: ClusterSettings, namespace: str) -> Scene:
    """A scene on the shared cluster."""
    return Scene(cluster, namespace)


def test_a_partition_is_open_while_it_is_worked_on_and_closed_after(scene: Scene) -> None:
    """The state is opened before the first job starts: that job finds it so; a shutdown in order closes it."""
    seen = []
    journal_note = scene.journal.note

    def look_and_note(what: int) -> object:
        seen.append(state_of(scene.cluster, scene.queue))
        return journal_note(what)

    scene.journal.note = look_and_note  # type: ignore[method-assign,assignment]  # to look at the topic from inside
    scene.enqueue(1)
    scene.work_off()
    (during,) = seen
    assert during is not None
    assert (during.is_open, during.deaths, during.committed_offset) == (True, 0, 0)
    after = state_of(scene.cluster, scene.queue)
    assert after is not None
    assert (after.is_open, after.committed_offset, after.incomplete) == (False, 1, ())


def test_no_job_starts_before_its_partition_is_confirmed_to_be_open(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worker turns and turns, but while the answer to the first commit is missing, nothing runs."""
    withheld: list[tuple[Any, ...]] = []
    made: list[Consumer] = []
    take_answer, commit_if_due = Commits.note_answer, Commits.commit_if_due

    def count_turn(commits: Commits, consumer: Consumer) -> None:
        made.append(consumer)
        commit_if_due(commits, consumer)

    monkeypatch.setattr(Commits, "note_answer", lambda *arguments: withheld.append(arguments))
    monkeypatch.setattr(Commits, "commit_if_due", count_turn)
    scene.enqueue(1)
    with running_worker(scene.pipeline, scene.cluster):
        wait_until(lambda: any(place.topic == scene.queue.topic for _, _, places in withheld for place in places))
        before = len(made)
        wait_until(lambda: len(made) > before + 30, DEADLINE_S, "turns without the answer")
        assert scene.journal.runs == []
        monkeypatch.undo()
        for arguments in withheld:
            take_answer(*arguments)
        scene.journal.wait_for(1)


def test_progress_is_kept_over_a_shutdown_that_a_job_outlasts(scene: Scene) -> None:
    """A job that does not end within the grace is no death of its worker; what was done behind it stays done."""
    scene.enqueue(-1, *range(20))
    with running_worker(scene.pipeline, scene.cluster) as worker:
        worker.wait_outcomes(Done=20)
        worker.stop(at_once=True)
    state = state_of(scene.cluster, scene.queue)
    assert state is not None
    assert (state.is_open, state.committed_offset, state.position, state.incomplete) == (False, 0, 21, ((0, 1),))
    scene.gate.open()
    delete_records(scene.cluster, scene.queue.ledger_topic)
    scene.work_off()
    assert scene.journal.times() == {-1: 2, **dict.fromkeys(range(20), 1)}


def test_an_operator_who_moves_offsets_back_gets_the_jobs_again(scene: Scene) -> None:
    """What the commits knew is void with the offset that they stood at, so all from there on is run again."""
    scene.enqueue(*range(10))
    scene.work_off()
    delete_records(scene.cluster, scene.queue.ledger_topic)
    move_group(scene.cluster, scene.queue, 4)
    scene.work_off()
    assert scene.journal.times() == {**dict.fromkeys(range(4), 1), **dict.fromkeys(range(4, 10), 2)}


def test_an_operator_who_moves_offsets_forward_skips_jobs(scene: Scene) -> None:
    """Nothing below the offset is run, and nothing above it is taken for complete."""
    scene.enqueue(-1, *range(1, 6))
    with running_worker(scene.pipeline, scene.cluster) as worker:
        worker.wait_outcomes(Done=5)
        worker.stop(at_once=True)
    scene.enqueue(*range(6, 10))
    move_group(scene.cluster, scene.queue, 3)
    delete_records(scene.cluster, scene.queue.ledger_topic)
    scene.work_off()
    assert scene.journal.times() == {-1: 1, 1: 1, 2: 1, 3: 2, 4: 2, 5: 2, 6: 1, 7: 1, 8: 1, 9: 1}
    scene.gate.open()


def test_an_offset_beyond_the_end_is_reported_and_all_records_are_run(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    """So it looks when brokers have lost records: nothing that is there is passed over, and the offset is fixed."""
    scene.enqueue(*range(5))
    scene.work_off()
    delete_records(scene.cluster, scene.queue.ledger_topic)
    move_group(scene.cluster, scene.queue, 100)
    with caplog.at_level(logging.WARNING, "stoker.progress"), running_worker(scene.pipeline, scene.cluster):
        wait_until(lambda: commit_of(scene.cluster, scene.queue).offset == 5, DEADLINE_S, "the offset to be fixed")
    assert scene.journal.times() == dict.fromkeys(range(5), 2)
    assert "the committed offset 100 lies beyond the end, 5" in caplog.text


def test_records_deleted_unrun_are_reported(scene: Scene, caplog: pytest.LogCaptureFixture) -> None:
    """Six of ten jobs that wait are deleted: the worker says how many, and runs the others."""
    scene.enqueue(0, 1)
    scene.work_off()
    scene.enqueue(*range(2, 12))
    delete_records(scene.cluster, scene.queue.topic, before=8)
    with caplog.at_level(logging.WARNING, "stoker.progress"):
        scene.work_off()
    assert scene.journal.noted == [0, 1, 8, 9, 10, 11]
    (told,) = [record.getMessage() for record in caplog.records if record.name == "stoker.progress"]
    assert "records were deleted before they were run, 6 at most, from offset 2 to 7: " in told


def test_records_deleted_after_they_were_done_are_no_loss(scene: Scene, caplog: pytest.LogCaptureFixture) -> None:
    """Of the deleted records only the stuck one was not complete, and only it is reported."""
    scene.enqueue(-1, *range(1, 10))
    with running_worker(scene.pipeline, scene.cluster) as worker:
        worker.wait_outcomes(Done=9)
        worker.stop(at_once=True)
    delete_records(scene.cluster, scene.queue.topic, before=6)
    delete_records(scene.cluster, scene.queue.ledger_topic)
    with caplog.at_level(logging.WARNING, "stoker.progress"):
        scene.work_off()
    assert scene.journal.times() == {-1: 1, **dict.fromkeys(range(1, 10), 1)}
    assert "run, 1 at most, from offset 0 to 5: " in caplog.text
    scene.gate.open()


def test_gaps_that_transactions_leave_hold_nothing_up(scene: Scene) -> None:
    """Records of aborted transactions and all markers are never delivered: offset and restored runs pass them."""
    scene.enqueue(-1)
    leave_gaps(scene, 5)
    scene.enqueue(1, 2)
    leave_gaps(scene, 3)
    with running_worker(scene.pipeline, scene.cluster) as worker:
        worker.wait_outcomes(Done=2)
        wait_state(scene.cluster, scene.queue, position=ends(scene.cluster, scene.queue.topic, 1)[0], incomplete=1)
        worker.stop(at_once=True)
    scene.gate.open()
    delete_records(scene.cluster, scene.queue.ledger_topic)
    scene.work_off()
    assert scene.journal.times() == {-1: 2, 1: 1, 2: 1}


def leave_gaps(scene: Scene, count: int) -> None:
    """Publish records in transactions that are aborted."""
    producer = PlainProducer(scene.cluster.client_config() | {"transactional.id": f"{scene.queue.topic}-{count}"})
    producer.init_transactions(20)
    for _ in range(count):
        producer.begin_transaction()
        producer.produce(scene.queue.topic, b"never", partition=0)
        producer.flush(10)
        producer.abort_transaction(20)


def test_a_topic_made_anew_under_a_worker_is_worked_on_from_its_beginning(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    """Its offsets begin again below those that were seen; nothing of what was known counts, and nothing stops."""
    scene.enqueue(*range(10))
    with running_worker(scene.pipeline, scene.cluster):
        wait_all_committed(scene.cluster, scene.queue)
        delete_topics(scene.cluster, scene.queue.topic)
        ensure_topology(scene.pipeline, scene.cluster)
        scene.enqueue(*range(10, 13))
        scene.journal.wait_for(10, 11, 12, within_s=DEADLINE_S)
        wait_until(lambda: commit_of(scene.cluster, scene.queue).offset == 3, DEADLINE_S, "the commit of the new topic")


def test_a_job_that_ends_after_its_partition_began_anew_is_late(scene: Scene) -> None:
    """Its result is not taken for that of the record which stands at the same offset by now."""
    scene.enqueue(-1)
    with running_worker(scene.pipeline, scene.cluster) as worker:
        scene.journal.wait_for(-1)
        delete_topics(scene.cluster, scene.queue.topic)
        ensure_topology(scene.pipeline, scene.cluster)
        scene.enqueue(-2, 1)
        scene.journal.wait_for(-2, 1, within_s=DEADLINE_S)
        wait_state(scene.cluster, scene.queue, position=2, incomplete=1)
        scene.gate.open()
        worker.wait_outcomes(Done=2)
        scene.enqueue(2)
        state = wait_state(scene.cluster, scene.queue, position=3, incomplete=1)
        assert state.incomplete == ((0, 1),)
        scene.second.open()
        wait_all_committed(scene.cluster, scene.queue)


@pytest.mark.expected_errors("too few to be of use")
@pytest.mark.parametrize("cap_bytes", [120, 12])
def test_brokers_that_take_little_metadata_stop_no_partition(
    tmp_path: Path, namespace: str, cap_bytes: int, caplog: pytest.LogCaptureFixture
) -> None:
    """With room for a reference, progress goes to its topic; without any, only the committed offset is kept."""
    broker = EmbeddedBroker(tmp_path / "broker", server_settings={"offset.metadata.max.bytes": str(cap_bytes)})
    scene = Scene(ClusterSettings(bootstrap_servers=broker.start()), namespace)
    try:
        enqueue_alternating(scene, 200)
        with running_worker(scene.pipeline, scene.cluster) as worker:
            worker.wait_outcomes(Done=100)
            if cap_bytes == 120:
                wait_state(scene.cluster, scene.queue, position=200, incomplete=100)
            worker.stop(at_once=True)
        scene.gate.open()
        delete_records(scene.cluster, scene.queue.ledger_topic)
        scene.work_off()
        again = {number for number, count in scene.journal.times().items() if count > 1}
        assert again == {-1} if cap_bytes == 120 else again > {-1}
        assert commit_of(scene.cluster, scene.queue).offset == 200
        assert "offset.metadata.max.bytes" in caplog.text
        assert ("too few to be of use" in caplog.text) is (cap_bytes == 12)
    finally:
        broker.kill()


def enqueue_alternating(scene: Scene, jobs: int) -> None:
    """Every other job stands behind a stuck one."""
    with Producer(scene.pipeline, scene.cluster) as producer:
        producer.enqueue_many(
            scene.note.with_options(key="held" if number % 2 == 0 else f"k{number % 7}").call(number or -1)
            for number in range(jobs)
        )


@pytest.mark.expected_errors("progress cannot be written")
def test_without_the_progress_topic_jobs_go_on(scene: Scene, caplog: pytest.LogCaptureFixture) -> None:
    """The topic is gone: the partition is not stopped, its offset is committed, and the log says what that means."""
    enqueue_alternating(scene, 6_000)
    with running_worker(scene.pipeline, scene.cluster) as worker:
        delete_topics(scene.cluster, scene.queue.progress_topic)
        worker.wait_outcomes(DEADLINE_S, Done=3_000)
        wait_state(scene.cluster, scene.queue, position=6_000, incomplete=6_000)
        wait_until(lambda: "progress cannot be written" in caplog.text, DEADLINE_S, "the warning")
        scene.gate.open()
        worker.wait_outcomes(DEADLINE_S, Done=6_000)
        wait_all_committed(scene.cluster, scene.queue)
