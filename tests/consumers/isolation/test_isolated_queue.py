"""Isolated jobs on a real broker: crashes, limits, the end of the worker, and recycling under load."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections import Counter
from datetime import timedelta
from pathlib import Path

import psutil
import pytest

from stoker.producers import Producer
from stoker.topology import ClusterSettings, RetryPolicy
from stoker.topology.wire import headers as wire
from support.programs import isolated_jobs
from support.scenes.isolated_runners import is_gone
from support.scenes.worker import (
    DEADLINE_S,
    SESSION_TIMEOUT,
    create,
    declare_queue,
    headers_of,
    running_worker,
    wait_all_committed,
    wait_dead,
)
from support.waiting import wait_until

WORKER = """
import sys
from stoker.consumers import Worker, WorkerSettings
from stoker.topology import ClusterSettings
from support.scenes.worker import declare_queue
from support.programs import isolated_jobs

if __name__ == "__main__":
    pipeline, queue = declare_queue(sys.argv[2])
    pipeline.job(queue, isolation="process")(isolated_jobs.hold_the_interpreter)
    Worker(pipeline, ClusterSettings(bootstrap_servers=sys.argv[1]), WorkerSettings(isolated_concurrency=1)).run()
"""


def test_a_deadly_job_is_quarantined_and_its_bystanders_are_done_at_their_first_attempt(
    cluster: ClusterSettings, namespace: str, tmp_path: Path
) -> None:
    """P8: crashes cost nobody an attempt, and whoever did not cause them is not blamed."""
    pipeline, queue = declare_queue(namespace)
    die = pipeline.job(queue, isolation="process")(isolated_jobs.exit_at_once)
    stand_by = pipeline.job(queue, isolation="process")(isolated_jobs.note_run)
    in_worker = pipeline.job(queue, name="plain")(isolated_jobs.note_run)
    create(pipeline, cluster)
    file = tmp_path / "runs"
    with Producer(pipeline, cluster) as producer:
        killer = producer.enqueue(die.with_options(key="k"), 9)
        producer.enqueue(stand_by.with_options(key="k"), str(file), "behind")
        for number in range(20):
            producer.enqueue(stand_by.with_options(key=f"other-{number}"), str(file), f"beside-{number}")
            producer.enqueue(in_worker, str(file), f"plain-{number}")
    with running_worker(pipeline, cluster, isolated_concurrency=2) as running:
        (dead_letter,) = wait_dead(cluster, queue, 1)
        running.wait_outcomes(Done=41)
        children = running.worker.snapshot()[0].children
        wait_all_committed(cluster, queue)
    assert children is not None
    assert children.ended >= 3
    headers = headers_of(dead_letter)
    assert headers[wire.JOB_ID] == killer.job_id.encode()
    assert (headers[wire.REASON], headers[wire.CRASHES], headers[wire.ATTEMPT]) == (b"quarantined", b"3", b"1")
    assert b"ended with exit code 9" in headers[wire.ERROR_MESSAGE]
    assert b"MiB resident" in headers[wire.ERROR_STACK]
    runs = [line.split() for line in isolated_jobs.notes(file)]
    assert Counter(what for what, *_ in runs).most_common(1)[0][1] == 1
    assert {attempt for _, _, attempt, _ in runs} == {"1"}
    own = str(os.getpid())
    assert {pid == own for what, _, _, pid in runs if what.startswith("plain")} == {True}
    assert own not in {pid for what, _, _, pid in runs if not what.startswith("plain")}


def test_a_timeout_in_c_code_costs_an_attempt_and_ends_among_the_dead_letters(
    cluster: ClusterSettings, namespace: str, tmp_path: Path
) -> None:
    """P7: a job that would hold up the whole process is killed alone."""
    pipeline, queue = declare_queue(namespace)
    two_attempts = RetryPolicy(attempts=2, jitter=0.0)
    stay = pipeline.job(queue, isolation="process", timeout=timedelta(milliseconds=300), retry=two_attempts)(
        isolated_jobs.hold_the_interpreter
    )
    create(pipeline, cluster)
    with Producer(pipeline, cluster) as producer:
        job_id = producer.enqueue(stay, str(tmp_path / "runs"), 60).job_id
    with running_worker(pipeline, cluster, isolated_concurrency=1) as running:
        (dead_letter,) = wait_dead(cluster, queue, 1)
        wait_all_committed(cluster, queue)
        assert running.outcomes() == {"Retried": 1, "Dead": 1}
    headers = headers_of(dead_letter)
    assert (headers[wire.JOB_ID], headers[wire.ATTEMPT]) == (job_id.encode(), b"2")
    assert headers[wire.REASON] == b"attempts-spent"
    assert headers[wire.ERROR_TYPE].endswith(b"TimeLimitExceeded")
    assert len(isolated_jobs.notes(tmp_path / "runs")) >= 1


def test_the_end_of_a_worker_is_the_end_of_its_children(
    cluster: ClusterSettings, namespace: str, tmp_path: Path
) -> None:
    """However it ends, and however deep in C code they are: nobody else would kill them."""
    pipeline, queue = declare_queue(namespace)
    stay = pipeline.job(queue, isolation="process")(isolated_jobs.hold_the_interpreter)
    create(pipeline, cluster)
    with Producer(pipeline, cluster) as producer:
        producer.enqueue(stay, str(tmp_path / "runs"), 120)
    (tmp_path / "isolated_worker.py").write_text(WORKER)
    command = (sys.executable, str(tmp_path / "isolated_worker.py"), cluster.bootstrap_servers, namespace)
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    with subprocess.Popen(command, env=environment) as worker:
        try:
            wait_until(lambda: isolated_jobs.notes(tmp_path / "runs"), DEADLINE_S, "the job's begin")
            children = psutil.Process(worker.pid).children()
        finally:
            worker.send_signal(signal.SIGKILL)
    assert int(isolated_jobs.notes(tmp_path / "runs")[0]) in {child.pid for child in children}
    wait_until(lambda: all(is_gone(child.pid) for child in children), 60, "the end of all children")


def test_a_shutdown_waits_for_the_grace_and_then_interrupts(
    cluster: ClusterSettings, namespace: str, tmp_path: Path
) -> None:
    """At no attempt's cost: the next worker runs the job again as its first attempt."""
    pipeline, queue = declare_queue(namespace)
    work = pipeline.job(queue, isolation="process")(isolated_jobs.note_run)
    wait = pipeline.job(queue, isolation="process")(isolated_jobs.wait_for)
    create(pipeline, cluster)
    file, marker = tmp_path / "runs", tmp_path / "marker"
    with Producer(pipeline, cluster) as producer:
        producer.enqueue(wait, str(file), str(marker))
        with running_worker(pipeline, cluster, isolated_concurrency=1, grace=timedelta(milliseconds=300)) as running:
            wait_until(lambda: isolated_jobs.notes(file), DEADLINE_S, "the job's begin")
            running.stop()
        marker.touch()
        producer.enqueue(work, str(file), "next")
    with running_worker(pipeline, cluster, isolated_concurrency=1) as running:
        running.wait_outcomes(Done=2)
        assert running.outcomes().get("Retried", 0) == 0
        wait_all_committed(cluster, queue)
    assert len(isolated_jobs.notes(file)) == 3


