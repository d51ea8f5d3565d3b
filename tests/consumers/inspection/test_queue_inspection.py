"""What a worker does can be seen from outside, also where its jobs, its event loop or its poll thread hang."""

from __future__ import annotations

import json
import threading
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from stoker.consumers import Worker, WorkerSettings, current_job
from stoker.consumers.errors import WorkerCrashed
from stoker.consumers.inspection.queue_inspection import (
    GateInspection,
    PartitionInspection,
    QueueInspection,
    RunInspection,
)
from stoker.consumers.isolation.pool import ChildCounts
from stoker.consumers.poll_loop import poll_thread_watch
from stoker.consumers.poll_loop.housekeeping import Housekeeping
from stoker.consumers.runners.loop_watch import LoopInspection
from stoker.operations.views.inspection_output import json_printer, text_printer
from stoker.producers import Producer
from stoker.topology import ClusterSettings
from support.scenes.watched_runners import hurry, resist
from support.scenes.worker import Gate, RunningWorker, create, declare_queue, running_worker
from support.waiting import wait_until


def run(**fields: Any) -> RunInspection:
    """A job that runs."""
    known: dict[str, Any] = {
        "runner": "stoker-run-mails-3",
        "job_id": "job-7",
        "job_type": "send",
        "key": "ada",
        "attempt": 2,
        "record": "shop.mails/1/42",
        "ran_s": 12.0,
        "left_s": 288.0,
        "state": "running",
        "progress": "3 of 10 (30 %)",
        "stack": ("jobs.py:7 send",),
    }
    return RunInspection(**{**known, **fields})


def inspect(**fields: Any) -> QueueInspection:
    """A queue that is at work."""
    partition = PartitionInspection(
        topic="shop.mails", partition=1, state="running", committed=40, lowest=42, lowest_for_s=12.0, incomplete=3
    )
    known: dict[str, Any] = {
        "queue": "mails",
        "worker": "host-1",
        "ready": 0,
        "parked": 0,
        "delayed": 0,
        "in_flight": 3,
        "stuck": 0,
        "is_paused": False,
        "polled_s": 0.1,
        "poll_stack": (),
        "partitions": (partition,),
        "loops": (),
        "runs": (run(),),
    }
    return QueueInspection(**{**known, **fields})


def test_an_inspection_reads_as_text() -> None:
    """Queue, partition, job, deadline, progress and stack, in that order."""
    written: list[str] = []
    text_printer(written.append)([inspect()])
    assert written[0].splitlines() == [
        "queue mails on host-1: 1 running, 0 ready, 0 parked, 0 delayed, 3 in flight; polled 0.1 s ago",
        "  shop.mails/1 running: committed 40, lowest incomplete 42 for 12 s, 3 incomplete",
        "  stoker-run-mails-3 running: send job-7 key 'ada', attempt 2, shop.mails/1/42, for 12.0 s, 288.0 s left",
        "      progress: 3 of 10 (30 %)",
        "      jobs.py:7 send",
    ]


def test_an_inspection_is_one_json_line_for_each_queue() -> None:
    """With the fields that each line of the log has."""
    written: list[str] = []
    json_printer(written.append, clock=lambda: datetime(2013, 1, 1, tzinfo=UTC))([inspect(), inspect(queue="bills")])
    first, second = map(json.loads, written)
    assert (first["ts"], first["logger"], first["queue"]) == ("2013-01-01T00:00:00Z", "stoker.inspection", "mails")
    assert first["runs"][0]["stack"] == ["jobs.py:7 send"]
    assert second["queue"] == "bills"


def test_many_jobs_are_cut_short() -> None:
    """Hundreds of stacks help nobody."""
    written: list[str] = []
    text_printer(written.append)([inspect(runs=(run(progress="", stack=()),) * 250)])
    assert written[0].endswith("and 150 more running jobs")


@pytest.mark.parametrize(
    ("fields", "hint"),
    [
        ({"partitions": ()}, "no partitions"),
        ({"polled_s": 70.0}, "the poll thread has not turned for 70 s"),
        ({"stuck": 1}, "1 stuck job runs past the timeout"),
        ({"is_paused": True}, "fetching rests"),
        ({"ready": 9}, "9 ready jobs wait for a runner"),
        (
            {"held": (GateInspection(reason="crashed", count=1, detail="its pause of 2 s ends"),)},
            "1 job may not start now (crashed): its pause of 2 s ends",
        ),
        ({"children": ChildCounts(busy=1, starting=1)}, "1 child processes start, 1 are busy: isolated jobs may wait"),
        (
            {"children": ChildCounts(starting=1, trouble="no module shop")},
            "isolated jobs wait, since no child process can",
        ),
        ({"children": ChildCounts(busy=1, trouble="no memory")}, "no further child process can be started: no memory"),
        ({"children": ChildCounts(idle=1, trouble="no memory")}, "no further child process can be started: no memory"),
        ({"parked": 8}, "8 jobs wait behind an earlier one of the same key"),
        (
            {"loops": (LoopInspection(name="stoker-loop-q", blocked_s=7.0, stack=()),)},
            "has not turned for 7 s: a job holds it",
        ),
    ],
)
def test_an_inspection_gives_the_reason_jobs_do_not_run(fields: dict[str, Any], hint: str) -> None:
    """One line for each reason; none where all is well."""
    assert inspect().hints == ()
    (found,) = inspect(**fields).hints
    assert hint in found


