"""`EnqueueSpans`: a span for each job that is enqueued, whose context rides in the headers of the job."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from types import MappingProxyType
from typing import Final

from opentelemetry import trace
from opentelemetry.context import attach, detach
from opentelemetry.trace import Span, SpanKind

from ...topology.declaration.job_type import JobCall
from ...topology.tracing import attributes as names
from ...topology.tracing.remote_context import span_headers
from ...topology.tracing.span_faults import SpanFaults
from ...topology.tracing.tracers import AttributeValue, Tracing, destination, find_tracing, note_error
from ...topology.wire.headers import HeaderList
from ..delivery import Outcome, Receipt
from ..record import BuiltRecord

_FAULTS: Final = SpanFaults(logging.getLogger("stoker.producers"))

Build = Callable[[JobCall], BuiltRecord]
"""Makes the record of a call; its headers name the current span."""


class SpannedRecord(BuiltRecord):
    """A record with the span of its enqueue, which ends with the brokers' answer."""

    span: Span

    def ended(self, outcome: Outcome) -> None:
        """End the span."""
        with _FAULTS:
            if isinstance(outcome, Receipt):
                self.span.set_attributes({names.PARTITION: str(outcome.partition), names.OFFSET: outcome.offset})
            else:
                note_error(self.span, type(outcome).__name__, str(outcome))
            self.span.end()


class EnqueueSpans:
    """Makes the spans of one producer; its jobs are children of the caller's span, if there is one.

    A job whose span the SDK raises over is enqueued without one.

    Args:
        tracing: None where no SDK is set up; jobs pass the caller's context on all the same.
    """

    def __init__(self, tracing: Tracing | None) -> None:
        self._tracing = tracing

    @classmethod
    def find(cls) -> EnqueueSpans:
        """The spans of the SDK that the program has set up so far."""
        return cls(find_tracing())

    def send(self, call: JobCall, build: Build) -> BuiltRecord:
        """Make the record of a job that is sent at once; a recorded one carries its span."""
        span = self._begun(names.SEND, call)
        if span is None:
            return build(call)
        record = _built(span, call, build)
        if not span.is_recording():
            return record
        spanned = SpannedRecord(*record)
        spanned.span = span
        return spanned

    def create(self, call: JobCall, build: Build) -> BuiltRecord:
        """Make the record of a job that another process sends, such as the relay of an outbox."""
        span = self._begun(names.CREATE, call)
        if span is None:
            return build(call)
        record = _built(span, call, build)
        with _FAULTS:
            span.end()
        return record

    def _begun(self, operation: str, call: JobCall) -> Span | None:
        """The span of a job; None where no tracer records it, and the caller's span is the one to pass on."""
        tracing = self._tracing
        if tracing is None or tracing.has_dropped(trace.get_current_span()):
            return None
        job_type = call.job_type
        name, attributes = _named(operation, job_type.queue.topic, job_type.name, job_type.queue.name)
        with _FAULTS:
            return tracing.tracer.start_span(name, kind=SpanKind.PRODUCER, attributes=attributes)
        return None

    def headers_of_scheduled(self, topic: str, job_id: str) -> HeaderList:
        """The trace that begins where a schedule fires; empty without a tracer."""
        if self._tracing is None:
            return []
        attributes = {**destination(names.CREATE, topic), names.MESSAGE_ID: job_id}
        headers: HeaderList = []
        with _FAULTS:
            span = self._tracing.tracer.start_span(
                f"{names.CREATE} {topic}", kind=SpanKind.PRODUCER, attributes=attributes
            )
            headers = span_headers(span.get_span_context())
            span.end()
        return headers

    @contextmanager
    def bulk(self) -> Iterator[None]:
        """Let all jobs of a bulk share one span: one for each would take most of the bulk's time."""
        span = self._bulk_span()
        if span is None:
            yield
            return
        try:
            with trace.use_span(span):
                yield
        finally:
            with _FAULTS:
                span.end()

    def _bulk_span(self) -> Span | None:
        if self._tracing is None or self._tracing.has_dropped(trace.get_current_span()):
            return None
        attributes = {names.SYSTEM: names.KAFKA, names.OPERATION_NAME: names.SEND, names.OPERATION_TYPE: names.SEND}
        with _FAULTS:
            return self._tracing.tracer.start_span(f"{names.SEND} bulk", kind=SpanKind.PRODUCER, attributes=attributes)
        return None


@lru_cache(maxsize=1_000)
def _named(operation: str, topic: str, job_type: str, queue: str) -> tuple[str, Mapping[str, AttributeValue]]:
    """Name and attributes of the spans of a job type, made once: the SDK wants them of each job that it drops, too."""
    attributes = {**destination(operation, topic), names.JOB_TYPE: job_type, names.QUEUE: queue}
    return f"{operation} {topic}", MappingProxyType(attributes)


def _built(span: Span, call: JobCall, build: Build) -> BuiltRecord:
    """Make the record with this span as the current one."""
    token = attach(trace.set_span_in_context(span))  # `use_span` costs a job that is not recorded twice as much
    try:
        record = build(call)
    except Exception as refusal:
        with _FAULTS:
            note_error(span, type(refusal).__name__, str(refusal))
            span.end()
        raise
    finally:
        detach(token)
    with _FAULTS:
        span.set_attribute(names.MESSAGE_ID, record.job_id)
    return record
