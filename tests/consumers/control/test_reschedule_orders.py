"""On a real broker: jobs start at the time that an operator gives them, wherever they wait and whoever dies."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from stoker.producers import Producer
from stoker.producers.control import Control, OrderRefused
from stoker.producers.control.standing import read_given_orders, read_standing_orders
from stoker.topology import ClusterSettings, JobType, Pipeline, RetryPolicy
from support.scenes.ordered_workers import DEADLINE_S, job_id, scene_of
from support.scenes.worker import Journal, RunningWorker, create, declare_queue, running_worker, wait_all_committed
from support.waiting import wait_until

WAIT = timedelta(seconds=60)
TOMORROW = timedelta(days=1)


class Scene:
    """A worker, and a job type whose first run fails where that is asked for; the retry waits for an hour."""

    def __init__(self, cluster: ClusterSettings, namespace: str) -> None:
        self.cluster, self.journal = cluster, Journal()
        self.pipeline, self.queue = declare_queue(namespace, partitions=1, tiers=(timedelta(hours=1),))
        self.mail: JobType[[str], None] = self._declare()
        create(self.pipeline, cluster)

    def _declare(self) -> JobType[[str], None]:
        journal = self.journal

        @self.pipeline.job(self.queue, retry=RetryPolicy(attempts=3))
        def mail(kind: str) -> None:
            if journal.note(kind).attempt == 1 and kind == "fails":
                raise ValueError("once")

        return mail

    @contextmanager
    def at_work(self) -> Iterator[tuple[Control, Producer, RunningWorker]]:
        """With a worker."""
        with (
            Control(self.pipeline, self.cluster, operator="ann") as control,
            Producer(self.pipeline, self.cluster) as producer,
            running_worker(self.pipeline, self.cluster) as running,
        ):
            running.wait_partitions(1)
            yield control, producer, running

    def wait_held(self, running: RunningWorker, count: int) -> None:
        """Wait until so many jobs wait for their time."""
        wait_until(lambda: running.worker.inspect()[0].delayed == count, what=f"{count} delayed jobs")

    def ran(self, kind: str) -> tuple[float, int]:
        """When a job ran last, and its attempt."""
        run = [run for run in self.journal.runs if run.what == kind][-1]
        return run.at_s, run.attempt

    def wait_forgotten(self) -> None:
        """Wait until no order stands."""
        wait_until(lambda: not read_standing_orders(self.pipeline, self.cluster), what="the orders to be forgotten")


def test_a_delayed_job_and_one_that_waits_for_a_retry_start_now(cluster: ClusterSettings, namespace: str) -> None:
    """The sender finds them; neither costs an attempt, and the orders are forgotten."""
    scene = Scene(cluster, namespace)
    with scene.at_work() as (control, producer, running):
        producer.enqueue(scene.mail.with_options(job_id="later", delay=TOMORROW), "later")
        producer.enqueue(scene.mail.with_options(job_id="fails"), "fails")
        producer.enqueue(scene.mail.with_options(job_id="stays", delay=TOMORROW), "stays")
        scene.wait_held(running, 3)
        receipts = [control.reschedule(job_id, now=True, reason="it waits") for job_id in ("later", "fails")]
        assert [receipt.order.place.topic.rpartition(".")[2] for receipt in receipts if receipt.order.place] == [
            "long",
            "1h",
        ]
        running.wait_outcomes(Done=2)
        scene.wait_forgotten()
        scene.wait_held(running, 1)
        wait_until(lambda: not running.worker._orders.reschedules.stands, what="the worker to read that")
    assert [(run.what, run.attempt) for run in scene.journal.runs] == [("fails", 1), ("later", 1), ("fails", 2)]
    assert {given.order.operator for given in read_given_orders(scene.pipeline, cluster)} == {"ann"}


def test_a_job_starts_at_the_time_that_was_ordered_last(cluster: ClusterSettings, namespace: str) -> None:
    """Sooner than its own or later, also one that waits in its queue; a later order replaces the one before."""
    scene = Scene(cluster, namespace)
    with scene.at_work() as (control, producer, running):
        control.pause(queue="work").wait(WAIT)
        producer.enqueue(scene.mail.with_options(job_id="queued"), "queued")
        for job_id, delay in (("sooner", TOMORROW), ("later", timedelta(seconds=1))):
            producer.enqueue(scene.mail.with_options(job_id=job_id, delay=delay), job_id)
        at = datetime.now(UTC) + timedelta(seconds=10)  # the worker is to know it before
        control.reschedule("queued", at=at + TOMORROW)
        for job_id in ("queued", "sooner", "later"):
            receipt = control.reschedule(job_id, at=at)
        assert receipt.wait(WAIT).is_taken_by_all
        control.resume(queue="work")
        running.wait_outcomes(Done=3, Delayed=2)
        scene.wait_forgotten()
        wait_all_committed(cluster, scene.queue)
    for kind in ("queued", "sooner", "later"):
        at_s, attempt = scene.ran(kind)
        assert (attempt, scene.journal.times()[kind]) == (1, 1)
        assert at.timestamp() <= at_s < at.timestamp() + 60


def test_a_retry_after_a_rescheduled_start_waits_for_its_own_time(cluster: ClusterSettings, namespace: str) -> None:
    """The order was for the next start alone."""
    scene = Scene(cluster, namespace)
    with scene.at_work() as (control, producer, running):
        producer.enqueue(scene.mail.with_options(job_id="fails", delay=TOMORROW), "fails")
        scene.wait_held(running, 1)
        control.reschedule("fails", now=True)
        running.wait_outcomes(Retried=1)
        scene.wait_forgotten()
        scene.wait_held(running, 1)
    assert scene.journal.noted == ["fails"]


def test_a_reschedule_holds_whoever_dies(
    cluster: ClusterSettings, namespace: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One worker is killed that has taken it, another one that has run the job and not removed the order."""
    monkeypatch.setenv("SESSION_S", "6")
    with scene_of(cluster, namespace, tmp_path) as (scene, pipeline, queue), Control(pipeline, cluster) as control:
        taken = scene.start("taken")
        enqueue_delayed(pipeline, cluster, range(20))
        wait_all_committed(cluster, queue)
        at, even = datetime.now(UTC) + timedelta(seconds=5), set(range(0, 20, 2))
        for number in even:
            receipt = control.reschedule(job_id(number), at=at, queue="work")
        assert receipt.wait(WAIT).is_taken_by_all
        taken.kill()
        control.reschedule(job_id(1), now=True, queue="work")
        assert scene.start("dying", dies="forgetting").wait(DEADLINE_S) == -signal.SIGKILL
        scene.start("last")
        scene.wait_begun({1, *even})
        begun = scene.begun()
    assert sorted({number for _, _, number in begun}) == sorted({1, *even})
    assert all(at_s >= at.timestamp() for at_s, _, number in begun if number in even)


def enqueue_delayed(pipeline: Pipeline, cluster: ClusterSettings, numbers: range) -> None:
    """Jobs with these numbers, for tomorrow, which wait in their delay topic then."""
    with Producer(pipeline, cluster) as producer:
        mail = pipeline.job_types["mail"]
        producer.enqueue_many(
            mail.with_options(job_id=job_id(number), delay=TOMORROW).call(number) for number in numbers
        )


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({}, "name one time"),
    ({"now": True, "at": datetime.now(UTC)}, "name one time"),
    ({"now": True, "until": datetime(2013, 1, 1, tzinfo=UTC)}, "over before its time"),
    ({"at": datetime(2013, 1, 1)}, "has no time zone"),  # noqa: DTZ001  # that is the fault
]


@pytest.mark.parametrize(("words", "said"), REFUSED)
def test_reschedules_that_make_no_sense_are_refused(namespace: str, words: dict[str, Any], said: str) -> None:
    """Before any broker is asked."""
    control = Control(Pipeline(namespace), ClusterSettings(bootstrap_servers="127.0.0.1:1"))
    with pytest.raises(OrderRefused, match=said):
        control.reschedule("job-1", **words)
    with pytest.raises(OrderRefused, match="id is empty"):
        control.reschedule("", now=True)