@pytest.mark.expected_errors("is stuck", "has not turned")
def test_an_inspection_shows_stuck_jobs_and_who_holds_the_loop(
    cluster: ClusterSettings, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With key, progress and stack; and how long the lowest incomplete offset has been so."""
    hurry(monkeypatch)
    pipeline, queue = declare_queue(namespace, partitions=1)
    let_go = threading.Event()

    @pipeline.job(queue, timeout=timedelta(seconds=0.2))
    def stand(number: int) -> None:
        current_job().progress(number, 10)
        resist(let_go)

    @pipeline.job(queue)
    async def hold(number: int) -> None:
        let_go.wait(60)

    create(pipeline, cluster)
    with Producer(pipeline, cluster) as producer, running_worker(pipeline, cluster) as running:
        job_id = producer.enqueue(stand.with_options(key="ada"), 3).job_id
        producer.enqueue(hold, 1)
        producer.enqueue_many(stand.with_options(key="ada").call(number) for number in range(4))

        def seen() -> QueueInspection | None:
            (found,) = running.worker.inspect()
            is_whole = found.stuck and found.loops[0].stack and any(p.lowest_for_s > 0.5 for p in found.partitions)
            return found if is_whole and (len(found.runs), found.parked) == (2, 4) else None

        found = wait_until(seen, 60, "the inspection of both that run, and of four that wait")
        let_go.set()
        running.wait_outcomes(Done=6)
    assert found is not None
    by_type = {run.job_type: run for run in found.runs}
    stuck = by_type["stand"]
    assert (stuck.job_id, stuck.key, stuck.state, stuck.progress) == (job_id, "ada", "stuck", "3 of 10 (30 %)")
    assert stuck.left_s < 0
    assert any(line.endswith("resist") for line in stuck.stack)
    assert any("hold" in line for line in found.loops[0].stack)
    (main,) = [p for p in found.partitions if p.topic == queue.topic]
    assert (main.state, main.lowest, main.incomplete) == ("running", 0, 6)


@pytest.mark.expected_errors("has not turned")
def test_a_poll_thread_that_hangs_is_reported_with_its_stack(
    cluster: ClusterSettings, namespace: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """And again as long as it lasts; an inspection shows it too, without asking that thread."""
    monkeypatch.setattr(poll_thread_watch, "STUCK_AFTER_S", 0.4)
    pipeline, _ = declare_queue(namespace)
    create(pipeline, cluster)
    gate, turn = Gate(), Housekeeping.turn

    def hang(self: Housekeeping) -> None:
        if not gate.opened.is_set() and self._partitions._assignments.main_partitions:
            gate.wait()
        turn(self)

    def told() -> list[str]:
        return [record.getMessage() for record in caplog.records if "the poll thread" in record.getMessage()]

    monkeypatch.setattr(Housekeeping, "turn", hang)
    with running_worker(pipeline, cluster) as running:
        wait_until(lambda: len(told()) >= 2, 60, "two reports")
        wait_until(lambda: _poll_stack(running), 60, "an inspection that shows it")
        assert any("hang" in line for line in _poll_stack(running))
        gate.open()
    assert "in hang" in told()[0]


@pytest.mark.expected_errors("has not turned")
def test_a_worker_whose_poll_thread_hangs_for_good_ends(
    cluster: ClusterSettings, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its partitions are with others by then: a supervisor's restart brings it back, and nothing else would."""
    monkeypatch.setattr(poll_thread_watch, "STUCK_AFTER_S", 0.2)
    monkeypatch.setattr(poll_thread_watch, "GIVE_UP_AFTER_S", 0.5)
    pipeline, _ = declare_queue(namespace)
    create(pipeline, cluster)
    gate = Gate()
    monkeypatch.setattr(Housekeeping, "turn", lambda _self: gate.wait())
    running = RunningWorker(Worker(pipeline, cluster, WorkerSettings()))
    wait_until(lambda: running.failure, 60, "the worker to give up")
    gate.open()
    assert isinstance(running.failure, WorkerCrashed)
    running.worker._threads.join(60)
    assert not running.worker._threads.are_alive


def test_an_inspection_that_cannot_be_printed_does_not_end_the_worker(
    cluster: ClusterSettings, namespace: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Nobody may be at the other end of the pipe."""
    pipeline, _ = declare_queue(namespace)
    create(pipeline, cluster)
    tries: list[int] = []

    def fail(_inspections: object) -> None:
        tries.append(1)
        raise BrokenPipeError

    running = RunningWorker(Worker(pipeline, cluster, WorkerSettings(), on_inspection=fail, inspect_every_s=0.05))
    wait_until(lambda: len(tries) >= 2, 60, "two tries")
    running.stop()
    assert any("could not print its inspection" in record.getMessage() for record in caplog.records)


def _poll_stack(running: RunningWorker) -> tuple[str, ...]:
    (found,) = running.worker.inspect()
    return found.poll_stack


def test_a_worker_that_shuts_down_is_not_called_full_or_without_partitions() -> None:
    """At a shutdown fetching rests and partitions go, for no other reason than that."""
    (hint,) = inspect(is_leaving=True, is_paused=True, partitions=(), runs=()).hints
    assert hint.startswith("the worker shuts down")
