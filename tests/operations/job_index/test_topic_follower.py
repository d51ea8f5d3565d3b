"""The index agrees with what the workers did: from events, from the topics alone, and after kills at any point."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from stoker.consumers import Discard, Snooze
from stoker.operations.job_index import committed_jobs, ledger_backlog, topic_follower, topic_reading
from stoker.operations.job_index.database import index_path, throw_away
from stoker.operations.job_index.index_reader import IndexReader
from stoker.operations.job_index.job_filter import JobFilter
from stoker.operations.job_index.job_history import read_history
from stoker.operations.job_index.listed_jobs import ListedJob
from stoker.operations.job_index.topic_follower import TopicFollower
from stoker.operations.stored_jobs.errors import TopicAbsent
from stoker.producers import Producer
from stoker.topology import ClusterSettings, Pipeline, RetryPolicy
from support.kafka.commits import delete_all_records
from support.scenes.worker import Journal, create, declare_queue, delete_topics, running_worker, wait_all_committed
from support.sight.index import check_counts
from support.waiting import wait_until

pytestmark = pytest.mark.timeout(180)

KEEP = timedelta(days=7)
WISHES = {"do": "done", "fail": "dead", "again": "done", "discard": "discarded", "snooze": "done"}


def fleet(cluster: ClusterSettings, namespace: str, *, events: bool = True) -> tuple[Pipeline, dict[str, str]]:
    """A worker that has done what each job wished; the pipeline, and {job: state in which it must be}."""
    journal = Journal()
    pipeline, queue = declare_queue(namespace)

    @pipeline.job(queue, key="number", tenant="wish", retry=RetryPolicy(attempts=2))
    def act(number: int, wish: str) -> None:
        attempt, runs = journal.note(number).attempt, journal.times()[number]
        if wish == "fail" or (wish == "again" and attempt == 1):
            raise ValueError(f"card of {number} declined")
        if wish == "discard":
            raise Discard("not wanted")
        if wish == "snooze" and runs == 1:
            raise Snooze(timedelta(seconds=1))

    create(pipeline, cluster)
    with Producer(pipeline, cluster) as producer:
        wishes = {producer.enqueue(act, n, wish).job_id: wish for n, wish in enumerate([*WISHES, *WISHES, "do"])}
        with running_worker(pipeline, cluster, done_events=events, release="v3"):
            wait_until(lambda: len(journal.runs) >= len(wishes) + 6, 60, "all runs")
            wait_all_committed(cluster, queue)
        wishes[producer.enqueue(act.with_options(delay=timedelta(hours=1)), 99, "wait").job_id] = "wait"
        wishes[producer.enqueue(act, 98, "wait").job_id] = "none"
    expected = {**WISHES, "wait": "delayed", "none": "queued"}
    return pipeline, {job_id: expected[wish] for job_id, wish in wishes.items()}


def follow(
    pipeline: Pipeline,
    cluster: ClusterSettings,
    path: Path,
    *,
    reconciled: int = 0,
    committed: int = 0,
    keep: timedelta = KEEP,
) -> set[str]:
    """Read all there is, until so many are reconciled with ledger and commits; the stages that were gone through."""
    follower, stages = TopicFollower(pipeline, cluster, path, keep=keep), set[str]()

    def is_through() -> bool:
        follower.turn()
        progress = follower.progress
        stages.add(progress.stage)
        is_reconciled = progress.reconciled >= reconciled and progress.committed >= committed
        return progress.is_settled and progress.behind == 0 and is_reconciled

    try:
        wait_until(is_through, 60, "the index to be up to date")
    finally:
        follower.close()
    return stages


def jobs_of(path: Path) -> dict[str, ListedJob]:
    """{id: job}."""
    with IndexReader(path) as reader:
        return {job.job_id: job for job in reader.find(JobFilter(), 10_000, 60).jobs}


def states_of(path: Path) -> dict[str, str]:
    """{id: state}."""
    return {job_id: job.state.shown for job_id, job in jobs_of(path).items()}


@pytest.mark.expected_errors("dead letter")
def test_the_index_agrees_with_what_the_jobs_did(cluster: ClusterSettings, namespace: str, tmp_path: Path) -> None:
    """Each with its times, worker, release, failures and labels; read once more, nothing changes."""
    pipeline, expected = fleet(cluster, namespace)
    path = tmp_path / "index.sqlite"
    for _ in range(2):
        follow(pipeline, cluster, path)
        assert states_of(path) == expected
    jobs = jobs_of(path)
    ended = [job for job in jobs.values() if job.state.shown == "done"]
    assert all(job.took is not None and job.release == "v3" and job.key and job.tenant for job in ended)
    with IndexReader(path) as reader:
        (dead, *_) = (job_id for job_id, job in jobs.items() if job.state.shown == "dead")
        history = reader.history(dead)
        assert [(one.kind, one.attempt) for one in history] == [("retried", 1), ("dead", 2)]
        assert all("declined" in one.message and "ValueError" in one.error_type for one in history)
        assert len(reader.find(JobFilter(words="declined"), 100, 10).jobs) == 4
    connection = sqlite3.connect(path)
    check_counts(connection)
    connection.close()


@pytest.mark.expected_errors("dead letter")
def test_without_events_the_topics_tell_the_same(
    cluster: ClusterSettings, namespace: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All events are lost: what waits and what is dead is on topics, and what is done in the ledger."""
    monkeypatch.setattr(ledger_backlog, "RECONCILE_AFTER_S", 0.0)
    monkeypatch.setattr(topic_reading, "entries_of_event", lambda _value: ())
    pipeline, expected = fleet(cluster, namespace)
    path = tmp_path / "index.sqlite"
    gone = sum(state in ("done", "discarded") for state in expected.values())
    follow(pipeline, cluster, path, reconciled=gone)
    told = {job_id: "cancelled" if state == "discarded" else state for job_id, state in expected.items()}
    assert states_of(path) == told
    assert Counter(told.values())["done"] == gone - 2


