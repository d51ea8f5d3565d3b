"""A count of dead letters is right or is not given: repairs and twins are no deaths."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from stoker.operations.replay.dead_letter_replay import DeadLetterManager, Discarding, Request
from stoker.operations.replay.pacing import ReplayPace
from stoker.operations.stored_jobs import dead_letter_counts
from stoker.operations.stored_jobs.dead_letter_counts import OpenDeadLetters, count_recent
from stoker.operations.stored_jobs.selection import Selection
from stoker.topology import ClusterSettings
from support.scenes.dead_letters import Bench, DeadJob, open_bench

HOUR = timedelta(hours=1)


@pytest.fixture
def bench(cluster: ClusterSettings, namespace: str) -> Bench:
    """Four dead letters of an hour ago or less, one of them written twice, and two that died long before."""
    bench = open_bench(cluster, namespace)
    now, old = datetime.now(UTC), datetime.now(UTC) - 24 * HOUR
    bench.add_dead([DeadJob(order=order, died_at=old) for order in (10, 11)])
    bench.add_dead([DeadJob(order=order, died_at=now) for order in (1, 2, 1, 3, 4)])
    return bench


def discard(bench: Bench, *ids: str) -> None:
    """Write dead letters off, all of them when none is named."""
    manager = DeadLetterManager(bench.pipeline, bench.cluster, bench.queue, Discarding())
    request = Request(selection=Selection(ids=frozenset(ids)), reason="n")
    manager.carry_out(request, manager.forecast(request), ReplayPace())


def test_repairs_are_no_deaths(bench: Bench) -> None:
    """Of six dead letters three are discarded: three are open; four died in the last hour, two of them open."""
    topic = bench.queue.dead_topic
    counted = OpenDeadLetters(bench.cluster, topic)
    assert counted.count() == 6
    discard(bench, "job-1", "job-2", "job-10")

    assert counted.count() == 3  # what has come since was read
    assert OpenDeadLetters(bench.cluster, topic).count() == 3
    found = count_recent(bench.cluster, topic, datetime.now(UTC) - HOUR)
    assert found is not None
    assert (found.died, found.open, found.is_whole) == (4, 2, True)
    assert found.oldest_open is not None
    assert found.oldest_open < datetime.now(UTC) - 23 * HOUR

    discard(bench)
    assert counted.count() == 0
    found = count_recent(bench.cluster, topic, datetime.now(UTC) - HOUR)
    assert found is not None
    assert (found.died, found.open, found.oldest_open) == (4, 0, None)


def test_what_is_too_much_to_read_is_not_counted(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Above the bound the open dead letters are unknown; those of the last hour are counted while they are few."""
    monkeypatch.setattr(dead_letter_counts, "MAX_COUNTED", 5)  # of seven records
    topic, since = bench.queue.dead_topic, datetime.now(UTC) - HOUR
    assert OpenDeadLetters(bench.cluster, topic).count() is None
    found = count_recent(bench.cluster, topic, since)
    assert found is not None
    assert (found.died, found.open, found.is_whole) == (4, 4, False)

    monkeypatch.setattr(dead_letter_counts, "MAX_COUNTED", 4)
    assert count_recent(bench.cluster, topic, since) is None


def test_a_topic_that_cannot_be_read_is_not_counted(bench: Bench) -> None:
    """A topic that is gone has no count, and ends no command."""
    assert OpenDeadLetters(bench.cluster, f"{bench.queue.dead_topic}.gone").count() is None
    assert count_recent(bench.cluster, f"{bench.queue.dead_topic}.gone", datetime.now(UTC)) is None
