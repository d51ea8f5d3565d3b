"""On a real broker: a cancelled job does not run, or ends, wherever it is; its event has who did it and why."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from stoker.consumers import JobCancelled, Snooze, Worker, current_job
from stoker.consumers.records.cancellation import Cancellation
from stoker.consumers.standing_orders.cancel_filters import CancelFilter
from stoker.consumers.standing_orders.cancels import Cancels
from stoker.producers import Producer
from stoker.topology import ClusterSettings, Pipeline, RetryPolicy
from support.programs import isolated_jobs
from support.scenes.worker import (
    TIERS,
    Gate,
    Journal,
    create,
    declare_queue,
    remembered,
    running_worker,
    wait_all_committed,
)
from support.sight.events import job_events
from support.waiting import wait_until

BY_ANA = Cancellation(operator="ana@host", reason="wrong price")


def cancels_of(worker: Worker) -> Cancels:
    """Those of its process; orders come there."""
    return worker._orders.cancels


def cancel(worker: Worker, job_id: str) -> int:
    """As an order does; how many runs it has ended."""
    cancels_of(worker).begin_job(job_id, BY_ANA)
    return sum(found.end_cancelled() for found in worker._controls)


def cancelled_events(cluster: ClusterSettings, pipeline: Pipeline, count: int) -> list[dict[str, Any]]:
    """The events of cancelled jobs, once there are so many."""

    def read() -> list[dict[str, Any]]:
        return [event for event in job_events(cluster, pipeline) if event["event"] == "cancelled"]

    wait_until(lambda: len(read()) >= count, 60, f"{count} events")
    return read()


def test_jobs_that_wait_are_cancelled(cluster: ClusterSettings, namespace: str) -> None:
    """Before they come, behind their key, in a delay and in a retry tier; none runs (again), nor does a repetition."""
    pipeline, queue = declare_queue(namespace)
    journal, gate = Journal(), Gate()

    @pipeline.job(queue, key="kind", retry=RetryPolicy(attempts=3, tiers=TIERS[1:]))
    def act(kind: str) -> Snooze | None:
        attempt = journal.note(kind).attempt
        if kind == "first":
            gate.wait()
        if kind == "retries" and attempt == 1:
            raise ValueError("once")
        return Snooze(timedelta(seconds=1)) if kind == "snoozes" and journal.times()[kind] == 1 else None

    create(pipeline, cluster)
    with Producer(pipeline, cluster) as producer, running_worker(pipeline, cluster) as running:
        running.wait_partitions(2)
        assert cancel(running.worker, "comes-later") == 0
        producer.enqueue(act.with_options(job_id="comes-later"), "later")
        producer.enqueue(act.with_options(key="k"), "first")
        journal.wait_for("first")
        producer.enqueue(act.with_options(key="k", job_id="behind"), "behind")
        assert cancel(running.worker, "behind") == 0
        gate.open()
        for kind, outcome in (("retries", "Retried"), ("snoozes", "Snoozed")):
            producer.enqueue(act.with_options(job_id=kind), kind)
            running.wait_outcomes(**{outcome: 1})  # the handler's own note comes while it still runs
            assert cancel(running.worker, kind) == 0
        running.wait_outcomes(Cancelled=4)
        producer.enqueue(act.with_options(job_id="retries"), "retries")
        running.wait_outcomes(Skipped=1)
        wait_all_committed(cluster, queue)
        events = cancelled_events(cluster, pipeline, 4)
    assert journal.times() == {"first": 1, "retries": 1, "snoozes": 1}
    assert sorted(event["job_id"] for event in events) == ["behind", "comes-later", "retries", "snoozes"]
    for event in events:
        assert event["message"] == "it was cancelled before it ran, by ana@host: wrong price"
        assert event["detail"] == {"operator": "ana@host", "reason": "wrong price"}
    assert {"behind", "comes-later", "retries", "snoozes"} <= remembered(cluster, queue)


@pytest.mark.parametrize("kind", ["sync", "async", "isolated"])
def test_a_job_that_runs_is_cancelled(cluster: ClusterSettings, namespace: str, tmp_path: Path, kind: str) -> None:
    """It cleans up, costs no attempt, and the next one of its key runs."""
    pipeline, queue = declare_queue(namespace)
    file = tmp_path / "notes"
    handlers: dict[str, Callable[..., Any]] = {
        "sync": wait_and_clean_up,
        "async": isolated_jobs.clean_up_when_cancelled_async,
        "isolated": isolated_jobs.clean_up_when_cancelled,
    }
    act = pipeline.job(queue, name="act", isolation="process" if kind == "isolated" else None)(handlers[kind])
    follow = pipeline.job(queue, name="follow")(isolated_jobs.note_run)
    create(pipeline, cluster)
    with Producer(pipeline, cluster) as producer, running_worker(pipeline, cluster) as running:
        producer.enqueue(act.with_options(job_id="long", key="k"), str(file), 0.1)
        producer.enqueue(follow.with_options(key="k", job_id="next"), str(file), "next")
        wait_until(lambda: isolated_jobs.notes(file) == ["begun"], 60, "the job's begin")
        assert cancel(running.worker, "long") == 1
        running.wait_outcomes(Cancelled=1, Done=1)
        (event,) = cancelled_events(cluster, pipeline, 1)
    begun, cancelled, cleaned, at_last, following = isolated_jobs.notes(file)
    assert (begun, cancelled, cleaned, at_last) == ("begun", "cancelled True", "cleaned up", "finally")
    assert following.startswith("next next 1 ")
    assert (event["job_id"], event["attempt"]) == ("long", 1)
    assert event["message"] == "it was cancelled while it ran, by ana@host: wrong price"


def wait_and_clean_up(file: str, cleaning_s: float) -> None:
    """As the isolated one, in Python code."""
    try:
        isolated_jobs.note(file, "begun")
        while True:
            time.sleep(0.001)
    except JobCancelled:
        isolated_jobs.note(file, f"cancelled {current_job().should_stop}")
        time.sleep(cleaning_s)
        isolated_jobs.note(file, "cleaned up")
        raise
    finally:
        isolated_jobs.note(file, "finally")


def test_a_filter_cancels_what_it_takes_and_nothing_else(cluster: ClusterSettings, namespace: str) -> None:
    """Jobs of one tenant, those that run as well; lifted, later ones run."""
    pipeline, queue = declare_queue(namespace)
    journal = Journal()

    @pipeline.job(queue, tenant="customer")
    def act(customer: str, number: int) -> None:
        journal.note((customer, number))
        while (customer, number) == ("acme", 0):
            time.sleep(0.001)

    create(pipeline, cluster)
    with Producer(pipeline, cluster) as producer, running_worker(pipeline, cluster) as running:
        producer.enqueue(act, "acme", 0)
        journal.wait_for(("acme", 0))
        cancels_of(running.worker).begin_filter("order-1", CancelFilter(tenant=b"acme"), BY_ANA)
        assert sum(found.end_cancelled() for found in running.worker._controls) == 1
        producer.enqueue_many(act.call(customer, number) for number in range(1, 100) for customer in ("acme", "zeta"))
        running.wait_outcomes(Cancelled=100, Done=99)
        cancels_of(running.worker).end_filter("order-1")
        producer.enqueue(act, "acme", 100)
        running.wait_outcomes(Done=100)
    assert {number for customer, number in journal.noted if customer == "acme"} == {0, 100}
