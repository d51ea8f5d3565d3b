"""A follower that is not ready is logged as soon as it is asked for, however long others have not been ready."""

from __future__ import annotations

from collections import Counter
from typing import cast

import pytest

from stoker.consumers.followers import readiness
from stoker.consumers.followers.readiness import FollowerReadiness
from stoker.producers.readiness import ClusterCheck
from stoker.schemas import SchemaStore, StoreError
from stoker.topology import JobStory, Pipeline


@pytest.mark.expected_errors("cannot be enqueued yet")
def test_a_follower_that_is_asked_for_later_is_logged_at_its_first_attempt(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Jobs wait for it unsettled, so nobody must have to guess why; further attempts are logged now and then."""
    pipeline, asked = Pipeline("unit"), Counter[str]()
    pages, tickets = pipeline.queue("pages"), pipeline.queue("tickets")

    @pipeline.job(pages)
    def page(story: JobStory) -> None:
        """Follow the jobs of this queue."""

    @pipeline.job(tickets)
    def ticket(story: JobStory) -> None:
        """Follow those of another one."""

    work = pipeline.queue("work", on_dead=page)
    pipeline.queue("other", on_dead=ticket)

    class Check:
        """Finds no topic."""

        def partitions(self, topic: str) -> int:
            """Ask for the second follower once the first has failed five times; end after two attempts at that."""
            asked[topic] += 1
            if asked[pages.topic] == 5:
                assert not followers.covers(ticket)
            if asked[tickets.topic] == 3:
                followers.stop()
            raise StoreError("no topic")

    monkeypatch.setattr(readiness, "ASK_AGAIN_S", 0.0)
    followers = FollowerReadiness(pipeline, work, cast(SchemaStore, None), cast(ClusterCheck, Check()))
    followers._run()
    logged = [record.getMessage() for record in caplog.records]
    assert [sum(f"type {name!r}" in text for text in logged) for name in ("page", "ticket")] == [1, 1]
