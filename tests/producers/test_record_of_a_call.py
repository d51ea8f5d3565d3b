"""A call becomes the record of the wire contract, or is refused with what is wrong."""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.sdk.trace import TracerProvider

from stoker.producers.errors import EnqueueError, OptionRefused, PayloadRefused, PayloadTooLarge
from stoker.producers.record import ANY_PARTITION, BuiltRecord, RecordBuilder, TimeStamp, partition_of
from stoker.schemas import MemorySchemaStore
from stoker.schemas import PayloadRefused as RefusedBySchema
from stoker.topology import Pipeline
from stoker.topology.declaration.job_type import AnyJobType
from stoker.topology.declaration.queue import RouteBy
from stoker.topology.wire import headers as wire
from support.scenes.shop import Shop, declare_shop

NOW = datetime(2013, 1, 1, 5, 17, 0, 250_000, tzinfo=UTC)
NOW_NS = 1_357_017_420_250_000_000


@pytest.fixture
def own_shop() -> Shop:
    """A shop that is on no cluster."""
    return declare_shop("shop")


def builder_for(shop: Shop) -> RecordBuilder:
    """A builder at a fixed time, with the shop's contracts registered."""
    store = MemorySchemaStore()
    for job_type in shop.pipeline.job_types.values():
        store.register(job_type.contract, job_type.compatibility)
    return RecordBuilder(store, "/tests", {shop.mails.topic: 4}, clock=lambda: NOW_NS)


def header(record: BuiltRecord, name: str) -> bytes | None:
    """One header's value."""
    return wire.header_map(record.headers).get(name)


def test_a_plain_call_has_exactly_the_headers_of_the_wire_contract(own_shop: Shop) -> None:
    """A job without options carries CloudEvents' headers, a new UUIDv7 and nothing else, and has no key."""
    record = builder_for(own_shop).build(own_shop.send_receipt.call(7, "a@b.example"))
    assert wire.header_map(record.headers) == {
        "ce_specversion": b"1.0",
        "ce_id": record.job_id.encode(),
        "ce_type": b"send_receipt",
        "ce_source": b"/tests",
        "ce_time": b"2013-01-01T05:17:00.250000Z",
        "content-type": b"application/avro",
    }
    assert (record.topic, record.key, record.partition) == ("shop.mails", None, ANY_PARTITION)
    assert record.job_id[14] == "7"


def test_the_value_is_the_framed_payload_alone(own_shop: Shop) -> None:
    """The value is single-object encoding: C3 01, the schema's fingerprint, the Avro body."""
    record = builder_for(own_shop).build(own_shop.send_receipt.call(7, "a@b.example"))
    assert record.value == b"\xc3\x01" + own_shop.send_receipt.contract.fingerprint + b"\x0e" + b"\x16a@b.example"


def test_options_go_out_as_headers(own_shop: Shop) -> None:
    """Id, idempotency key, expiry, source and the caller's own headers reach the record as they were given."""
    configured = own_shop.send_receipt.with_options(
        job_id="order-7",
        idempotency_key="receipt:7",
        expires=timedelta(minutes=2),
        source="/checkout",
        headers={"tenant": "Zoë"},
    )
    headers = wire.header_map(builder_for(own_shop).build(configured.call(7, "a@b.example")).headers)
    assert headers["ce_id"] == b"order-7"
    assert headers["stoker-idempotency-key"] == b"receipt:7"
    assert headers["stoker-expires"] == b"2013-01-01T05:19:00.250000Z"
    assert headers["ce_source"] == b"/checkout"
    assert headers["tenant"] == "Zoë".encode()


def test_one_calls_source_does_not_stick(own_shop: Shop) -> None:
    """A source given to one call is not that of the next."""
    builder = builder_for(own_shop)
    builder.build(own_shop.send_receipt.with_options(source="/checkout").call(7, "a"))
    assert header(builder.build(own_shop.send_receipt.call(7, "a")), wire.SOURCE) == b"/tests"


def test_the_key_is_the_calls_own_before_the_job_types(own_shop: Shop) -> None:
    """The job type's key function says the key unless the call does, and the client's partitioner places both."""
    builder = builder_for(own_shop)
    derived = builder.build(own_shop.charge.call("acc-1", 5))
    given_key = builder.build(own_shop.charge.with_options(key="köy", job_id="j").call("acc-1", 5))
    assert (derived.key, derived.partition) == (b"acc-1", ANY_PARTITION)
    assert (given_key.key, given_key.partition) == ("köy".encode(), ANY_PARTITION)


