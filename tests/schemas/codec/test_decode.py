"""Bytes to data: framings, versions, garbage, and how often the store is asked."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field, make_dataclass
from datetime import UTC, datetime
from decimal import Decimal
from enum import Enum
from typing import Annotated, Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from stoker.schemas import (
    Compatibility,
    Contract,
    Decoder,
    Digits,
    IncompatibleSchema,
    MemorySchemaStore,
    SchemaMismatch,
    SchemaStoreUnreachable,
    Undecodable,
    UnknownSchema,
)
from stoker.schemas.stores.store import StoredSchema


class Cabin(Enum):
    """Two cabins."""

    COACH = 1
    FIRST = 2


@dataclass
class Leg:
    """A nested record."""

    origin: str
    minutes: int | None = None


def first(tail: str, delay: int) -> None:
    """Have the first version of a contract."""


def second(tail: str, delay: int, price: Decimal = Decimal("1.5"), tags: list[str] = []) -> None:  # noqa: B006
    """Have fields that the first version has not, all with defaults."""


def third(tail: str, delay: int, must: int) -> None:
    """Have a field that the versions before do not write."""


def rich(at: datetime, legs: list[Leg], cabin: Cabin, price: Annotated[Decimal, Digits()], u: Leg | str | None) -> None:
    """Have some of everything that bytes can go wrong in."""


def contract_of(function: Callable[..., object]) -> Contract:
    """Make a version of the one job type."""
    return Contract.of_function(function, job_type="job", namespace="n")


def stored(contract: Contract, frame_id: bytes | int | None = None) -> StoredSchema:
    """Describe a contract as a store does."""
    own = contract.fingerprint if frame_id is None else frame_id
    return StoredSchema(job_type="job", frame_id=own, schema=contract.schema, registered_at=None)


@dataclass
class CountingStore(MemorySchemaStore):
    """A store that learns at a refresh what `upstream` holds, and counts how often it is asked to."""

    upstream: list[StoredSchema] = field(default_factory=list)
    refreshes: int = 0
    fails: bool = False

    def __post_init__(self) -> None:
        """Start empty."""
        super().__init__()

    def refresh(self, timeout_s: float) -> None:
        """Learn, or fail."""
        self.refreshes += 1
        if self.fails:
            raise SchemaStoreUnreachable("store", "down")
        for version in self.upstream:
            self._book.add(version)


def framed(function: Callable[..., object], **values: Any) -> bytes:
    """Write a payload in single-object encoding."""
    contract = contract_of(function)
    return contract.header + contract.encode(contract.payload((), values))


def test_the_frame_is_avros_single_object_encoding() -> None:
    """A payload is C3 01, the fingerprint, and the body, as other Avro libraries write it."""
    value = framed(first, tail="N1", delay=-1)
    assert value == b"\xc3\x01" + contract_of(first).fingerprint + b"\x04N1\x01"


def test_an_older_payload_gets_the_readers_defaults_as_values() -> None:
    """A worker with a newer contract fills in defaults as values of their type, new for each job."""
    store = CountingStore(upstream=[stored(contract_of(first))])
    reader, decoder = contract_of(second), Decoder(store)
    data = [decoder.decode(reader, framed(first, tail="N1", delay=2)) for _ in range(2)]
    assert data[0] == {"tail": "N1", "delay": 2, "price": Decimal("1.5"), "tags": []}
    assert data[0]["tags"] is not data[1]["tags"]


def test_a_newer_payload_loses_what_the_reader_does_not_know() -> None:
    """A worker with an older contract reads a newer payload, and ignores the fields it does not have."""
    store = CountingStore(upstream=[stored(contract_of(first)), stored(contract_of(second))])
    value = framed(second, tail="N1", delay=2)
    assert Decoder(store).decode(contract_of(first), value) == {"tail": "N1", "delay": 2}


@pytest.mark.parametrize(("order", "newer"), [((first, third), False), ((third, first), True), ((first,), True)])
def test_a_mismatch_says_whether_a_newer_worker_would_know(
    order: tuple[Callable[..., object], ...], newer: bool
) -> None:
    """A schema that does not resolve is newer when the store holds it later than ours, or does not hold ours."""
    store = CountingStore(upstream=[stored(contract_of(version)) for version in order])
    with pytest.raises(SchemaMismatch) as mismatch:
        Decoder(store).decode(contract_of(third), framed(first, tail="N1", delay=2))
    assert (mismatch.value.field, mismatch.value.newer) == ("must", newer)


def test_a_symbol_the_reader_does_not_know_is_a_mismatch_of_that_value_only() -> None:
    """A payload with a new symbol is refused; one of the same schema with a known symbol is read."""

    class More(Enum):
        COACH = 1
        FIRST = 2
        SUITE = 3

    def job(cabin: Any) -> None: ...

    job.__annotations__ = {"cabin": Cabin}
    old = contract_of(job)
    More.__name__ = "Cabin"
    job.__annotations__ = {"cabin": More}
    new = contract_of(job)
    decoder = Decoder(CountingStore(upstream=[stored(old), stored(new)]))
    assert decoder.decode(old, new.header + new.encode({"cabin": "FIRST"})) == {"cabin": "FIRST"}
    with pytest.raises(SchemaMismatch, match="SUITE") as mismatch:
        decoder.decode(old, new.header + new.encode({"cabin": "SUITE"}))
    assert (mismatch.value.field, mismatch.value.newer) == ("cabin", True)


def test_named_branches_resolve_into_and_out_of_unions() -> None:
    """A record that becomes optional, or stops being so, resolves without its branch's mark getting lost."""

    def plain(leg: Leg, n: int) -> None: ...

    def optional(leg: Leg | None, n: int) -> None: ...

    one, other = contract_of(plain), contract_of(optional)
    decoder = Decoder(CountingStore(upstream=[stored(one), stored(other)]))
    arguments = {"leg": Leg("JFK", 3), "n": 1}
    for writer, reader in ((one, other), (other, one)):
        datum = decoder.decode(reader, writer.header + writer.encode(writer.payload((), arguments)))
        assert reader.arguments(datum) == ((), arguments)


