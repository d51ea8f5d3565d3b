"""A queue's follower follows all of its dead letters, unless their type has its own; and stories have arguments."""

from __future__ import annotations

from datetime import timedelta

import pytest

from stoker.producers import Producer
from stoker.topology import ClusterSettings, JobStory, Pipeline, RetryPolicy
from support.scenes.worker import (
    Journal,
    Raw,
    create,
    dead_letters,
    headers_of,
    publish_raw,
    running_worker,
    wait_all_committed,
)

pytestmark = [pytest.mark.timeout(180), pytest.mark.expected_errors("dead letter")]

TIERS = (timedelta(milliseconds=300),)
LARGE = 70_000
"""More than a story tells of arguments."""


def test_a_queue_follows_the_dead_letters_of_its_types_and_of_no_type(cluster: ClusterSettings, namespace: str) -> None:
    """Also those of which nobody has declared the type; its owner answers for them. A type's own follower comes
    first, and a page that dies is followed by nothing, though a page is what its queue's jobs are followed by."""
    pipeline = Pipeline(namespace)
    oncall = pipeline.queue("oncall", partitions=1)
    pages, tickets = Journal(), Journal()

    @pipeline.job(oncall, retry=RetryPolicy(attempts=1))
    def page(story: JobStory) -> None:
        pages.note(story)
        raise RuntimeError("the pager is broken")

    @pipeline.job(oncall)
    def ticket(story: JobStory) -> None:
        tickets.note(story)

    work = pipeline.queue(
        "work", partitions=1, tiers=TIERS, on_dead=page, owner="shop", runbook="ask ada", retry=RetryPolicy(attempts=1)
    )

    @pipeline.job(work)
    def charge(customer: str, cents: int) -> None:
        raise ValueError("declined")

    @pipeline.job(work, on_dead=ticket)
    def refund(customer: str) -> None:
        raise ValueError("declined")

    create(pipeline, cluster)
    with Producer(pipeline, cluster) as producer, running_worker(pipeline, cluster):
        charged = producer.enqueue(charge, "ada", 100).job_id
        refunded = producer.enqueue(refund, "eve").job_id
        publish_raw(cluster, work.topic, [Raw(value=b"damaged", headers=[("ce_id", b"7")])])
        pages.wait(2)
        tickets.wait(1)
        for queue in (work, oncall):
            wait_all_committed(cluster, queue)
    found = {story.job_id: story for story in pages.noted}
    assert sorted(found) == sorted([charged, "7"])
    assert [story.job_id for story in tickets.noted] == [refunded]
    assert (found["7"].job_type, found["7"].reason, found["7"].owner, found["7"].arguments) == (
        *("", "malformed", "shop", {}),
    )
    assert found[charged].arguments == {"customer": "ada", "cents": 100}
    of_damaged = next(one for one in dead_letters(cluster, work) if headers_of(one)["ce_id"] == b"7")
    assert (headers_of(of_damaged)["stoker-owner"], headers_of(of_damaged)["stoker-runbook"]) == (b"shop", b"ask ada")
    assert len(dead_letters(cluster, oncall)) == 2


def test_a_story_leaves_out_arguments_that_are_too_large_or_not_to_be_told(
    cluster: ClusterSettings, namespace: str
) -> None:
    """The job is followed all the same: by a limit of stories, by that of the follower, and by its declaration."""
    pipeline = Pipeline(namespace)
    stories = Journal()

    @pipeline.job(pipeline.queue("oncall", partitions=1), max_payload_bytes=5_000)
    def page(story: JobStory) -> None:
        stories.note(story)

    work = pipeline.queue("work", partitions=1, tiers=TIERS, on_dead=page, retry=RetryPolicy(attempts=1))

    @pipeline.job(work)
    def charge(note: str) -> None:
        raise ValueError("declined")

    @pipeline.job(work, story_arguments=False)
    def secret(note: str) -> None:
        raise ValueError("declined")

    create(pipeline, cluster)
    with Producer(pipeline, cluster) as producer, running_worker(pipeline, cluster):
        told = producer.enqueue(charge, "x" * 1_000).job_id
        for note in ("x" * LARGE, "x" * 6_000):
            producer.enqueue(charge, note)
        producer.enqueue(secret, "x")
        stories.wait(4)
        wait_all_committed(cluster, work)
    assert {story.job_id: len(story.arguments_json or "") for story in stories.noted if story.arguments} == {
        told: len('{"note": ""}') + 1_000
    }
    assert len({story.job_id for story in stories.noted}) == 4
