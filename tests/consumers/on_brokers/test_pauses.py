"""On a real broker: paused jobs wait and cost no attempt, others go on, and the order of each key stays."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from stoker.consumers import Pause, Worker, current_job
from stoker.consumers.inspection import waiting_counts
from stoker.operations.cluster_view import ClusterView
from stoker.operations.commands.queues import queue_data, queue_lines
from stoker.operations.queue_status.offset_reading import read_offsets
from stoker.operations.queue_status.queues import QueueStatus, inspect_queues
from stoker.producers import Producer
from stoker.topology import ClusterSettings, Pipeline, Queue
from stoker.topology.declaration.pipeline import UnknownName
from support.program import TESTS, program
from support.programs import pausing_worker
from support.scenes.worker import Gate, Journal, create, declare_queue, running_worker, wait_all_committed
from support.waiting import wait_until

DEADLINE_S = 60.0


def declare(namespace: str, journal: Journal, gate: Gate | None = None) -> tuple[Pipeline, Queue]:
    """Two types of jobs on one queue, with keys."""
    pipeline, queue = declare_queue(namespace, partitions=2)

    @pipeline.job(queue, key="key")
    def mail(number: int, key: str) -> None:
        if gate is not None and number == 0:
            gate.wait()
        journal.note((number, key, current_job().attempt))

    @pipeline.job(queue, key="key")
    def call(number: int, key: str) -> None:
        journal.note((number, key, current_job().attempt))

    return pipeline, queue


@contextmanager
def killed_at_end(cluster: ClusterSettings, namespace: str, runs: Path, release: Path) -> Iterator[None]:
    """A worker process that is killed in the end."""
    command = [*program("pausing_worker"), cluster.bootstrap_servers, namespace, str(runs), str(release)]
    process = subprocess.Popen(command, cwd=TESTS, stderr=subprocess.DEVNULL)
    try:
        yield
    finally:
        process.kill()
        process.wait()


def test_a_paused_type_waits_and_runs_in_the_order_of_its_keys(cluster: ClusterSettings, namespace: str) -> None:
    """Jobs of another type run, but for those behind a paused one of their key."""
    journal = Journal()
    pipeline, queue = declare(namespace, journal)
    create(pipeline, cluster)
    mail, call = pipeline.job_types["mail"], pipeline.job_types["call"]
    with Producer(pipeline, cluster) as producer:
        producer.enqueue_many(mail.call(number, f"m{number % 10}") for number in range(100))
        producer.enqueue_many(call.call(number, f"c{number % 10}") for number in range(100))
        producer.enqueue(call, 100, "m0")
    with running_worker(pipeline, cluster, paused=[Pause("work", "mail")]) as running:
        worker = running.worker
        journal.wait_for(*[(number, f"c{number % 10}", 1) for number in range(100)])
        wait_until(lambda: worker.inspect()[0].parked == 91, what="all to be taken")
        assert {key[0] for _, key, _ in journal.noted} == {"c"}
        at_gate = [("paused", 10, "Worker.resume('work', job_type='mail')")]
        wait_until(lambda: _held(worker) == at_gate, what="the first of each key at the gate")
        assert worker.pauses() == [Pause("work", "mail")]
        wait_until(lambda: worker.snapshot()[0].unfinished == 101, what="all that waits to be counted")
        worker.resume("work", job_type="mail")
        journal.wait(201)
        assert (worker.pauses(), worker.inspect()[0].held) == ([], ())
        wait_all_committed(cluster, queue)
    for key in range(10):
        expected = [*range(key, 100, 10), *([100] if key == 0 else [])]
        assert [number for number, of_key, _ in journal.noted if of_key == f"m{key}"] == expected
    assert {attempt for _, _, attempt in journal.noted} == {1}


def _held(worker: Worker) -> list[tuple[str, int, str]]:
    """(reason, count, what ends it) of each gate that holds jobs back."""
    return [(found.reason, found.count, found.detail) for found in worker.inspect()[0].held]


def test_a_pause_holds_jobs_that_are_ready_and_lets_the_running_ones_end(
    cluster: ClusterSettings, namespace: str
) -> None:
    """With one runner, the others are ready behind the one that runs."""
    journal, gate = Journal(), Gate()
    pipeline, _ = declare(namespace, journal, gate)
    create(pipeline, cluster)
    with Producer(pipeline, cluster) as producer:
        producer.enqueue_many(pipeline.job_types["mail"].call(number, f"m{number}") for number in range(10))
    with running_worker(pipeline, cluster, concurrency=1) as running:
        worker = running.worker
        wait_until(lambda: gate.waiting and worker.inspect()[0].ready == 9 - len(journal.runs), what="ready jobs")
        before = len(journal.runs)
        worker.pause()
        gate.open()
        wait_until(lambda: sum(held.count for held in worker.inspect()[0].held) == 9 - before, what="the pause")
        assert journal.noted[before:] == [(0, "m0", 1)]
        worker.resume()
        journal.wait(10)


def test_what_is_paused_is_seen_from_outside(
    cluster: ClusterSettings, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`stoker queues` counts it by reason, by the word of the workers."""
    monkeypatch.setattr(waiting_counts, "REPEAT_S", 0.5)
    journal = Journal()
    pipeline, queue = declare(namespace, journal)
    create(pipeline, cluster)
    with Producer(pipeline, cluster) as producer:
        producer.enqueue_many(pipeline.job_types["mail"].call(number, "m") for number in range(5))
    view = ClusterView(cluster, timeout_s=60.0)

    def status() -> QueueStatus:
        (found,) = inspect_queues(view, [queue], read_offsets(view, [queue]), None)
        return found

    with running_worker(pipeline, cluster, paused=[Pause("work", None, b"m")]):
        wait_until(lambda: status().waits is not None, what="the worker's report")
        data = queue_data(status())
        assert data["waiting_for"] == {"key": 4, "due": 0, "held": {"paused": 1}}
        assert data["retention_s"] == timedelta(days=7).total_seconds()
        assert "  waiting for: an earlier job of their key 4, paused 1" in queue_lines([status()])


