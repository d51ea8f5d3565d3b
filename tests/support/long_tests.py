"""In which order several processes take the tests: long ones early, so that none is left alone with one at the end."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pytest

TESTS: Final = Path(__file__).parents[1]
LONG: Final = (
    "chaos/test_short_run.py",
    "examples/test_demo.py",
    "consumers/on_brokers/test_outage.py",
    "conformance/test_commits.py",
    "operations/replay/test_replay_outage.py",
    "consumers/partitions/test_exact_progress.py",
    "consumers/kafka/test_worker_outage.py",
    "producers/test_producer_outage.py",
    "documents/test_documents.py",
    "bench/test_bench.py",
    "chaos/cluster/test_nodes.py",
    "operations/broker/test_broker.py",
    "producers/test_lazy_producer.py",
    "producers/outbox/test_outbox_crashes.py",
    "producers/outbox/test_relay.py",
    "producers/outbox/test_spool.py",
    "consumers/inbox/test_inbox_crashes.py",
    "consumers/settling/test_silent_events.py",
    "operations/job_index/test_outside_ledger.py",
    "operations/job_index/test_topic_follower.py",
    "consumers/on_brokers/test_crashes.py",
    "consumers/partitions/test_moved_partitions.py",
    "consumers/isolation/test_child_pool.py",
)
"""The files with tests of 15 seconds and more, the longest first; in the order of their names they are begun late."""
LAST_BEGUN_AT: Final = 2 / 3
"""Of the others, so many are begun by then. All at once they would hinder each other: many start their own broker."""


def spread_long(items: list[pytest.Item]) -> None:
    """Put the tests of these files, in their order, between the first of the others, as far apart as may be."""
    ranks = {TESTS / name: rank for rank, name in enumerate(LONG)}
    long = sorted((item for item in items if item.path in ranks), key=lambda item: ranks[item.path])
    others = [item for item in items if item.path not in ranks]
    step = int(len(others) * LAST_BEGUN_AT) // max(1, len(long))
    items.clear()
    for at, item in enumerate(long):
        items += [item, *others[at * step : (at + 1) * step]]
    items += others[len(long) * step :]