@pytest.mark.expected_errors("dead letter")
def test_without_events_and_ledger_the_commits_tell_what_has_ended(
    cluster: ClusterSettings, namespace: str, tmp_path: Path
) -> None:
    """Of an outage longer than the ledger remembers; what waits still waits, and the topics alone tell the same."""
    pipeline, expected = fleet(cluster, namespace)
    for topic in (pipeline.events_topic, *(queue.ledger_topic for queue in pipeline.queues.values())):
        delete_all_records(cluster, topic)
    path = tmp_path / "index.sqlite"
    gone = {job_id for job_id, state in expected.items() if state in ("done", "discarded")}
    follow(pipeline, cluster, path, committed=len(gone))
    told = {job_id: "done" if job_id in gone else state for job_id, state in expected.items()}
    jobs = jobs_of(path)
    assert {job_id: job.state.shown for job_id, job in jobs.items()} == told
    assert {job_id for job_id, job in jobs.items() if job.known_from == "commits"} == gone
    with_index = sqlite3.connect(path)
    check_counts(with_index)
    with_index.close()
    for job_id in [next(iter(gone)), *(job_id for job_id in expected if job_id not in gone)]:
        history = read_history(pipeline, cluster, job_id)
        assert history is not None
        assert history.job.state.shown == told[job_id]


