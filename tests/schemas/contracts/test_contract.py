"""What becomes a contract, and what is refused where it is declared."""

from __future__ import annotations

import collections.abc
import subprocess
import sys
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal, Optional
from uuid import UUID

import pytest
from pydantic import Field

from stoker.schemas import Contract, ContractRefused, Digits
from support.scenes.payload_types import (
    Cabin,
    Claim,
    Lazy,
    Leg,
    Rights,
    Tail,
    Tree,
    contract_for,
    field_type,
    namesakes,
)


@pytest.mark.parametrize(
    ("annotation", "avro"),
    [
        (bool, "boolean"),
        (int, "long"),
        (float, "double"),
        (str, "string"),
        (bytes, "bytes"),
        (Tail, "string"),
        (Literal["a", "b"], "string"),
        (datetime, {"type": "long", "logicalType": "timestamp-micros"}),
        (date, {"type": "int", "logicalType": "date"}),
        (time, {"type": "long", "logicalType": "time-micros"}),
        (UUID, {"type": "string", "logicalType": "uuid"}),
        (Decimal, {"type": "bytes", "logicalType": "decimal", "precision": 38, "scale": 9}),
        (
            Annotated[Decimal, Digits(precision=8, scale=2)],
            {"type": "bytes", "logicalType": "decimal", "precision": 8, "scale": 2},
        ),
        (
            Annotated[Decimal, Field(max_digits=8, decimal_places=2)],
            {"type": "bytes", "logicalType": "decimal", "precision": 8, "scale": 2},
        ),
        (Cabin, {"type": "enum", "name": "demo.Cabin", "symbols": ["COACH", "FIRST"]}),
        (list[int], {"type": "array", "items": "long"}),
        (collections.abc.Sequence[int], {"type": "array", "items": "long"}),
        (tuple[str, ...], {"type": "array", "items": "string"}),
        (dict[str, list[int]], {"type": "map", "values": {"type": "array", "items": "long"}}),
        (Optional[int], ["null", "long"]),  # noqa: UP045  # both spellings must give the same
        (int | None, ["null", "long"]),
        (float | str | int | None, ["null", "long", "double", "string"]),
        (date | datetime, [field_type(contract_for(datetime)), field_type(contract_for(date))]),
    ],
)
def test_a_type_becomes_its_avro_type(annotation: Any, avro: Any) -> None:
    """Each supported Python type has one Avro type, whatever order a union is written in."""
    assert field_type(contract_for(annotation)) == avro


@pytest.mark.parametrize(
    ("annotation", "part"),
    [
        (Any, "name the type"),
        (timedelta, "float of seconds"),
        (set[int], "use a list"),
        (list, "name what is in it"),
        (dict, "name what is in it"),
        (dict[int, str], "keys are not str"),
        (tuple[int, str], "dataclass"),
        (complex, "two floats"),
        (Rights, "members Avro cannot list"),
        (str | UUID, "both string on the wire"),
        (int | datetime, "both long on the wire"),
        (list[int] | list[str], "both array on the wire"),
        (Literal["a", 1], "use an Enum"),
        (list[None], "take no bytes"),
        (list[Tree], "inside itself"),
        (Lazy | None, "InitVar"),
        (object, "name the type"),
        (Path, "no form for"),
    ],
)
def test_a_type_without_an_avro_form_is_refused_by_name(annotation: Any, part: str) -> None:
    """A parameter that cannot be written is refused at declaration, naming it and the way out."""
    with pytest.raises(ContractRefused) as refused:
        contract_for(annotation)
    assert refused.value.parameter.startswith("value")
    assert part in str(refused.value)


def test_two_classes_of_one_name_are_refused() -> None:
    """Two classes that would share an Avro name are refused, not merged."""
    first, second = namesakes()

    def job(a: Any, b: Any) -> None: ...

    job.__annotations__ = {"a": first, "b": second}
    with pytest.raises(ContractRefused, match="two different classes named Twin"):
        Contract.of_function(job, job_type="j", namespace="n")


def bare(a, b: int) -> None:  # type: ignore[no-untyped-def]  # an untyped parameter is the point
    """Have a parameter without annotation."""


