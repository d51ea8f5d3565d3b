"""Limits are declared on queues and job types; what cannot be exact is refused, with the way out."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from stoker.producers.errors import OptionRefused
from stoker.producers.record import RecordBuilder
from stoker.schemas import MemorySchemaStore
from stoker.topology import Concurrency, InvalidDeclaration, Pipeline, Rate
from stoker.topology.declaration.catalogue import catalogue
from stoker.topology.wire import headers as wire

SECOND = timedelta(seconds=1)


@pytest.mark.parametrize(
    ("limits", "fault"),
    [
        ([Rate(0, per=SECOND, by="key")], "count must be at least 1; it is 0"),
        ([Rate(1, per=timedelta(milliseconds=9), by="key")], "per must be from"),
        ([Rate(1, per=SECOND, by="key", burst=0)], "burst must be at least 1"),
        ([Concurrency(0, by="key")], "Concurrency(0 at once by key): count must be at least 1"),
        ([Rate(1, per=SECOND, by="customer")], 'by must be "key", "tenant" or a function'),
        ([Rate(1, per=SECOND, by="tenant")], 'declare the queue with route_by="tenant"'),
        ([Rate(1, per=SECOND, by="key"), Rate(9, per=60 * SECOND, by="key")], "two limits have the name 'q.rate.key'"),
        ([3], "3 is neither"),
        (3, "must be a list of Rate and Concurrency"),
    ],
)
def test_a_limit_that_cannot_be_is_refused(limits: Any, fault: str) -> None:
    """The message names the limit, the fault, and where there is one the way out."""
    with pytest.raises(InvalidDeclaration, match="queue 'q' is not declared well") as refused:
        Pipeline("unit").queue("q", limits=limits)
    assert fault in str(refused.value)


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        ({"limits": [Rate(1, per=SECOND, by="tenant")]}, 'declare the queue with route_by="tenant"'),
        ({"cost": 0}, "cost must be a number of at least 1"),
        ({"cost": lambda rows: rows}, "takes 'rows', which is no parameter of the job"),
    ],
)
def test_a_job_type_with_a_limit_that_cannot_be_is_refused(options: Any, fault: str) -> None:
    """As with the queue."""
    pipeline = Pipeline("unit")
    with pytest.raises(InvalidDeclaration, match="job type 'act' is not declared well") as refused:
        pipeline.job(pipeline.queue("q"), name="act", **options)(act)
    assert fault in str(refused.value)


def test_two_rates_of_one_key_have_names_of_their_own() -> None:
    """So that an order can name one of them."""
    queue = Pipeline("unit").queue(
        "q", limits=[Rate(10, per=SECOND, by="key"), Rate(100, per=60 * SECOND, by="key", name="q.minute")]
    )
    assert [str(limit) for limit in queue.limits] == ["10/1s by key", "100/1m by key"]


def act(number: int) -> None:
    """Do nothing."""


def cost_of(**options: Any) -> bytes | None:
    """The header of a job that has 40 rows."""
    pipeline = Pipeline("unit")

    @pipeline.job(pipeline.queue("q"), **options)
    def load(rows: int) -> None:
        """Load them."""

    store = MemorySchemaStore()
    store.register(load.contract, load.compatibility)
    record = RecordBuilder(store, "unit", {}).build(load.call(40))
    return dict(record.headers).get(wire.COST)


def test_a_cost_that_follows_from_the_arguments_is_in_a_header() -> None:
    """A number is the declaration's alone: nothing is on the wire."""
    assert cost_of(cost=lambda rows: 1 + rows // 10) == b"5"
    assert cost_of(cost=7) is None
    assert cost_of() is None


@pytest.mark.parametrize("cost", [0, -1, 1.5, "3", True, None, 10**9])
def test_a_cost_that_cannot_be_is_refused_where_the_job_is_enqueued(cost: Any) -> None:
    """The caller sees the mistake."""
    with pytest.raises(OptionRefused, match="cost must be a whole number from 1 to 999,999,999"):
        cost_of(cost=lambda rows: cost)


def test_a_cost_function_that_raises_is_refused_where_the_job_is_enqueued() -> None:
    """As one that makes a key."""
    with pytest.raises(OptionRefused, match="cost could not be made: its function raised ZeroDivisionError"):
        cost_of(cost=lambda rows: 1 // 0)


def test_the_catalogue_shows_limits_and_costs() -> None:
    """For people and programs."""
    pipeline = Pipeline("unit")
    queue = pipeline.queue("q", limits=[Rate(10, per=SECOND, by="key", burst=20)])
    pipeline.job(queue, name="act", limits=[Concurrency(3, by="key")], cost=lambda number: number)(act)
    (shown,) = catalogue(pipeline).queues
    assert shown.limits == {"q.rate.key": "10/1s by key, burst 20"}
    assert shown.job_types[0].limits == {"act.concurrency.key": "3 at once by key"}
    assert shown.job_types[0].cost == "by a function"
