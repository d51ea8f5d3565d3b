"""Each dead letter of a job type with `on_dead` is followed by one job with its story, whatever dies."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from stoker.producers import Producer
from stoker.topology import ClusterSettings, JobStory, RetryPolicy, Slo
from stoker.topology.planning.rights import Duty, rights_for
from support.programs.storied_worker import declare
from support.scenes.worker import (
    Journal,
    create,
    dead_letters,
    declare_queue,
    headers_of,
    running_worker,
    wait_all_committed,
)
from support.sight.stories import told_through_a_kill

pytestmark = [pytest.mark.timeout(180), pytest.mark.expected_errors("dead letter")]


def test_a_dead_letter_is_followed_by_its_story_once(cluster: ClusterSettings, namespace: str) -> None:
    """With the first and the last error; the follower's own death is followed by nothing."""
    pipeline, queue = declare_queue(namespace)
    stories = Journal()

    @pipeline.job(queue, key=lambda story: story.job_type, retry=RetryPolicy(attempts=1))
    def page(story: JobStory) -> None:
        stories.note(story)
        raise RuntimeError("the pager is broken")

    @pipeline.job(
        queue, key="customer", on_dead=page, retry=RetryPolicy(attempts=3), owner="payments", runbook="call the bank",
        escalation="page", slo=Slo(wait=timedelta(minutes=1)), tenant="customer",
    )  # fmt: skip
    def charge(customer: str, number: int) -> None:
        failed = len([run for run in attempts if run == number])
        attempts.append(number)
        raise (KeyError("first") if failed == 0 else ValueError("later"))

    attempts: list[int] = []
    create(pipeline, cluster)
    with Producer(pipeline, cluster) as producer, running_worker(pipeline, cluster) as running:
        receipt = producer.enqueue(charge, "ada", 1)
        running.wait_outcomes(Dead=2)
        wait_all_committed(cluster, queue)
    (story,) = stories.noted
    assert (story.job_id, story.job_type, story.queue, story.reason) == (
        *(receipt.job_id, "charge", "work", "attempts-spent"),
    )
    assert (story.key, story.tenant, story.attempt) == ("ada", "ada", 3)
    assert (story.first_error_type, story.first_error_message) == ("KeyError", "'first'")
    assert (story.error_type, story.error_message) == ("ValueError", "later")
    assert (story.owner, story.runbook, story.escalation) == ("payments", "call the bank", "page")
    assert story.enqueued <= story.first_failed <= story.at
    dead = {headers_of(found)["ce_type"].decode(): headers_of(found) for found in dead_letters(cluster, queue)}
    assert dead["charge"]["stoker-first-error-type"] == b"KeyError"
    assert dead["page"]["ce_id"].decode().startswith(f"{receipt.job_id}.dead.")


@pytest.mark.parametrize("place", ["dead", "followed"])
def test_a_kill_between_a_dead_letter_and_its_follower_loses_no_story(
    cluster: ClusterSettings, namespace: str, tmp_path: Path, place: str
) -> None:
    """The job is delivered again and dies again; whatever was written twice, the follower runs once."""
    stories = tmp_path / "stories"
    pipeline, queue, charge = declare(namespace, stories)
    create(pipeline, cluster)
    with Producer(pipeline, cluster) as producer:
        job_id = producer.enqueue(charge, 1).job_id
    assert told_through_a_kill(cluster, pipeline, stories, place) == [f"{job_id} attempts-spent"]
    assert len(dead_letters(cluster, queue)) == 2


def test_a_worker_needs_the_rights_to_enqueue_followers(tmp_path: Path) -> None:
    """On the followers' topics and the schemas; `topology rights` lists them."""
    pipeline, queue, _ = declare("unit", tmp_path / "stories")
    written = {right.name for right in rights_for(Duty.WORKER, pipeline, [queue]) if right.operation.value == "Write"}
    assert {"unit.oncall", "unit.schemas"} <= written
    alone = {right.name for right in rights_for(Duty.WORKER, pipeline, [pipeline.find_queue("oncall")])}
    assert "unit.oncall" in alone
