"""On a real broker, with the OpenTelemetry SDK: what becomes of a job is one trace, from its enqueue to its end."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import Iterable
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from opentelemetry import baggage, context, trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ParentBased, TraceIdRatioBased
from opentelemetry.trace import SpanKind, StatusCode

from stoker.consumers import current_job
from stoker.operations.replay.dead_letter_replay import DeadLetterManager, Replaying, Request
from stoker.operations.replay.pacing import ReplayPace
from stoker.operations.replay.payloads import PayloadCorrector
from stoker.operations.stored_jobs.originals import Originals
from stoker.operations.stored_jobs.selection import Selection
from stoker.producers import AsyncProducer, Producer, ProducerSettings
from stoker.producers.outbox import Outbox, OutboxRelay
from stoker.producers.schedules import Schedules
from stoker.producers.trace import TraceHeaders
from stoker.topology import ClusterSettings, Pipeline, Queue, RetryPolicy, every
from stoker.topology.planning.schema_store import schema_store
from stoker.topology.tracing import attributes as names
from stoker.topology.wire import headers as wire
from support.programs import isolated_jobs
from support.scenes import outboxes
from support.scenes.inboxes import make_sqlite
from support.scenes.worker import Journal, Raw, create, declare_queue, publish_raw, running_worker, wait_dead
from support.sight.traces import receiving_otlp, record_spans, set_up
from support.waiting import wait_until


def replay_all(pipeline: Pipeline, cluster: ClusterSettings, queue: Queue) -> None:
    """Replay all dead letters of a queue."""
    store = schema_store(pipeline, cluster)
    with Originals(cluster, queue) as originals:
        manager = DeadLetterManager(
            pipeline, cluster, queue, Replaying(queue, PayloadCorrector(pipeline, store), originals)
        )
        request = Request(selection=Selection())
        manager.carry_out(request, manager.forecast(request), ReplayPace())
    store.close()


def fields(span: Any) -> dict[str, Any]:
    """The attributes of a span in the messages of OTLP."""
    return {one.key: getattr(one.value, one.value.WhichOneof("value")) for one in span.attributes}


def trace_ids(spans: Iterable[ReadableSpan]) -> set[int]:
    """Of these spans."""
    return {span.context.trace_id for span in spans if span.context}


def parent_of(span: ReadableSpan) -> int | None:
    """The id of its parent."""
    return None if span.parent is None else span.parent.span_id


def id_of(span: ReadableSpan) -> int:
    """Its own id."""
    assert span.context
    return int(span.context.span_id)


def test_the_whole_story_of_a_job_is_one_linked_trace_at_an_otlp_receiver(
    cluster: ClusterSettings, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Enqueue, three attempts of which two come from retry tiers, dead letter, replay, done."""
    pipeline, queue = declare_queue(namespace, partitions=1)
    journal = Journal()

    @pipeline.job(queue, retry=RetryPolicy(attempts=3))
    def act() -> None:
        journal.note("ran")
        if current_job().replay_id is None:
            raise ConnectionError("the mail server is away")

    create(pipeline, cluster)
    with receiving_otlp() as receiver:
        provider = TracerProvider()
        provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(receiver.url)))
        set_up(monkeypatch, provider)
        with running_worker(pipeline, cluster) as running:
            with Producer(pipeline, cluster) as producer:
                receipt = producer.enqueue(act)
            wait_dead(cluster, queue, 1)
            replay_all(pipeline, cluster, queue)
            running.wait_outcomes(Done=1)
        provider.shutdown()
    (sent,) = [span for span in receiver.spans if span.name.startswith("send")]
    runs = sorted(
        (span for span in receiver.spans if span.name.startswith("process")), key=lambda span: span.start_time_unix_nano
    )
    settles = [span for span in receiver.spans if span.name.startswith("settle")]
    assert (sent.kind, sent.name) == (4, f"send {queue.topic}")  # PRODUCER
    assert {span.trace_id for span in receiver.spans} == {sent.trace_id}
    assert [[link.span_id for link in span.links] for span in runs] == [[sent.span_id]] * 4
    assert {span.kind for span in runs} == {5}  # CONSUMER
    assert [fields(span)[names.OUTCOME] for span in runs] == ["retried", "retried", "dead", "done"]
    assert [fields(span)[names.ATTEMPT] for span in runs] == [1, 2, 3, 1]
    assert [fields(span)[names.DESTINATION] for span in runs[1:3]] == [*queue.retry_topics.values()]
    assert [names.REPLAY in fields(span) for span in runs] == [False, False, False, True]
    assert {fields(span)[names.MESSAGE_ID] for span in [sent, *runs]} == {receipt.job_id}
    assert [span.status.code for span in runs] == [2, 2, 2, 0]  # ERROR, UNSET
    assert runs[0].events[0].name == "exception"
    assert fields(runs[0])[names.ERROR_TYPE].endswith("ConnectionError")
    assert sorted(span.parent_span_id for span in settles) == sorted(span.span_id for span in runs)


