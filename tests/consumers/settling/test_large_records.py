"""On a real broker: records of any size, as compression lets them in, end where guaranteed and hold nobody up (P9)."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from datetime import timedelta
from hashlib import sha256
from typing import Any

import pytest

from stoker.consumers import Snooze
from stoker.consumers.breakers.dead_guards import DeadGuards
from stoker.topology import ClusterSettings, DeadGuard, JobType, Pipeline, Queue
from stoker.topology.wire import headers as wire
from support.kafka.configs import change_configs
from support.programs import isolated_jobs
from support.scenes.worker import (
    TIERS,
    Journal,
    Raw,
    committed,
    create,
    declare_queue,
    headers_of,
    publish_raw,
    read_topic,
    running_worker,
    wait_all_committed,
    wait_dead,
)
from support.waiting import wait_until


def publish_compressed(cluster: ClusterSettings, topic: str, codec: str, records: Iterable[Raw]) -> None:
    """Publish as a client does that compresses, each record in a batch of its own."""
    options = {
        "enable.idempotence": False,
        "compression.type": codec,
        "batch.num.messages": 1,
        "message.max.bytes": 200_000_000,
        "linger.ms": 0,
    }
    publish_raw(cluster, topic, records, options)


def limit(cluster: ClusterSettings, record_bytes: int, *topics: str) -> None:
    """Let topics take no larger batches than these."""
    settings = {topic: {"max.message.bytes": str(record_bytes)} for topic in topics}
    change_configs(cluster, settings)


def declare_measure(pipeline: Pipeline, queue: Queue, journal: Journal) -> JobType[[bytes], None]:
    """A job that notes how long its data is, and fails at its first attempt."""

    @pipeline.job(queue)
    def measure(data: bytes) -> None:
        if journal.note(len(data)).attempt == 1 and data:
            raise ValueError("the first attempt fails")

    return measure


def framed(job: JobType[[bytes], Any], data: bytes) -> bytes:
    """A job's value in single-object encoding, by the wire contract."""
    contract = job.contract
    return bytes(contract.header + contract.encode(contract.payload((data,), {})))


def job(job_type: JobType[[bytes], Any], data: bytes, job_id: bytes, key: bytes | None = None) -> Raw:
    """A sound job, as a client in another language publishes it."""
    return Raw(value=framed(job_type, data), headers=[("ce_id", job_id), ("ce_type", b"measure")], key=key)


def test_compressed_records_of_any_size_become_whole_dead_letters(cluster: ClusterSettings, namespace: str) -> None:
    """Brokers limit what is left after compression: 70 MB of zeros fit the main topic, and so does the dead letter."""
    pipeline, queue = declare_queue(namespace, partitions=1)
    journal = Journal()
    measure = declare_measure(pipeline, queue, journal)
    create(pipeline, cluster)
    junk = {
        (codec, size): bytes(size)
        for codec, sizes in {
            "gzip": (1_100_000, 70_000_000),
            "zstd": (1_100_000, 70_000_000),
            "lz4": (1_100_000, 5_000_000),
            "snappy": (1_100_000, 8_000_000),
            "none": (999_940, 999_960, 999_999, 1_000_000, 1_000_001, 1_048_400),
        }.items()
        for size in sizes
    }
    headers = [("ce_id", b"b"), ("ce_type", b"measure")]
    for (codec, _), value in junk.items():
        publish_compressed(cluster, queue.topic, codec, [Raw(value=value, headers=[*headers])])
    publish_raw(cluster, queue.topic, [job(measure, b"", b"good")])
    with running_worker(pipeline, cluster) as running:
        journal.wait(1)
        dead_letters = wait_dead(cluster, queue, len(junk))
        wait_all_committed(cluster, queue)
        assert running.outcomes() == {"Done": 1, "Dead": len(junk)}
    assert sorted(len(dead_letter.value() or b"") for dead_letter in dead_letters) == sorted(map(len, junk.values()))
    assert not any(any(dead_letter.value() or b"") for dead_letter in dead_letters)
    assert not any(wire.TRUNCATED_FROM in headers_of(dead_letter) for dead_letter in dead_letters)
    assert all(wire.ERROR_MESSAGE in headers_of(dead_letter) for dead_letter in dead_letters)


