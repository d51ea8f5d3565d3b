"""`RemoteContext`: the trace under which a job was enqueued, as its headers name it; read only when it is asked for."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol

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
_USUAL: Final = re.compile(rb"00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})")


class HasHeaders(Protocol):
    """A record, of whatever kind."""

    @property
    def headers(self) -> Mapping[str, bytes]:
        """{name: value}."""
        ...


class RemoteContext(Context):
    """The context that a record's headers carry: the span under which its job was enqueued, and baggage.

    Each job with a trace has one, and most handlers never look into it. So it is empty until it is read. A class
    below it may have another span.
    """

    __slots__ = ("_record",)

    def __init__(self, record: HasHeaders) -> None:
        self._record: HasHeaders | None = record  # and nothing else, since each job with a trace pays for it

    def fill(self) -> None:
        """Read the headers, unless that was done before; called from any thread."""
        record = self._record
        if record is not None:
            dict.update(self, with_baggage(context_of(self.find_span(record)), record.headers))
            self._record = None

    def find_span(self, record: HasHeaders) -> trace.Span:
        """The span that is the current one in this context."""
        return trace.NonRecordingSpan(read_span_context(record.headers))


def _filled(name: str) -> Callable[..., Any]:
    """A method of `dict` that fills a `RemoteContext` before it looks into it."""
    method = getattr(dict, name)

    def read(self: RemoteContext, *args: Any) -> Any:
        self.fill()
        return method(self, *args)

    return read


for _name in (
    *("get", "copy", "keys", "values", "items", "__getitem__", "__contains__", "__iter__", "__reversed__", "__len__"),
    *("__eq__", "__ne__", "__or__", "__ror__", "__repr__"),
):
    setattr(RemoteContext, _name, _filled(_name))


def read_span_context(headers: Mapping[str, bytes]) -> trace.SpanContext:
    """Read trace and span from the headers; invalid where they name none that can be read."""
    parent = headers.get(TRACE_PARENT)
    if parent is None:
        return trace.INVALID_SPAN_CONTEXT
    usual = None if TRACE_STATE in headers else _USUAL.fullmatch(parent)
    if usual is None:
        read = _PROPAGATOR.extract(_carrier(headers, TRACE_PARENT, TRACE_STATE), _EMPTY)
        return trace.get_current_span(read).get_span_context()
    trace_id, span_id, flags = usual.groups()  # in a third of the propagator's time
    flags_set = trace.TraceFlags(int(flags, 16))
    found = trace.SpanContext(int(trace_id, 16), int(span_id, 16), is_remote=True, trace_flags=flags_set)
    return found if found.is_valid else trace.INVALID_SPAN_CONTEXT


def is_unsampled(trace_parent: bytes) -> bool:
    """Whether the trace of a `traceparent` is not sampled, by its flags.

    >>> is_unsampled(b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00")
    True
    """
    return len(trace_parent) == _LENGTH and trace_parent[-1] in _UNSAMPLED


def context_of(span: trace.Span) -> Context:
    """A context that holds nothing but this span, as the current one."""
    return Context({_SPAN: span})


def with_baggage(context: Context, headers: Mapping[str, bytes]) -> Context:
    """The context with the baggage that the headers carry, if they do."""
    return _BAGGAGE.extract(_carrier(headers, BAGGAGE), context) if BAGGAGE in headers else context


def current_ids() -> dict[str, str]:
    """{"trace_id": 32 hex digits, "span_id": 16} of the current span, for log records; empty without one."""
    context = trace.get_current_span().get_span_context()
    if not context.is_valid:
        return {}
    return {"trace_id": trace.format_trace_id(context.trace_id), "span_id": trace.format_span_id(context.span_id)}


def span_headers(context: trace.SpanContext) -> HeaderList:
    """`traceparent`, and `tracestate` if there is one, of a span; empty where it is of no trace."""
    if not context.is_valid:
        return []
    parent = f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}".encode()
    state = context.trace_state
    return [(TRACE_PARENT, parent), (TRACE_STATE, state.to_header().encode())] if state else [(TRACE_PARENT, parent)]


def baggage_headers() -> HeaderList:
    """`baggage` of the caller's context; empty where there is none."""
    carrier: dict[str, str] = {}
    _BAGGAGE.inject(carrier)
    return [(name, value.encode()) for name, value in carrier.items()]


def _carrier(headers: Mapping[str, bytes], *names: str) -> dict[str, str]:
    return {name: headers[name].decode("ascii", "replace") for name in names if name in headers}
