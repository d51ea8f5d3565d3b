"""The span of a sampled run is started when somebody looks for it, and has the run's own times in any case."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from opentelemetry import context, trace
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ParentBased
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags

from stoker.consumers.inbox.spans import end_inbox_span, inbox_span
from stoker.consumers.job.run import Run
from stoker.consumers.records.done_handful import DoneHandful
from stoker.consumers.records.outcomes import DONE
from stoker.consumers.settling.settlement import SettlementBatch
from stoker.consumers.tracing.run_spans import RunSpans, note_crash
from stoker.topology.tracing.tracers import find_tracing
from stoker.topology.wire.headers import TRACE_PARENT
from support.scenes.deliveries import Delivery, declare
from support.sight.traces import RaisingProcessor, set_up

SAMPLED = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


class Noting(SpanProcessor):
    """Notes how many spans were started, and those that have ended; looks into the current context, as some do."""

    def __init__(self) -> None:
        self.started = 0
        self.ended: list[ReadableSpan] = []
        self.on_started: Callable[[], None] = lambda: None

    def on_start(self, span: Span, parent_context: context.Context | None = None) -> None:
        """Count it."""
        assert trace.get_current_span() is trace.INVALID_SPAN
        self.started += 1
        self.on_started()

    def on_end(self, span: ReadableSpan) -> None:
        """Keep it."""
        self.ended.append(span)


@pytest.fixture
def noting(monkeypatch: pytest.MonkeyPatch) -> Noting:
    """It sees all spans of an SDK that is set up."""
    processor = Noting()
    provider = TracerProvider(sampler=ParentBased(ALWAYS_OFF))
    provider.add_span_processor(processor)
    set_up(monkeypatch, provider)
    return processor


def begun(delivery: Delivery) -> tuple[RunSpans, Run]:
    """The spans of a worker, and a run of a sampled job that has begun."""
    tracing = find_tracing()
    assert tracing is not None
    spans, run = RunSpans(tracing, delivery.queue), delivery.job(headers={TRACE_PARENT: SAMPLED}).run
    spans.begin(run)
    return spans, run


def test_a_span_that_nobody_looks_for_is_started_when_its_job_is_settled(noting: Noting) -> None:
    """With the times at which the run began and ended; its settling follows."""
    before_ns = time.time_ns()
    spans, run = begun(declare())
    begun_ns = time.time_ns()
    spans.end(run, DONE)
    ended_ns = time.time_ns()
    assert noting.started == 0
    spans.settled(SettlementBatch(done=[DoneHandful([run.record])]))
    of_run, of_settling = noting.ended
    assert of_run.start_time is not None
    assert of_run.end_time is not None
    assert of_settling.parent is not None
    assert before_ns <= of_run.start_time <= begun_ns <= of_run.end_time <= ended_ns
    assert of_run.attributes is not None
    assert of_run.attributes["stoker.outcome"] == "done"
    assert of_settling.start_time == of_run.end_time
    assert of_settling.parent.span_id == of_run.context.span_id


def test_a_handler_that_looks_for_its_span_finds_the_one_that_is_recorded(noting: Noting) -> None:
    """However often it looks, and after the job is settled too."""
    spans, run = begun(declare())
    assert run.trace_context is not None
    token = context.attach(run.trace_context)
    found = trace.get_current_span()
    context.detach(token)
    assert found.is_recording()
    assert trace.get_current_span(run.trace_context) is found
    spans.end(run, DONE)
    assert not found.is_recording()
    spans.settled(SettlementBatch(done=[DoneHandful([run.record])]))
    assert noting.ended[0].context.span_id == found.get_span_context().span_id
    assert trace.get_current_span(run.trace_context) is found
    assert (noting.started, len(noting.ended)) == (2, 2)


def test_runs_that_were_not_settled_at_the_end_of_a_worker_have_their_spans(noting: Noting) -> None:
    """They have run; nothing tells of a settling that did not come."""
    spans, run = begun(declare())
    spans.end(run, DONE)
    spans.close()
    (of_run,) = noting.ended
    assert of_run.name == f"process {run.record.topic}"


def test_a_run_that_ends_while_a_worker_ends_its_last_spans_is_no_fault(noting: Noting) -> None:
    """Such as one of a job that was stuck: it would fail the worker, which has ended in peace."""
    delivery = declare()
    spans, first = begun(delivery)
    late = delivery.job(headers={TRACE_PARENT: SAMPLED}).run
    spans.begin(late)
    noting.on_started = lambda: spans.end(late, DONE)
    spans.end(first, DONE)
    spans.close()
    assert len(noting.ended) == 2


@pytest.mark.expected_errors("the OpenTelemetry SDK raised")
@pytest.mark.parametrize("event", ["start", "end"])
def test_a_job_goes_on_where_the_sdk_raises_over_its_span(
    event: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """In its runner, in its handler, when it is settled and at the end of the worker; the log has it once a minute."""
    provider = TracerProvider(sampler=ParentBased(ALWAYS_OFF))
    provider.add_span_processor(RaisingProcessor(event))
    set_up(monkeypatch, provider)
    delivery = declare()
    spans, run = begun(delivery)
    assert run.trace_context is not None
    trace.get_current_span(run.trace_context).set_attribute("seen", "by the handler")
    spans.end(run, DONE)
    spans.settled(SettlementBatch(done=[DoneHandful([run.record])]))
    left = delivery.job(headers={TRACE_PARENT: SAMPLED}).run
    spans.begin(left)
    note_crash(left, "it died", 1)
    spans.end(left, DONE)
    spans.close()
    logged = [record.getMessage() for record in caplog.records]
    assert any("the OpenTelemetry SDK raised RuntimeError" in message for message in logged)


@pytest.mark.expected_errors("the OpenTelemetry SDK raised")
@pytest.mark.parametrize("event", ["start", "end"])
def test_a_block_of_the_inbox_goes_on_where_the_sdk_raises_over_its_span(
    event: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has committed when its span ends: its run must not count as failed."""
    provider = TracerProvider()
    provider.add_span_processor(RaisingProcessor(event))
    set_up(monkeypatch, provider)
    caller = SpanContext(7, 8, is_remote=False, trace_flags=TraceFlags(TraceFlags.SAMPLED))
    with trace.use_span(NonRecordingSpan(caller)):
        end_inbox_span(inbox_span("charge"), None)
