"""What a payload must be: the arguments of a call, and JSON as a person types it."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Annotated, Any, Literal
from uuid import UUID

import pytest
from pydantic import Field

from stoker.schemas import Contract, Digits, PayloadRefused
from support.scenes.payload_types import Cabin, Claim, Leg, Model, Picky, Tail, contract_for


@pytest.mark.parametrize(
    ("annotation", "value", "part"),
    [
        (int, "12", "must be an int, got str"),
        (int, 1.0, "must be an int, got float"),
        (int, True, "must be an int, got bool"),
        (int, 2**63, "64-bit"),
        (int, -(2**63) - 1, "64-bit"),
        (int, None, "None is not allowed"),
        (str, b"x", "must be a str"),
        (str, "\ud800", "surrogate"),
        (bytes, "x", "must be bytes"),
        (bool, 1, "must be a bool"),
        (float, "1", "must be a float"),
        (float, 2**53 + 1, "cannot hold exactly"),
        (datetime, datetime(2013, 1, 1), "without a time zone"),  # noqa: DTZ001  # naive is the point
        (datetime, date(2013, 1, 1), "must be a datetime"),
        (datetime, datetime.min.replace(tzinfo=timezone(timedelta(hours=1))), "out of the range"),
        (date, datetime(2013, 1, 1, tzinfo=UTC), "must be a date"),
        (time, time(1, tzinfo=UTC), "time zone"),
        (UUID, "6a1102e3-6e19-484c-a1e4-2e04f0aed2a1", "must be a UUID"),
        (Decimal, 1, "must be a Decimal"),
        (Decimal, Decimal("NaN"), "finite"),
        (Annotated[Decimal, Digits(precision=4, scale=2)], Decimal("1.234"), "more than 2 digits after"),
        (Annotated[Decimal, Digits(precision=4, scale=2)], Decimal("123.4"), "more than 2 digits before"),
        (Cabin, "COACH", "must be a Cabin"),
        (Literal["a", "b"], "c", "must be one of"),
        (list[int], (1, 2), "must be a list"),
        (int | None, "1", "must be an int"),
        (int | str, 1.5, "fits no branch"),
        (Annotated[int, Field(gt=0)], -1, "breaks its constraint"),
        (Leg | None, {"origin": "JFK"}, "must be a Leg"),
    ],
)
def test_a_value_that_does_not_fit_is_refused(annotation: Any, value: Any, part: str) -> None:
    """A value of another type or range is refused, never converted, and its field is named."""
    with pytest.raises(PayloadRefused) as refused:
        contract_for(annotation).payload((value,), {})
    assert refused.value.field == "value"
    assert part in str(refused.value)


@pytest.mark.parametrize(
    ("annotation", "value", "path"),
    [
        (list[int], [1, "2"], "value.1"),
        (dict[str, int], {"a": 1, "b": "2"}, "value.b"),
        (list[Leg], [Leg("JFK"), Leg("JFK", "x")], "value.1.minutes"),  # type: ignore[arg-type]  # the point
        (Leg | None, Leg(5), "value.origin"),  # type: ignore[arg-type]  # the wrong type is the point
        (dict[str, int], {1: 1}, "value"),
    ],
)
def test_a_refusal_names_the_path_to_the_value(annotation: Any, value: Any, path: str) -> None:
    """The dotted path leads through lists, maps and records to what was refused."""
    with pytest.raises(PayloadRefused) as refused:
        contract_for(annotation).payload((value,), {})
    assert refused.value.field == path


def test_a_field_of_a_declared_record_is_named_alone() -> None:
    """In a declared record the path starts at the record's own fields."""

    def job(claim: Claim) -> None: ...

    contract = Contract.of_function(job, job_type="j", namespace="n")
    wrong = Claim(tail=Tail("N1"), delay="3", at=datetime.now(UTC))  # type: ignore[arg-type]  # the point
    with pytest.raises(PayloadRefused) as refused:
        contract.payload((wrong,), {})
    assert refused.value.field == "delay"


