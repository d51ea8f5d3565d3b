"""A key that stands still holds up the others only when very many of its jobs wait behind it (P5)."""

from __future__ import annotations

import pytest

from stoker.consumers.partitions.assignments import Assignments
from stoker.consumers.polling.backpressure import Backpressure
from stoker.consumers.polling.settled import SettledBatches
from stoker.consumers.settings import WorkerSettings
from stoker.topology import Queue
from support.scenes.deliveries import plain_record


@pytest.mark.parametrize(
    ("in_flight", "parked", "fetches"),
    [
        pytest.param(3_000, 0, True, id="three quarters of the bound"),
        pytest.param(3_001, 0, False, id="more of it"),
        pytest.param(3_001, 2_000, False, id="some parked, and plenty that may run: they count"),
        pytest.param(19_990, 19_980, True, id="nearly all of them parked: they do not"),
        pytest.param(20_010, 20_000, False, id="as many parked as may be"),
    ],
)
def test_parked_jobs_count_unless_they_hold_others_up(in_flight: int, parked: int, fetches: bool) -> None:
    """With the default bounds of 4,000 jobs and 20,000 parked ones."""
    queue = Queue(namespace="unit", name="q")
    assignments = Assignments(queue)
    backpressure = Backpressure(assignments, WorkerSettings(), lambda: parked, SettledBatches())
    backpressure.begin([plain_record(offset) for offset in range(in_flight)])
    assert backpressure.may_fetch() is fetches
