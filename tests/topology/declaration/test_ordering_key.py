"""Ordering keys are found in a call's arguments, however they were given, or refused at declaration."""

from __future__ import annotations

import enum
import operator
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from typing import Any
from uuid import UUID

import pytest
from pydantic import BaseModel

from stoker.topology import InvalidDeclaration, JobType, Pipeline
from stoker.topology.declaration.labels import LabelNotFound


class Region(enum.IntEnum):
    """Members whose names go on the wire."""

    NORTH = 1


@dataclass
class Customer:
    """The innermost record."""

    id: int
    region: Region | None = None


class Order(BaseModel):
    """A record with a record."""

    number: UUID
    customer: Customer
    paid: date | None = None


def transfer(account: str, cents: int = 5, *, note: str = "none", tags: list[str] = []) -> None:  # noqa: B006
    """Have parameters of every kind."""


def ship(order: Order) -> None:
    """Take a record as a whole."""


def refund(order: Order | None, line: int) -> None:
    """Take an optional record."""


def declared(function: Callable[..., Any], key: Any, **options: Any) -> JobType[..., Any]:
    """A job type with that key."""
    pipeline = Pipeline("shop")
    return pipeline.job(pipeline.queue("mails"), key=key, **options)(function)


ORDER = Order(number=UUID(int=7), customer=Customer(12, Region.NORTH))


@pytest.mark.parametrize(
    ("key", "args", "kwargs", "found"),
    [
        (lambda account, cents: f"{account}-{cents}", ("a",), {}, "a-5"),
        (lambda account, cents: f"{account}-{cents}", ("a", 1), {}, "a-1"),
        (lambda account, cents: f"{account}-{cents}", (), {"cents": 2, "account": "b"}, "b-2"),
        (lambda cents: f"{cents}", ("a",), {}, "5"),
        (lambda note: note, ("a", 1), {"note": "x"}, "x"),
        (lambda *, note: note, ("a",), {}, "none"),
        (lambda account, /: account, ("a", 1), {}, "a"),
        (lambda account, prefix="c": prefix + account, ("a",), {}, "ca"),
        (lambda account, **others: f"{account}{sorted(others)}", ("a",), {}, "a['cents', 'note', 'tags']"),
        (lambda account, *others: f"{account}{others}", ("a",), {}, "a(5, 'none', [])"),
        (lambda tags: tags.append("x") or str(tags), ("a",), {}, "['x']"),
        (lambda: "one", ("a",), {}, "one"),
        (lambda account: None, ("a",), {}, None),
        ("account", ("a",), {}, "a"),
        ("cents", ("a",), {}, "5"),
        ("note", (), {"account": "a"}, "none"),
    ],
)
def test_a_key_is_made_of_the_arguments_that_it_names(key: Any, args: Any, kwargs: Any, found: str | None) -> None:
    """By position, by name, and by default; what the key does not name is not passed."""
    for _ in range(2):
        assert declared(transfer, key).call(*args, **kwargs).key == found


@pytest.mark.parametrize(
    ("function", "key", "args", "found"),
    [
        (ship, "order.number", (ORDER,), str(UUID(int=7))),
        (ship, "order.customer.id", (ORDER,), "12"),
        (ship, "order.customer.region", (ORDER,), "NORTH"),
        (ship, "order.customer.region", (ORDER.model_copy(update={"customer": Customer(1)}),), None),
        (ship, lambda order: str(order.customer.id), (ORDER,), "12"),
        (refund, "order.customer.id", (ORDER, 1), "12"),
        (refund, "order.customer.id", (None, 1), None),
    ],
)
def test_a_path_leads_through_records(function: Any, key: Any, args: Any, found: str | None) -> None:
    """From a parameter through records, optional ones too; None means no order."""
    assert declared(function, key).call(*args).key == found


def test_a_path_leads_through_dicts_of_a_given_schema() -> None:
    """A payload that is a dict has its fields by name."""

    def job(payload: dict[str, Any]) -> None: ...

    schema = {"type": "record", "name": "R", "fields": [{"name": "customer_id", "type": "long"}]}
    assert declared(job, "payload.customer_id", schema=schema).call({"customer_id": 3}).key == "3"


def test_the_default_of_a_given_schema_is_the_keys_too() -> None:
    """A key is made of what the payload has, and a given schema's defaults rule there."""

    def job(n: int, cents: int = 0) -> None: ...

    fields = [{"name": "n", "type": "long"}, {"name": "cents", "type": "long", "default": 7}]
    job_type = declared(job, lambda cents: f"{cents}", schema={"type": "record", "name": "R", "fields": fields})
    assert job_type.call(1).key == "7"


async def asynchronous(account: str) -> str:
    """Is no key."""
    return account


@pytest.mark.parametrize(
    ("function", "key", "part"),
    [
        (transfer, lambda acount: acount, "takes 'acount', which is no parameter of the job; it has: account, cents"),
        (transfer, lambda account, other, *rest: account, "takes 'other'"),
        (transfer, asynchronous, "async function"),
        (transfer, operator.attrgetter("account"), "path as text"),
        (transfer, 5, "must be a function, or the path"),
        (transfer, "acount", "key 'acount' begins with 'acount', which is no parameter"),
        (transfer, "account.id", "leads to no field"),
        (transfer, "tags", "neither text, an int"),
        (transfer, "", "no parameter"),
        (ship, "customer.id", "did you mean 'order.customer.id'"),
        (ship, "order", "neither text"),
        (ship, "order.paid", "neither text"),
        (ship, "order.missing", "leads to no field"),
        (lambda: None, "x", "it has none"),
    ],
)
def test_a_key_that_could_never_be_made_is_refused_at_declaration(function: Any, key: Any, part: str) -> None:
    """Names that the job does not have, and values that are no key, are reported where the job is declared."""
    options = {"name": "job"} if function.__name__ == "<lambda>" else {}
    with pytest.raises(InvalidDeclaration, match="job type") as refused:
        declared(function, key, **options)
    assert part in str(refused.value)


def test_a_key_function_that_raises_is_reported_with_its_cause() -> None:
    """The user's own error is kept, as the cause."""
    call = declared(transfer, lambda account: {"a": "b"}[account]).call("x")
    with pytest.raises(LabelNotFound, match="raised KeyError") as caught:
        _ = call.key
    assert isinstance(caught.value.__cause__, KeyError)


def collide(self: int, job: int, timeout: int, *, calls: int, key: int, args: int, kwargs: int) -> int:
    """Have parameters with the names that Stoker's own methods use."""
    return self + job + timeout + calls + key + args + kwargs


NAMES = ("self", "job", "timeout", "calls", "key", "args", "kwargs")


def test_parameters_may_have_any_name() -> None:
    """`job`, `self` and the like are the job's own names, in calls, with options, and when called directly."""
    job_type = declared(collide, "job")
    arguments = {name: number for number, name in enumerate(NAMES)}
    for call in (job_type.call(**arguments), job_type.with_options(job_id="x").call(**arguments)):
        assert (call.kwargs, call.key) == (arguments, "1")
    assert job_type(**arguments) == sum(range(7))
