"""The index agrees with what the workers did: from events, from the topics alone, and after kills at any point."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from collections import Counter
from datetime import timedelta
from pathlib import Path

import pytest

from stoker.consumers import Discard, Snooze
from stoker.operations.job_index import following
from stoker.operations.job_index.database import index_path
from stoker.operations.job_index.following import Follower
from stoker.operations.job_index.queries import IndexReader, JobFilter, ListedJob
from stoker.producers import Producer
from stoker.topology import ClusterSettings, Pipeline, RetryPolicy
from support.scenes.worker import Journal, create, declare_queue, running_worker, wait_all_committed
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
    expected = {**WISHES, "wait": "delayed", "none": "waiting"}
    return pipeline, {job_id: expected[wish] for job_id, wish in wishes.items()}


def follow(pipeline: Pipeline, cluster: ClusterSettings, path: Path, *, mended: int = 0) -> None:
    """Read all that is there, until the ledger has mended so many."""
    follower = Follower(pipeline, cluster, path, keep=KEEP)
    try:
        wait_until(
            lambda: (
                follower.turn() >= 0
                and follower.progress.is_caught_up
                and follower.progress.behind == 0
                and follower.progress.mended >= mended
            ),
            60,
            "the index to be up to date",
        )
    finally:
        follower.close()


def jobs_of(path: Path) -> dict[str, ListedJob]:
    """{id: job}."""
    with IndexReader(path) as reader:
        return {job.job_id: job for job in reader.find(JobFilter(), 10_000, 60).jobs}


def states_of(path: Path) -> dict[str, str]:
    """{id: state}."""
    return {job_id: job.state.word for job_id, job in jobs_of(path).items()}


@pytest.mark.expected_errors("dead letter")
def test_the_index_agrees_with_what_the_jobs_did(cluster: ClusterSettings, namespace: str, tmp_path: Path) -> None:
    """Each with its times, worker, release, failures and labels; read once more, nothing changes."""
    pipeline, expected = fleet(cluster, namespace)
    path = tmp_path / "index.sqlite"
    for _ in range(2):
        follow(pipeline, cluster, path)
        assert states_of(path) == expected
    jobs = jobs_of(path)
    ended = [job for job in jobs.values() if job.state.word == "done"]
    assert all(job.took is not None and job.release == "v3" and job.key and job.tenant for job in ended)
    with IndexReader(path) as reader:
        (dead, *_) = (job_id for job_id, job in jobs.items() if job.state.word == "dead")
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
    monkeypatch.setattr(following, "MEND_AFTER_S", 0.0)
    monkeypatch.setattr(following, "entries_of_event", lambda _value: ())
    pipeline, expected = fleet(cluster, namespace)
    path = tmp_path / "index.sqlite"
    gone = sum(state in ("done", "discarded") for state in expected.values())
    follow(pipeline, cluster, path, mended=gone)
    told = {job_id: "cancelled" if state == "discarded" else state for job_id, state in expected.items()}
    assert states_of(path) == told
    assert Counter(told.values())["done"] == gone - 2


APPLICATION = """
from stoker.topology import Pipeline
pipeline = Pipeline({namespace!r})
queue = pipeline.queue("work", partitions=2)

@pipeline.job(queue)
def act(number: int) -> None:
    pass
"""


def test_a_kill_at_any_point_counts_nothing_twice(cluster: ClusterSettings, namespace: str, tmp_path: Path) -> None:
    """The process is killed with -9 amid its batches, three times; then the counts are those of the topics."""
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


def start(cluster: ClusterSettings, folder: Path, *options: str) -> subprocess.Popen[bytes]:
    """The process that keeps the index."""
    command = [sys.executable, "-m", "stoker.operations.cli", "-A", "application:pipeline", "status", "run", *options]
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
