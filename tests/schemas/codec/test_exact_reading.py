"""What a body says is read exactly, or not at all: what is refused on writing is refused on reading."""

from __future__ import annotations

import decimal
import enum
import threading
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Annotated, Any
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stoker.schemas import (
    Contract,
    ContractRefused,
    Decoder,
    Digits,
    MemorySchemaStore,
    SchemaMismatch,
    Undecodable,
)
from stoker.schemas.codec.codec import Codec
from stoker.schemas.codec.schema import FieldSchema, Schema
from stoker.schemas.stores.store import StoredSchema


class Cabin(enum.Enum):
    """Two symbols."""

    COACH = 1
    FIRST = 2


@dataclass
class Leg:
    """A nested record."""

    origin: str
    minutes: int | None = None


def rich(
    *,
    n: int,
    x: float,
    ok: bool,
    day: date,
    at: datetime,
    clock: time,
    u: UUID,
    cabin: Cabin,
    raw: bytes,
    price: Annotated[Decimal, Digits(precision=4, scale=2)],
    legs: list[Leg],
    parts: dict[str, int | str | None],
) -> None:
    """Have some of everything."""


def long(number: int) -> bytes:
    """Write a whole number as Avro does, of any size."""
    zigzag = number << 1 if number >= 0 else ~(number << 1)
    out = bytearray()
    while zigzag > 0x7F:
        out.append(zigzag & 0x7F | 0x80)
        zigzag >>= 7
    return bytes([*out, zigzag])


def text(data: bytes) -> bytes:
    """Write bytes or text with its length."""
    return long(len(data)) + data


def read(avro: Any, body: bytes) -> Any:
    """Read a record with one field, `value`."""
    schema: Schema = {"type": "record", "name": "R", "fields": [{"name": "value", "type": avro}]}
    return Codec(schema).decode(body, 0)["value"]


def logical(kind: str, name: str, **more: Any) -> dict[str, Any]:
    """A logical type."""
    return {"type": kind, "logicalType": name, **more}


DAY_MS = 86_400_000
CENTS = logical("bytes", "decimal", precision=4, scale=2)
FIXED_CENTS = {**CENTS, "type": "fixed", "name": "F", "size": 3}
CABIN = {"type": "enum", "name": "E", "symbols": ["COACH", "FIRST"]}
LONGS = {"type": "array", "items": "long"}
COUNTS = {"type": "map", "values": "long"}


