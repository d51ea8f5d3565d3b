"""A value of a union arrives as what it was, whatever else it could be taken for."""

from __future__ import annotations

import decimal
import enum
import itertools
import json
import types
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Annotated, Any, Literal
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import Field

from stoker.schemas import Contract, ContractRefused, Decoder, Digits, MemorySchemaStore, PayloadRefused
from stoker.schemas.shapes.shape import is_same
from stoker.schemas.stores.store import StoredSchema

patient = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])


class Plan(enum.StrEnum):
    """Members that are text as well, which reads like a date, a symbol or a decimal."""

    FREE = "2026-03-01"
    PAID = "FREE"


class Grade(enum.IntEnum):
    """Members that are numbers as well."""

    LOW = 1
    HIGH = 2


@dataclass
class Leg:
    """A record whose field is a union too."""

    when: date | str
    stops: list[int | float] = field(default_factory=list)


@dataclass
class Stop:
    """A record with the field of another."""

    when: date | str


TEXTS = st.text() | st.sampled_from(["2026-03-01", "FREE", "1.50", "05:17:00", str(UUID(int=7)), ""])
CENTS = st.integers(-9999, 9999).map(lambda cents: Decimal(cents).scaleb(-2))
WHENS = st.dates() | TEXTS
NUMBERS = st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False)

# One type for each kind that a union may have once, by that kind; any of each may stand beside any of the others.
ARMS: dict[str, list[tuple[Any, st.SearchStrategy[Any]]]] = {
    "null": [(None, st.none())],
    "boolean": [(bool, st.booleans())],
    "int": [(date, st.dates())],
    "long": [
        (int, st.integers(-(2**63), 2**63 - 1)),
        (datetime, st.datetimes(timezones=st.just(UTC))),
        (time, st.times()),
        (Literal[1, 2], st.sampled_from([1, 2])),
        (Annotated[int, Field(ge=0)], st.integers(0, 2**63 - 1)),
    ],
    "double": [(float, st.floats(allow_nan=False))],
    "bytes": [(bytes, st.binary()), (Annotated[Decimal, Digits(precision=4, scale=2)], CENTS)],
    "string": [(str, TEXTS), (UUID, st.uuids())],
    "array": [
        (list[date | str], st.lists(WHENS, max_size=2)),
        (tuple[int | float, ...], st.lists(NUMBERS, max_size=2).map(tuple)),
        (list[Plan | str], st.lists(st.sampled_from(Plan) | TEXTS, max_size=2)),
    ],
    "map": [(dict[str, int | float | None], st.dictionaries(TEXTS, NUMBERS | st.none(), max_size=2))],
    "plan": [(Plan, st.sampled_from(Plan))],
    "grade": [(Grade, st.sampled_from(Grade))],
    "leg": [(Leg, st.builds(Leg, WHENS, st.lists(NUMBERS, max_size=2)))],
    "stop": [(Stop, st.builds(Stop, WHENS))],
}


@st.composite
def unions(draw: st.DrawFn) -> tuple[Any, list[Any]]:
    """Draw a union in any order, and two values of its branches."""
    kinds = draw(st.lists(st.sampled_from(sorted(ARMS)), min_size=2, max_size=5, unique=True))
    arms = [draw(st.sampled_from(ARMS[kind])) for kind in kinds]
    annotation = arms[0][0]
    for arm, _ in arms[1:]:
        annotation |= arm
    return annotation, [draw(draw(st.sampled_from([values for _, values in arms]))) for _ in range(2)]


def derived(annotation: Any, *defaults: Any) -> Contract:
    """Derive the contract of a job with one parameter, `value`."""

    def job(value: Any) -> None: ...

    job.__annotations__ = {"value": annotation}
    job.__defaults__ = defaults
    return Contract.of_function(job, job_type="j", namespace="n")


def derived_if_writable(annotation: Any, default: Any) -> Contract | None:
    """Derive a contract; None where it says that a schema cannot hold the default, as the text of `bytes | str`."""
    try:
        return derived(annotation, default)
    except ContractRefused as refused:
        if "a schema cannot distinguish" in str(refused) or "JSON cannot hold" in str(refused):
            return None
        raise


