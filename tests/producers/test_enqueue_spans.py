"""A job is enqueued whatever the application's OpenTelemetry SDK raises over its span."""

from __future__ import annotations

import logging

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags

from stoker.producers.delivery import Receipt
from stoker.producers.record import BuiltRecord, RecordBuilder
from stoker.producers.tracing import spans
from stoker.producers.tracing.spans import EnqueueSpans
from stoker.schemas import MemorySchemaStore
from stoker.topology.declaration.job_type import JobCall
from stoker.topology.tracing.span_faults import SpanFaults
from stoker.topology.wire.headers import TRACE_PARENT, header_map
from support.scenes.shop import declare_shop
from support.sight.traces import RaisingProcessor, RaisingSampler, set_up

CALLER = SpanContext(7, 8, is_remote=False, trace_flags=TraceFlags(TraceFlags.SAMPLED))


@pytest.fixture(params=["sampler", "start", "end"])
def failing(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> EnqueueSpans:
    """The spans of an SDK that raises over each of them."""
    provider = TracerProvider(sampler=RaisingSampler() if request.param == "sampler" else None)
    if request.param != "sampler":
        provider.add_span_processor(RaisingProcessor(request.param))
    set_up(monkeypatch, provider)
    monkeypatch.setattr(spans, "_FAULTS", SpanFaults(logging.getLogger("stoker.producers")))
    return EnqueueSpans.find()


def made() -> tuple[RecordBuilder, JobCall]:
    """A call, and what makes its record."""
    shop, store = declare_shop("shop"), MemorySchemaStore()
    store.register(shop.send_receipt.contract, shop.send_receipt.compatibility)
    return RecordBuilder(store, "/tests", {}), shop.send_receipt.call(1, "a")


def trace_parent(record: BuiltRecord) -> bytes | None:
    """Which span its job follows."""
    return header_map(record.headers).get(TRACE_PARENT)


@pytest.mark.expected_errors("the OpenTelemetry SDK raised")
def test_a_job_is_enqueued_where_the_sdk_raises_over_its_span(
    failing: EnqueueSpans, caplog: pytest.LogCaptureFixture
) -> None:
    """At its enqueue, at the brokers' answer, in an outbox, and by a schedule; the log has it once a minute."""
    builder, call = made()
    record = failing.send(call, builder.build)
    record.ended(Receipt(job_id=record.job_id, topic=record.topic, partition=0, offset=7))
    assert failing.create(call, builder.build).topic == record.topic
    failing.headers_of_scheduled(record.topic, "j")
    with failing.bulk():
        assert failing.send(call, builder.build).topic == record.topic
    logged = [entry.getMessage() for entry in caplog.records]
    assert sum("the OpenTelemetry SDK raised RuntimeError over a span" in message for message in logged) == 1


@pytest.mark.expected_errors("the OpenTelemetry SDK raised")
def test_what_ends_a_bulk_is_raised_where_the_sdk_raises_over_its_span(failing: EnqueueSpans) -> None:
    """The caller's own error, not the SDK's."""
    with pytest.raises(LookupError), failing.bulk():
        raise LookupError


@pytest.mark.expected_errors("the OpenTelemetry SDK raised")
@pytest.mark.parametrize("failing", ["sampler", "start"], indirect=True)
def test_a_job_without_a_span_of_its_own_goes_on_with_its_callers_trace(failing: EnqueueSpans) -> None:
    """Alone and in a bulk; its caller's span goes on as well."""
    builder, call = made()
    with trace.use_span(NonRecordingSpan(CALLER)) as caller:
        alone = failing.send(call, builder.build)
        with failing.bulk():
            of_bulk = failing.send(call, builder.build)
        assert trace.get_current_span() is caller
    expected = f"00-{CALLER.trace_id:032x}-{CALLER.span_id:016x}-01".encode()
    assert [trace_parent(alone), trace_parent(of_bulk)] == [expected, expected]
