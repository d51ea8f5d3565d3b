"""How a job type says what makes its jobs unique: faults are found when it is declared, and identities are stable."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from stoker.producers.record import RecordBuilder
from stoker.schemas import MemorySchemaStore
from stoker.topology import InvalidDeclaration, JobCall, Pipeline, Unique
from stoker.topology.declaration.catalogue import catalogue
from stoker.topology.wire import headers as wire

SECOND = timedelta(seconds=1)


@pytest.mark.parametrize(
    ("fields", "fault"),
    [
        ({"by": "customer"}, "begins with 'customer', which is no parameter of the job"),
        ({"by": ("shop", "price")}, "'price' is neither text, an int, a UUID nor an Enum"),
        ({"by": ()}, "names no argument"),
        ({"by": lambda customer: "x"}, "takes 'customer', which is no parameter of the job"),
        ({"while_": ()}, "makes nothing unique without `within`"),
        ({"while_": ("running",)}, "must have 'waiting' beside 'running'"),
        ({"while_": ("asleep",)}, "may have waiting and running; it has asleep"),
        ({"on_conflict": "replace", "while_": (), "within": SECOND}, "is about waiting jobs"),
        ({"on_conflict": "wait"}, "must be one of drop, replace, put_off"),
        ({"on_conflict": "put_off"}, "wait and on_conflict='put_off' go together"),
        ({"wait": SECOND}, "wait and on_conflict='put_off' go together"),
        ({"on_conflict": "put_off", "wait": 2 * SECOND, "longest": SECOND}, "must not be below it"),
        ({"within": timedelta(days=2)}, "ledger=LedgerWindow(age=…)"),
    ],
)
def test_a_declaration_that_cannot_be_is_refused(fields: dict[str, Any], fault: str) -> None:
    """The message names the fault, and where there is one the way out."""
    pipeline = Pipeline("unit")

    def act(shop: str, price: float) -> None:
        """Do nothing."""

    with pytest.raises(InvalidDeclaration, match="job type 'act' is not declared well") as refused:
        pipeline.job(pipeline.queue("q"), unique=Unique(**fields))(act)
    assert fault in str(refused.value)


def test_a_queue_without_order_cannot_have_unique_jobs() -> None:
    """Jobs of one identity would run beside each other."""
    pipeline = Pipeline("unit")
    with pytest.raises(InvalidDeclaration, match="ordering='key' or 'strict'"):
        pipeline.job(pipeline.queue("q", ordering="none"), name="act", unique=Unique())(lambda: None)


class Calls:
    """A pipeline with one unique job type, and what its producer makes of calls."""

    def __init__(self, unique: Unique, *, route_by: Any = "key", **options: Any) -> None:
        self.pipeline = Pipeline("unit")
        self.queue = self.pipeline.queue("q", partitions=4, route_by=route_by)

        @self.pipeline.job(self.queue, unique=unique, **options)
        def act(shop: str, number: int = 1, note: str | None = None) -> None:
            """Do nothing."""

        self.act = act
        self._store = MemorySchemaStore()
        self._store.register(act.contract, act.compatibility)
        self._builder = RecordBuilder(self._store, "tests", {self.queue.topic: 4})

    def made(self, *args: Any, **kwargs: Any) -> tuple[bytes | None, bytes | None]:
        """Key and identity of a call."""
        record = self._builder.build(JobCall(self.act, args, kwargs))
        return record.key, dict(record.headers).get(wire.UNIQUE)


def test_the_identity_is_the_key_where_the_job_has_none() -> None:
    """So jobs of one identity meet in one lane."""
    calls = Calls(Unique(by="shop"))
    assert calls.made("acme", 1) == calls.made(shop="acme", number=2) == (b"act:acme", b"act:acme")
    assert Calls(Unique(by="shop"), key="number").made("acme", 1) == (b"1", b"act:acme")


def test_all_arguments_make_the_identity_where_none_is_named() -> None:
    """Also by their defaults."""
    calls = Calls(Unique())
    assert calls.made("acme") == calls.made(shop="acme", number=1)
    assert calls.made("acme") != calls.made("acme", 2)


def test_several_arguments_and_odd_texts_make_bounded_identities() -> None:
    """None is a value like any other, and nobody's text passes for it."""
    calls = Calls(Unique(by=("shop", "note")))
    made = {calls.made(*args)[1] for args in (("a", 1, "b"), ("a", 1, None), ("a", 1, "null"), ("a\n",), ("a" * 300,))}
    assert len(made) == 5
    assert all(identity is not None and len(identity) < 250 for identity in made)


def test_a_function_may_leave_a_call_out() -> None:
    """None: this job is not unique."""
    calls = Calls(Unique(by=lambda shop, number: f"{shop}" if number else None))
    assert calls.made("acme", 1) == (b"act:acme", b"act:acme")
    assert calls.made("acme", 0) == (None, None)


def test_jobs_are_unique_within_the_tenant_that_chooses_their_partition() -> None:
    """Equal arguments of two tenants are two identities."""
    calls = Calls(Unique(by="number"), route_by="tenant", tenant="shop")
    assert calls.made("acme", 1) != calls.made("zeta", 1)
    assert calls.made("acme", 1) == calls.made("acme", 1)
    assert Calls(Unique(by="number"), tenant="shop").made("acme", 1) == (b"act:1", b"act:1")


def test_the_catalogue_tells_how_jobs_are_unique() -> None:
    """In words."""
    calls = Calls(Unique(by=("shop", "number"), on_conflict="put_off", wait=5 * SECOND, longest=60 * SECOND))
    (queue,) = catalogue(calls.pipeline).queues
    assert queue.job_types[0].unique == "by shop and number, while waiting, put off by 5s, 1m at the most"
    assert str(Unique()) == "by all arguments, drop on conflict, while waiting or running"
