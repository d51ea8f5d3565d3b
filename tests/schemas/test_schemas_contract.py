"""What becomes a contract, what is refused, and what a payload must be."""

from __future__ import annotations

import collections.abc
import enum
import json
import subprocess
import sys
from dataclasses import InitVar, dataclass, field
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal, NewType, Optional
from uuid import UUID

import pytest
from pydantic import BaseModel, Field

from stoker.schemas import Contract, ContractRefused, Digits, PayloadRefused

Tail = NewType("Tail", str)


class Cabin(enum.Enum):
    """An Enum whose values are no strings: its names go on the wire."""

    COACH = 1
    FIRST = 2


class Rights(enum.Flag):
    """Flags combine, which Avro's enums cannot."""

    READ = 1
    WRITE = 2


@dataclass
class Leg:
    """A nested record."""

    origin: str
    minutes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """A declared record with most of what a record can have."""

    tail: Tail
    delay: int
    at: datetime
    cabin: Cabin = Cabin.COACH
    legs: list[Leg] = field(default_factory=list)
    refund: Decimal | None = None


class Model(BaseModel):
    """A pydantic model with a constraint of its own, and an alias, which the wire does not know."""

    seats: int = Field(gt=0, validation_alias="Seats")
    fare: Annotated[Decimal, Field(max_digits=6, decimal_places=2)] = Decimal("1.50")
    leg: Leg | None = None


@dataclass
class Tree:
    """A recursive type."""

    name: str
    parts: list[Tree]


@dataclass
class Lazy:
    """A record that cannot be read back from its attributes."""

    size: InitVar[int]


@dataclass
class Picky:
    """A record that refuses some values of the right type."""

    share: int

    def __post_init__(self) -> None:
        """Refuse shares over 100."""
        if self.share > 100:
            raise ValueError("a share is at most 100")


def namesakes() -> tuple[type[Any], type[Any]]:
    """Make two classes of one name."""

    @dataclass
    class Twin:
        a: int

    first = Twin

    @dataclass
    class Twin:  # type: ignore[no-redef]  # two classes of one name are the point
        b: str

    return first, Twin


def contract_for(annotation: Any, default: Any = None, *, has_default: bool = False) -> Contract:
    """Derive the contract of a job with one parameter, `value`."""

    def job(value: Any) -> None: ...

    job.__annotations__ = {"value": annotation, "return": None}
    if has_default:
        job.__defaults__ = (default,)
    return Contract.of_function(job, job_type="demo.job", namespace="demo")


def field_type(contract: Contract) -> Any:
    """Read the type of the field `value`."""
    return contract.schema["fields"][0]["type"]


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
        (list, "say what is in it"),
        (dict, "say what is in it"),
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


GIVEN = {
    "type": "record",
    "name": "Assess",
    "fields": [
        {"name": "tail", "type": "string"},
        {"name": "delay", "type": "int", "default": 7},
        {"name": "cabin", "type": {"type": "enum", "name": "Cabin", "symbols": ["COACH", "FIRST"]}},
        {"name": "digest", "type": {"type": "fixed", "name": "Digest", "size": 2}},
    ],
}


def test_a_given_schema_goes_with_the_parameters_by_name(tmp_path: Path) -> None:
    """An .avsc file rules: its types, ranges and defaults hold, and the parameters' classes are rebuilt."""

    def job(tail: str, cabin: Cabin, digest: bytes, delay: int = 0) -> None: ...

    path = tmp_path / "assess.avsc"
    path.write_text(json.dumps(GIVEN))
    contract = Contract.of_avsc(job, path, job_type="j", namespace="air")
    assert contract.codec.name == "air.Assess"
    payload = contract.payload(("N1", Cabin.FIRST, b"ab"), {})
    assert payload == {"tail": "N1", "delay": 7, "cabin": "FIRST", "digest": b"ab"}
    datum = contract.codec.decode(contract.encode(payload), 0)
    assert contract.arguments(datum) == ((), {**payload, "cabin": Cabin.FIRST})
    for wrong in ({"delay": 2**31}, {"digest": b"abc"}):
        with pytest.raises(PayloadRefused):
            contract.payload(("N1",), {"cabin": Cabin.FIRST, "digest": b"ab", **wrong})


def test_a_given_schema_may_go_to_one_dict() -> None:
    """A single parameter annotated as a dict takes the record as a whole, with symbols as text."""

    def job(payload: dict[str, Any]) -> None: ...

    contract = Contract.of_avsc(job, GIVEN, job_type="j", namespace="air")
    value = {"tail": "N1", "delay": 1, "cabin": "COACH", "digest": b"ab"}
    assert contract.arguments(contract.codec.decode(contract.encode(contract.payload((value,), {})), 0)) == (
        (value,),
        {},
    )


@pytest.mark.parametrize(
    ("types", "name", "part"),
    [
        ({"tail": str, "delay": int, "cabin": Cabin}, "digest", "in the schema only"),
        ({"tail": str, "delay": int, "cabin": Cabin, "digest": bytes, "x": int}, "x", "not in the schema"),
        ({"tail": int, "delay": int, "cabin": Cabin, "digest": bytes}, "tail", "annotated int"),
        ({"tail": str, "delay": int, "cabin": int, "digest": bytes}, "cabin", "annotated int"),
    ],
)
def test_a_given_schema_that_disagrees_with_the_function_is_refused(types: Any, name: str, part: str) -> None:
    """A function and an .avsc that do not go together are refused at declaration, naming the field."""
    source = f"def job({', '.join(types)}): ..."
    scope: dict[str, Any] = {}
    exec(source, scope)
    scope["job"].__annotations__ = types
    with pytest.raises(ContractRefused, match=part) as refused:
        Contract.of_avsc(scope["job"], GIVEN, job_type="j", namespace="air")
    assert refused.value.parameter == name


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "record", "name": "R", "fields": [{"name": "p", "type": "Nowhere"}]},
        {"type": "record", "name": "R", "fields": [{"name": "p", "type": ["null", "R"]}]},
        {"type": "record", "name": "R", "fields": [{"name": "p", "type": ["double", {"type": "double"}]}]},
        {"type": "array", "items": "long"},
    ],
)
def test_a_given_schema_that_no_worker_could_read_safely_is_refused(schema: dict[str, Any]) -> None:
    """Invalid, recursive and ambiguous schemas are refused at declaration."""

    def job(payload: dict[str, Any]) -> None: ...

    with pytest.raises(ContractRefused):
        Contract.of_avsc(job, schema, job_type="j", namespace="air")
