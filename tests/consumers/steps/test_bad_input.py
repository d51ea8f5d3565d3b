"""On a real broker: whatever anybody publishes, the queue goes on, and each record ends where guaranteed, bytes as they
came (P9)."""

from __future__ import annotations

import pytest

from stoker.consumers import current_job
from stoker.producers import Producer
from stoker.topology import ClusterSettings, JobType, Pipeline, Queue
from stoker.topology.declaration.delays import DelayClass
from stoker.topology.wire import headers as wire
from support.scenes.worker import (
    Journal,
    Raw,
    committed,
    create,
    declare_queue,
    delete_topics,
    headers_of,
    publish_raw,
    read_topic,
    running_worker,
    wait_all_committed,
    wait_dead,
)
from support.waiting import wait_until

HeaderPairs = list[tuple[str, bytes | None]]

MAX_RECORD_BYTES = 1_048_588


def declare_act(pipeline: Pipeline, queue: Queue, journal: Journal) -> JobType[[int], None]:
    """A job that notes its number."""

    @pipeline.job(queue)
    def act(number: int) -> None:
        journal.note(number)

    return act


def payload(act: JobType[[int], None], number: int) -> bytes:
    """A job's value in single-object encoding, by the wire contract."""
    contract = act.contract
    return bytes(contract.header + contract.encode(contract.payload((number,), {})))


def identified(job_id: bytes, **more: bytes | None) -> HeaderPairs:
    """The headers that a plain client must set, and others."""
    named = {name.replace("_", "-"): value for name, value in more.items()}
    return [("ce_id", job_id), ("ce_type", b"act"), *named.items()]


def test_no_bad_record_stops_the_queue_and_each_ends_as_it_came(cluster: ClusterSettings, namespace: str) -> None:
    """Between two good jobs stands every kind of nonsense; both run, and all else is a dead letter with its bytes."""
    pipeline, queue = declare_queue(namespace, partitions=1)
    journal = Journal()
    act = declare_act(pipeline, queue, journal)
    good = payload(act, 5)
    bad: dict[str, Raw] = {
        "undecodable": Raw(value=b"\x00\xff not avro", headers=identified(b"b0")),
        "cut short": Raw(value=good[:-1], headers=identified(b"b1")),
        "null value": Raw(value=None, headers=identified(b"b2"), key=b"k"),
        "no headers": Raw(value=good, headers=[]),
        "no type": Raw(value=good, headers=[("ce_id", b"b4")]),
        "no id": Raw(value=good, headers=[("ce_type", b"act")], key=b"\xff\xfe"),
        "null id": Raw(value=good, headers=[("ce_type", b"act"), ("ce_id", None)]),
        "attempt": Raw(value=good, headers=identified(b"b5", stoker_attempt=b"many")),
        "negative attempt": Raw(value=good, headers=identified(b"b6", stoker_attempt=b"-7")),
        "huge attempt": Raw(value=good, headers=identified(b"b7", stoker_attempt=b"9" * 40)),
        "due": Raw(value=good, headers=identified(b"b8", stoker_due=b"soon")),
        "due before time": Raw(value=good, headers=identified(b"b9", stoker_due=b"0001-01-01T00:00:00+10:00")),
        "expires": Raw(value=good, headers=identified(b"b10", stoker_expires=b"\x00")),
        "not text": Raw(value=good, headers=[("ce_id", b"\xff"), ("ce_type", b"\xfe\xff")]),
    }
    create(pipeline, cluster)
    first = Raw(value=payload(act, 1), headers=identified(b"first"))
    last = Raw(value=payload(act, 2), headers=identified(b"last"))
    publish_raw(cluster, queue.topic, [first, *bad.values(), last])
    with running_worker(pipeline, cluster) as running:
        dead_letters = wait_dead(cluster, queue, len(bad))
        wait_all_committed(cluster, queue)
        assert running.outcomes() == {"Done": 2, "Dead": len(bad)}
    assert sorted(journal.noted) == [1, 2]
    origin = {headers_of(dead_letter)[wire.ORIGIN]: dead_letter for dead_letter in dead_letters}
    for offset, (name, raw) in enumerate(bad.items(), 1):
        dead_letter = origin[f"{queue.topic}/0/{offset}".encode()]
        assert (dead_letter.value(), dead_letter.key()) == (raw.value, raw.key), name
        reason = headers_of(dead_letter)[wire.REASON]
        assert reason == (b"undecodable" if name in ("undecodable", "cut short", "null value") else b"malformed"), name
        kept = [pair for pair in dead_letter.headers() or [] if pair in raw.headers and pair[0] != wire.ATTEMPT]
        assert kept == [pair for pair in raw.headers if pair[0] not in wire.RETRY_HEADERS], name


def test_bad_records_in_a_tier_topic_do_not_stop_it(cluster: ClusterSettings, namespace: str) -> None:
    """Anyone can write there too: the retry behind them still runs."""
    pipeline, queue = declare_queue(namespace, partitions=1)
    journal = Journal()
    act = declare_act(pipeline, queue, journal)
    create(pipeline, cluster)
    good = payload(act, 5)
    records = [
        Raw(value=good, headers=identified(b"t1", stoker_due=b"0001-01-01T00:00:00+10:00")),
        Raw(value=good, headers=identified(b"t2", stoker_due=None)),
        Raw(value=None, headers=[]),
        Raw(value=good, headers=identified(b"t3", stoker_attempt=b"2")),
    ]
    publish_raw(cluster, next(iter(queue.retry_topics.values())), records)
    with running_worker(pipeline, cluster):
        journal.wait(1)
        assert len(wait_dead(cluster, queue, 3)) == 3
    assert journal.runs[0].attempt == 2


