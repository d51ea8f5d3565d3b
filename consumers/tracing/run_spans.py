"""`RunSpans`: a span for each run of a job, linked to the span under which the job was enqueued.

The run goes on with the enqueuer's trace, and so do all later ones of the job, from retry tiers and replays too: the
headers travel along. A run whose trace is not sampled gets no span: that is seen in one byte of its headers.

The span of a sampled run is started when its handler first looks for it, or else when its job is settled. Many spans
are started one after another then, which costs the SDK half the time. The span has the times of the run in any case.
"""

from __future__ import annotations

import contextvars
import logging
import time
from collections.abc import Callable
from typing import Final, NamedTuple

from opentelemetry.context import Context
from opentelemetry.trace import (
    INVALID_SPAN_CONTEXT,
    Link,
    NonRecordingSpan,
    Span,
    SpanContext,
    SpanKind,
    get_current_span,
)

from ...topology import Queue
from ...topology.tracing import attributes as names
from ...topology.tracing.remote_context import (
    HasHeaders,
    RemoteContext,
    context_of,
    is_unsampled,
    read_span_context,
)
from ...topology.tracing.span_faults import SpanFaults
from ...topology.tracing.tracers import Attributes, Tracing, destination, note_error
from ...topology.wire.headers import JOB_ID, REPLAY, TRACE_PARENT, format_instant
from ..job.run import Run
from ..records.done_handful import records_of
from ..records.outcomes import DONE, Cancelled, Dead, Deferred, Delayed, Interrupted, Outcome, Retried, Snoozed
from ..records.record import Record
from ..settling.settlement import SettlementBatch

_LOGGER = logging.getLogger("stoker.worker")

ASK_EVERY_S: Final = 0.001
"""How long the sampler is not asked again about jobs without a trace, after it dropped one: an answer costs 8 µs."""
_EMPTY: Final = Context()


class _LateSpan:
    """The span of one run, started when it is first asked for.

    Args:
        start: starts it; called in an empty context, since a processor of spans may look into the current one.
    """

    __slots__ = ("_start", "_started")

    def __init__(self, start: Callable[[], Span]) -> None:
        self._start = start
        self._started: list[Span] = []

    def get(self) -> Span:
        """Return the span, which records nothing if the sampler has dropped it. Called from any thread."""
        if (
            not self._started
        ):  # of two threads at once the first one counts: no lock, which an interrupt could leave held
            self._started.append(contextvars.Context().run(self._start))
        return self._started[0]

    @property
    def is_started(self) -> bool:
        """Whether it was asked for."""
        return bool(self._started)


class RunContext(RemoteContext):
    """The context of a run that is recorded: its span, and the baggage of its job."""

    __slots__ = ("span",)

    def __init__(self, record: HasHeaders, span: _LateSpan) -> None:
        super().__init__(record)
        self.span = span

    def find_span(self, record: HasHeaders) -> Span:  # the span knows its record
        """The span of the run."""
        return self.span.get()


class _Settling(NamedTuple):
    """A run that has ended, and is not durable yet."""

    span: _LateSpan
    ended_ns: int

    def end_run(self) -> Span:
        """Return the span of the run, which has ended. If it has not ended before this, the job is done."""
        span = self.span.get()
        if span.is_recording():
            _end(span, DONE, self.ended_ns)
        return span