def test_without_a_key_the_identity_chooses_the_partition(own_shop: Shop) -> None:
    """Jobs of one idempotency key, or else one id, meet in one partition, as Java's partitioner says; no key is set."""
    builder = builder_for(own_shop)
    by_id = builder.build(own_shop.send_receipt.with_options(job_id="foobar").call(1, "a"))
    by_idempotency = own_shop.send_receipt.with_options(job_id="other", idempotency_key="foobar").call(1, "a")
    expected = (-790332482 & 0x7FFFFFFF) % 4
    assert (by_id.key, by_id.partition) == (None, expected)
    assert builder.build(by_idempotency).partition == expected


def tenant_shop(route_by: RouteBy) -> tuple[RecordBuilder, Any]:
    """A builder for one job type that makes key and tenant of its arguments."""
    pipeline = Pipeline("shop")

    @pipeline.job(pipeline.queue("mails", partitions=4, route_by=route_by), key="order", tenant="customer")
    def bill(customer: str | None, order: str | None = None) -> None:
        """Bill a customer."""

    return RecordBuilder(stored(bill), "/tests", {bill.queue.topic: 4}), bill


def stored(job_type: AnyJobType) -> MemorySchemaStore:
    """A store that knows the job type's contract."""
    store = MemorySchemaStore()
    store.register(job_type.contract)
    return store


@pytest.mark.parametrize(
    ("route_by", "order", "options", "placed_by"),
    [
        ("tenant", "o1", {}, b"foobar"),
        ("tenant", None, {}, b"foobar"),
        ("tenant", None, {"job_id": "j1"}, b"foobar"),
        ("key", "o1", {}, None),
        ("key", None, {}, None),
        ("key", None, {"job_id": "j1"}, b"j1"),
    ],
)
def test_a_tenant_chooses_the_partition_where_the_queue_routes_by_it(
    route_by: RouteBy, order: str | None, options: dict[str, str], placed_by: bytes | None
) -> None:
    """The record's key stays the ordering key; elsewhere the tenant is a header and nothing else."""
    builder, bill = tenant_shop(route_by)
    record = builder.build(bill.with_options(**options).call("foobar", order))
    assert header(record, wire.TENANT) == b"foobar"
    assert record.key == (None if order is None else order.encode())
    assert record.partition == (ANY_PARTITION if placed_by is None else partition_of(placed_by, 4))
    plain = builder.build(bill.call("foobar", order)) if not options else record
    assert plain.partition == record.partition


@pytest.mark.parametrize(("order", "options", "placed_by"), [("o1", {}, None), (None, {"job_id": "j1"}, b"j1")])
def test_a_job_without_a_tenant_is_routed_by_its_key(
    order: str | None, options: dict[str, str], placed_by: bytes | None
) -> None:
    """Also in a queue that routes by tenant; it has no tenant's header."""
    builder, bill = tenant_shop("tenant")
    record = builder.build(bill.with_options(**options).call(None, order))
    assert wire.TENANT not in dict(record.headers)
    assert record.partition == (ANY_PARTITION if placed_by is None else partition_of(placed_by, 4))


@pytest.mark.parametrize(
    ("tenant", "part"),
    [
        ("", "1 to 256 bytes"),
        ("x" * 257, "1 to 256 bytes"),
        ("a\n", "do not print"),
        (7, "must be text or None, not int"),
    ],
)
def test_a_tenant_that_nobody_can_name_is_refused(own_shop: Shop, tenant: Any, part: str) -> None:
    """An operator must be able to write it on a command line."""
    call = own_shop.send_receipt.with_options(tenant=tenant).call(1, "a")
    with pytest.raises(OptionRefused, match=part):
        builder_for(own_shop).build(call)


def test_a_tenant_that_cannot_be_made_refuses_the_call(own_shop: Shop) -> None:
    """With the reason, as a key does."""
    pipeline = Pipeline("shop")

    @pipeline.job(pipeline.queue("mails"), tenant=lambda order: {}[order])
    def bill(order: str) -> None:
        """Bill."""

    with pytest.raises(OptionRefused, match="tenant could not be made: its function raised KeyError"):
        RecordBuilder(stored(bill), "/tests", {}).build(bill.call("x"))


