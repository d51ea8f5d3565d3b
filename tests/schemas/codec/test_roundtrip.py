"""Whatever a contract accepts comes back as it was, by bytes and by JSON, and resolves to itself."""

from __future__ import annotations

import enum
import json
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Annotated, Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from stoker.schemas import Contract, Digits
from stoker.schemas.contracts.resolution import Resolver

# Drawing types as well as values is slow on a busy machine, which says nothing about the code.
patient = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])


class Cabin(enum.Enum):
    """An Enum of numbers."""

    COACH = 1
    FIRST = 2


@dataclass(frozen=True)
class Leg:
    """A nested record."""

    origin: str
    minutes: int | None = None
    stops: list[str] = field(default_factory=list)


class Fare(BaseModel):
    """A nested model."""

    amount: Annotated[Decimal, Digits(precision=10, scale=2)]
    cabin: Cabin = Cabin.COACH


LEGS = st.builds(Leg, st.text(), st.none() | st.integers(-(2**63), 2**63 - 1), st.lists(st.text(), max_size=2))
CENTS = st.integers(-(10**10) + 1, 10**10 - 1).map(lambda cents: Decimal(cents).scaleb(-2))

LEAVES: list[tuple[Any, st.SearchStrategy[Any]]] = [
    (int, st.integers(-(2**63), 2**63 - 1)),
    (bool, st.booleans()),
    (float, st.floats(allow_nan=False)),
    (str, st.text()),
    (bytes, st.binary()),
    (datetime, st.datetimes(timezones=st.just(UTC))),
    (date, st.dates()),
    (time, st.times()),
    (UUID, st.uuids()),
    (Annotated[Decimal, Digits(precision=10, scale=2)], CENTS),
    (Cabin, st.sampled_from(Cabin)),
    (Leg, LEGS),
    (Fare, st.builds(Fare, amount=CENTS, cabin=st.sampled_from(Cabin))),
]


def grown(leaf: tuple[Any, st.SearchStrategy[Any]]) -> list[tuple[Any, st.SearchStrategy[Any]]]:
    """Wrap a type in each kind of container."""
    annotation: Any
    annotation, values = leaf
    return [
        (annotation, values),
        (annotation | None, st.none() | values),
        (list[annotation], st.lists(values, max_size=3)),
        (tuple[annotation, ...], st.lists(values, max_size=3).map(tuple)),
        (dict[str, annotation], st.dictionaries(st.text(), values, max_size=3)),
        (list[annotation | None], st.lists(st.none() | values, max_size=3)),
    ]


UNIONS: list[tuple[Any, st.SearchStrategy[Any]]] = [
    (int | str | float, st.integers(-5, 5) | st.text() | st.floats(allow_nan=False)),
    (bool | int | None, st.booleans() | st.integers(-5, 5) | st.none()),
    (date | datetime, st.dates() | st.datetimes(timezones=st.just(UTC))),
    (Leg | Cabin | int, LEGS | st.sampled_from(Cabin) | st.integers(-5, 5)),
    (list[Leg | Cabin] | bytes, st.lists(LEGS | st.sampled_from(Cabin), max_size=2) | st.binary()),
]

MISTAKABLE: list[tuple[Any, list[Any]]] = [
    (list[Leg | Cabin] | bytes, [[Cabin.COACH], [Leg("JFK"), Cabin.FIRST], b"x"]),
    (dict[str, Leg | Cabin] | None, [{"a": Cabin.COACH, "b": Leg("JFK")}, {}, None]),
    (list[Cabin | str] | None, [["FIRST", Cabin.FIRST, ""]]),
    (Cabin | str, ["FIRST", Cabin.FIRST, "none of these"]),
    (Leg | dict[str, Cabin | str], [Leg("JFK"), {"a": "FIRST", "b": Cabin.FIRST}]),
]


