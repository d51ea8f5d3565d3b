"""The span of an inbox block: a child of the run's span, from the entry to the end of the transaction."""

from __future__ import annotations

import logging
from typing import Final

from opentelemetry import trace
from opentelemetry.trace import Span

from ...topology.tracing import attributes as names
from ...topology.tracing.span_faults import SpanFaults
from ...topology.tracing.tracers import find_tracing, note_error

_FAULTS: Final = SpanFaults(logging.getLogger("stoker.worker"))


def inbox_span(effect: str) -> Span | None:
    """Begin the span of a block, where the current span is recorded, here or in another process; else None."""
    if not trace.get_current_span().get_span_context().trace_flags.sampled:
        return None
    tracing = find_tracing()
    if tracing is None:
        return None
    with _FAULTS:
        return tracing.tracer.start_span(names.INBOX, attributes={names.EFFECT: effect} if effect else None)
    return None


def end_inbox_span(span: Span | None, error: BaseException | None, *, is_done: bool = False) -> None:
    """End it, with the error that ended the block if there is one."""
    if span is None:
        return
    with _FAULTS:
        if is_done:
            span.set_attribute(names.ALREADY_DONE, value=True)
        elif error is not None:
            note_error(span, type(error).__qualname__, str(error))
        span.end()