def sent(contract: Contract, *args: Any, reader: Contract | None = None) -> Any:
    """The value that arrives of an enqueue call."""
    body = contract.encode(contract.payload(args, {}))
    return ((reader or contract).arguments(contract.codec.decode(body, 0)))[1]["value"]


@patient
@given(unions())
def test_a_value_of_any_branch_arrives_in_value_and_type(union: tuple[Any, list[Any]]) -> None:
    """For any union in any order, alone and in lists, maps and records, what arrives is what was given."""
    annotation, values = union
    for value in values:
        assert is_same(sent(derived(annotation), value), value)
    lists, maps = types.GenericAlias(list, (annotation,)), types.GenericAlias(dict, (str, annotation))
    assert is_same(sent(derived(lists), values), values)
    parts = dict(zip("ab", values, strict=True))
    assert is_same(sent(derived(maps), parts), parts)


@patient
@given(unions())
def test_a_default_of_any_branch_moves_no_value_to_another(union: tuple[Any, list[Any]]) -> None:
    """Whatever the default is, it and every other value arrive as they were."""
    annotation, (default, value) = union
    contract = derived_if_writable(annotation, default)
    if contract is None:
        return
    assert is_same(sent(contract), default)
    assert is_same(sent(contract, value), value)


@patient
@given(unions())
def test_a_default_is_read_from_the_schema_as_it_was_declared(union: tuple[Any, list[Any]]) -> None:
    """A worker whose contract is newer fills in a default of any branch from its schema."""

    def older(n: int) -> None: ...

    def newer(n: int, value: Any) -> None: ...

    annotation, (default, _) = union
    if derived_if_writable(annotation, default) is None:
        return
    newer.__annotations__ = {"n": int, "value": annotation}
    newer.__defaults__ = (default,)
    old = Contract.of_function(older, job_type="j", namespace="n")
    new = Contract.of_function(newer, job_type="j", namespace="n")
    store = MemorySchemaStore()
    store._book.add(StoredSchema(job_type="j", frame_id=old.fingerprint, schema=old.schema, registered_at=None))
    datum = Decoder(store).decode(new, old.header + old.encode({"n": 1}))
    assert is_same(new.arguments(datum)[1]["value"], default)


@patient
@given(unions())
def test_json_names_the_branch(union: tuple[Any, list[Any]]) -> None:
    """What an operator is shown of a payload is read back to the same payload."""
    annotation, values = union
    contract = derived(annotation)
    for value in values:
        payload = contract.payload((value,), {})
        assert is_same(contract.from_json(json.loads(json.dumps(contract.to_json(payload)))), payload)


@pytest.mark.parametrize(
    ("annotation", "value"),
    [
        (date | str, "2026-03-01"),
        (date | str, "tomorrow"),
        (date | datetime, datetime(2026, 3, 1, 5, 17, tzinfo=UTC)),
        (int | float, 9007199254740993),
        (int | date, 5),
        (time | float, 3.0),
        (UUID | int, UUID(int=1)),
        (Plan | str, Plan.PAID),
        (Plan | str, "FREE"),
        (Grade | int | float, Grade.HIGH),
        (Grade | int, 2),
        (Leg | Stop, Stop("2026-03-01")),
        (Leg | dict[str, Plan | str], {"a": Plan.FREE, "b": "FREE"}),
        (bool | int | float, True),
        (bytes | str, b"text"),
        (Annotated[Decimal, Digits(precision=4, scale=2)] | str, "1.50"),
    ],
)
def test_known_mistakes_of_guessing_are_not_made(annotation: Any, value: Any) -> None:
    """Texts that read like dates, numbers that are also others, members that are also text or numbers."""
    assert is_same(sent(derived(annotation), value), value)
    assert is_same(sent(derived(annotation | None, None), value), value)


@pytest.mark.parametrize("default", [0, 0.0, None, "x"])
@pytest.mark.parametrize("value", [5, 5.0, 9007199254740993, "5", None])
def test_the_branch_of_a_default_takes_no_other_value(default: Any, value: Any) -> None:
    """With a float as its default, an int stays an int."""
    assert is_same(sent(derived(int | float | str | None, default), value), value)


