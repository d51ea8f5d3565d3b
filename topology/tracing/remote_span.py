"""`RemoteSpan`: the span under which a job was enqueued, as its headers name it; read only where somebody asks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Protocol

from opentelemetry import trace
from opentelemetry.baggage.propagation import W3CBaggagePropagator
from opentelemetry.context import Context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from ..wire.headers import BAGGAGE, TRACE_PARENT, TRACE_STATE, HeaderList

_PROPAGATOR: Final = TraceContextTextMapPropagator()
_BAGGAGE: Final = W3CBaggagePropagator()
_EMPTY: Final = Context()
_SPAN: Final = next(iter(trace.set_span_in_context(trace.INVALID_SPAN, _EMPTY)))
"""The key of the current span; a context made with it costs a third of one made by the API."""
_LENGTH: Final = 55
_UNSAMPLED: Final = frozenset(b"02468aceACE")
"""The last digits of a `traceparent` whose lowest flag, sampled, is not set."""


class HasHeaders(Protocol):
    """A record, of whatever kind."""

    @property
    def headers(self) -> Mapping[str, bytes]:
        """{name: value}."""
        ...


class RemoteSpan(trace.NonRecordingSpan):
    """Stands for a span of another process. Most handlers never ask for it, and reading the headers costs 7 µs."""

    def __init__(self, record: HasHeaders) -> None:
        self._record: HasHeaders | None = record  # and nothing else, since each job with a trace pays for it

    def get_span_context(self) -> trace.SpanContext:
        """Trace and span; invalid where the headers name none that can be read."""
        if self._record is not None:
            self._context = read_span_context(self._record.headers)
            self._record = None
        return self._context

    def __repr__(self) -> str:
        """With what the headers name."""
        return f"RemoteSpan({self.get_span_context()!r})"


def read_span_context(headers: Mapping[str, bytes]) -> trace.SpanContext:
    """Read trace and span from the headers; invalid where they name none that can be read."""
    found = _PROPAGATOR.extract(_carrier(headers, TRACE_PARENT, TRACE_STATE), _EMPTY)
    return trace.get_current_span(found).get_span_context()


def is_unsampled(trace_parent: bytes) -> bool:
    """Whether a `traceparent` says that nobody records its trace.

    >>> is_unsampled(b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00")
    True
    """
    return len(trace_parent) == _LENGTH and trace_parent[-1] in _UNSAMPLED


def context_of(span: trace.Span) -> Context:
    """A context that holds nothing but this span, as the current one."""
    return Context({_SPAN: span})


def with_baggage(context: Context, headers: Mapping[str, bytes]) -> Context:
    """The context with the baggage that the headers carry."""
    return _BAGGAGE.extract(_carrier(headers, BAGGAGE), context)


def current_ids() -> dict[str, str]:
    """{"trace_id": 32 hex digits, "span_id": 16} of the current span, for log records; empty without one."""
    context = trace.get_current_span().get_span_context()
    if not context.is_valid:
        return {}
    return {"trace_id": trace.format_trace_id(context.trace_id), "span_id": trace.format_span_id(context.span_id)}


def span_headers(span: trace.Span) -> HeaderList:
    """`traceparent`, and `tracestate` if there is one, of a span."""
    carrier: dict[str, str] = {}
    _PROPAGATOR.inject(carrier, context_of(span))
    return [(name, value.encode()) for name, value in carrier.items()]


def baggage_headers() -> HeaderList:
    """`baggage` of the caller's context; empty where there is none."""
    carrier: dict[str, str] = {}
    _BAGGAGE.inject(carrier)
    return [(name, value.encode()) for name, value in carrier.items()]


def _carrier(headers: Mapping[str, bytes], *names: str) -> dict[str, str]:
    return {name: headers[name].decode("ascii", "replace") for name in names if name in headers}