@pytest.mark.parametrize(("annotation", "values"), MISTAKABLE)
def test_branches_that_could_be_mistaken_for_each_other_are_not(annotation: Any, values: list[Any]) -> None:
    """An enum inside of a list inside of a union; a text that is also a symbol of the enum beside it."""

    def job(value: Any) -> None: ...

    job.__annotations__["value"] = annotation
    contract = Contract.of_function(job, job_type="j", namespace="n")
    for value in values:
        datum = contract.codec.decode(contract.encode(contract.payload((value,), {})), 0)
        assert contract.arguments(datum) == ((), {"value": value})


TYPES = [typed for leaf in LEAVES for typed in grown(leaf)] + UNIONS


@st.composite
def calls(draw: st.DrawFn) -> tuple[Contract, dict[str, Any]]:
    """Draw a job with up to four parameters, and the arguments of a call."""
    chosen = draw(st.lists(st.sampled_from(TYPES), min_size=2, max_size=4))
    types = {f"p{at}": annotation for at, (annotation, _) in enumerate(chosen)}
    scope: dict[str, Any] = {}
    exec(f"def job({', '.join(types)}): ...", scope)
    scope["job"].__annotations__ = types
    contract = Contract.of_function(scope["job"], job_type="j", namespace="n")
    return contract, {f"p{at}": draw(values) for at, (_, values) in enumerate(chosen)}


@patient
@given(calls())
def test_arguments_come_back_as_they_were(call: tuple[Contract, dict[str, Any]]) -> None:
    """payload -> encode -> decode -> arguments gives the arguments of the call, with their types."""
    contract, arguments = call
    payload = contract.payload((), arguments)
    datum = contract.codec.decode(contract.encode(payload), 0)
    assert datum == payload
    args, kwargs = contract.arguments(datum)
    assert (args, kwargs) == ((), arguments)
    assert [type(kwargs[name]) for name in arguments] == [type(value) for value in arguments.values()]


@patient
@given(calls())
def test_json_comes_back_as_it_was(call: tuple[Contract, dict[str, Any]]) -> None:
    """to_json gives data that json can write and from_json reads back to the same payload."""
    contract, arguments = call
    payload = contract.payload((), arguments)
    assert contract.from_json(json.loads(json.dumps(contract.to_json(payload)))) == payload


@patient
@given(calls())
def test_a_datum_resolves_to_itself(call: tuple[Contract, dict[str, Any]]) -> None:
    """Resolving from a schema to the same schema changes nothing."""
    contract, arguments = call
    payload = contract.payload((), arguments)
    assert Resolver(contract.codec, contract.codec)(payload) == payload


@patient
@given(st.sampled_from(Cabin) | st.sampled_from(["COACH", "x"]))
def test_a_member_and_a_text_of_its_name_stay_apart(value: Cabin | str) -> None:
    """In a union of an Enum and str, a member comes back as a member, and its name as a text."""

    def job(value: Any) -> None: ...

    job.__annotations__ = {"value": Cabin | str}
    contract = Contract.of_function(job, job_type="j", namespace="n")
    payload = contract.payload((value,), {})
    assert contract.arguments(contract.codec.decode(contract.encode(payload), 0)) == ((), {"value": value})


def of_dict(payload: dict[str, Any]) -> None:
    """Take a record as a whole."""


@patient
@given(calls())
def test_a_derived_schema_may_be_given_back(call: tuple[Contract, dict[str, Any]]) -> None:
    """A contract given as the .avsc of a derived one reads and writes the same bytes and the same JSON."""
    contract, arguments = call
    again = Contract.of_avsc(of_dict, contract.schema, job_type="j", namespace="n")
    payload = contract.payload((), arguments)
    assert again.fingerprint == contract.fingerprint
    assert again.to_json(payload) == contract.to_json(payload)
    ((whole,), _) = again.arguments(contract.codec.decode(contract.encode(payload), 0))
    assert again.encode(again.payload((whole,), {})) == contract.encode(payload)
