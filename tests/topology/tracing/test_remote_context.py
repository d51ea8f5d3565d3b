"""The context that a handler finds is read from the headers at the first look, and then is as any other context."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from opentelemetry import baggage, context, trace
from opentelemetry.context import Context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from stoker.topology.tracing.remote_context import RemoteContext, context_of, read_span_context, span_headers
from stoker.topology.wire.headers import BAGGAGE, TRACE_PARENT, TRACE_STATE

PARENT = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
HEADERS = {TRACE_PARENT: PARENT, BAGGAGE: b"user=ada"}
SPAN_KEY = next(iter(context_of(trace.INVALID_SPAN)))


class CountedRecord:
    """A record that counts how often its headers are read."""

    def __init__(self, headers: dict[str, bytes]) -> None:
        self._headers, self.reads = headers, 0

    @property
    def headers(self) -> dict[str, bytes]:
        """As they were given."""
        self.reads += 1
        return self._headers


def test_headers_are_read_where_somebody_looks_and_only_once() -> None:
    """Attaching a context is no look."""
    record = CountedRecord(HEADERS)
    token = context.attach(RemoteContext(record))
    try:
        assert record.reads == 0
        assert trace.get_current_span().get_span_context().span_id == 0xB7AD6B7169203331
        reads = record.reads
        assert baggage.get_baggage("user") == "ada"
        assert record.reads == reads
    finally:
        context.detach(token)


@pytest.mark.parametrize(
    "look",
    [
        lambda known: known.get(SPAN_KEY),
        lambda known: known[SPAN_KEY],
        lambda known: known.copy(),
        dict,
        list,
        len,
        bool,
        repr,
        lambda known: SPAN_KEY in known,
        lambda known: list(reversed(known)),
        lambda known: list(known.keys()),
        lambda known: list(known.items()),
        lambda known: len(known.values()),
        lambda known: known | {},
        lambda known: {} | known,
        lambda known: {**known},
        lambda known: known == {},
        lambda known: known != {},
        Context,
        lambda known: context.set_value("more", 1, known),
        baggage.get_all,
    ],
)
def test_it_looks_like_a_context_that_was_filled_from_the_start(look: Callable[[Context], Any]) -> None:
    """In whatever way a library looks into it."""
    eager = RemoteContext(CountedRecord(HEADERS))
    eager.fill()
    wanted = look(Context(eager))
    found = look(RemoteContext(CountedRecord(HEADERS)))
    if isinstance(wanted, dict):
        assert {name: str(value) for name, value in found.items()} == {name: str(wanted[name]) for name in wanted}
        assert len(found) >= 2
    else:
        assert str(found) == str(wanted)


def test_a_job_hands_it_to_its_own_threads() -> None:
    """As the instrumentation of thread pools does: with the context object, and in no context of the job's."""
    remote = RemoteContext(CountedRecord(HEADERS))
    found = list[int]()

    def look() -> None:
        context.attach(remote)
        found.append(trace.get_current_span().get_span_context().span_id)

    thread = threading.Thread(target=look)
    thread.start()
    thread.join(10)
    assert found == [0xB7AD6B7169203331]


@pytest.mark.parametrize(
    "parent",
    [
        PARENT,
        PARENT[:-2] + b"00",
        PARENT[:-2] + b"03",
        PARENT[:-2] + b"ff",
        PARENT[:-2] + b"FF",
        b"00-" + b"0" * 32 + b"-b7ad6b7169203331-01",
        b"00-0af7651916cd43dd8448eb211c80319c-" + b"0" * 16 + b"-01",
        b"01" + PARENT[2:],
        b"01" + PARENT[2:] + b"-more",
        b"ff" + PARENT[2:],
        PARENT + b"-more",
        PARENT + b"\n",
        b" " + PARENT,
        PARENT.upper(),
        PARENT[:-1],
        b"",
        b"nonsense",
        b"\xff" * 55,
        PARENT.replace(b"a", "\N{ARABIC-INDIC DIGIT ONE}".encode()),
    ],
)
@pytest.mark.parametrize("state", [None, b"vendor=7"])
def test_headers_are_read_as_opentelemetry_reads_them(parent: bytes, state: bytes | None) -> None:
    """The usual form is read by ourselves, in a third of the time."""
    headers = {TRACE_PARENT: parent} | ({} if state is None else {TRACE_STATE: state})
    carrier = {name: value.decode("ascii", "replace") for name, value in headers.items()}
    wanted = trace.get_current_span(TraceContextTextMapPropagator().extract(carrier, Context())).get_span_context()
    found = read_span_context(headers)
    assert (found, found.is_remote, dict(found.trace_state)) == (wanted, wanted.is_remote, dict(wanted.trace_state))


@pytest.mark.parametrize("flags", [0, 1, 3])
@pytest.mark.parametrize("state", [None, trace.TraceState([("vendor", "7")])])
def test_headers_are_written_as_opentelemetry_writes_them(flags: int, state: trace.TraceState | None) -> None:
    """And nothing is written of a span that is of no trace."""
    span = trace.SpanContext(7, 9, is_remote=False, trace_flags=trace.TraceFlags(flags), trace_state=state)
    carrier = dict[str, str]()
    TraceContextTextMapPropagator().inject(carrier, context_of(trace.NonRecordingSpan(span)))
    assert {name: value.decode() for name, value in span_headers(span)} == carrier
    assert span_headers(trace.INVALID_SPAN_CONTEXT) == []
