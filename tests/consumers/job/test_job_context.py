"""On a real broker: what a running job knows of itself, and what its logs and spans carry."""

from __future__ import annotations

import asyncio
import logging
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import Any, cast

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from stoker.consumers import JobContext, NoCurrentJob, current_job, current_job_or_none
from stoker.consumers.job.context import enter_job
from stoker.consumers.job.run import CurrentRun
from stoker.producers import Producer
from stoker.topology import ClusterSettings
from support.scenes.worker import Journal, create, declare_queue, running_worker


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_a_job_knows_who_it_is(cluster: ClusterSettings, namespace: str, kind: str) -> None:
    """Id, type, queue, key, attempt, headers and place, also after an await."""
    pipeline, queue = declare_queue(namespace)
    contexts, journal = list[JobContext](), Journal()

    if kind == "sync":

        @pipeline.job(queue, name="act")
        def act(number: int) -> None:
            contexts.append(current_job())
            journal.note(number)
            if number == 0 and current_job().attempt == 1:
                raise ConnectionError

    else:

        @pipeline.job(queue, name="act")
        async def act(number: int) -> None:
            await asyncio.sleep(0)
            contexts.append(current_job())
            journal.note(number)
            if number == 0 and current_job().attempt == 1:
                raise ConnectionError

    create(pipeline, cluster)
    with Producer(pipeline, cluster) as producer, running_worker(pipeline, cluster):
        for number in range(4):
            options = act.with_options(job_id=f"order-{number}", key=f"k{number}", headers={"tenant": "t1"})
            producer.enqueue(options, number)
        journal.wait(5)
    for run, context in zip(journal.runs, contexts, strict=True):
        assert (context.job_id, context.key) == (f"order-{run.what}", f"k{run.what}")
        assert (context.job_type, context.queue, context.attempts) == ("act", "work", 5)
        assert context.headers["tenant"] == b"t1"
        with pytest.raises(TypeError):  # the worker reads the same ones later, for the ledger and a retry
            context.headers["tenant"] = b"t2"  # type: ignore[index]  # as a handler may try
        assert not context.is_last_attempt
    assert sorted(context.attempt for context in contexts) == [1, 1, 1, 1, 2]


def test_outside_of_a_worker_there_is_no_current_job(namespace: str) -> None:
    """A direct call says so, or finds None."""
    pipeline, queue = declare_queue(namespace)

    @pipeline.job(queue)
    def act() -> Any:
        return current_job_or_none()

    assert act() is None
    with pytest.raises(NoCurrentJob, match="called directly"):
        current_job()


def test_a_thread_that_a_job_starts_has_the_job_only_in_a_copy_of_its_context() -> None:
    """The error names that, since the code was not called directly."""

    def work() -> None:
        with ThreadPoolExecutor(1) as threads:
            with pytest.raises(NoCurrentJob, match=r"a thread that the job has started.*copy_context\(\)\.run"):
                threads.submit(current_job).result()
            assert threads.submit(copy_context().run, current_job).result() == current_job()

    context = copy_context()
    context.run(enter_job, cast(CurrentRun, object()))
    context.run(work)


def test_what_a_job_logs_carries_its_id(
    cluster: ClusterSettings, namespace: str, caplog: pytest.LogCaptureFixture
) -> None:
    """With type, queue and attempt, beside the job's own fields; so does the worker's word on its failure."""
    pipeline, queue = declare_queue(namespace)
    journal = Journal()

    @pipeline.job(queue)
    def act(number: int) -> None:
        current_job().log.info("number %d", number, extra={"colour": "red"})
        journal.note(number)
        if current_job().attempt == 1:
            raise ValueError("broken")

    create(pipeline, cluster)
    with caplog.at_level(logging.INFO, "stoker"), running_worker(pipeline, cluster) as running:
        with Producer(pipeline, cluster) as producer:
            producer.enqueue(act.with_options(job_id="order-1"), 5)
        running.wait_outcomes(Done=1)
    said = [record.__dict__ for record in caplog.records if record.name == "stoker.job"]
    assert [(fields["job_id"], fields["job_type"], fields["queue"], fields["attempt"]) for fields in said] == [
        ("order-1", "act", "work", 1),
        ("order-1", "act", "work", 2),
    ]
    assert said[0]["colour"] == "red"
    (setback,) = [record.__dict__ for record in caplog.records if "attempt 2 follows" in record.getMessage()]
    assert (setback["job_id"], setback["error_type"], setback["outcome"]) == ("order-1", "ValueError", "retried")


def test_spans_of_a_job_join_the_trace_under_which_it_was_enqueued(cluster: ClusterSettings, namespace: str) -> None:
    """Sync and async, and in its retry as well; a job enqueued outside of a trace has a trace of its own."""
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracer = provider.get_tracer("tests")
    pipeline, queue = declare_queue(namespace)
    journal = Journal()

    def work(number: int) -> None:
        with tracer.start_as_current_span(f"work {number}"):
            if journal.note(number).attempt == 1 and number == 1:
                raise ConnectionError

    @pipeline.job(queue)
    def act(number: int) -> None:
        work(number)

    @pipeline.job(queue)
    async def act_async(number: int) -> None:
        await asyncio.sleep(0)
        work(number)

    create(pipeline, cluster)
    with Producer(pipeline, cluster) as producer, running_worker(pipeline, cluster):
        with tracer.start_as_current_span("enqueue") as span:
            producer.enqueue(act, 1)
            producer.enqueue(act_async, 2)
        producer.enqueue(act, 3)
        journal.wait(4)
    wanted = span.get_span_context().trace_id
    joined = {found.name: found.context.trace_id == wanted for found in exporter.get_finished_spans() if found.context}
    assert joined == {"enqueue": True, "work 1": True, "work 2": True, "work 3": False}
    assert not trace.get_current_span().get_span_context().is_valid
