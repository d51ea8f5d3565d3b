"""While the brokers refuse events, jobs go on; what is lost is counted, and the index has the truth all the same."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from stoker.consumers import Worker, WorkerSettings
from stoker.operations.job_index import ledger_backlog
from stoker.operations.job_index.index_reader import IndexReader
from stoker.operations.job_index.job_filter import JobFilter
from stoker.operations.job_index.topic_follower import TopicFollower
from stoker.producers import Producer
from stoker.topology import ClusterSettings, Pipeline, RetryPolicy
from support.kafka.configs import change_configs
from support.scenes.worker import RunningWorker, create, declare_queue, wait_all_committed
from support.sight.events import done_jobs, job_events
from support.sight.scraping import scrape
from support.waiting import wait_until

pytestmark = [
    pytest.mark.timeout(180),
    pytest.mark.expected_errors("dead letter"),
]

REFUSED = {"max.message.bytes": "1"}
ALLOWED = {"max.message.bytes": "1000000"}
DONE, SPENT = 40, 3
SHORT = timedelta(seconds=5)


@contextmanager
def watched_worker(pipeline: Pipeline, cluster: ClusterSettings) -> Iterator[tuple[RunningWorker, int]]:
    """A worker, and the port of its metrics."""
    worker = Worker(pipeline, cluster, WorkerSettings(grace=SHORT, revoke_grace=SHORT))
    with worker.serve_metrics(0) as server:
        running = RunningWorker(worker)
        try:
            yield running, server.port
        finally:
            running.stop()


def test_the_index_has_all_jobs_although_events_were_refused_for_a_while(
    cluster: ClusterSettings, namespace: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A broker refuses each record of events; when it takes them again, so does the client that was refused."""
    monkeypatch.setattr(ledger_backlog, "RECONCILE_AFTER_S", 0.0)
    pipeline, queue = declare_queue(namespace)

    @pipeline.job(queue, retry=RetryPolicy(attempts=1))
    def act(number: int) -> None:
        if number < 0:
            raise ValueError(number)

    create(pipeline, cluster)
    with Producer(pipeline, cluster) as producer, watched_worker(pipeline, cluster) as (running, port):
        change_configs(cluster, {pipeline.events_topic: REFUSED})
        lost = [producer.enqueue(act, number).job_id for number in range(DONE)]
        lost += [producer.enqueue(act, -1).job_id for _ in range(SPENT)]
        running.wait_outcomes(Done=DONE, Dead=SPENT)
        wait_until(
            lambda: scrape(port).value("stoker_events_given_up_total") == DONE + SPENT,
            what="the events to be given up, and counted by the jobs that they are of",
        )
        assert not done_jobs(cluster, pipeline)
        assert not job_events(cluster, pipeline)
        change_configs(cluster, {pipeline.events_topic: ALLOWED})
        told = [producer.enqueue(act, number).job_id for number in range(DONE)]
        told += [producer.enqueue(act, -1).job_id for _ in range(SPENT)]
        running.wait_outcomes(Done=2 * DONE, Dead=2 * SPENT)
        wait_until(lambda: len(done_jobs(cluster, pipeline)) == DONE, what="the events of later jobs")
        assert scrape(port).value("stoker_events_given_up_total") == DONE + SPENT
        wait_all_committed(cluster, queue)
    path = tmp_path / "index.sqlite"
    follow(pipeline, cluster, path)
    with IndexReader(path) as reader:
        jobs = {job.job_id: job for job in reader.find(JobFilter(), 1_000, 60).jobs}
    expected = ["done"] * DONE + ["dead"] * SPENT
    assert [jobs[job_id].state.shown for job_id in [*lost, *told]] == [*expected, *expected]
    assert len(jobs) == 2 * (DONE + SPENT)
    assert all(jobs[job_id].took is None for job_id in lost[:DONE])
    assert all(jobs[job_id].took is not None for job_id in told[:DONE])


def follow(pipeline: Pipeline, cluster: ClusterSettings, path: Path) -> None:
    """Read all that is there, until the ledger has told of the jobs that no event has told of."""
    follower = TopicFollower(pipeline, cluster, path, keep=timedelta(days=7))

    def is_through() -> bool:
        follower.turn()
        progress = follower.progress
        return progress.is_settled and progress.behind == 0 and progress.reconciled >= DONE

    try:
        wait_until(is_through, 60, "the index to be up to date")
    finally:
        follower.close()