@pytest.mark.parametrize(
    ("args", "kwargs", "name", "part"),
    [
        ((), {"b": "x"}, "a", "missing"),
        ((1,), {"a": 1}, "a", "given twice"),
        ((1, "x", 3), {}, "", "takes 2 positional"),
        ((1,), {"c": 1}, "c", "not a field"),
    ],
)
def test_arguments_that_do_not_bind_are_refused(args: Any, kwargs: Any, name: str, part: str) -> None:
    """What Python would answer with a TypeError at the call is refused at enqueue."""

    def job(a: int, b: str = "") -> None: ...

    contract = Contract.of_function(job, job_type="j", namespace="n")
    with pytest.raises(PayloadRefused, match=part) as refused:
        contract.payload(args, kwargs)
    assert refused.value.field == name


def test_defaults_are_not_shared_between_payloads() -> None:
    """A list that is a default is a new list in each payload."""

    def job(tags: list[str] = []) -> None: ...  # noqa: B006  # the mutable default is the point

    contract = Contract.of_function(job, job_type="j", namespace="n")
    tags = contract.payload((), {})["tags"]
    assert isinstance(tags, list)
    tags.append("x")
    assert contract.payload((), {}) == {"tags": []}


def test_a_model_changed_after_its_construction_is_refused() -> None:
    """A pydantic model is held to its own constraints again at enqueue, since it may have been changed."""

    def job(model: Model) -> None: ...

    contract = Contract.of_function(job, job_type="j", namespace="n")
    model = Model.model_validate({"Seats": 2})
    assert contract.arguments(contract.payload((model,), {})) == ((model,), {})
    model.seats = -1
    with pytest.raises(PayloadRefused, match="greater than 0") as refused:
        contract.payload((model,), {})
    assert refused.value.field == "seats"


def test_arguments_a_class_refuses_are_refused() -> None:
    """A datum from which a class cannot be built is refused with the class's own reason."""

    def job(picky: Picky, n: int) -> None: ...

    contract = Contract.of_function(job, job_type="j", namespace="n")
    with pytest.raises(PayloadRefused, match="at most 100") as refused:
        contract.arguments({"picky": {"share": 101}, "n": 1})
    assert refused.value.field == "picky"


def test_json_is_read_as_a_person_types_it() -> None:
    """Moments, decimals, UUIDs, members and bytes are read from their usual text."""

    def job(at: datetime, price: Decimal, *, id: UUID, cabin: Cabin, raw: bytes, x: float, n: int = 3) -> None: ...

    contract = Contract.of_function(job, job_type="j", namespace="n")
    typed = {"at": "2013-01-01T05:17:00-05:00", "price": "12.50", "id": str(UUID(int=7)), "cabin": "FIRST"}
    assert contract.from_json({**typed, "raw": "text", "x": 1}) == {
        "at": datetime(2013, 1, 1, 10, 17, tzinfo=UTC),
        "price": Decimal("12.5"),
        "id": UUID(int=7),
        "cabin": "FIRST",
        "raw": b"text",
        "x": 1.0,
        "n": 3,
    }


@pytest.mark.parametrize(
    ("annotation", "data", "part"),
    [
        (datetime, "2013-01-01T05:17:00", "time zone"),
        (datetime, "yesterday", "a moment as"),
        (Decimal, 1.5, "in quotes"),
        (Decimal, "x", "in quotes"),
        (UUID, "x", "a UUID"),
        (int, "1", "must be an int"),
        (Cabin, "ECONOMY", "one of COACH, FIRST"),
        (bytes, {"base64": "?"}, "base64"),
        (list[int], {"0": 1}, "must be a list"),
        (Annotated[int, Field(gt=0)], 0, "constraint"),
    ],
)
def test_json_that_does_not_fit_is_refused(annotation: Any, data: Any, part: str) -> None:
    """Typed JSON is held to the contract like any payload, and the field is named."""
    with pytest.raises(PayloadRefused, match=part) as refused:
        contract_for(annotation).from_json({"value": data})
    assert refused.value.field == "value"