def starred(*numbers: int) -> None:
    """Collect arguments."""


def keyworded(**numbers: int) -> None:
    """Collect arguments by name."""


def positional(a: int, /) -> None:
    """Take an argument that has no name."""


def unresolved(a: Missing) -> None:  # type: ignore[name-defined]  # noqa: F821  # the missing name is the point
    """Name a type that does not exist."""


def wrong_default(a: int = "1") -> None:  # type: ignore[assignment]  # the wrong default is the point
    """Have a default of another type."""


@pytest.mark.parametrize(
    ("function", "parameter", "part"),
    [
        (bare, "a", "no type annotation"),
        (starred, "numbers", "any number of arguments"),
        (keyworded, "numbers", "any number of arguments"),
        (positional, "a", "positional-only"),
        (unresolved, "", "cannot be resolved"),
        (wrong_default, "a", "must be an int"),
    ],
)
def test_a_signature_that_is_no_contract_is_refused(function: Any, parameter: str, part: str) -> None:
    """A signature with nameless, untyped or open-ended parameters is refused at declaration."""
    with pytest.raises(ContractRefused, match=part) as refused:
        Contract.of_function(function, job_type="j", namespace="n")
    assert refused.value.parameter == parameter


def test_a_declared_record_is_the_payload_itself() -> None:
    """A single parameter that is a dataclass gives its own record, and is rebuilt from it."""

    def job(claim: Claim) -> None: ...

    contract = Contract.of_function(job, job_type="claims.assess", namespace="air-claims")
    assert contract.schema["name"] == "air_claims.Claim"
    claim = Claim(tail=Tail("N1"), delay=3, at=datetime(2013, 1, 1, tzinfo=UTC), legs=[Leg("JFK", 5)])
    by_position, by_name = contract.payload((claim,), {}), contract.payload((), {"claim": claim})
    assert by_position == by_name
    assert contract.arguments(contract.codec.decode(contract.encode(by_name), 0)) == ((claim,), {})


def test_parameters_make_a_record_named_after_the_job_type() -> None:
    """Plain parameters become fields in order, with their defaults, under a valid Avro name."""

    def job(tail: str, delay: int = 5, *, note: str | None = None) -> None: ...

    contract = Contract.of_function(job, job_type="claims.assess-delay", namespace="2013.air")
    assert contract.schema == {
        "type": "record",
        "name": "_2013.air.claims_assess_delay",
        "fields": [
            {"name": "tail", "type": "string"},
            {"name": "delay", "type": "long", "default": 5},
            {"name": "note", "type": ["null", "string"], "default": None},
        ],
    }
    assert contract.payload(("N1",), {}) == {"tail": "N1", "delay": 5, "note": None}


def test_the_default_of_a_union_leads_its_branches() -> None:
    """Avro takes a union's default from its first branch, so the default's branch is put first."""
    contract = contract_for(int | None, 5, has_default=True)
    assert contract.schema["fields"][0] == {"name": "value", "type": ["long", "null"], "default": 5}


def test_the_fingerprint_is_the_one_of_the_specification() -> None:
    """CRC-64-AVRO of a canonical form has the bytes that Avro's specification gives, least significant first."""
    from stoker.schemas.codec.codec import Codec

    assert Codec("int").fingerprint == (0x7275D51A3F395C8F).to_bytes(8, "little")


def test_the_schema_does_not_depend_on_the_module(tmp_path: Path) -> None:
    """A contract declared in `__main__` has the fingerprint of the same one in a module."""
    source = (
        "from dataclasses import dataclass\nfrom stoker.schemas import Contract\n"
        "@dataclass\nclass Leg:\n    origin: str\n    minutes: int = 0\n"
        "def job(leg: Leg, n: int | str = 1) -> None: ...\n"
        "print(Contract.of_function(job, job_type='j', namespace='n').fingerprint.hex())\n"
    )
    script = tmp_path / "declared.py"
    script.write_text(source)
    as_main = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=True).stdout

    def job(leg: Leg, n: int | str = 1) -> None: ...

    job.__annotations__ = {"leg": Leg, "n": int | str}
    assert as_main.strip() == Contract.of_function(job, job_type="j", namespace="n").fingerprint.hex()