MANY = 300
KEYS = 100


def mails_by_key(said: list[tuple[int, str, int]]) -> dict[str, list[int]]:
    """{key: the numbers of its jobs, in the order of their runs}."""
    found: dict[str, list[int]] = {}
    for number, key, _ in said:
        found.setdefault(key, []).append(number)
    return found


def test_far_more_may_be_paused_than_memory_may_hold(cluster: ClusterSettings, namespace: str) -> None:
    """A hundred keys wait, with the heads of forty in memory; others go on, and each key comes back in its order."""
    journal = Journal()
    pipeline, queue = declare(namespace, journal)
    create(pipeline, cluster)
    mail, call = pipeline.job_types["mail"], pipeline.job_types["call"]
    with Producer(pipeline, cluster) as producer:
        producer.enqueue_many(mail.call(number, f"m{number % KEYS}") for number in range(MANY))
        producer.enqueue_many(call.call(number, f"c{number % KEYS}") for number in range(MANY))
    with running_worker(pipeline, cluster, paused=[Pause("work", "mail")], max_in_flight=40) as running:
        worker = running.worker
        assert {key[0] for _, key, _ in journal.wait(MANY)} == {"c"}
        wait_until(lambda: worker.snapshot()[0].in_flight <= 3 * 40, what="the others to leave the memory")
        wait_until(lambda: [one[:2] for one in _held(worker)] == [("paused", KEYS)], what="the first of each key")
        wait_until(lambda: worker.inspect()[0].parked == MANY - KEYS, what="the others behind them")
        worker.resume("work", job_type="mail")
        worker.pause("work", job_type="mail")
        worker.resume("work", job_type="mail")
        journal.wait(2 * MANY)
        wait_all_committed(cluster, queue)
        assert worker.inspect()[0].held == ()
    for key in range(KEYS):
        assert mails_by_key(journal.noted)[f"m{key}"] == list(range(key, MANY, KEYS))
    assert len(journal.noted) == 2 * MANY


def test_paused_jobs_outlast_a_kill(cluster: ClusterSettings, namespace: str, tmp_path: Path) -> None:
    """The topics have them; what ran beside them does not run again, and they run when the pause ends."""
    runs, release = tmp_path / "runs", tmp_path / "release"
    runs.touch()
    pipeline, queue, mail, call = pausing_worker.declare(namespace, runs)
    create(pipeline, cluster)
    with Producer(pipeline, cluster) as producer:
        for number in range(MANY):
            producer.enqueue(mail.with_options(key=f"m{number % KEYS}"), number)
            producer.enqueue(call.with_options(key=f"c{number % KEYS}"), number)

    def lines() -> list[str]:
        return runs.read_text().splitlines()

    with killed_at_end(cluster, namespace, runs, release):
        wait_until(lambda: len(lines()) >= MANY, DEADLINE_S, "the others to run")
    assert not [line for line in lines() if line.startswith("mail")]
    with killed_at_end(cluster, namespace, runs, release):
        release.touch()
        wait_until(lambda: len({line for line in lines() if line.startswith("mail")}) == MANY, DEADLINE_S, "mails")
        wait_all_committed(cluster, queue, DEADLINE_S)
    mails = [int(line.split()[1]) for line in lines() if line.startswith("mail")]
    assert sorted(mails) == list(range(MANY))
    for key in range(KEYS):
        assert [number for number in mails if number % KEYS == key] == list(range(key, MANY, KEYS))


def test_names_that_nobody_knows_are_refused(cluster: ClusterSettings, namespace: str) -> None:
    """A slip would pause nothing."""
    pipeline, _ = declare(namespace, Journal())
    create(pipeline, cluster)
    with running_worker(pipeline, cluster) as running:
        with pytest.raises(UnknownName, match="no queue 'works'; did you mean work"):
            running.worker.pause("works")
        with pytest.raises(UnknownName, match="no job type 'mial'; did you mean mail"):
            running.worker.resume(job_type="mial")