@pytest.mark.parametrize(
    ("avro", "body", "part"),
    [
        (CENTS, text((123456).to_bytes(3, "big")), "more digits than the 4"),
        (CENTS, text((-10000).to_bytes(3, "big", signed=True)), "more digits than the 4"),
        (FIXED_CENTS, (10000).to_bytes(3, "big"), "more digits than the 4"),
        (logical("int", "date"), long(2932897), "outside of the years"),
        (logical("int", "date"), long(-719163), "outside of the years"),
        (logical("int", "time-millis"), long(DAY_MS), "outside of the day"),
        (logical("int", "time-millis"), long(-1), "outside of the day"),
        (logical("long", "time-micros"), long(DAY_MS * 1000), "outside of the day"),
        (logical("long", "time-micros"), long(-1), "outside of the day"),
        (logical("long", "timestamp-millis"), long(2**62), "outside of the years"),
        (logical("long", "timestamp-micros"), long(-(2**63)), "outside of the years"),
        (logical("string", "uuid"), text(b"{" + b"0" * 32 + b"}"), "no UUID"),
        (logical("string", "uuid"), text(b"0000_000-0000-0000-0000-000000000000"), "no UUID"),
        (CABIN, long(2), "enum"),
        (CABIN, long(-1), "enum"),
        (["null", "long"], long(-1) + long(5), "union"),
        (["null", "long"], long(2) + long(5), "union"),
        ("boolean", b"\x02", "boolean"),
        ("int", long(2**31), "32-bit"),
        ("int", long(-(2**31) - 1), "32-bit"),
        ("long", b"\x80" * 11 + b"\x01", "64 bits"),
        ("long", b"\xff" * 9 + b"\x7f", "64 bits"),
        ("long", b"\xff" * 9 + b"\x02", "64 bits"),
        ("long", long(2**63), "64 bits"),
        ("long", long(-(2**63) - 1), "64 bits"),
        ("long", b"\x80" * 9, "cut off"),
        ("long", b"\x80", "cut off"),
        ("long", b"", "cut off"),
        ("float", b"\x00" * 3, "cut off"),
        ("double", b"\x00" * 7, "cut off"),
        ("string", long(5) + b"four", "cut off"),
        ("string", long(2**62), "cut off"),
        ("string", long(-1), "negative length"),
        ("bytes", long(-3) + b"abc", "negative length"),
        ("string", text(b"\xff\xfe"), "UTF-8"),
        ("string", text(b"\xed\xa0\x80"), "UTF-8"),
        ({"type": "fixed", "name": "F", "size": 3}, b"ab", "cut off"),
        (LONGS, long(3) + long(1), "more than there are bytes"),
        (LONGS, long(2**62) + long(1), "more than there are bytes"),
        (LONGS, long(-(2**63)) + long(1) + long(1), "more than there are bytes"),
        (LONGS, long(-1) + long(2) + long(1) + long(0), "size"),
        (LONGS, long(-1) + long(-5) + long(1) + long(0), "size"),
        (LONGS, long(1) + long(1), "cut off"),
        (COUNTS, long(2) + (text(b"a") + long(1)) * 2 + long(0), "twice"),
        (COUNTS, long(1) + text(b"\xff") + long(1) + long(0), "UTF-8"),
    ],
)
def test_what_no_value_could_be_written_as_is_undecodable(avro: Any, body: bytes, part: str) -> None:
    """Nothing is rounded, wrapped, cut or guessed; the field is named, and the reason."""
    with pytest.raises(Undecodable, match=part) as refused:
        read(avro, body)
    assert "value" in str(refused.value)


@pytest.mark.parametrize(
    ("avro", "body", "value"),
    [
        (CENTS, text((9999).to_bytes(4, "big")), Decimal("99.99")),
        (CENTS, text((-9999).to_bytes(2, "big", signed=True)), Decimal("-99.99")),
        (CENTS, text(b""), Decimal("0.00")),
        (FIXED_CENTS, (-1).to_bytes(3, "big", signed=True), Decimal("-0.01")),
        (logical("int", "date"), long(2932896), date.max),
        (logical("int", "time-millis"), long(DAY_MS - 1), time(23, 59, 59, 999000)),
        (logical("long", "time-micros"), long(1), time(0, 0, 0, 1)),
        (logical("long", "timestamp-micros"), long(-1), datetime(1969, 12, 31, 23, 59, 59, 999999, UTC)),
        (logical("string", "uuid"), text(str(UUID(int=255)).upper().encode()), UUID(int=255)),
        ("long", b"\x80\x80\x00", 0),
        ("long", b"\xfe" + b"\xff" * 8 + b"\x01", 2**63 - 1),
        ("long", b"\xff" * 9 + b"\x01", -(2**63)),
        ("int", long(-(2**31)), -(2**31)),
        (LONGS, long(-2) + long(2) + long(1) + long(2) + long(1) + long(3) + long(0), [1, 2, 3]),
        (
            COUNTS,
            long(-1) + long(3) + text(b"a") + long(1) + long(1) + text(b"b") + long(2) + long(0),
            {"a": 1, "b": 2},
        ),
    ],
)
def test_what_other_writers_may_write_is_read(avro: Any, body: bytes, value: Any) -> None:
    """Blocks with sizes, several blocks, longer forms than needed, and the ends of each range."""
    assert read(avro, body) == value