@pytest.mark.parametrize("kind", ["sync", "async", "isolated"])
def test_the_jobs_own_spans_and_the_jobs_that_it_enqueues_are_children_of_its_run(
    cluster: ClusterSettings, namespace: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, kind: str
) -> None:
    """In threads, on the event loop, and in a child process, where the run's context is handed over."""
    recorded = record_spans(monkeypatch)
    pipeline, queue = declare_queue(namespace)
    tracer = trace.get_tracer("tests")
    producer = Producer(pipeline, cluster)

    def work(next_job: Any) -> None:
        with tracer.start_as_current_span("own"):
            producer.enqueue_future(next_job)

    @pipeline.job(queue)
    def follow() -> None: ...

    act: Any
    if kind == "isolated":
        act = pipeline.job(queue, isolation="process")(isolated_jobs.note_span)
    elif kind == "sync":

        @pipeline.job(queue)
        def act_sync(file: str) -> None:
            work(follow)

        act = act_sync
    else:

        @pipeline.job(queue)
        async def act_async(file: str) -> None:
            await asyncio.sleep(0)
            work(follow)

        act = act_async
    create(pipeline, cluster)
    with producer, running_worker(pipeline, cluster):
        producer.enqueue(act, str(tmp_path / "span"))
        runs = recorded.wait("process", 1 if kind == "isolated" else 2)
    if kind == "isolated":
        (traced,) = trace_ids(runs)
        wanted = f"{trace.format_trace_id(traced)} {trace.format_span_id(id_of(runs[0]))}"
        assert isolated_jobs.notes(tmp_path / "span") == [wanted]
        return
    (own,) = recorded.named("own")
    sends = recorded.named("send")
    assert parent_of(own) == id_of(runs[0])
    assert parent_of(sends[1]) == id_of(own)
    assert [link.context.span_id for link in runs[1].links] == [id_of(sends[1])]
    assert len(trace_ids([*recorded.named("process"), *sends, own])) == 1