def given_union(branches: Any, annotation: Any, **default: Any) -> Contract:
    """A contract whose schema is given, with a union in the given order."""

    def job(value: Any) -> None: ...

    job.__annotations__ = {"value": annotation}
    schema = {"type": "record", "name": "R", "fields": [{"name": "value", "type": list(branches), **default}]}
    return Contract.of_avsc(job, schema, job_type="j", namespace="n")


GIVEN: list[tuple[list[Any], Any, list[Any]]] = [
    (["int", "double", "string"], int | float | str, [7, 7.0, "7"]),
    (["long", "float", "double"], int | float, [2**60, 0.5, 0.1]),
    (["int", "long", "null"], int | None, [7, 2**40, None]),
    (
        [{"type": "int", "logicalType": "date"}, {"type": "long", "logicalType": "timestamp-millis"}, "string"],
        date | datetime | str,
        [date(2026, 3, 1), datetime(2026, 3, 1, 5, tzinfo=UTC), "2026-03-01"],
    ),
    (
        [{"type": "int", "logicalType": "time-millis"}, "long", {"type": "string", "logicalType": "uuid"}],
        time | int | UUID,
        [time(5, 17), 5, UUID(int=5)],
    ),
    (
        ["bytes", {"type": "fixed", "name": "F", "size": 2, "logicalType": "decimal", "precision": 4, "scale": 2}],
        bytes | Decimal,
        [b"ab", Decimal("-1.25")],
    ),
    ([{"type": "enum", "name": "Plan", "symbols": ["FREE", "PAID"]}, "string"], Plan | str, [Plan.PAID, "PAID", "x"]),
    (
        ["null", {"type": "array", "items": [{"type": "int", "logicalType": "date"}, "string"]}, "string"],
        list[date | str] | str | None,
        [["2026-03-01", date(2026, 3, 1)], "2026-03-01", None],
    ),
]


@pytest.mark.parametrize(("branches", "annotation", "values"), GIVEN)
def test_a_given_union_holds_in_any_order(branches: list[Any], annotation: Any, values: list[Any]) -> None:
    """The order of a given schema's branches is its author's, and changes no value."""
    for order in itertools.permutations(branches):
        contract = given_union(order, annotation)
        for value in values:
            assert is_same(sent(contract, value), value)


@pytest.mark.parametrize("default", [{"default": "x"}, {"default": None}, {"default": 7}])
def test_a_given_default_is_of_any_branch(default: dict[str, Any]) -> None:
    """The default of a given union is one of its first branch, or (since Avro 1.12) of any other."""
    contract = given_union(["null", "long", "string"], int | str | None, **default)
    assert is_same(sent(contract), default["default"])


def test_dicts_go_to_the_given_record_that_has_their_fields() -> None:
    """Of two records without classes, a dict is of the one that gives it back unchanged."""
    small = {"type": "record", "name": "S", "fields": [{"name": "x", "type": "long"}]}
    fields = [{"name": "x", "type": "double"}, {"name": "y", "type": "long", "default": 0}]
    contract = given_union([{"type": "record", "name": "L", "fields": fields}, small], Any)
    for value in ({"x": 1}, {"x": 1.5, "y": 2}):
        assert is_same(sent(contract, value), value)


class Likeness(enum.Enum):
    """Members of the names that another Enum's have."""

    FREE = "likeness"
    PAID = "too"


@pytest.mark.parametrize("value", [Plan.FREE, Likeness.FREE, Leg("2026-03-01", [1]), Stop(date(2026, 3, 1)), None])
def test_each_named_branch_of_a_given_union_has_the_class_of_its_name(value: Any) -> None:
    """Whatever symbols or fields they have in common."""

    def job(value: Stop | Likeness | Plan | Leg | None) -> None: ...

    derived = Contract.of_function(job, job_type="j", namespace="n")
    contract = Contract.of_avsc(job, json.loads(json.dumps(derived.schema)), job_type="j", namespace="n")
    datum = contract.codec.decode(contract.encode(contract.payload((value,), {})), 0)
    arrived = contract.arguments(datum)[1]["value"]
    assert (type(arrived), arrived) == (type(value), value)