@settings(max_examples=400, deadline=None)
@given(st.binary(max_size=120))
def test_whatever_is_read_could_have_been_written(body: bytes) -> None:
    """Of any bytes, what is not refused are arguments that enqueue takes, and which arrive as they are."""
    contract = Contract.of_function(rich, job_type="j", namespace="n")
    try:
        datum = contract.codec.decode(body, 0)
    except Undecodable:
        return
    _, arguments = contract.arguments(datum)
    assert contract.codec.decode(contract.encode(contract.payload((), arguments)), 0) == datum


VALUES = st.fixed_dictionaries(
    {
        "n": st.integers(-(2**63), 2**63 - 1), "x": st.floats(allow_nan=False), "ok": st.booleans(), "day": st.dates(),
        "at": st.datetimes(timezones=st.just(UTC)), "clock": st.times(), "u": st.uuids(),
        "cabin": st.sampled_from(Cabin), "raw": st.binary(max_size=9), "legs": st.lists(st.builds(Leg, st.text())),
        "price": st.integers(-9999, 9999).map(lambda cents: Decimal(cents).scaleb(-2)),
        "parts": st.dictionaries(st.text(), st.integers(-9, 9) | st.text() | st.none()),
    }
)  # fmt: skip


@settings(max_examples=200, deadline=None)
@given(VALUES, st.data())
def test_a_damaged_body_is_another_value_or_undecodable(arguments: dict[str, Any], data: st.DataObject) -> None:
    """One flipped, lost or added byte never ends in another error, nor in a value that could not be enqueued."""
    contract = Contract.of_function(rich, job_type="j", namespace="n")
    body = bytearray(contract.encode(contract.payload((), arguments)))
    at = data.draw(st.integers(0, len(body) - 1))
    body[at : at + data.draw(st.integers(0, 1))] = data.draw(st.binary(max_size=2))
    try:
        datum = contract.codec.decode(bytes(body), 0)
    except Undecodable:
        return
    contract.payload((), contract.arguments(datum)[1])


def test_no_decimal_context_rounds_what_is_read() -> None:
    """Neither the thread's context, nor another schema's precision in another thread, changes a decimal."""
    wide = logical("bytes", "decimal", precision=38, scale=2)
    body = text((123456789).to_bytes(5, "big"))
    stop, wrong = threading.Event(), []

    def read_narrow() -> None:
        while not stop.is_set():
            read(CENTS, text(b"\x01"))

    other = threading.Thread(target=read_narrow)
    other.start()
    try:
        with decimal.localcontext(decimal.Context(prec=1, Emax=1, Emin=-1, traps=[])):
            wrong = [value for _ in range(200) if (value := read(wide, body)) != Decimal("1234567.89")]
    finally:
        stop.set()
        other.join()
    assert wrong == []


def test_a_decimal_that_its_fixed_type_cannot_hold_is_refused() -> None:
    """A fixed type of two bytes holds no six digits: refused at declaration, not by each enqueue."""

    def job(value: Decimal) -> None: ...

    avro = {"type": "fixed", "name": "F", "size": 2, "logicalType": "decimal", "precision": 6, "scale": 2}
    schema = {"type": "record", "name": "R", "fields": [{"name": "value", "type": avro}]}
    with pytest.raises(ContractRefused):
        Contract.of_avsc(job, schema, job_type="j", namespace="n")


def test_a_decimal_of_unbounded_digits_is_refused() -> None:
    """A precision that Python cannot write as text is refused at declaration, and in a writer's schema."""

    def job(value: Annotated[Decimal, Digits(precision=10**9)]) -> None: ...

    job.__annotations__ = {"value": Annotated[Decimal, Digits(precision=10**9)]}
    with pytest.raises(ContractRefused, match="4000 are the most"):
        Contract.of_function(job, job_type="j", namespace="n")


def test_a_deep_schema_is_read() -> None:
    """Types may lie in each other deeper than Python's source may be nested."""
    schema: Any = "long"
    for _ in range(60):
        schema = {"type": "array", "items": ["null", schema]}
    assert read(schema, (long(1) + long(1)) * 60 + long(7) + long(0) * 60) is not None


