"""`Tracing`: the tracer of the program's OpenTelemetry SDK, found once; there is none where no SDK is set up."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from opentelemetry import trace
from opentelemetry.trace import Span, SpanContext, SpanKind, Status, StatusCode

from . import attributes as names

INSTRUMENTATION: Final = "stoker"
AttributeValue = str | bool | int
Attributes = dict[str, AttributeValue]

_NO_SDK: Final = (trace.ProxyTracerProvider, trace.NoOpTracerProvider)
_UNSAMPLED: Final = SpanContext(trace_id=1 << 64 | 1, span_id=1, is_remote=True)
"""The lowest trace id is one that a sampler of any ratio would take, were it not for the flag."""


@dataclass(frozen=True, slots=True)
class Tracing:
    """A tracer that records.

    Attributes:
        tracer: starts spans.
        follows_parents: whether its sampler drops what the caller's has dropped, as samplers do unless an application
            asks otherwise. So no span needs to be made of a job whose `traceparent` says that.
    """

    tracer: trace.Tracer
    follows_parents: bool

    def has_dropped(self, span: Span) -> bool:
        """Whether the sampler would drop a child of this span."""
        if span is trace.INVALID_SPAN:
            return False
        context = span.get_span_context()
        return self.follows_parents and context.is_valid and not context.trace_flags.sampled


def find_tracing() -> Tracing | None:
    """The tracing of the program; None where it has set up no SDK so far, and so nothing is recorded."""
    provider = trace.get_tracer_provider()
    if isinstance(provider, _NO_SDK):
        return None
    return _tracing_of(provider)


@lru_cache(maxsize=1)
def _tracing_of(provider: trace.TracerProvider) -> Tracing:
    tracer = provider.get_tracer(INSTRUMENTATION)
    context = trace.set_span_in_context(trace.NonRecordingSpan(_UNSAMPLED))
    follows_parents = False
    with suppress(Exception):  # who starts the next span logs what the SDK raises
        # A span that is started and never ended is exported nowhere.
        follows_parents = not tracer.start_span(names.PROCESS, context, SpanKind.CONSUMER).is_recording()
    return Tracing(tracer, follows_parents=follows_parents)


def destination(operation: str, topic: str) -> Attributes:
    """The attributes of all spans of one operation on a topic."""
    return {
        names.SYSTEM: names.KAFKA,
        names.OPERATION_NAME: operation,
        names.OPERATION_TYPE: operation,
        names.DESTINATION: topic,
    }


def note_error(span: Span, error_type: str, message: str, stack: str = "") -> None:
    """Let a span be in error, with the event that describes it."""
    span.set_status(Status(StatusCode.ERROR, message))
    span.set_attribute(names.ERROR_TYPE, error_type)
    described: Mapping[str, str] = {
        names.EXCEPTION_TYPE: error_type,
        names.EXCEPTION_MESSAGE: message,
        names.EXCEPTION_STACK: stack,
    }
    span.add_event(names.EXCEPTION, {name: text for name, text in described.items() if text})