def test_settling_and_an_inbox_block_are_spans_under_the_run(
    cluster: ClusterSettings, namespace: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """So it is seen where a run's time went: into the job, its transaction, or the brokers."""
    recorded = record_spans(monkeypatch)
    pipeline, queue = declare_queue(namespace)
    file = tmp_path / "effects.sqlite"
    make_sqlite(file)

    @pipeline.job(queue)
    def act() -> None:
        with closing(sqlite3.connect(file)) as connection, current_job().inbox(connection, effect="pay"):
            if current_job().attempt == 1:
                raise ConnectionError("bank away")

    create(pipeline, cluster)
    with Producer(pipeline, cluster) as producer, running_worker(pipeline, cluster):
        producer.enqueue(act)
        settles = recorded.wait("settle", 2)
    runs, inboxes = recorded.named("process"), recorded.named("inbox")
    assert [parent_of(span) for span in inboxes] == [id_of(span) for span in runs]
    assert [parent_of(span) for span in settles] == [id_of(span) for span in runs]
    assert [span.status.status_code for span in inboxes] == [StatusCode.ERROR, StatusCode.UNSET]
    assert [(span.attributes or {})[names.OUTCOME] for span in settles] == ["retried", "done"]
    assert settles[0].kind is SpanKind.CLIENT


def test_a_bulk_is_one_span_and_a_record_that_cannot_run_ends_in_its_trace_as_well(
    cluster: ClusterSettings, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All jobs of a bulk link to its span. A dead letter without a run has a span that has the reason."""
    recorded = record_spans(monkeypatch)
    pipeline, queue = declare_queue(namespace)

    @pipeline.job(queue, name="act")
    def act(number: int) -> None: ...

    create(pipeline, cluster)
    with Producer(pipeline, cluster) as producer, running_worker(pipeline, cluster):
        producer.enqueue_many([act.call(1), act.call(2)])
        recorded.wait("process", 2)
        (bulk,) = recorded.named("send")
        assert {link.context.span_id for span in recorded.named("process") for link in span.links} == {id_of(bulk)}
        with trace.get_tracer("tests").start_as_current_span("by hand") as by_hand:
            headers = [(wire.JOB_ID, b"1"), (wire.JOB_TYPE, b"act"), *TraceHeaders()()]
        publish_raw(cluster, queue.topic, [Raw(value=b"no payload", headers=[*headers])])
        unread = recorded.wait("process", 3)[2]
    assert (unread.attributes or {})[names.REASON] == "undecodable"
    assert parent_of(unread) == by_hand.get_span_context().span_id


def test_log_records_of_a_run_carry_its_trace_and_span(
    cluster: ClusterSettings, namespace: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The job's own, and the worker's word on its failure the trace."""
    recorded = record_spans(monkeypatch)
    pipeline, queue = declare_queue(namespace)

    @pipeline.job(queue)
    def act() -> None:
        current_job().log.info("at work")
        if current_job().attempt == 1:
            raise ConnectionError

    create(pipeline, cluster)
    with caplog.at_level(logging.INFO, "stoker"), running_worker(pipeline, cluster):
        with Producer(pipeline, cluster) as producer:
            producer.enqueue(act)
        runs = recorded.wait("process", 2)
    said = [record.__dict__ for record in caplog.records if record.name == "stoker.job"]
    assert [(one["trace_id"], one["span_id"]) for one in said] == [
        (trace.format_trace_id(run.context.trace_id), trace.format_span_id(run.context.span_id))
        for run in runs
        if run.context
    ]
    (setback,) = [record.__dict__ for record in caplog.records if "attempt 2 follows" in record.getMessage()]
    assert setback["trace_id"] == said[0]["trace_id"]


def test_what_is_not_sampled_records_nothing_anywhere_in_its_story(
    cluster: ClusterSettings, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The job's own spans neither, though the trace goes on; and a caller's sampled trace is recorded whole."""
    recorded = record_spans(monkeypatch, ParentBased(ALWAYS_OFF))
    pipeline, queue = declare_queue(namespace)
    found = list[trace.SpanContext]()

    @pipeline.job(queue)
    def act() -> None:
        with trace.get_tracer("tests").start_as_current_span("own") as span:
            found.append(span.get_span_context())

    sampled = trace.SpanContext(7, 7, is_remote=True, trace_flags=trace.TraceFlags(1))
    create(pipeline, cluster)
    with Producer(pipeline, cluster) as producer, running_worker(pipeline, cluster) as running:
        producer.enqueue(act)
        running.wait_outcomes(Done=1)
        assert not recorded.all
        with trace.use_span(trace.NonRecordingSpan(sampled)):
            producer.enqueue(act)
        recorded.wait("settle", 1)
    assert sorted(span.name.split()[0] for span in recorded.all) == ["own", "process", "send", "settle"]
    assert [context.trace_flags.sampled for context in found] == [False, True]
    assert trace_ids(recorded.all) == {7}


def test_a_sampler_that_ignores_its_parent_is_asked_about_each_job(
    cluster: ClusterSettings, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An application that asks for that gets the runs of jobs whose enqueue was not recorded."""
    recorded = record_spans(monkeypatch, TraceIdRatioBased(1.0))
    pipeline, queue = declare_queue(namespace)

    @pipeline.job(queue)
    def act() -> None: ...

    unsampled = trace.SpanContext(7, 7, is_remote=True)
    create(pipeline, cluster)
    with Producer(pipeline, cluster) as producer, running_worker(pipeline, cluster):
        with trace.use_span(trace.NonRecordingSpan(unsampled)):
            producer.enqueue(act)
        assert trace_ids(recorded.wait("process", 1)) == {7}


@pytest.mark.parametrize("asked", [True, False])
def test_without_an_sdk_headers_pass_through_and_nothing_is_recorded(
    cluster: ClusterSettings, namespace: str, asked: bool
) -> None:
    """The trace of the caller and, if its producer was asked for it, the baggage."""
    pipeline, queue = declare_queue(namespace)
    found = list[tuple[int, object, dict[str, bytes]]]()

    @pipeline.job(queue)
    def act() -> None:
        span = trace.get_current_span()
        assert not span.is_recording()
        headers = dict(current_job().headers)
        found.append((span.get_span_context().span_id, baggage.get_baggage("user"), headers))

    async def enqueue() -> None:
        async with AsyncProducer(pipeline, cluster, settings=ProducerSettings(baggage=asked)) as producer:
            await producer.enqueue(act)

    caller = trace.SpanContext(7, 9, is_remote=False)
    create(pipeline, cluster)
    token = context.attach(baggage.set_baggage("user", "ada"))
    try:
        with trace.use_span(trace.NonRecordingSpan(caller)):
            asyncio.run(enqueue())
    finally:
        context.detach(token)
    with running_worker(pipeline, cluster):
        wait_until(lambda: bool(found), 30, "the run")
    ((span_id, user, headers),) = found
    assert (span_id, user) == (9, "ada" if asked else None)
    assert headers[wire.TRACE_PARENT] == f"00-{7:032x}-{9:016x}-00".encode()
    assert (wire.BAGGAGE in headers) is asked


def attribute(span: ReadableSpan, name: str) -> object:
    """One of its attributes; None where it has none of that name."""
    return (span.attributes or {}).get(name)


def test_a_story_begins_where_a_schedule_fires(
    cluster: ClusterSettings, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For a job that is a call, and for one that a function makes; each instant begins a trace of its own."""
    recorded = record_spans(monkeypatch)
    pipeline, queue = declare_queue(namespace)

    @pipeline.job(queue)
    def act(number: int) -> None: ...

    second = every(timedelta(seconds=1))
    pipeline.schedule("plain", second, act.call(1))
    pipeline.schedule("made", second, lambda _at: [act.call(2)], queue=queue)
    create(pipeline, cluster)
    with Schedules(pipeline, cluster) as schedules:
        schedules.apply_declared()
    with running_worker(pipeline, cluster):
        recorded.wait("process", 4)
    runs, creates = recorded.named("process"), {id_of(span): span for span in recorded.named("create")}
    assert {(span.name, span.kind) for span in creates.values()} == {(f"create {queue.topic}", SpanKind.PRODUCER)}
    for run in runs:
        made = creates[parent_of(run) or 0]
        assert attribute(made, names.MESSAGE_ID) == attribute(run, names.MESSAGE_ID)
        assert [link.context.span_id for link in run.links] == [id_of(made)]
        assert made.parent is None
    assert len(trace_ids(runs)) == len(runs) == len({parent_of(run) for run in runs})


def test_a_row_of_an_outbox_carries_the_trace_of_the_transaction_that_wrote_it(
    cluster: ClusterSettings, namespace: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Its span ends when the row is made; the relay sends it later, with a span of nobody's."""
    recorded = record_spans(monkeypatch)
    pipeline, queue = declare_queue(namespace)

    @pipeline.job(queue)
    def act() -> None: ...

    create(pipeline, cluster)
    url = outboxes.make_sqlite(tmp_path)
    with (
        closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as connection,
        trace.get_tracer("tests").start_as_current_span("request") as request,
    ):
        job_id = Outbox(pipeline, source="/tests").enqueue(connection, act)
        connection.commit()
    (made,) = recorded.named("create")
    assert (made.name, made.kind, parent_of(made)) == (
        f"create {queue.topic}",
        SpanKind.PRODUCER,
        request.get_span_context().span_id,
    )
    with OutboxRelay(pipeline, url, cluster), running_worker(pipeline, cluster):
        (run,) = recorded.wait("process", 1)
        recorded.wait("settle", 1)
    assert parent_of(run) == id_of(made)
    assert {attribute(span, names.MESSAGE_ID) for span in (made, run)} == {job_id}
    assert len(trace_ids(recorded.all)) == 1
    assert sorted(span.name.split()[0] for span in recorded.all) == ["create", "process", "request", "settle"]


def test_the_run_of_a_job_whose_child_process_dies_is_recorded_as_crashed(
    cluster: ClusterSettings, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each run has a span, which the worker ends for its child; the last one is that of the dead letter."""
    recorded = record_spans(monkeypatch)
    pipeline, queue = declare_queue(namespace, crash_limit=2)
    die = pipeline.job(queue, isolation="process")(isolated_jobs.exit_at_once)
    create(pipeline, cluster)
    with Producer(pipeline, cluster) as producer, running_worker(pipeline, cluster, isolated_concurrency=1):
        producer.enqueue(die, 9)
        recorded.wait("settle", 1)
    crashed, dead = recorded.named("process")
    (sent,), (settled,) = recorded.named("send"), recorded.named("settle")
    assert [attribute(span, names.OUTCOME) for span in (crashed, dead, settled)] == ["crashed", "dead", "dead"]
    assert attribute(crashed, names.ERROR_TYPE) == "ChildDied"
    assert attribute(crashed, names.CRASHES) == 1
    assert "exit code 9" in str(crashed.status.description)
    assert attribute(dead, names.REASON) == "quarantined"
    assert {span.status.status_code for span in (crashed, dead)} == {StatusCode.ERROR}
    assert [parent_of(span) for span in (crashed, dead, settled)] == [id_of(sent), id_of(sent), id_of(dead)]
    assert len(trace_ids(recorded.all)) == 1
