"""A job that begins late, or waits for too long, is followed by one job with its story."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from stoker.consumers import Pause
from stoker.producers import Producer
from stoker.topology import ClusterSettings, Concurrency, JobStory, Pipeline
from stoker.topology.declaration.pipeline import QueueShape
from support.programs.storied_worker import declare
from support.scenes.worker import (
    DEADLINE_S,
    Gate,
    Journal,
    create,
    declare_queue,
    running_worker,
    wait_all_committed,
)
from support.sight.stories import told_through_a_kill
from support.waiting import wait_until

pytestmark = pytest.mark.timeout(180)

LATE = timedelta(seconds=1)


def test_a_late_job_is_followed_once_whether_it_waits_or_begins(cluster: ClusterSettings, namespace: str) -> None:
    """The second job of the key waits behind the first, and is found waiting; it begins late as well, and once is
    enough. A job that was delayed for longer than that is not late."""
    pipeline, queue = declare_queue(namespace, partitions=1)
    oncall = pipeline.queue("oncall", partitions=1)
    stories, done, gate = Journal(), Journal(), Gate()

    @pipeline.job(oncall)
    def page(story: JobStory) -> None:
        stories.note(story)

    @pipeline.job(queue, key="customer", on_late=page, late_after=LATE, owner="payments")
    def charge(customer: str, number: int) -> None:
        done.note(number)

    @pipeline.job(queue, key="customer")
    def hold(customer: str) -> None:
        gate.wait()

    create(pipeline, cluster)
    with Producer(pipeline, cluster) as producer, running_worker(pipeline, cluster):
        producer.enqueue(charge.with_options(delay=LATE * 2), "eve", 0)
        done.wait_for(0)
        producer.enqueue(hold, "ada")
        late = producer.enqueue(charge, "ada", 1).job_id
        producer.enqueue(charge, "eve", 2)
        done.wait_for(2)
        gate.opened.wait(LATE.total_seconds() * 1.5)
        gate.open()
        (story, *_) = stories.wait(1)
        done.wait_for(1)
        for one in (queue, oncall):
            wait_all_committed(cluster, one)
    assert [one.job_id for one in stories.noted] == [late]
    assert (story.reason, story.job_type, story.key, story.owner, story.error_type) == (
        *("late", "charge", "ada", "payments", ""),
    )
    assert 1.0 < story.waited_s < 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Wait:
    """What keeps a job waiting, while another one runs."""

    shape: QueueShape = field(default_factory=QueueShape)
    settings: dict[str, Any] = field(default_factory=dict)
    is_paused: bool = False
    key: str | None = None


@pytest.mark.parametrize(
    "wait",
    [
        pytest.param(Wait(is_paused=True), id="pause"),
        pytest.param(Wait(shape={"limits": (Concurrency(1),)}), id="limit"),
        pytest.param(Wait(key="ada"), id="key"),
        pytest.param(Wait(key="ada", shape={"ordering": "strict"}), id="strict-key"),
        pytest.param(Wait(settings={"concurrency": 1}), id="runner"),
        pytest.param(Wait(shape={"priorities": {"high": 2, "normal": 1}}, settings={"concurrency": 1}), id="priority"),
        pytest.param(Wait(shape={"fair_by": "tenant"}, settings={"concurrency": 1}), id="tenant"),
    ],
)
def test_a_late_job_is_found_while_it_waits(cluster: ClusterSettings, namespace: str, wait: Wait) -> None:
    """Whatever it waits for, it is followed before it begins, and once. What began in time is not late, however long
    it runs."""
    pipeline = Pipeline(namespace)
    stories, done, gate = Journal(), Journal(), Gate()

    @pipeline.job(pipeline.queue("oncall", partitions=1))
    def page(story: JobStory) -> None:
        stories.note(story)

    shape: QueueShape = {"partitions": 1, "on_late": page, "late_after": LATE, **wait.shape}
    queue = pipeline.queue("work", **shape)

    @pipeline.job(queue)
    def hold() -> None:
        gate.wait()

    @pipeline.job(queue)
    def charge(number: int) -> None:
        done.note(number)

    create(pipeline, cluster)
    paused = [Pause(queue.name, job_type="charge")] if wait.is_paused else []
    with (
        Producer(pipeline, cluster) as producer,
        running_worker(pipeline, cluster, paused=paused, **wait.settings) as running,
    ):
        running.wait_partitions(1)
        enqueued_s = time.monotonic()
        holding = producer.enqueue(hold.with_options(key=wait.key)).job_id
        wait_until(lambda: gate.waiting, DEADLINE_S, "the job that holds the others up")
        has_begun_in_time = time.monotonic() - enqueued_s < LATE.total_seconds()
        late = producer.enqueue(charge.with_options(key=wait.key), 1).job_id
        wait_until(lambda: late in {one.job_id for one in stories.noted}, DEADLINE_S, "the story of what waits")
        assert not done.noted
        gate.open()
        for pause in paused:
            running.worker.resume(queue.name, job_type=pause.job_type)
        done.wait_for(1)
        for one in pipeline.queues.values():
            wait_all_committed(cluster, one)
    told = [one.job_id for one in stories.noted]
    assert told.count(late) == 1
    assert not (has_begun_in_time and holding in told)
    story = stories.noted[told.index(late)]
    assert (story.reason, story.arguments) == ("late", {"number": 1})
    assert LATE.total_seconds() < story.waited_s < DEADLINE_S


@pytest.mark.parametrize("place", ["late", "late-followed"])
def test_a_kill_beside_the_follower_of_a_late_job_loses_no_story(
    cluster: ClusterSettings, namespace: str, tmp_path: Path, place: str
) -> None:
    """The job has not ended, so it is delivered again, and is still late; a follower that was written twice runs
    once."""
    stories = tmp_path / "stories"
    pipeline, _, _ = declare(namespace, stories)
    create(pipeline, cluster)
    with Producer(pipeline, cluster) as producer:
        job_id = producer.enqueue(pipeline.find_job_type("greet"), 1).job_id
    assert told_through_a_kill(cluster, pipeline, stories, place) == [f"{job_id} late"]