class RunSpans:
    """The spans of one queue's runs; called by all runners, and by the settling thread.

    Each run keeps its span, in its `RunContext`. A record may have two runs for a moment: a gate has held the first one
    back, and another runner has begun the second.
    """

    def __init__(self, tracing: Tracing, queue: Queue) -> None:
        self._tracing, self._queue = tracing, queue
        self._faults = SpanFaults(_LOGGER, queue.name)
        self._follows_parents = tracing.follows_parents
        self._settling: dict[Record, _Settling] = {}
        self._ask_again_at_s = 0.0

    def begin(self, run: Run) -> None:
        """Give the run a span, which is the current one while its handler runs.

        Under a low sampling rate nearly all jobs end at the first return, so there is little to do before it.
        """
        record = run.record
        at = record.layout.trace_parent_at
        if at is not None:
            if self._follows_parents and is_unsampled(record.values[at]):
                return
        elif time.monotonic() < self._ask_again_at_s:
            return
        own: Attributes = {names.JOB_TYPE: run.job_type, names.ATTEMPT: run.attempt, names.ATTEMPTS: run.attempts}
        span = self._late(record, own)
        is_undecided = at is None or not self._follows_parents
        if is_undecided and not is_recorded(span.get()):
            if at is None:
                self._ask_again_at_s = time.monotonic() + ASK_EVERY_S
            return
        run.trace_context = RunContext(record, span)

    def _late(self, record: Record, own: Attributes) -> _LateSpan:
        began_ns = time.time_ns()
        return _LateSpan(lambda: self._start(record, own, began_ns))

    def _start(self, record: Record, own: Attributes, began_ns: int) -> Span:
        """Start the span of a run, with all that is known of it: each attribute that comes later costs the SDK more.

        Where the sampler drops it, spans of the job are children of the enqueue.
        """
        creation = _creation_of(record)
        enqueue = NonRecordingSpan(creation)
        span: Span = enqueue
        with self._faults:
            span = self._tracing.tracer.start_span(
                f"{names.PROCESS} {record.topic}",
                context_of(enqueue) if creation.is_valid else _EMPTY,
                SpanKind.CONSUMER,
                {**destination(names.PROCESS, record.topic), **self._place(record), **own},
                [Link(creation)] if creation.is_valid else [],
                began_ns,
            )
        return span if span.is_recording() else enqueue

    def _place(self, record: Record) -> Attributes:
        attributes: Attributes = {
            names.PARTITION: str(record.partition),
            names.OFFSET: record.offset,
            names.CONSUMER_GROUP: self._queue.group,
            names.QUEUE: self._queue.name,
        }
        for name, header in ((names.MESSAGE_ID, JOB_ID), (names.REPLAY, REPLAY)):
            value = record.header(header)
            if value:
                attributes[name] = value.decode("utf-8", "replace")
        return attributes

    def end(self, run: Run, outcome: Outcome) -> None:
        """End the span of a run, if it has one, and note when its settling begins."""
        if isinstance(run.trace_context, RunContext):
            self._end_at_outcome(run.record, run.trace_context.span, outcome)

    def note_unrun(self, record: Record, outcome: Outcome) -> None:
        """Make the span of a record that ended without a run, such as an undecodable one, if its trace is sampled."""
        parent = record.header(TRACE_PARENT)
        if parent is not None and not is_unsampled(parent) and not isinstance(outcome, Interrupted):
            self._end_at_outcome(record, self._late(record, {}), outcome)

    def _end_at_outcome(self, record: Record, span: _LateSpan, outcome: Outcome) -> None:
        ended_ns = time.time_ns()
        if span.is_started or outcome is not DONE:
            if not span.get().is_recording():  # it was dropped, or has ended with a crash
                return
            with self._faults:
                _end(span.get(), outcome, ended_ns)
        self._settling[record] = _Settling(span, ended_ns)

    def settled(self, batch: SettlementBatch) -> None:
        """Record that outcomes are durable. One may differ from that of its run, as when no topic takes the record."""
        settling = self._settling
        if not settling:
            return
        for record in [
            record for record in records_of(batch.done) if record in settling
        ]:  # few of many under a low rate
            self._record_settling(record, "done")
        for item in batch.others:
            self._record_settling(item.record, _name_of(item.outcome))

    def _record_settling(self, record: Record, outcome: str) -> None:
        settling = self._settling.pop(record, None)
        if settling is not None:
            with self._faults:
                self._record_settled(record, settling, outcome)

    def _record_settled(self, record: Record, settling: _Settling, outcome: str) -> None:
        if not is_recorded(settling.end_run()):
            return
        attributes = destination(names.SETTLE, record.topic)
        attributes[names.OUTCOME] = outcome
        span = self._tracing.tracer.start_span(
            f"{names.SETTLE} {record.topic}",
            context_of(settling.span.get()),
            SpanKind.CLIENT,
            attributes,
            start_time=settling.ended_ns,
        )
        span.end()

    def close(self) -> None:
        """End the spans of runs that were not settled in time. Further runs may end meanwhile: those of stuck jobs."""
        while self._settling:
            for record in list(self._settling):
                self._end_unsettled(record)

    def _end_unsettled(self, record: Record) -> None:
        settling = self._settling.pop(record, None)
        if settling is not None:
            with self._faults:
                settling.end_run()


def _creation_of(record: Record) -> SpanContext:
    """The span under which the job was enqueued; invalid where its headers name none."""
    return INVALID_SPAN_CONTEXT if record.layout.trace_parent_at is None else read_span_context(record.headers)


def _name_of(outcome: Outcome) -> str:
    return type(outcome).__name__.lower()


def is_recorded(span: Span) -> bool:
    """Whether the sampler has kept this span, which may have ended."""
    return not isinstance(span, NonRecordingSpan)


def _end(span: Span, outcome: Outcome, ended_ns: int) -> None:
    _set_outcome(span, outcome)
    span.end(ended_ns)


def _set_outcome(span: Span, outcome: Outcome) -> None:
    span.set_attribute(names.OUTCOME, _name_of(outcome))
    if outcome is DONE:
        return
    if isinstance(outcome, Retried | Dead):
        failure = outcome.failure
        note_error(span, failure.error_type, failure.message, failure.stack)
        span.set_attribute(names.FINGERPRINT, failure.fingerprint)
    if isinstance(outcome, Dead | Cancelled | Deferred):
        span.set_attribute(names.REASON, outcome.reason)
    if isinstance(outcome, Retried | Snoozed | Delayed | Deferred):
        span.set_attribute(names.DUE, format_instant(outcome.due).decode())


def note_crash(run: Run, why: str, crashes: int) -> None:
    """End the span of a run whose process has died: the job comes again, with a span of its own."""
    if run.trace_context is None:
        return
    with SpanFaults(_LOGGER, run.queue):
        span = get_current_span(run.trace_context)
        note_error(span, "ChildDied", why)
        span.set_attributes({names.OUTCOME: "crashed", names.CRASHES: crashes})
        span.end()
