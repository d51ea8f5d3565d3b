"""The processes of `traces`: producers and workers with an OpenTelemetry SDK, whose spans go nowhere."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from jobs import order
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ParentBasedTraceIdRatio
from part import Part, Result, Say, only_job
from sending import bulk
from working import drain

from stoker.producers import Producer

RATIO: Final = 0.01
BULK_JOBS: Final = 100
"""A bulk is sampled as a whole, so there must be many of them."""


class _Nowhere(SpanExporter):
    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Drop them."""
        return SpanExportResult.SUCCESS


def bulk_in_a_trace(part: Part, say: Say) -> Result:
    """Enqueue all orders under a span that nobody records."""
    caller = trace.SpanContext(trace_id=7, span_id=9, is_remote=True)
    with trace.use_span(trace.NonRecordingSpan(caller)):
        return bulk(part, say)


def bulks_sampled(part: Part, _say: Say) -> Result:
    """Enqueue all orders in small bulks, of which 1 % are recorded."""
    _set_up()
    pipeline = part.pipeline()
    job = only_job(pipeline)
    with Producer(pipeline, part.cluster) as producer:
        for start in range(0, part.jobs, BULK_JOBS):
            end = min(start + BULK_JOBS, part.jobs)
            producer.enqueue_many(job.call(*order(number)) for number in range(start, end))
    return {}


def drain_sampled(part: Part, say: Say) -> Result:
    """As `drain`, with an SDK that records what was sampled, and 1 % of what came without a trace."""
    _set_up()
    return drain(part, say)


def _set_up() -> None:
    provider = TracerProvider(sampler=ParentBasedTraceIdRatio(RATIO))
    provider.add_span_processor(BatchSpanProcessor(_Nowhere()))
    trace.set_tracer_provider(provider)
