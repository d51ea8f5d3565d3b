"""Breakers, dependencies and dead guards are declared with the job type, and mistakes are refused with the way out."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from stoker.topology import Breaker, DeadGuard, InvalidDeclaration, Pipeline
from stoker.topology.declaration.breakers import DEFAULT_BREAKER
from stoker.topology.declaration.catalogue import catalogue
from stoker.topology.planning.rights import Duty, rights_for

MINUTE = timedelta(minutes=1)


def declare(**options: Any) -> Pipeline:
    """One job type with these options."""
    pipeline = Pipeline("unit")
    queue = pipeline.queue("q")

    @pipeline.job(queue, **options)
    def work(number: int) -> None:
        """Nothing."""

    return pipeline


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        ({"needs": "stripe"}, r"needs is a list of dependencies, such as needs=\['stripe'\]"),
        ({"needs": ["stripe", "stripe"]}, "needs names 'stripe' twice"),
        ({"needs": ["a b"]}, "the dependency 'a b' cannot be called so"),
        ({"needs": [7]}, "named by text, such as 'stripe'; it is 7"),
        ({"breaker": Breaker(failures=None)}, "without failures and ratio never opens: give one of them"),
        ({"breaker": Breaker(failures=0)}, "failures must be at least 1; it is 0"),
        ({"breaker": Breaker(ratio=50)}, "above 0 and at most 1, such as 0.5; it is 50"),
        ({"breaker": Breaker(longest=timedelta(seconds=1))}, r"longest must not be below open_for \(0:00:10\)"),
        ({"breaker": Breaker(open_for=timedelta(0))}, "open_for must be above zero"),
        ({"dead_guard": DeadGuard(-1, within=MINUTE)}, "most must not be negative"),
        ({"dead_guard": DeadGuard(1, within=timedelta(0))}, "within must be above zero"),
    ],
)
def test_what_cannot_be_is_refused_with_the_way_out(options: dict[str, Any], fault: str) -> None:
    """Where the job type is declared."""
    with pytest.raises(InvalidDeclaration, match=fault):
        declare(**options)


def test_a_dependency_is_declared_by_its_name_in_needs_or_with_a_rule() -> None:
    """The rule counts wherever it is declared, before or after the job types that need it."""
    pipeline = declare(needs=["stripe", "bank"])
    assert dict(pipeline.dependencies) == {"stripe": DEFAULT_BREAKER, "bank": DEFAULT_BREAKER}
    rule = Breaker(failures=2)
    pipeline.dependency("stripe", rule)
    assert pipeline.dependencies["stripe"] is rule
    with pytest.raises(InvalidDeclaration, match="a dependency 'stripe' is declared already"):
        pipeline.dependency("stripe")
    with pytest.raises(InvalidDeclaration, match="cannot be called so"):
        pipeline.dependency("")


def test_a_queues_guard_is_that_of_its_types_unless_they_have_one() -> None:
    """Each type is counted for itself."""
    pipeline = Pipeline("unit")
    of_queue, of_type = DeadGuard(5, within=MINUTE), DeadGuard(9, within=MINUTE)
    queue = pipeline.queue("q", dead_guard=of_queue)

    def work(number: int) -> None:
        """Nothing."""

    first = pipeline.job(queue, name="first")(work)
    second = pipeline.job(queue, name="second", dead_guard=of_type)(work)
    assert (first.dead_guard, second.dead_guard) == (of_queue, of_type)


@pytest.mark.parametrize(("trips", "open_s"), [(1, 10.0), (2, 20.0), (3, 40.0), (4, 60.0), (1_000, 60.0)])
def test_each_failed_probe_doubles_the_time_up_to_the_longest(trips: int, open_s: float) -> None:
    """A breaker that is open for weeks does not overflow."""
    assert Breaker().open_s(trips) == open_s


def test_the_catalogue_has_them_in_words() -> None:
    """For people who look at the declaration alone."""
    pipeline = declare(
        needs=["stripe"],
        breaker=Breaker(failures=None, ratio=0.5),
        dead_guard=DeadGuard(100, within=timedelta(minutes=5)),
    )
    found = catalogue(pipeline)
    (job_type,) = found.queues[0].job_types
    assert (job_type.breaker, job_type.needs, job_type.dead_guard) == (
        "at 50% of 20 runs or more in 1m; probes after 10s, 1m at the most",
        ("stripe",),
        "more than 100 dead letters in 5m",
    )
    assert [(one.name, one.breaker) for one in found.dependencies] == [
        ("stripe", "after 5 failures in a row; probes after 10s, 1m at the most")
    ]


@pytest.mark.parametrize(
    ("options", "may_order"),
    [({}, False), ({"needs": ["stripe"]}, True), ({"dead_guard": DeadGuard(1, within=MINUTE)}, True)],
)
def test_a_worker_that_may_order_needs_to_write_its_audit_records(options: dict[str, Any], may_order: bool) -> None:
    """Others do not."""
    found = {(right.operation, right.name) for right in rights_for(Duty.WORKER, declare(**options))}
    assert (("Write", "unit.audit") in found) is may_order