@pytest.mark.parametrize(
    ("key", "murmur2"),
    [
        # From the tests of Kafka's own org.apache.kafka.common.utils.Utils.murmur2.
        (b"21", -973932308),
        (b"foobar", -790332482),
        (b"a-little-bit-long-string", -985981536),
        (b"a-little-bit-longer-string", -1486304829),
        (b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971),
        (b"abc", 479470107),
    ],
)
def test_partitions_are_those_of_the_java_client(key: bytes, murmur2: int) -> None:
    """A key's partition is murmur2 without its sign, modulo the number of partitions."""
    assert [partition_of(key, count) for count in (1, 8, 1000)] == [(murmur2 & 0x7FFFFFFF) % n for n in (1, 8, 1000)]


@given(st.integers(min_value=0, max_value=4_102_444_800_000_000))
def test_the_fast_time_stamp_is_the_wires(micros: int) -> None:
    """The producer's own writing of an instant gives the same text as `format_instant`."""
    instant = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=micros)
    assert TimeStamp().write(micros * 1_000) == wire.format_instant(instant)


def test_a_time_stamp_moves_on_within_and_between_seconds() -> None:
    """Remembering the second does not stop the clock."""
    stamp = TimeStamp()
    written = [stamp.write(ns) for ns in (1_000, 999_999_999, 1_000_000_000, 500)]
    assert written == [
        b"1970-01-01T00:00:00.000001Z",
        b"1970-01-01T00:00:00.999999Z",
        b"1970-01-01T00:00:01.000000Z",
        b"1970-01-01T00:00:00.000000Z",
    ]


def test_a_value_that_does_not_fit_is_refused_by_field(own_shop: Shop) -> None:
    """A wrong argument is refused with its field, under the producer's and the schemas' error alike."""
    with pytest.raises(PayloadRefused, match="order_id") as caught:
        builder_for(own_shop).build(own_shop.send_receipt.call("seven", "a"))  # type: ignore[arg-type]  # on purpose
    assert caught.value.field == "order_id"
    assert isinstance(caught.value, EnqueueError)
    assert isinstance(caught.value, RefusedBySchema)
    assert "nothing was sent" in str(caught.value)


def test_a_payload_above_its_limit_is_refused_with_both_sizes(own_shop: Shop) -> None:
    """The encoded payload, not the text, is measured against the job type's limit: 1,000 bytes fit, 1,001 do not."""
    builder = builder_for(own_shop)
    fitting = "x" * (1_000 - 2 - 1)  # two bytes of length before the text, one for the number
    builder.build(own_shop.charge.call(fitting, 5))
    with pytest.raises(PayloadTooLarge) as caught:
        builder.build(own_shop.charge.call(fitting + "x", 5))
    assert (caught.value.size_bytes, caught.value.limit_bytes) == (1_001, 1_000)


@pytest.mark.parametrize(
    "expires",
    [NOW - timedelta(seconds=1), NOW, timedelta(0), timedelta(seconds=-1), NOW.replace(tzinfo=None) + timedelta(1)],
)
def test_an_expiry_that_is_past_or_without_zone_is_refused(own_shop: Shop, expires: datetime | timedelta) -> None:
    """A job that could never run is refused, and so is an instant that could be any of 24."""
    with pytest.raises(OptionRefused, match="expires"):
        builder_for(own_shop).build(own_shop.send_receipt.with_options(expires=expires).call(1, "a"))


def test_an_expiry_of_another_zone_goes_out_in_utc(own_shop: Shop) -> None:
    """Instants are written in UTC, whatever zone they were given in."""
    local = datetime(2013, 1, 1, 12, 0, tzinfo=timezone(timedelta(hours=5)))
    record = builder_for(own_shop).build(own_shop.send_receipt.with_options(expires=local).call(1, "a"))
    assert header(record, wire.EXPIRES) == b"2013-01-01T07:00:00.000000Z"


@pytest.mark.parametrize(
    ("options", "due_at"),
    [
        ({"delay": timedelta(hours=1, milliseconds=1)}, NOW + timedelta(hours=1, milliseconds=1)),
        ({"delay": timedelta(0)}, NOW),
        ({"at": NOW + timedelta(days=3_652)}, NOW + timedelta(days=3_652)),
        ({"at": NOW.astimezone(timezone(timedelta(hours=5)))}, NOW),
        ({"at": NOW - timedelta(days=1)}, NOW - timedelta(days=1)),
    ],
)
def test_a_delayed_job_carries_its_due_time(own_shop: Shop, options: dict[str, Any], due_at: datetime) -> None:
    """In UTC, however it was given; it goes to the main topic, as all jobs do."""
    record = builder_for(own_shop).build(own_shop.send_receipt.with_options(**options).call(1, "a"))
    assert header(record, wire.DUE) == wire.format_instant(due_at)
    assert (record.due_at, record.topic) == (due_at, "shop.mails")