@pytest.mark.parametrize(
    ("value", "part"),
    [
        (None, "tombstone"),
        (b"", "none"),
        (b"{}", "7b7d"),
        (b"\xc3\x01\x00", "cut off"),
        (b"\x00\x00", "cut off"),
        (b"\x00\x80\x00\x00\x00body", "2147483648, which is above the highest"),
        (framed(first, tail="N1", delay=2)[:-1], "not a n.job"),
        (framed(first, tail="N1", delay=2) + b"x", "1 bytes follow"),
    ],
)
def test_bytes_that_are_no_payload_are_undecodable(value: bytes | None, part: str) -> None:
    """Tombstones, unknown framings, cut-off and overlong bodies are reported as undecodable, with the reason."""
    with pytest.raises(Undecodable, match=part):
        Decoder(MemorySchemaStore()).decode(contract_of(first), value)


@settings(max_examples=400, deadline=None)
@given(st.binary(max_size=80))
@example(b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01" * 3)
@example(b"\x80" * 40)
def test_garbage_is_either_read_or_undecodable(body: bytes) -> None:
    """No bytes behind a known fingerprint make the decoder fail otherwise, hang, or take memory without bound."""
    contract = contract_of(rich)
    try:
        datum = Decoder(MemorySchemaStore()).decode(contract, contract.header + body)
    except Undecodable:
        return
    contract.arguments(datum)


def test_a_schema_nobody_knows_is_reported_as_unknown() -> None:
    """A fingerprint or id that the store does not hold after a refresh is UnknownSchema, with the id."""
    decoder = Decoder(CountingStore(), clock=iter(range(0, 100, 10)).__next__)
    with pytest.raises(UnknownSchema) as unknown:
        decoder.decode(contract_of(first), framed(second, tail="N1", delay=2))
    assert unknown.value.frame_id == contract_of(second).fingerprint
    with pytest.raises(UnknownSchema) as unknown:
        decoder.decode(contract_of(first), b"\x00\x00\x00\x01\x02body")
    assert unknown.value.frame_id == 258


def test_a_flood_of_unknown_schemas_refreshes_once_a_second() -> None:
    """However many payloads have unknown schemas, the store is refreshed at most once a second."""
    now, store = [0.0], CountingStore()
    decoder = Decoder(store, clock=lambda: now[0])
    for second_ in (0.0, 0.5, 0.99, 1.0, 1.5):
        now[0] = second_
        for _ in range(10):
            with pytest.raises(UnknownSchema):
                decoder.decode(contract_of(first), framed(second, tail="N1", delay=2))
    assert store.refreshes == 2


def test_an_unreachable_store_makes_no_schema_unknown() -> None:
    """When the refresh fails, whether the schema is known is not: the store's failure is raised, also to those after.

    It is asked again after a second, and its answer counts.
    """
    now, store = [0.0], CountingStore(fails=True)
    decoder = Decoder(store, clock=lambda: now[0])
    for _ in range(3):
        with pytest.raises(SchemaStoreUnreachable):
            decoder.decode(contract_of(first), framed(second, tail="N1", delay=2))
    assert store.refreshes == 1
    store.fails, now[0] = False, 1.0
    with pytest.raises(UnknownSchema):
        decoder.decode(contract_of(first), framed(second, tail="N1", delay=2))


def test_an_unregistered_contract_comes_after_what_was_there_before_it() -> None:
    """What does not resolve is newer only if it was not there when the contract took its place."""
    store = CountingStore(upstream=[stored(contract_of(first))])
    store.refresh(1)
    decoder, own = Decoder(store), contract_of(third)
    decoder.note_version_order(own)
    with pytest.raises(SchemaMismatch) as older:
        decoder.decode(own, framed(first, tail="N1", delay=2))
    store.upstream.append(stored(contract_of(second)))
    with pytest.raises(SchemaMismatch) as newer:
        decoder.decode(own, framed(second, tail="N1", delay=2))
    assert (older.value.newer, newer.value.newer) == (False, True)


class CrowdedStore(CountingStore):
    """A store whose refresh lasts until a crowd of threads has asked for a schema in vain."""

    def __init__(self, crowd: int, upstream: list[StoredSchema]) -> None:
        super().__init__(upstream=upstream)
        self._missing, self._crowded = crowd, threading.Event()

    def writer_schema(self, frame_id: bytes | int) -> StoredSchema | None:
        """Count those who find nothing."""
        found = super().writer_schema(frame_id)
        if found is None:
            self._missing -= 1
            if self._missing <= 0:
                self._crowded.set()
        return found

    def refresh(self, timeout_s: float) -> None:
        """Wait for the crowd, then learn."""
        assert self._crowded.wait(60)
        super().refresh(timeout_s)


def test_threads_that_meet_a_new_schema_together_all_read_it() -> None:
    """Of many threads that meet a new schema while one asks the store, none asks again, and none loses its job."""
    # Eight threads ask once each, and the one that goes on to refresh asks once more under the lock.
    store = CrowdedStore(9, [stored(contract_of(second))])
    decoder, reader, value = Decoder(store), contract_of(first), framed(second, tail="N1", delay=2)
    read: list[dict[str, Any]] = []
    threads = [threading.Thread(target=lambda: read.append(decoder.decode(reader, value))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert read == [{"tail": "N1", "delay": 2}] * 8
    assert store.refreshes == 1


def test_confluent_frames_are_read_by_their_id() -> None:
    """A value in Confluent framing is read by the schema that the store has under its id."""
    contract = contract_of(first)
    store = CountingStore(upstream=[stored(contract, 7)])
    assert Decoder(store).decode(contract, b"\x00\x00\x00\x00\x07\x04N1\x01") == {"tail": "N1", "delay": -1}


def test_a_payload_can_be_read_as_it_was_written() -> None:
    """Operator tools read a payload with no contract at hand, as JSON data."""
    contract = contract_of(rich)
    store = MemorySchemaStore()
    store.register(contract, Compatibility.BACKWARD)
    at = datetime(2013, 1, 1, tzinfo=UTC)
    payload = contract.payload((at, [Leg("JFK")], Cabin.FIRST, Decimal(1), Leg("EWR", 2)), {})
    version, data = Decoder(store).decode_as_written(store.frame(contract, contract.encode(payload)))
    assert version.job_type == "job"
    assert data == contract.to_json(payload)


def test_a_changed_meaning_under_one_fingerprint_is_never_registered() -> None:
    """A contract that only changes a decimal's scale has the fingerprint of the version before, and is refused."""

    def job(price: Annotated[Decimal, Digits(precision=9, scale=2)], n: int) -> None: ...

    def rescaled(price: Annotated[Decimal, Digits(precision=9, scale=3)], n: int) -> None: ...

    store = MemorySchemaStore()
    store.register(contract_of(job), Compatibility.NONE)
    assert contract_of(job).fingerprint == contract_of(rescaled).fingerprint
    with pytest.raises(IncompatibleSchema, match="decimal"):
        store.register(contract_of(rescaled), Compatibility.NONE)


def test_a_version_that_was_accepted_may_come_back() -> None:
    """A process of an earlier version registers again without a check, even where a later one broke with it."""
    store = MemorySchemaStore()
    for function in (third, first, third):
        store.register(contract_of(function), Compatibility.BACKWARD)
    assert len(store.versions("job")) == 2


def _order(scale: int, *, is_newer: bool = False) -> type:
    """A dataclass `Order`, as another module may have another one."""
    amount = Annotated[Decimal, Digits(precision=10, scale=scale)]
    fields: list[Any] = [("amount", amount), *([("note", str, field(default=""))] if is_newer else [])]
    return make_dataclass("Order", fields)


def _taking(record: type) -> Callable[..., object]:
    def take(order: Any) -> None: ...

    take.__annotations__["order"] = record
    return take


def test_a_payload_is_read_by_the_schema_of_its_own_job_type() -> None:
    """Two modules call a record `Order` and mean other decimals: the fingerprints are equal, the values are not."""
    store = MemorySchemaStore()
    other = Contract.of_function(_taking(_order(4)), job_type="other", namespace="n")
    old, new = (
        Contract.of_function(_taking(_order(2, is_newer=is_newer)), job_type="pay", namespace="n")
        for is_newer in (False, True)
    )
    assert other.fingerprint == old.fingerprint
    for contract in (other, old, new):
        store.register(contract, Compatibility.BACKWARD)
    value = store.frame(old, old.encode({"amount": Decimal("12.50")}))
    assert Decoder(store).decode(new, value) == {"amount": Decimal("12.50"), "note": ""}
    assert Decoder(store).decode_as_written(value)[1] == {"amount": "0.1250"}  # of the first type that has it
    assert Decoder(store).decode_as_written(value, "pay")[1] == {"amount": "12.50"}
