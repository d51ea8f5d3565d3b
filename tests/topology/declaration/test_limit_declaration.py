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
from stoker.topology.declaration.topics import Role, pipeline_topics, queue_topics
from stoker.topology.planning.rights import Duty, rights_for
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


def values_of(**options: Any) -> bytes | None:
    """The header of a job with 40 rows in a queue with a limit by a function."""
    pipeline = Pipeline("unit")
    queue = pipeline.queue("q", limits=[Rate(10, per=SECOND, by=lambda rows: str(rows) if rows else None)])

    @pipeline.job(queue, **options)
    def load(rows: int) -> None:
        """Load them."""

    store = MemorySchemaStore()
    store.register(load.contract, load.compatibility)
    record = RecordBuilder(store, "unit", {}).build(load.call(40))
    return dict(record.headers).get(wire.LIMITED_BY)


def test_the_values_of_functions_are_in_a_header() -> None:
    """Of the queue and of the job type."""
    assert values_of() == b'{"q.rate.function":"40"}'
    own = [Concurrency(2, by=lambda rows: "even" if rows % 2 == 0 else "odd", name="parity")]
    assert values_of(limits=own) == b'{"q.rate.function":"40","parity":"even"}'
    assert values_of(limits=[Concurrency(2, by=lambda rows: None, name="none")]) == b'{"q.rate.function":"40"}'


@pytest.mark.parametrize("value", [3, b"x", "x" * 300])
def test_a_value_that_is_no_text_is_refused_where_the_job_is_enqueued(value: Any) -> None:
    """The caller sees which limit it is."""
    with pytest.raises(OptionRefused, match="by of limit odd must be text of at most 256 characters"):
        values_of(limits=[Concurrency(2, by=lambda rows: value, name="odd")])


def test_a_function_of_a_queue_is_held_against_each_of_its_job_types() -> None:
    """It takes what the job does not have."""
    pipeline = Pipeline("unit")
    queue = pipeline.queue("q", limits=[Rate(10, per=SECOND, by=lambda rows: f"{rows}")])
    with pytest.raises(InvalidDeclaration, match="by takes 'rows', which is no parameter of the job"):
        pipeline.job(queue)(act)


def test_a_resource_is_one_limit_wherever_it_is_declared() -> None:
    """The queue whose name comes first gives its shares."""
    pipeline = Pipeline("unit")
    stripe = Concurrency(50, resource="stripe")
    calls, bills = pipeline.queue("calls", limits=[stripe]), pipeline.queue("bills")
    pipeline.job(bills, name="act", limits=[stripe])(act)
    assert pipeline.share_coordinators == {"stripe.concurrency": "bills"}
    assert [spec.name for spec in pipeline_topics(pipeline)][-1] == "unit.shares"
    with pytest.raises(InvalidDeclaration, match="limited to 9 at once here and to 50 at once by job type 'act'"):
        pipeline.queue("mails", limits=[Concurrency(9, resource="stripe")])
    with pytest.raises(InvalidDeclaration, match="has a limit 'mine' already; give one of them another name="):
        pipeline.job(
            pipeline.queue("others", limits=[Rate(1, per=SECOND, name="mine")]),
            name="other",
            limits=[Rate(2, per=SECOND, name="mine")],
        )(act)
    assert calls.limits == (stripe,)


def test_a_pipeline_without_shared_limits_has_no_topic_of_shares() -> None:
    """And its workers need no right on it."""
    pipeline = Pipeline("unit")
    pipeline.queue("q", limits=[Rate(1, per=SECOND, by="key")])
    assert "unit.shares" not in [spec.name for spec in pipeline_topics(pipeline)]
    assert not [right for right in rights_for(Duty.WORKER, pipeline) if right.name == "unit.shares"]
    pipeline.queue("r", limits=[Rate(1, per=SECOND)])
    assert len([right for right in rights_for(Duty.WORKER, pipeline) if right.name == "unit.shares"]) == 2


@pytest.mark.parametrize(("per_s", "is_reserved"), [(1.0, False), (1.1, True)])
def test_a_queue_whose_owners_reserve_what_they_use_has_a_topic_for_it(per_s: float, is_reserved: bool) -> None:
    """Where its own limits, or those of a type, have longer windows than a takeover waits for; workers need rights."""
    pipeline = Pipeline("unit")
    queue, other = pipeline.queue("q", partitions=3), pipeline.queue("r", limits=[Rate(9, per=60 * SECOND)])
    pipeline.job(queue, name="act", limits=[Rate(1, per=timedelta(seconds=per_s), by="key"), Concurrency(1, by="key")])(
        act
    )
    specs = [spec for spec in queue_topics(pipeline, queue) if spec.role is Role.LIMITS]
    assert [(spec.name, spec.partitions) for spec in specs] == [("unit.q.limits", 3)] * is_reserved
    assert all(spec.configs["message.timestamp.type"] == "LogAppendTime" for spec in specs)
    assert not [spec for spec in queue_topics(pipeline, other) if spec.role is Role.LIMITS], "it is shared"
    rights = [right for right in rights_for(Duty.WORKER, pipeline) if right.name.endswith(".limits")]
    assert len(rights) == 2 * is_reserved


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