@pytest.mark.parametrize("others", [1, 63, 64, 127, 200])
def test_every_branch_of_a_large_union_is_read_as_it_was_written(others: int) -> None:
    """From the 65th branch on, which may be null's, the index takes two bytes."""
    x: FieldSchema = {"name": "x", "type": "long"}
    records: list[Schema] = [{"type": "record", "name": f"N{number}", "fields": [x]} for number in range(others)]
    union: Schema = [*records, "null"]
    codec = Codec({"type": "record", "name": "R", "fields": [{"name": "value", "type": union}]})
    last: Any = {"x": 5} if others == 1 else (others - 1, {"x": 5})
    for value in (None, last):
        assert codec.decode(codec.encode({"value": value}), 0) == {"value": value}


def test_names_of_a_foreign_schema_are_no_source() -> None:
    """Quotes in symbols and namespaces do not end the text in which they stand."""
    leg = {"type": "record", "name": "L", "fields": [{"name": "x", "type": "long"}]}
    field = {"name": "value", "type": leg, "aliases": ["x"]}
    schema: Any = {"type": "record", "name": "R", "doc": "'\"", "fields": [field]}
    assert Codec(schema).decode(long(7), 0) == {"value": {"x": 7}}


def nested(levels: int) -> Any:
    """A type that lies in itself so often."""
    schema: Any = "long"
    for _ in range(levels):
        schema = {"type": "array", "items": schema}
    return schema


def doubled(levels: int) -> Any:
    """A record whose fields are twice the one below it, and so on: few records, and 2**levels places for the lowest."""
    schema: Any = {"type": "record", "name": "D0", "fields": [{"name": "x", "type": "null"}]}
    for level in range(levels):
        again = {"name": "b", "type": f"D{level}"}
        schema = {"type": "record", "name": f"D{level + 1}", "fields": [{"name": "a", "type": schema}, again]}
    return schema


MANY = [{"type": "record", "name": f"N{n}", "fields": [{"name": "x", "type": "long"}]} for n in range(3_000)]


@pytest.mark.parametrize(
    "kind",
    [
        nested(2_000), doubled(40), MANY, {"type": "fixed", "name": "F", "size": -1}, {"type": 5}, 5, None,
        {"type": "record", "name": "R2", "fields": 5}, {"type": "bytes", "logicalType": ["decimal"]},
        {"type": "bytes", "logicalType": "decimal", "precision": 10**9}, {"type": "enum", "name": "E", "symbols": None},
    ],
)  # fmt: skip
def test_a_stored_schema_that_no_reader_can_be_made_of_ends_no_worker(kind: Any) -> None:
    """Whatever lies in the schema store, a payload of it is refused or read, and nothing else is raised."""

    def job(value: int) -> None: ...

    store = MemorySchemaStore()
    schema: Schema = {"type": "record", "name": "R", "fields": [{"name": "value", "type": kind}]}
    store._book.add(StoredSchema(job_type="j", frame_id=b"12345678", schema=schema, registered_at=None))
    contract = Contract.of_function(job, job_type="j", namespace="n")
    with pytest.raises((Undecodable, SchemaMismatch)):
        Decoder(store).decode(contract, b"\xc3\x0112345678" + b"\x02\x02")
    with suppress(Undecodable, SchemaMismatch):
        Decoder(store).decode_as_written(b"\xc3\x0112345678" + b"\x02\x02")


@pytest.mark.parametrize("more", [{}, {"precision": 2, "scale": 3}])
def test_a_decimal_that_avro_takes_for_bytes_is_refused_at_declaration(more: dict[str, int]) -> None:
    """Without a precision, or with a scale beyond it, the logical type would mean nothing."""
    schema = {"type": "record", "name": "R", "fields": [{"name": "value", "type": logical("bytes", "decimal", **more)}]}

    def job(value: Decimal) -> None: ...

    with pytest.raises(ContractRefused):
        Contract.of_avsc(job, schema, job_type="j", namespace="n")
