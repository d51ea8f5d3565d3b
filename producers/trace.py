"""The trace that a job continues: W3C trace context of the caller's current span."""

from __future__ import annotations

from opentelemetry import trace
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from ..topology.tracing.remote_span import baggage_headers
from ..topology.wire.headers import HeaderList

_NONE: HeaderList = []


def trace_headers() -> HeaderList:
    """`traceparent`, and `tracestate` if there is one, of the current span; empty without a span."""
    if trace.get_current_span() is trace.INVALID_SPAN:
        return _NONE
    carrier: dict[str, str] = {}
    TraceContextTextMapPropagator().inject(carrier)
    return [(name, value.encode()) for name, value in carrier.items()]


def traced_headers() -> HeaderList:
    """`traceparent` and `tracestate` of the current span, and `baggage` where the caller's context has some."""
    return [*trace_headers(), *baggage_headers()]
