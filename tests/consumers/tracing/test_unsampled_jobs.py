"""A job whose trace nobody records costs its worker next to nothing: no question to the SDK, and a handful of calls."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from types import FrameType
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, Decision, ParentBased, Sampler, SamplingResult
from opentelemetry.trace import SpanKind

from stoker.consumers.records.done_handful import DoneHandful
from stoker.consumers.records.outcomes import DONE
from stoker.consumers.runners.slots import Slot
from stoker.consumers.settling.settlement import SettlementBatch
from stoker.consumers.steps.results import RETURNED_NOTHING
from stoker.consumers.steps.run_step import run_sync
from stoker.consumers.tracing.run_spans import RunSpans
from stoker.producers.record import BuiltRecord
from stoker.producers.tracing.spans import EnqueueSpans
from stoker.topology import JobCall
from stoker.topology.tracing.tracers import find_tracing
from stoker.topology.wire.headers import TRACE_PARENT
from support.scenes.deliveries import STEP_CONTEXT, declare
from support.sight.traces import set_up

UNSAMPLED = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-02"
SAMPLED = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
MOST_CALLS = 5
"""The look at the header is two, and the context of the handler three: made by us, attached by OpenTelemetry."""


class CountingSampler(Sampler):
    """Drops everything, and counts how often it was asked."""

    def __init__(self) -> None:
        self.asked = 0

    def should_sample(self, *args: Any, **_kwargs: Any) -> SamplingResult:
        """Not."""
        self.asked += 1
        return SamplingResult(Decision.DROP)

    def get_description(self) -> str:
        """A name."""
        return "counting"


@pytest.fixture
def sampler(monkeypatch: pytest.MonkeyPatch) -> CountingSampler:
    """It is asked about all spans but children of sampled ones; an SDK with it is set up."""
    counting = CountingSampler()
    parents = ParentBased(counting, remote_parent_not_sampled=counting, local_parent_not_sampled=counting)
    set_up(monkeypatch, TracerProvider(sampler=parents))
    return counting


def run_spans(queue: Any) -> RunSpans:
    """The spans of a worker that is made now."""
    tracing = find_tracing()
    assert tracing is not None
    return RunSpans(tracing, queue)


def take_through(spans: RunSpans | None, job: Any, slot: Slot) -> None:
    """Take a job through those steps that have to do with its trace."""
    if spans is not None:
        spans.begin(job.run)
    assert run_sync(job, slot, STEP_CONTEXT) is RETURNED_NOTHING
    if spans is not None:
        spans.end(job.run, DONE)
        spans.settled(SettlementBatch(done=[DoneHandful([job.record])]))


def calls_in(act: Callable[[], None]) -> list[str]:
    """The Python functions that are called meanwhile."""
    called = list[str]()

    def note(frame: FrameType, event: str, _arg: object) -> None:
        if event == "call":
            called.append(frame.f_code.co_qualname)

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        act()
    finally:
        sys.setprofile(before)
    return called


def test_the_sdk_is_asked_once_by_a_worker_and_about_no_job_that_is_not_sampled(sampler: CountingSampler) -> None:
    """Whether its sampler follows parents; from then on a byte of each job's header tells enough."""
    delivery = declare()
    spans, slot = run_spans(delivery.queue), Slot()
    assert sampler.asked == 1
    for _ in range(100):
        job = delivery.job(headers={TRACE_PARENT: UNSAMPLED})
        take_through(spans, job, slot)
        assert job.run.trace_context is None
    assert sampler.asked == 1


def test_about_jobs_without_a_trace_the_sdk_is_asked_once_in_a_while(
    sampler: CountingSampler, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each question costs as much as half a job."""
    delivery, now_s = declare(), 100.0
    monkeypatch.setattr("time.monotonic", lambda: now_s)
    spans = run_spans(delivery.queue)
    for _ in range(100):
        spans.begin(delivery.job().run)
    assert sampler.asked == 2
    now_s += 0.001
    spans.begin(delivery.job().run)
    assert sampler.asked == 3


def test_a_trace_that_is_not_recorded_costs_a_job_a_handful_of_calls(sampler: CountingSampler) -> None:
    """Beside one without a trace, in a worker without an SDK; its headers are not read for it."""
    delivery = declare()
    spans, slot = run_spans(delivery.queue), Slot()
    plain, traced = delivery.job(), delivery.job(headers={TRACE_PARENT: UNSAMPLED})
    without = calls_in(lambda: take_through(None, plain, slot))
    begun = calls_in(lambda: spans.begin(traced.run))
    run = calls_in(lambda: take_through(None, traced, slot))
    assert len(begun) + len(run) - len(without) <= MOST_CALLS, (begun, set(run) - set(without))
    assert traced.record._headers is None


def test_a_producer_asks_about_no_job_whose_caller_is_not_sampled(sampler: CountingSampler) -> None:
    """A job of a caller's sampled trace is recorded, and one that begins a trace is asked about."""
    spans = EnqueueSpans.find()
    caller = trace.SpanContext(7, 9, is_remote=True)
    asked, delivery = sampler.asked, declare()
    made = list[trace.SpanContext]()

    def build(_call: JobCall) -> BuiltRecord:
        made.append(trace.get_current_span().get_span_context())
        return BuiltRecord("topic", None, b"", [], 0, "job-1")

    with trace.use_span(trace.NonRecordingSpan(caller)):
        spans.send(delivery.work.call(1), build)
    assert sampler.asked == asked
    assert made == [caller]
    spans.send(delivery.work.call(1), build)
    assert sampler.asked == asked + 1
    assert made[1].is_valid
    assert not made[1].trace_flags.sampled


def test_a_sampler_knows_what_a_run_is_before_it_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rules about job types and attempts can be written: all that is known of the run is there."""
    seen = list[dict[str, Any]]()

    class Looking(Sampler):
        def should_sample(
            self,
            parent_context: Context | None,
            trace_id: int,
            name: str,
            kind: SpanKind | None = None,
            attributes: Any = None,
            links: Sequence[trace.Link] | None = None,
            trace_state: Any = None,
        ) -> SamplingResult:
            seen.append(dict(attributes or {}))
            return SamplingResult(Decision.DROP)

        def get_description(self) -> str:
            return "looking"

    set_up(monkeypatch, TracerProvider(sampler=ParentBased(ALWAYS_OFF, remote_parent_sampled=Looking())))
    delivery = declare()
    take_through(run_spans(delivery.queue), delivery.job(attempt=2, headers={TRACE_PARENT: SAMPLED}), Slot())
    (known,) = seen
    assert (known["stoker.job_type"], known["stoker.attempt"]) == ("work", 2)
