"""Dead letters that hold a part of their record: what is shown of them, and what a replay publishes in their place."""

from __future__ import annotations

import json
import os
from hashlib import sha256

import pytest
from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from stoker.operations.cli.dead_letter_output import dead_letter_row, history_document, history_lines
from stoker.operations.replay.dead_letter_replay import ORIGINAL_GONE, DeadLetterManager, Forecast, Replaying, Request
from stoker.operations.replay.pacing import Published, ReplayPace
from stoker.operations.replay.payloads import PayloadCorrector, WantedCorrection
from stoker.operations.stored_jobs.dead_letters import DeadLetterReader
from stoker.operations.stored_jobs.originals import Originals
from stoker.operations.stored_jobs.selection import Selection
from stoker.operations.stored_jobs.stored_job import StoredJob
from stoker.topology import ClusterSettings
from stoker.topology.wire import headers as wire
from support.scenes.dead_letters import Bench, DeadJob, open_bench


@pytest.fixture
def bench(cluster: ClusterSettings, namespace: str) -> Bench:
    """A queue without dead letters."""
    return open_bench(cluster, namespace)


def truncated(place: str, value: bytes, *, order: int = 1, kept: int = 5) -> DeadJob:
    """A dead letter that holds the first bytes of a value that stands at a place."""
    marks = (
        (wire.TRUNCATED_FROM, place.encode()),
        (wire.TRUNCATED_SIZE, b"%d" % len(value)),
        (wire.TRUNCATED_DIGEST, sha256(value).hexdigest().encode()),
    )
    return DeadJob(order=order, value=value[:kept], extra=marks)


def replay(
    bench: Bench, correction: WantedCorrection | None = None, *, unread: bool = False
) -> tuple[Forecast, Published]:
    """Replay all that is open."""
    payloads = PayloadCorrector(bench.pipeline, bench.store, correction=correction, undecodable_too=unread)
    with Originals(bench.cluster, bench.queue) as originals:
        treatment = Replaying(bench.queue, payloads, originals)
        manager = DeadLetterManager(bench.pipeline, bench.cluster, bench.queue, treatment)
        request = Request(selection=Selection())
        forecast = manager.forecast(request)
        return forecast, manager.carry_out(request, forecast, ReplayPace())


def replayed(bench: Bench) -> list[StoredJob]:
    """The records of the main topic that a replay has published."""
    return [record for record in bench.records(bench.queue.topic) if record.replay]


def test_a_replay_publishes_the_original(bench: Bench) -> None:
    """Key, headers and value are those of the record at the place that the dead letter names."""
    bench.enqueue([1], ("mine", b"kept"))
    (original,) = bench.records(bench.queue.topic)
    bench.add_dead([truncated(f"{bench.queue.topic}/1/0", bench.payload(1))])
    forecast, published = replay(bench)
    assert (forecast.total, published.units) == (1, 1)
    (job,) = replayed(bench)
    assert (job.key, job.value, job.ref.partition) == (original.key, original.value, 1)
    assert job.raw_headers[:-1] == original.raw_headers


def test_a_correction_is_made_in_the_original(bench: Bench) -> None:
    """`--set` changes a field of the whole payload."""
    bench.enqueue([1])
    bench.add_dead([truncated(f"{bench.queue.topic}/1/0", bench.payload(1))])
    replay(bench, WantedCorrection(fields={"note": "fixed"}))
    (job,) = replayed(bench)
    assert job.value == bench.payload(1, "fixed")


@pytest.mark.parametrize("unread", [False, True])
@pytest.mark.parametrize(
    "place", ["{topic}/1/7", "{topic}/9/0", "{topic}", "{dead}/1/0", "elsewhere/1/0", "{retry}/1/0", ""]
)
def test_without_the_original_nothing_is_published(bench: Bench, place: str, *, unread: bool) -> None:
    """The dead letter stays open, with the reason; its own bytes never run, not even where unread ones are wanted."""
    bench.enqueue([1])
    retry = next(iter(bench.queue.retry_topics.values()))
    named = place.format(topic=bench.queue.topic, dead=bench.queue.dead_topic, retry=retry)
    bench.add_dead([truncated(named, bench.payload(1))])
    forecast, published = replay(bench, unread=unread)
    assert (forecast.total, dict(forecast.left_out)) == (0, {ORIGINAL_GONE: 1})
    assert (published.units, replayed(bench)) == (0, [])


def test_another_record_at_the_place_is_not_the_original(bench: Bench) -> None:
    """A topic that was created again repeats its offsets: size and digest tell."""
    bench.enqueue([4])
    bench.add_dead([truncated(f"{bench.queue.topic}/1/0", bench.payload(1))])
    assert dict(replay(bench)[0].left_out) == {ORIGINAL_GONE: 1}


def test_a_deleted_original_is_gone(bench: Bench) -> None:
    """Retention takes the main topic's records earlier than the dead letters."""
    bench.enqueue([1, 4])
    bench.add_dead([truncated(f"{bench.queue.topic}/1/0", bench.payload(1))])
    admin = AdminClient(bench.cluster.client_config())
    for future in admin.delete_records([TopicPartition(bench.queue.topic, 1, 1)]).values():
        future.result(30)
    assert dict(replay(bench)[0].left_out) == {ORIGINAL_GONE: 1}


def test_one_dead_letter_shows_what_it_holds_and_where_the_rest_is(bench: Bench) -> None:
    """In words for people, and in the document for programs."""
    bench.add_dead([truncated(f"{bench.queue.topic}/1/0", bench.payload(1)), DeadJob(order=2)])
    reader = DeadLetterReader(bench.cluster, bench.queue)
    said = f"it holds the first 5 of {len(bench.payload(1))} bytes"
    shown = reader.history("job-1")
    assert any(said in line and f"{bench.queue.topic}/1/0" in line for line in history_lines(shown, "unread", {}))
    assert said in json.loads(json.dumps(history_document(shown, "unread", {})))["truncated"]
    assert history_document(reader.history("job-2"), "unread", {})["truncated"] is None
    listed = {
        dead_letter.record.job_id: dead_letter_row(dead_letter)
        for dead_letter in reader.dead_letters(reader.survey(), Selection())
    }
    assert said in str(listed["job-1"]["truncated"])
    assert listed["job-2"]["truncated"] is None


def test_a_dead_letter_that_fits_only_compressed_is_replayed(bench: Bench) -> None:
    """As it came into the queue: the brokers measure what is left after compression."""
    note = os.urandom(1_000).hex() * 3_000
    value = bench.payload(1, note)
    producer = Producer(bench.cluster.client_config() | {"compression.type": "zstd", "message.max.bytes": 100_000_000})
    headers = [(wire.JOB_ID, b"large"), (wire.JOB_TYPE, b"charge"), (wire.REASON, b"attempts-spent")]
    producer.produce(bench.queue.dead_topic, value, b"k", 1, headers=headers)  # type: ignore[arg-type]  # an invariant list
    assert producer.flush(30) == 0
    assert replay(bench)[1].units == 1
    (job,) = replayed(bench)
    assert job.value == value