def test_a_compressed_job_is_retried_whole(cluster: ClusterSettings, namespace: str) -> None:
    """Its retry is compressed as well, and the second attempt has the same bytes; no dead letter is written."""
    pipeline, queue = declare_queue(namespace, partitions=1)
    journal = Journal()
    measure = declare_measure(pipeline, queue, journal)
    weigh = pipeline.job(queue, isolation="process")(isolated_jobs.weigh)
    create(pipeline, cluster)
    data = os.urandom(1_000) * 3_000
    weighed = Raw(value=framed(weigh, data), headers=[("ce_id", b"weighed"), ("ce_type", b"weigh")])
    publish_compressed(cluster, queue.topic, "zstd", [job(measure, data, b"measured"), weighed])
    with running_worker(pipeline, cluster, isolated_concurrency=1) as running:
        running.wait_outcomes(Retried=2, Done=2)
        wait_all_committed(cluster, queue)
    assert journal.noted == [len(data)] * 2
    retried = read_topic(cluster, queue.retry_topics[TIERS[0]], 1)
    assert {bytes(record.value() or b"") for record in retried} >= {framed(measure, data)}


def test_a_dead_letter_that_does_not_fit_names_its_original(cluster: ClusterSettings, namespace: str) -> None:
    """It holds the place, size and digest of its record, and as much of it as fits, however wide its headers are."""
    pipeline, queue = declare_queue(namespace, partitions=1)
    journal = Journal()
    measure = declare_measure(pipeline, queue, journal)
    create(pipeline, cluster)
    value = os.urandom(900_000)
    plain = [("ce_id", b"b"), ("ce_type", b"measure")]
    bad = [
        Raw(value=value, headers=[*plain]),
        Raw(value=value, headers=[*plain], key=os.urandom(120_000)),
        Raw(value=b"junk", headers=[*plain], key=os.urandom(200_000)),
        Raw(value=b"junk", headers=[("ce_id", b"b"), ("ce_type", b"\xff" + os.urandom(200_000))]),
        Raw(value=b"junk", headers=[*plain, *((f"h{n}", os.urandom(40)) for n in range(10_000))]),
        Raw(value=None, headers=[*plain, ("mine", os.urandom(200_000))]),
    ]
    foreign = Raw(value=b"junk", headers=[("ce_id", b"f"), ("stoker-origin", os.urandom(200_000))])
    with running_worker(pipeline, cluster) as running:
        limit(cluster, 100_000, queue.dead_topic)
        publish_raw(cluster, queue.topic, [*bad, foreign, job(measure, b"", b"good")])
        journal.wait(1)
        dead_letters = wait_dead(cluster, queue, len(bad) + 1)
        wait_all_committed(cluster, queue)
        assert running.outcomes() == {"Done": 1, "Dead": len(bad) + 1}
    assert [
        headers_of(dead_letter)["ce_id"]
        for dead_letter in dead_letters
        if wire.TRUNCATED_FROM not in headers_of(dead_letter)
    ] == [b"f"]
    found = {headers_of(dead_letter).get(wire.TRUNCATED_FROM): dead_letter for dead_letter in dead_letters}
    for offset, raw in enumerate(bad):
        whole = raw.value or b""
        dead_letter = found[f"{queue.topic}/0/{offset}".encode()]
        headers, kept = headers_of(dead_letter), bytes(dead_letter.value() or b"")
        assert headers[wire.TRUNCATED_SIZE] == b"%d" % len(whole)
        assert headers[wire.TRUNCATED_DIGEST] == sha256(whole).hexdigest().encode()
        assert headers["ce_id"] == b"b"
        assert whole.startswith(kept)
        assert headers[wire.REASON] in (b"undecodable", b"malformed", b"never-known")
    assert len(bytes(found[f"{queue.topic}/0/0".encode()].value() or b"")) > 25_000, "about as much as fits"


