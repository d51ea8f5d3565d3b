"""A key that stands still holds up no other, however many of its jobs wait behind it (P5)."""

from __future__ import annotations

import pytest

from stoker.consumers.in_flight.memory_bounds import MemoryBounds
from stoker.consumers.in_flight.settled import SettledBatches
from stoker.consumers.partitions.assignments import Assignments
from stoker.consumers.settings import WorkerSettings
from stoker.topology import Queue
from support.scenes.deliveries import plain_record


@pytest.mark.parametrize(
    ("in_flight", "parked", "fetches"),
    [
        pytest.param(3_000, 0, True, id="three quarters of the bound"),
        pytest.param(3_001, 0, False, id="more of it"),
        pytest.param(7_000, 4_000, True, id="those that park do not count"),
        pytest.param(7_001, 4_000, False, id="those that may run do"),
    ],
)
def test_only_jobs_that_may_run_count_against_the_bound(in_flight: int, parked: int, fetches: bool) -> None:
    """With the default bound of 4,000 jobs."""
    queue = Queue(namespace="unit", name="q")
    assignments = Assignments(queue)
    memory_bounds = MemoryBounds(assignments, WorkerSettings(), lambda: parked, SettledBatches())
    memory_bounds.begin([plain_record(offset) for offset in range(in_flight)])
    assert memory_bounds.may_fetch() is fetches