def test_the_topics_that_are_there_tell_of_a_job_though_others_are_not(
    cluster: ClusterSettings, namespace: str
) -> None:
    """That of the events was deleted, and a queue is declared whose topics are yet to be made."""
    pipeline, queue = declare_queue(namespace)

    @pipeline.job(queue)
    def act(number: int) -> None:
        pass

    create(pipeline, cluster)
    with Producer(pipeline, cluster) as producer:
        job_id = producer.enqueue(act, 1).job_id
    delete_topics(cluster, pipeline.events_topic)
    pipeline.queue("later", partitions=1)
    history = read_history(pipeline, cluster, job_id)
    assert history is not None
    assert history.job.state.shown == "queued"
    assert read_history(pipeline, cluster, "job-2") is None
    elsewhere, _ = declare_queue(f"{namespace}-none")
    with pytest.raises(TopicAbsent):
        read_history(elsewhere, cluster, job_id)


@pytest.mark.parametrize("is_running", [False, True])
def test_a_topic_that_is_made_anew_is_read_from_its_beginning(
    cluster: ClusterSettings, namespace: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_running: bool
) -> None:
    """It grows past the offset up to which the former one was read, before the index looks at it again."""
    monkeypatch.setattr(committed_jobs, "INTERVAL_S", 0.5)
    pipeline, queue = declare_queue(namespace)

    @pipeline.job(queue)
    def act(number: int) -> None:
        pass

    create(pipeline, cluster)
    path = tmp_path / "index.sqlite"
    with Producer(pipeline, cluster) as producer:
        ids = {producer.enqueue(act, number).job_id for number in range(20)}
    follow(pipeline, cluster, path)
    follower = TopicFollower(pipeline, cluster, path, keep=KEEP)

    def has(what: Callable[[], bool]) -> bool:
        follower.turn()
        return what()

    if is_running:
        wait_until(lambda: has(lambda: follower.progress.is_settled), 30, "the index to be up to date")
    delete_topics(cluster, queue.topic)
    create(pipeline, cluster)
    with Producer(pipeline, cluster) as producer:
        ids |= {producer.enqueue(act, number).job_id for number in range(100)}
    try:
        wait_until(lambda: has(lambda: set(states_of(path)) == ids), 60, "the jobs of the new topic")
    finally:
        follower.close()


def test_jobs_that_wait_for_longer_than_ended_ones_are_kept_are_in_a_new_index(
    cluster: ClusterSettings, namespace: str, tmp_path: Path
) -> None:
    """An index that was there before has them, as only jobs that have ended are forgotten."""
    pipeline, queue = declare_queue(namespace)

    @pipeline.job(queue)
    def act(number: int) -> None:
        pass

    create(pipeline, cluster)
    with Producer(pipeline, cluster) as producer:
        with running_worker(pipeline, cluster) as running:
            ended = producer.enqueue(act, 1).job_id
            delayed = producer.enqueue(act.with_options(delay=timedelta(hours=1)), 2).job_id
            running.wait_outcomes(Done=1, Delayed=1)
            wait_all_committed(cluster, queue)
        waiting = producer.enqueue(act, 3).job_id
    follow(pipeline, cluster, tmp_path / "index.sqlite", keep=timedelta(milliseconds=1))
    states = states_of(tmp_path / "index.sqlite")
    states.pop(ended, None)
    assert states == {delayed: "delayed", waiting: "queued"}


APPLICATION = """
from stoker.topology import Pipeline
pipeline = Pipeline({namespace!r})
queue = pipeline.queue("work", partitions=2)

@pipeline.job(queue)
def act(number: int) -> None:
    pass
"""


IN_SMALL_BATCHES = """
import sys
from stoker.operations.job_index import bulk_fill
bulk_fill.WRITE_AT, bulk_fill.RECORDS = 500, 250
from stoker.operations.cli.__main__ import main
sys.exit(main())
"""