def test_a_given_branch_whose_class_cannot_be_recognised_is_refused() -> None:
    """By its name, with what to do."""

    def job(value: Plan | Likeness) -> None: ...

    schema = {"type": "enum", "name": "Colour", "symbols": ["FREE"]}
    given = {"type": "record", "name": "j", "fields": [{"name": "value", "type": [schema, "int"]}]}
    with pytest.raises(ContractRefused, match=r"Colour in the schema.*name one Colour"):
        Contract.of_avsc(job, given, job_type="j", namespace="n")


def test_two_given_branches_of_one_type_are_refused() -> None:
    """Avro forbids them, since nothing on the wire of other readers would tell them apart."""
    with pytest.raises(ContractRefused, match="two branches of long"):
        given_union([{"type": "long", "logicalType": "timestamp-micros"}, "long"], Any)


@pytest.mark.parametrize(
    ("kind", "default"),
    [({"type": "int", "logicalType": "date"}, 2**31 - 1), ({"type": "array", "items": "string"}, ["\ud800"])],
)
def test_a_given_default_that_no_value_has_is_refused(kind: Any, default: Any) -> None:
    """A schema whose default would fail in each worker is refused at declaration, by its field."""
    schema = {"type": "record", "name": "R", "fields": [{"name": "value", "type": kind, "default": default}]}
    with pytest.raises(ContractRefused, match="default") as refused:
        Contract.of_avsc(of_dict, schema, job_type="j", namespace="n")
    assert refused.value.parameter == "value"


def of_dict(payload: dict[str, Any]) -> None:
    """Take a record as a whole."""


def test_a_union_inside_of_an_alias_is_one_union() -> None:
    """An alias of a union beside other branches is flattened; a constraint on it has to be moved."""
    inner: Any = Annotated[int | str, "an alias"]
    assert derived(inner | None).schema == derived(int | str | None).schema
    with pytest.raises(ContractRefused, match="constraint"):
        derived(Annotated[int | None, Field(gt=0)] | str)


def test_text_that_could_be_two_things_has_to_be_named() -> None:
    """An operator who types a date where text may be too is asked which is meant."""
    contract = derived(date | str)
    assert sent_json(contract, {"string": "2026-03-01"}) == "2026-03-01"
    assert sent_json(contract, {"date": "2026-03-01"}) == date(2026, 3, 1)
    assert sent_json(contract, "tomorrow") == "tomorrow"
    with pytest.raises(PayloadRefused, match='"date"') as refused:
        contract.from_json({"value": "2026-03-01"})
    assert refused.value.field == "value"


def test_a_branch_that_is_not_there_is_refused_with_those_that_are() -> None:
    """The name of a declared class has a namespace in the schema, which nobody guesses."""
    contract = derived(Plan | str)
    with pytest.raises(PayloadRefused, match=r'write .*"n.Plan": ...'):
        contract.from_json({"value": {"Plan": "FREE"}})
    assert sent_json(contract, {"n.Plan": "FREE"}) is Plan.FREE


def sent_json(contract: Contract, data: Any) -> Any:
    """The value that a handler gets of what was typed."""
    return contract.arguments(contract.from_json({"value": data}))[1]["value"]


def test_what_fits_no_branch_is_refused_by_its_field() -> None:
    """A refusal names the field, whatever the branches are."""
    for annotation, value in [(date | str, 5), (int | float, 2**70), (Plan | date, "FREE"), (Leg | str, Leg(5))]:  # type: ignore[arg-type]  # wrong values are the point
        with pytest.raises(PayloadRefused) as refused:
            derived(annotation).payload((value,), {})
        assert refused.value.field.startswith("value")


def test_the_threads_decimal_context_changes_no_value() -> None:
    """A precision of two digits, set by whatever ran before, rounds no payload."""
    contract, value = derived(Decimal | str, Decimal("12345.678")), Decimal("-98765432109876543210.123456789")
    with decimal.localcontext(decimal.Context(prec=2, traps=[])):
        assert sent(contract, value) == value
        assert sent(contract) == Decimal("12345.678")
        shown = contract.to_json(contract.payload((value,), {}))
        assert shown == {"value": {"decimal": "-98765432109876543210.123456789"}}
        assert contract.from_json(shown) == contract.payload((value,), {})
