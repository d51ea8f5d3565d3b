"""The trace that a job continues: W3C trace context of the caller's current span."""

from __future__ import annotations

from typing import Final

from opentelemetry import trace

from ..topology.tracing.remote_context import baggage_headers, span_headers
from ..topology.wire.headers import HeaderList

_NONE: Final[HeaderList] = []


class TraceHeaders:
    """Writes the headers of the current span; the jobs of a bulk share one, whose headers are written once."""

    def __init__(self) -> None:
        self._latest: tuple[trace.SpanContext, HeaderList] = trace.INVALID_SPAN_CONTEXT, _NONE

    def __call__(self) -> HeaderList:
        """`traceparent`, and `tracestate` if there is one; empty without a span. Called from any thread."""
        context = trace.get_current_span().get_span_context()
        known, headers = self._latest
        if context is not known:
            headers = span_headers(context)
            self._latest = context, headers
        return headers


class TracedHeaders(TraceHeaders):
    """Writes the `baggage` of the caller's context as well, where it has some."""

    def __call__(self) -> HeaderList:
        """`traceparent`, `tracestate` and `baggage`."""
        return [*super().__call__(), *baggage_headers()]