@pytest.mark.parametrize("ordering", ["key", "strict"])
def test_a_retry_that_fits_no_tier_becomes_a_dead_letter(
    cluster: ClusterSettings, namespace: str, ordering: str
) -> None:
    """The dead letter has all the bytes and the error of its run; the next job of the key does not wait."""
    pipeline, queue = declare_queue(namespace, partitions=1, ordering="strict" if ordering == "strict" else "key")
    journal = Journal()
    measure = declare_measure(pipeline, queue, journal)

    @pipeline.job(queue)
    def nap(data: bytes) -> Snooze:
        return Snooze(timedelta(seconds=0.1))

    create(pipeline, cluster)
    data = os.urandom(60_000)
    napping = Raw(value=framed(nap, data), headers=[("ce_id", b"n"), ("ce_type", b"nap")], key=b"k")
    jobs = [job(measure, data, b"large", b"k"), napping, job(measure, b"", b"next", b"k")]
    with running_worker(pipeline, cluster) as running:
        limit(cluster, 20_000, *queue.waiting_topics)
        publish_raw(cluster, queue.topic, jobs)
        dead_letters = wait_dead(cluster, queue, 2)
        journal.wait(2)
        wait_all_committed(cluster, queue)
        assert running.outcomes() == {"Done": 1, "Dead": 2}
    assert journal.noted == [len(data), 0]
    (failed,) = [dead_letter for dead_letter in dead_letters if headers_of(dead_letter)["ce_id"] == b"large"]
    assert failed.value() == framed(measure, data)
    assert {headers_of(dead_letter)[wire.REASON] for dead_letter in dead_letters} == {b"too-large"}
    assert headers_of(failed)[wire.ERROR_MESSAGE] == b"the first attempt fails"
    assert headers_of(failed)[wire.ATTEMPT] == b"1"


def test_a_retry_that_fits_no_tier_counts_for_the_dead_guard_of_its_type(
    cluster: ClusterSettings, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once, as each dead letter does: else such a type is never paused."""
    counted: list[tuple[bytes | None, str]] = []
    monkeypatch.setattr(DeadGuards, "note", lambda _guards, job_type, why: counted.append((job_type, why)))
    pipeline = Pipeline(namespace)
    guard = DeadGuard(5, within=timedelta(minutes=1))
    queue = pipeline.queue("work", partitions=1, tiers=TIERS, dead_guard=guard)
    measure = declare_measure(pipeline, queue, Journal())
    create(pipeline, cluster)
    with running_worker(pipeline, cluster):
        limit(cluster, 20_000, *queue.waiting_topics)
        publish_raw(cluster, queue.topic, [job(measure, os.urandom(60_000), b"large"), job(measure, b"", b"small")])
        wait_dead(cluster, queue, 1)
        wait_all_committed(cluster, queue)
    assert counted == [(b"measure", "too-large: ValueError")]


@pytest.mark.expected_errors("cannot be written")
def test_a_shutdown_does_not_wait_for_what_only_a_person_can_mend(
    cluster: ClusterSettings, namespace: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A compacted topic takes no dead letter without a key: others go on, the worker logs it, and SIGTERM is quick."""
    pipeline, queue = declare_queue(namespace, partitions=1)
    journal = Journal()
    measure = declare_measure(pipeline, queue, journal)
    create(pipeline, cluster)
    headers = [("ce_id", b"b"), ("ce_type", b"measure")]
    keyed = Raw(value=b"junk", headers=[*headers], key=b"k")
    bad = [keyed, Raw(value=b"junk", headers=[*headers]), keyed]
    with running_worker(pipeline, cluster, grace=timedelta(seconds=30)) as running:
        change_configs(cluster, {queue.dead_topic: {"cleanup.policy": "compact"}})
        publish_raw(cluster, queue.topic, [*bad, job(measure, b"", b"good")])
        journal.wait(1)
        assert {dead_letter.key() for dead_letter in wait_dead(cluster, queue, 2)} == {b"k"}
        wait_until(lambda: any("waiting does not help" in said.getMessage() for said in list(caplog.records)))
        began_at_s = time.monotonic()
        running.stop()
        assert time.monotonic() - began_at_s < 30, "no longer than the grace for jobs that run"
    assert committed(cluster, queue) == {0: 1}


def test_what_clients_refuse_to_decompress_is_a_truncated_dead_letter(cluster: ClusterSettings, namespace: str) -> None:
    """librdkafka takes no more than 100 MB of zstd, unless it is told to, and would stand before it for good."""
    pipeline, queue = declare_queue(namespace, partitions=1)
    journal = Journal()
    measure = declare_measure(pipeline, queue, journal)
    create(pipeline, cluster)
    headers = [("ce_id", b"b"), ("ce_type", b"measure")]
    publish_compressed(cluster, queue.topic, "zstd", [Raw(value=bytes(105_000_000), headers=[*headers])])
    publish_raw(cluster, queue.topic, [job(measure, b"", b"good")])
    with running_worker(pipeline, cluster):
        journal.wait(1)
        (dead_letter,) = wait_dead(cluster, queue, 1)
        wait_all_committed(cluster, queue)
    assert headers_of(dead_letter)[wire.TRUNCATED_SIZE] == b"105000000"
    assert len(dead_letter.value() or b"") == 32 * 1024 * 1024
