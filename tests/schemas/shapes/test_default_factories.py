"""A `default_factory` is a default of the schema where it always makes one value, and says why where it does not."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import pytest
from pydantic import BaseModel, Field

from stoker.schemas import Contract, ContractRefused, PayloadRefused


@dataclass
class Leg:
    """A nested record."""

    origin: str = "JFK"
    minutes: int | str = 5


@dataclass
class Order:
    """A record whose defaults are made."""

    number: int
    tags: list[str] = field(default_factory=lambda: ["new"])
    rates: dict[str, float] = field(default_factory=lambda: {"vat": 0.2})
    leg: Leg = field(default_factory=Leg)
    legs: tuple[Leg, ...] = field(default_factory=lambda: (Leg("EWR", "x"),))
    price: Decimal = field(default_factory=Decimal)
    note: str | int = field(default_factory=str)


class Model(BaseModel):
    """The same as a pydantic model."""

    number: int
    tags: list[str] = Field(default_factory=lambda: ["new"])
    leg: Leg = Field(default_factory=Leg)
    seen: list[int] = Field(default_factory=list)


def contract_of(owner: type[Any]) -> Contract:
    """The contract of a job that takes a record."""

    def job(value: Any) -> None: ...

    job.__annotations__ = {"value": owner}
    return Contract.of_function(job, job_type="j", namespace="n")


@pytest.mark.parametrize("owner", [Order, Model])
def test_a_factory_of_one_value_is_a_default(owner: Any) -> None:
    """Fields with one are no longer required, and take what the class itself would make."""
    contract = contract_of(owner)
    assert [f["name"] for f in contract.schema["fields"] if "default" not in f] == ["number"]
    (made,), _ = contract.arguments(contract.from_json({"number": 7}))
    assert made == owner(number=7)
    (again,), _ = contract.arguments(contract.codec.decode(contract.encode(contract.payload((made,), {})), 0))
    assert again == made


def test_values_that_a_factory_makes_are_not_shared() -> None:
    """Each payload has a list of its own."""
    contract = contract_of(Order)
    first, second = (contract.arguments(contract.from_json({"number": 7}))[0][0] for _ in range(2))
    assert isinstance(first, Order)
    assert isinstance(second, Order)
    first.tags.append("x")
    assert second.tags == ["new"]


counter = itertools.count()


def broken() -> int:
    """Raise."""
    raise RuntimeError


VARYING: list[tuple[Any, Callable[[], Any], str]] = [
    (UUID, uuid4, "another value each time"),
    (datetime, lambda: datetime.now(UTC), "another value each time"),
    (date, date.today, "another value each time"),
    (int, lambda: next(counter), "another value each time"),
    (int, broken, "raised RuntimeError"),
]


@pytest.mark.parametrize(("annotation", "factory", "why"), VARYING)
def test_a_field_whose_factory_varies_stays_required_and_gives_the_reason(
    annotation: Any, factory: Callable[[], Any], why: str
) -> None:
    """An instance brings the value along; who leaves the field out of JSON reads why it has no default."""

    class Varying(BaseModel):
        value: annotation = Field(default_factory=factory)

    contract = contract_of(Varying)
    assert "default" not in contract.schema["fields"][0]
    with pytest.raises(PayloadRefused, match=why) as refused:
        contract.from_json({})
    assert refused.value.field == "value"
    if factory is not broken:
        made = Varying()
        assert contract.arguments(contract.payload((made,), {})) == ((made,), {})


def test_a_factory_of_a_wrong_value_is_refused() -> None:
    """As a wrong default is."""

    @dataclass
    class Wrong:
        value: int = field(default_factory=str)  # type: ignore[assignment]  # the wrong type is the point

    with pytest.raises(ContractRefused, match="must be an int"):
        contract_of(Wrong)