def test_a_kill_at_any_point_counts_nothing_twice(cluster: ClusterSettings, namespace: str, tmp_path: Path) -> None:
    """The process is killed with -9 while it builds, three times; then the counts are those of the topics."""
    pipeline, queue = declare_queue(namespace)

    @pipeline.job(queue)
    def act(number: int) -> None:
        pass

    create(pipeline, cluster)
    total = 12_000
    with Producer(pipeline, cluster) as producer:
        producer.enqueue_many(act.call(number) for number in range(total))
    (tmp_path / "application.py").write_text(APPLICATION.format(namespace=namespace), encoding="utf-8")
    path = index_path(namespace, environ={"STOKER_HOME": str(tmp_path / ".stoker")})
    for part in (1, 4, 8):
        killed = start(cluster, tmp_path)
        wait_until(lambda part=part: count(path) >= part * 1_000, 60, "some jobs in the index")  # type: ignore[misc]
        os.kill(killed.pid, signal.SIGKILL)
        killed.wait()
    with running_worker(pipeline, cluster) as running:
        running.wait_outcomes(Done=total)
        wait_all_committed(cluster, queue)
    last = start(cluster, tmp_path, "--once")
    assert last.wait(120) == 0
    with IndexReader(path) as reader:
        assert reader.counts(("state",), JobFilter()) == [(("done",), total)]
    connection = sqlite3.connect(path)
    check_counts(connection)
    assert connection.execute("SELECT sum(jobs) FROM minutes").fetchone() == (total,)
    connection.close()


def test_an_index_that_is_deleted_under_its_process_is_built_again(
    cluster: ClusterSettings, namespace: str, tmp_path: Path
) -> None:
    """It may be deleted at any time, and nobody has to start the process again for that."""
    pipeline, queue = declare_queue(namespace)

    @pipeline.job(queue)
    def act(number: int) -> None:
        pass

    create(pipeline, cluster)
    with Producer(pipeline, cluster) as producer:
        producer.enqueue_many(act.call(number) for number in range(10))
    (tmp_path / "application.py").write_text(APPLICATION.format(namespace=namespace), encoding="utf-8")
    path = index_path(namespace, environ={"STOKER_HOME": str(tmp_path / ".stoker")})
    process = start(cluster, tmp_path)
    try:
        for _ in range(2):
            wait_until(lambda: count(path) == 10, 60, "all jobs in the index")
            throw_away(path)
        wait_until(lambda: count(path) == 10, 60, "all jobs in the index")
    finally:
        process.terminate()
        process.wait()


def test_an_index_that_is_far_behind_is_finished_anew(
    cluster: ClusterSettings, namespace: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To add ten times what it has to each of its indexes takes longer than to build them again."""
    monkeypatch.setattr(topic_follower, "FAR_BEHIND", 10)
    pipeline, queue = declare_queue(namespace)

    @pipeline.job(queue, key="number")
    def act(number: int) -> None:
        pass

    create(pipeline, cluster)
    path = tmp_path / "index.sqlite"
    with Producer(pipeline, cluster) as producer:
        for first, last, stages in ((0, 5, {"building"}), (5, 10, set()), (10, 60, {"building"})):
            producer.enqueue_many(act.call(number) for number in range(first, last))
            seen = follow(pipeline, cluster, path)
            assert seen & {"building"} == stages
            assert Counter(states_of(path).values()) == {"queued": last}
    with IndexReader(path) as reader:
        assert len(reader.find(JobFilter(key="59"), 10, 10).jobs) == 1


def start(cluster: ClusterSettings, folder: Path, *options: str) -> subprocess.Popen[bytes]:
    """The process that keeps the index."""
    command = [sys.executable, "-c", IN_SMALL_BATCHES, "-A", "application:pipeline", "status", "run", *options]
    environment = {**os.environ, "STOKER_BOOTSTRAP_SERVERS": cluster.bootstrap_servers, "PYTHONPATH": str(folder)}
    return subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.DEVNULL)


def count(path: Path) -> int:
    """How many jobs the index has by now."""
    if not path.exists():
        return 0
    connection = sqlite3.connect(path)
    try:
        found: int = connection.execute("SELECT count(*) FROM jobs").fetchone()[0]
    except sqlite3.OperationalError:
        return 0
    finally:
        connection.close()
    return found