def test_jobs_with_null_keys_run(cluster: ClusterSettings, namespace: str) -> None:
    """A record without a key in a queue that orders by key has no order, and no trouble."""
    pipeline, queue = declare_queue(namespace, partitions=1, ordering="key")
    journal = Journal()
    act = declare_act(pipeline, queue, journal)
    create(pipeline, cluster)
    publish_raw(
        cluster, queue.topic, [Raw(value=payload(act, n), headers=identified(b"%d" % n), key=None) for n in range(20)]
    )
    with running_worker(pipeline, cluster):
        journal.wait(20)
        wait_all_committed(cluster, queue)


@pytest.mark.parametrize("spare_bytes", [40, 400, 4_000])
def test_a_record_as_large_as_its_topic_allows_can_still_be_a_dead_letter(
    cluster: ClusterSettings, namespace: str, spare_bytes: int
) -> None:
    """A dead letter has more headers than its source: its topic takes it, and the partition goes on."""
    pipeline, queue = declare_queue(namespace, partitions=1)
    journal = Journal()
    act = declare_act(pipeline, queue, journal)
    create(pipeline, cluster)
    headers = identified(b"giant")
    framing_bytes = 130
    giant = b"x" * (MAX_RECORD_BYTES - framing_bytes - spare_bytes)
    publish_raw(cluster, queue.topic, [Raw(value=giant, headers=headers)])
    publish_raw(cluster, queue.topic, [Raw(value=payload(act, 1), headers=identified(b"next"))])
    with running_worker(pipeline, cluster):
        (dead_letter,) = wait_dead(cluster, queue, 1)
        wait_all_committed(cluster, queue)
    assert dead_letter.value() == giant
    assert journal.noted == [1]


def test_an_unknown_job_type_waits_for_a_worker_that_knows_it(cluster: ClusterSettings, namespace: str) -> None:
    """A rolling deploy: the old worker defers what it does not know, the new one runs it, as attempt 1."""
    old, old_queue = declare_queue(namespace, partitions=1)
    old_journal = Journal()
    declare_act(old, old_queue, old_journal)
    new, queue = declare_queue(namespace, partitions=1)
    act = declare_act(new, queue, Journal())
    new_journal = Journal()

    @new.job(queue)
    def arrive(number: int) -> None:
        new_journal.note((number, current_job().attempt))

    create(new, cluster)
    with Producer(new, cluster) as producer:
        producer.enqueue(arrive, 1)
        producer.enqueue(act, 2)
    with running_worker(old, cluster) as running:
        running.wait_outcomes(Deferred=2, Done=1)
    with running_worker(new, cluster) as running:
        running.wait_outcomes(Done=1)
    assert new_journal.noted == [(1, 1)]
    assert old_journal.noted == [2]
    waited = [headers_of(record) for record in read_topic(cluster, queue.delay_topics[DelayClass.SHORT], 1)]
    assert {headers[wire.REASON] for headers in waited} == {b"unknown-type"}
    assert all(wire.ATTEMPT not in headers for headers in waited)


def test_an_unknown_schema_waits_until_it_is_known(cluster: ClusterSettings, namespace: str) -> None:
    """The fingerprint of a later version is deferred, and runs when the schema store has it."""
    pipeline, queue = declare_queue(namespace, partitions=1)
    journal = Journal()
    declare_act(pipeline, queue, journal)
    later, later_queue = declare_queue(namespace, partitions=1)

    @later.job(later_queue, name="act")
    def act(number: int, note: str = "") -> None:
        """A later version of the same job."""

    create(pipeline, cluster)
    body = act.contract.encode(act.contract.payload((4, "later"), {}))
    publish_raw(cluster, queue.topic, [Raw(value=act.contract.header + body, headers=identified(b"v2"))])
    with running_worker(pipeline, cluster) as running:
        running.wait_outcomes(Deferred=1)
        create(later, cluster)
        running.wait_outcomes(60, Done=1)  # the answer "unknown" holds for 10 s, and the tier adds to that
    assert journal.noted == [4]


@pytest.mark.expected_errors("cannot be written", "have not confirmed")
def test_an_unwritable_dead_letter_topic_stops_the_commit_not_the_worker(
    cluster: ClusterSettings, namespace: str, caplog: pytest.LogCaptureFixture
) -> None:
    """While the dead letters cannot be written nothing is lost, the worker says so, and it fixes itself."""
    pipeline, queue = declare_queue(namespace, partitions=1)
    journal = Journal()
    act = declare_act(pipeline, queue, journal)
    create(pipeline, cluster)
    with running_worker(pipeline, cluster) as running:
        publish_raw(cluster, queue.topic, [Raw(value=payload(act, 1), headers=identified(b"warm"))])
        journal.wait(1)
        wait_all_committed(cluster, queue)
        delete_topics(cluster, queue.dead_topic)
        publish_raw(
            cluster,
            queue.topic,
            [Raw(value=b"junk", headers=identified(b"bad")), Raw(value=payload(act, 2), headers=identified(b"good"))],
        )
        journal.wait(2)
        _wait_said(caplog, "the outcome of job bad (act) cannot be written")
        assert committed(cluster, queue) == {0: 1}
        create(pipeline, cluster)
        (dead_letter,) = wait_dead(cluster, queue, 1, within_s=60)
        wait_all_committed(cluster, queue)
        _wait_said(caplog, "writes outcomes again")
        assert running.outcomes() == {"Done": 2, "Dead": 1}
    assert dead_letter.value() == b"junk"


def _wait_said(caplog: pytest.LogCaptureFixture, part: str) -> None:
    wait_until(lambda: any(part in record.getMessage() for record in list(caplog.records)), 60, f"a log of {part!r}")