def test_the_next_owner_goes_on_counting_crashes(
    cluster: ClusterSettings, namespace: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Crashes are kept with the commit: deploys and rebalances must not give a deadly job new lives."""
    pipeline, queue = declare_queue(namespace)
    die = pipeline.job(queue, isolation="process")(isolated_jobs.note_and_exit)
    create(pipeline, cluster)
    with Producer(pipeline, cluster) as producer:
        producer.enqueue(die, str(tmp_path / "runs"), 9)
    monkeypatch.setattr("stoker.consumers.isolation.crashes.FIRST_PAUSE", timedelta(minutes=1))
    with running_worker(pipeline, cluster, isolated_concurrency=1) as running:
        wait_until(lambda: (seen := running.worker.snapshot()[0].children) and seen.ended, DEADLINE_S, "a death")
    monkeypatch.setattr("stoker.consumers.isolation.crashes.FIRST_PAUSE", timedelta(milliseconds=10))
    with running_worker(pipeline, cluster, isolated_concurrency=1):
        (dead_letter,) = wait_dead(cluster, queue, 1)
    assert headers_of(dead_letter)[wire.CRASHES] == b"3"
    assert len(isolated_jobs.notes(tmp_path / "runs")) == 3


def test_an_isolated_job_that_computes_for_long_starves_nobody(
    cluster: ClusterSettings, namespace: str, tmp_path: Path
) -> None:
    """While it holds its interpreter past the group's session timeout, others run and nobody is handed the job."""
    pipeline, queue = declare_queue(namespace)
    hold = pipeline.job(queue, isolation="process")(isolated_jobs.hold_and_note)
    beside = pipeline.job(queue)(isolated_jobs.note_run)
    create(pipeline, cluster)
    held, others = tmp_path / "held", tmp_path / "others"
    seconds = int(SESSION_TIMEOUT.total_seconds()) + 3
    with (
        Producer(pipeline, cluster) as producer,
        running_worker(pipeline, cluster, isolated_concurrency=2) as running,
        running_worker(pipeline, cluster, isolated_concurrency=2) as second,
    ):
        running.wait_partitions(1)
        second.wait_partitions(1)
        for key in range(4):
            producer.enqueue(hold.with_options(key=str(key)), str(held), seconds)
        wait_until(lambda: isolated_jobs.notes(held), DEADLINE_S, "the first one's begin")
        producer.enqueue_many(beside.call(str(others), str(number)) for number in range(20))
        wait_until(lambda: len(isolated_jobs.notes(others)) == 20, DEADLINE_S, "the others")
        assert not [line for line in isolated_jobs.notes(held) if line.startswith("ended")]
        wait_until(lambda: len(isolated_jobs.notes(held)) == 8, DEADLINE_S, "the end of all")
        wait_all_committed(cluster, queue)
    runs = [tuple(line.split()[:2]) for line in isolated_jobs.notes(held)]
    assert max(Counter(runs).values()) == 1


@pytest.mark.expected_errors("cannot start")
def test_children_that_cannot_start_make_jobs_wait_and_the_worker_say_so(
    cluster: ClusterSettings, namespace: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No attempt is spent, nothing spins, and when the cause is gone the job runs."""
    fuse = tmp_path / "fuse"
    (tmp_path / f"fused_{namespace}.py").write_text(
        "import os, pathlib\n"
        f"if os.getpid() != {os.getpid()} and pathlib.Path({str(fuse)!r}).exists():\n"
        "    raise RuntimeError('the fuse has blown')\n"
        "def work(number: int) -> None:\n"
        "    '''Do nothing.'''\n"
    )
    fuse.touch()
    monkeypatch.syspath_prepend(tmp_path)
    module = __import__(f"fused_{namespace}")
    pipeline, queue = declare_queue(namespace)
    work = pipeline.job(queue, isolation="process")(module.work)
    create(pipeline, cluster)
    with Producer(pipeline, cluster) as producer:
        producer.enqueue(work, 1)
    with running_worker(pipeline, cluster, isolated_concurrency=1) as running:

        def trouble() -> str | None:
            children = running.worker.snapshot()[0].children
            return None if children is None else children.trouble

        wait_until(lambda: trouble() == "RuntimeError: the fuse has blown", DEADLINE_S, "the trouble to be reported")
        fuse.unlink()
        running.wait_outcomes(Done=1)
        assert trouble() is None
        assert set(running.outcomes()) == {"Done"}