@pytest.mark.parametrize(
    ("options", "part"),
    [
        ({"at": NOW.replace(tzinfo=None)}, "at has no time zone"),
        ({"at": "tomorrow"}, "must be a datetime, not str"),
        ({"delay": 5}, "must be a timedelta, not int"),
        ({"delay": timedelta(seconds=-1)}, "is negative"),
        ({"delay": timedelta.max}, "outside of the calendar"),
        ({"delay": timedelta(1), "at": NOW}, "exclude each other"),
        ({"delay": timedelta(hours=2), "expires": NOW + timedelta(hours=1)}, "past before the job may start"),
    ],
)
def test_a_due_time_that_cannot_be_is_refused(own_shop: Shop, options: dict[str, Any], part: str) -> None:
    """A naive instant could be any of 24, and nobody starts a job before it was enqueued."""
    with pytest.raises(OptionRefused, match=part):
        builder_for(own_shop).build(own_shop.send_receipt.with_options(**options).call(1, "a"))


def test_a_length_until_the_expiry_counts_from_the_due_time(own_shop: Shop) -> None:
    """A job that is to run tomorrow, within two hours, expires tomorrow."""
    configured = own_shop.send_receipt.with_options(delay=timedelta(days=1), expires=timedelta(hours=2))
    record = builder_for(own_shop).build(configured.call(1, "a"))
    assert header(record, wire.EXPIRES) == wire.format_instant(NOW + timedelta(days=1, hours=2))


@pytest.mark.parametrize(
    "headers",
    [
        {"ce_id": "x"},
        {"stoker-attempt": "3"},
        {"Stoker-Attempt": "3"},
        {"traceparent": "x"},
        {"content-type": "x"},
        {"": "x"},
        {"with blank": "x"},
        {"ü": "x"},
        {"number": 5},
        {"lone": "\ud800"},
        {"large": "x" * 17_000},
    ],
)
def test_a_header_that_is_reserved_or_malformed_is_refused(own_shop: Shop, headers: Mapping[str, str]) -> None:
    """The caller's headers can neither take the place of Stoker's nor break a reader."""
    with pytest.raises(OptionRefused, match="header"):
        builder_for(own_shop).build(own_shop.send_receipt.with_options(headers=headers).call(1, "a"))


@pytest.mark.parametrize("bad", ["", " ", "a b", "ü", "line\nbreak", "x" * 257])
def test_an_id_or_source_that_is_not_plain_is_refused(own_shop: Shop, bad: str) -> None:
    """Ids and sources are 1 to 256 visible ASCII characters."""
    builder, job = builder_for(own_shop), own_shop.send_receipt
    for configured in (
        job.with_options(job_id=bad),
        job.with_options(idempotency_key=bad),
        job.with_options(source=bad),
    ):
        with pytest.raises(OptionRefused):
            builder.build(configured.call(1, "a"))


@pytest.mark.parametrize("bad", ["", "x" * 1_025, "\ud800"])
def test_a_key_that_is_empty_or_too_long_is_refused(own_shop: Shop, bad: str) -> None:
    """A key has 1 to 1,024 bytes of UTF-8; None is the way to say that there is no order."""
    with pytest.raises(OptionRefused, match="key"):
        builder_for(own_shop).build(own_shop.send_receipt.with_options(key=bad).call(1, "a"))


def test_the_current_span_travels_along(own_shop: Shop) -> None:
    """A job that is enqueued inside a span continues its trace; outside there are no trace headers."""
    builder, call = builder_for(own_shop), own_shop.send_receipt.call(1, "a")
    with TracerProvider().get_tracer("tests").start_as_current_span("checkout") as span:
        inside = builder.build(call)
    context = span.get_span_context()
    expected = f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"
    assert header(inside, wire.TRACE_PARENT) == expected.encode()
    assert header(builder.build(call), wire.TRACE_PARENT) is None


def test_building_without_a_clock_takes_the_time_of_day(own_shop: Shop) -> None:
    """`ce_time` is the moment of the call."""
    store = MemorySchemaStore()
    before = time.time()
    record = RecordBuilder(store, "/tests", {}).build(own_shop.send_receipt.call(1, "a"))
    sent = wire.parse_instant(header(record, wire.TIME) or b"").timestamp()
    assert before - 0.001 <= sent <= time.time()
