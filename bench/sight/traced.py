"""The processes of `traces`: producers and workers with an OpenTelemetry SDK, whose spans go nowhere, or by OTLP."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from itertools import count
from pathlib import Path
from typing import Final

from jobs import order
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.trace.sampling import ParentBasedTraceIdRatio
from part import Part, Result, Say, only_job
from working import drain

from stoker.producers import Producer
from stoker.topology.cluster.settings import Option

RATIO: Final = 0.01
RECEIVER: Final = Path(__file__).parent / "receiver.py"
_SPREAD: Final = 0x9E3779B97F4A7C15
"""2^64 divided by the golden ratio: its multiples fall evenly over 64 bits, wherever they begin."""
_LOW: Final = 2**64


_ALIKE: Final[dict[str, Option]] = {"linger.ms": 200, "batch.num.messages": 100}
"""All batches are full: else those of a slower way to enqueue are smaller, and each costs the worker and the broker."""


class _Nowhere(SpanExporter):
    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Drop them."""
        return SpanExportResult.SUCCESS


class _EvenIds(RandomIdGenerator):
    """Trace ids of which the sampler takes 1 in 100 as exactly as can be, so that no round has more than another."""

    def __init__(self) -> None:
        self._numbers = count(1)

    def generate_trace_id(self) -> int:
        """The sampler looks at the lower half."""
        return super().generate_trace_id() // _LOW * _LOW + next(self._numbers) * _SPREAD % _LOW


def enqueue_each(part: Part, _say: Say) -> Result:
    """Enqueue all orders one by one, and wait for none but the first and the last ones."""
    return _enqueue(part, lambda enqueue: enqueue())


def enqueue_each_in_a_trace(part: Part, _say: Say) -> Result:
    """As `enqueue_each`, each under a span of its own that nobody records."""
    ids = RandomIdGenerator()

    def enqueue_in_a_trace(enqueue: Callable[[], object]) -> None:
        caller = trace.SpanContext(ids.generate_trace_id(), ids.generate_span_id(), is_remote=True)
        with trace.use_span(trace.NonRecordingSpan(caller)):
            enqueue()

    return _enqueue(part, enqueue_in_a_trace)


def _enqueue(part: Part, each: Callable[[Callable[[], object]], object]) -> Result:
    pipeline = part.pipeline()
    job = only_job(pipeline)
    cluster = replace(part.cluster, options={**part.cluster.options, **_ALIKE})
    with Producer(pipeline, cluster) as producer:
        each(lambda: producer.send(job.call(*order(0))))
        cpu_began_s = time.process_time()
        for number in range(1, part.jobs):
            each(partial(producer.send_future, job.call(*order(number))))
        producer.flush()
        return {"cpu_us": (time.process_time() - cpu_began_s) / (part.jobs - 1) * 1e6}


def enqueue_each_sampled(part: Part, say: Say) -> Result:
    """As `enqueue_each`, where each begins a trace, of which 1 % are recorded."""
    _set_up(_Nowhere())
    return enqueue_each(part, say)


def drain_sampled(part: Part, say: Say) -> Result:
    """As `drain`, with an SDK that records what was sampled, and 1 % of what came without a trace."""
    _set_up(_Nowhere())
    return drain(part, say)


def drain_exported(part: Part, say: Say) -> Result:
    """As `drain_sampled`, where another process receives the spans by OTLP over HTTP."""
    command = [sys.executable, str(RECEIVER)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as receiver:
        try:
            port = receiver.stdout.readline().strip() if receiver.stdout is not None else ""
            _set_up(OTLPSpanExporter(endpoint=f"http://127.0.0.1:{port}/v1/traces"))
            return drain(part, say)
        finally:
            receiver.kill()


def _set_up(exporter: SpanExporter) -> None:
    provider = TracerProvider(sampler=ParentBasedTraceIdRatio(RATIO), id_generator=_EvenIds())
    provider.add_span_processor(BatchSpanProcessor(exporter))
    trace.set_tracer_provider(provider)
