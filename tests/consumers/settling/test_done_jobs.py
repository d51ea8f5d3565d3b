"""Jobs that are done are told by the batch, each as it was, and never more than there is room for."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pytest
import uuid_utils
from confluent_kafka import KafkaError

from stoker.consumers.records.done_handful import DoneHandful, records_of
from stoker.consumers.records.ended_columns import LONGEST_KEY_BYTES, Durations, Handful
from stoker.consumers.records.record import Record
from stoker.consumers.settling import done_jobs
from stoker.consumers.settling.done_jobs import DoneJobs
from stoker.consumers.settling.settlement import SettlementBatch
from stoker.producers import Producer
from stoker.producers.metrics.histogram import Bins
from stoker.schemas.own_records.jobs_ended import decode_jobs_ended
from stoker.topology import ClusterSettings, RetryPolicy
from stoker.topology.wire import headers as wire
from support.scenes.deliveries import declare
from support.scenes.worker import Journal, create, declare_queue, running_worker
from support.sight.ended_jobs import EndedJob, jobs_of
from support.sight.events import done_events
from support.sight.events import done_jobs as done_jobs_on
from support.waiting import wait_until

pytestmark = pytest.mark.timeout(120)

NONE = Bins(0, (), 0.0)


def a_record(headers: Mapping[str, bytes] | None = None, *, key: bytes | None = None, offset: int = 7) -> Record:
    """The record of a job that has run for half a second."""
    record = declare().record(headers, key=key, offset=offset)
    record.ended_at_s = time.monotonic()
    record.began_at_s = record.ended_at_s - 0.5
    return record


def told(records: Sequence[Record]) -> list[EndedJob]:
    """The jobs of their events."""
    scene = Gathering()
    scene.add(records)
    scene.jobs.close()
    return scene.told


def test_each_job_is_told_as_it_was() -> None:
    """Records with other headers than the first one's have them, too."""
    timed = {wire.TIME: b"2013-01-01T05:17:00.250000Z"}
    retried = {wire.TENANT: b"acme", wire.ATTEMPT: b"3", wire.REPLAY: b"r-7", **timed}
    plain, keyed, third = told([a_record(), a_record(key=b"k", offset=8), a_record(retried, offset=9)])
    assert (plain.job_id, plain.job_type, plain.topic, plain.partition, plain.offset) == (
        "job-1",
        "work",
        "unit.q",
        0,
        7,
    )
    assert (plain.key, plain.tenant, plain.attempt, plain.replay) == (None, "", 1, "")
    assert (keyed.key, keyed.offset) == (b"k", 8)
    assert (third.tenant, third.attempt, third.replay) == ("acme", 3, "r-7")
    assert third.enqueued_ms == datetime(2013, 1, 1, 5, 17, 0, 250_000, tzinfo=UTC).timestamp() * 1_000
    assert [job.took_s for job in (plain, keyed, third)] == pytest.approx([0.5] * 3, abs=1e-3)


@pytest.mark.parametrize(
    ("job_ids", "is_by_id"),
    [
        ([str(uuid_utils.uuid7()) for _ in range(12)], True),
        ([str(uuid.uuid4()) for _ in range(12)], False),
        ([str(uuid_utils.uuid7()), str(uuid.uuid4())], False),
        ([str(uuid_utils.uuid7()).upper() for _ in range(12)], False),
        (["zzzzzzzz-zzzz-7zzz-zzzz-zzzzzzzzzzzz", str(uuid_utils.uuid7())], False),
    ],
)
@pytest.mark.parametrize("more", [{}, {wire.IDEMPOTENCY_KEY: b"once"}])
def test_ids_tell_when_jobs_were_enqueued_where_all_can(
    job_ids: Sequence[str], more: dict[str, bytes], *, is_by_id: bool
) -> None:
    """Only UUIDs of version 7 have a time in them; with others, each job keeps that of its headers."""
    at = datetime(2013, 1, 1, 5, 17, 0, 250_000, tzinfo=UTC)
    headers = {wire.TIME: b"2013-01-01T05:17:00.250000Z", **more}
    found = told([a_record({**headers, wire.JOB_ID: job_id.encode()}) for job_id in job_ids])
    assert [job.job_id for job in found] == job_ids
    stated_ms = round(at.timestamp() * 1e3)
    by_id = is_by_id and not more
    assert [job.enqueued_ms for job in found] == [uuid.UUID(one).int >> 80 if by_id else stated_ms for one in job_ids]


def test_the_beginning_of_a_run_is_told_by_the_wall_clock() -> None:
    """The worker measures by a clock that nobody else has."""
    (job,) = told([a_record()])
    assert (datetime.now(UTC) - job.began).total_seconds() == pytest.approx(0.5, abs=0.3)


@dataclass
class Gathering:
    """Jobs that are done, and what becomes of them."""

    published: list[int] = field(default_factory=list)
    told: list[EndedJob] = field(default_factory=list)
    given_up: int = 0
    jobs: DoneJobs = field(init=False)

    def __post_init__(self) -> None:
        """Gather them for a queue."""
        self.jobs = DoneJobs("q", "w1", "", publish=self._publish, give_up=self._give_up)

    def add(self, *parts: Sequence[Record]) -> None:
        """Add jobs that came as such handfuls, without columns."""
        self.jobs.add([DoneHandful(list(records)) for records in parts])

    def _publish(self, key: bytes, value: bytes, jobs: int) -> None:
        assert key == b"w1"
        event = decode_jobs_ended(value)
        found = list(jobs_of(event))
        assert event.count == len(found) == jobs
        self.told += found
        self.published.append(jobs)

    def _give_up(self, jobs: int, why: object) -> None:
        self.given_up += jobs


def test_batches_of_the_settler_are_told_together() -> None:
    """An event of each would cost more than a short job."""
    scene, record = Gathering(), a_record()
    for _ in range(50):
        scene.add([record] * 10)
    wait_until(lambda: sum(scene.published) == 500, what="the events")
    assert len(scene.published) < 50
    scene.jobs.close()


def test_no_event_has_more_jobs_than_a_record_bears() -> None:
    """A record beyond a megabyte would be refused with all of its jobs."""
    scene, record = Gathering(), a_record()
    scene.jobs._is_closing.set()  # without the thread, so that they gather
    scene.add([record] * (done_jobs.MOST_JOBS + 1))
    scene.jobs.close()
    assert scene.published == [done_jobs.MOST_JOBS, 1]


@pytest.mark.parametrize("others", [5, 200])
def test_a_job_with_a_long_key_takes_no_other_job_from_the_history(others: int) -> None:
    """Publishers in other languages may send a key of a megabyte: the brokers refuse an event that has it."""
    record, sizes = a_record(key=b"k"), list[int]()
    scene = Gathering()
    jobs = DoneJobs("q", "w1", "", publish=scene._publish, give_up=scene._give_up)

    def publish(key: bytes, value: bytes, count: int) -> None:
        sizes.append(len(value))
        scene._publish(key, value, count)

    jobs._publish = publish
    jobs.add([DoneHandful([record] * others + [a_record(key=b"x" * 2_000_000)])])
    jobs.close()
    assert max(sizes) < 600_000
    assert [job.key for job in scene.told] == [b"k"] * others + [b"x" * LONGEST_KEY_BYTES]


def test_a_machine_without_a_thread_left_costs_no_more_than_events(monkeypatch: pytest.MonkeyPatch) -> None:
    """The settler calls `add`, and with it the worker would end; a later call finds a thread again."""

    def refuse(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    scene, record = Gathering(), a_record()
    with monkeypatch.context() as without:
        without.setattr(threading.Thread, "start", refuse)
        scene.add([record] * 3)
        scene.add([record] * 2)
    scene.add([record])
    wait_until(lambda: sum(scene.published) == 6, what="the events")
    scene.jobs.close()


def test_what_has_no_room_is_given_up() -> None:
    """Memory is bounded, whatever the thread is held up by."""
    scene, record = Gathering(), a_record()
    scene.jobs._is_closing.set()
    for _ in range(3):
        scene.add([record] * (done_jobs.MOST_WAITING // 2))
    assert scene.given_up == done_jobs.MOST_WAITING // 2
    scene.jobs.close()
    assert sum(scene.published) == done_jobs.MOST_WAITING


def test_jobs_whose_event_is_being_made_take_room_until_it_is_published() -> None:
    """Else twice as many as may wait were in memory: those that are being published, and those that come meanwhile."""
    scene, record = Gathering(), a_record()
    scene.jobs._is_closing.set()  # without the thread

    def publish(_key: bytes, _value: bytes, jobs: int) -> None:
        scene.published.append(jobs)
        if len(scene.published) == 1:
            scene.add([record])

    scene.jobs._publish = publish
    scene.add([record] * done_jobs.MOST_WAITING)
    scene.jobs.flush()
    assert (sum(scene.published), scene.given_up) == (done_jobs.MOST_WAITING, 1)
    scene.add([record] * done_jobs.MOST_WAITING)  # all room is free again
    assert scene.given_up == 1


def test_each_job_is_counted_once_with_or_without_an_event(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those with an event by the thread that makes it, also where that fails; those without room at once."""
    scene, record = Gathering(), a_record()
    counts = Counts()
    scene.jobs.count_by(counts)
    scene.jobs._is_closing.set()  # without the thread, so that they gather
    handful = a_handful(scene, 0)
    scene.jobs.add([handful])
    scene.add([record] * (done_jobs.MOST_WAITING - len(handful.records)))
    scene.add([record] * 3)
    assert (counts.published, counts.given_up) == ([], [3])
    monkeypatch.setattr(done_jobs, "encode_jobs_ended", lambda _event: 1 // 0)
    scene.jobs.close()
    assert (counts.published[0], sum(counts.published)) == (len(handful.records), done_jobs.MOST_WAITING)
    assert counts.given_up == [3]


@dataclass
class Counts:
    """How many jobs each call counts."""

    published: list[int] = field(default_factory=list)
    given_up: list[int] = field(default_factory=list)

    def durations(self, handful: Handful) -> Sequence[Durations]:
        """All are of one type."""
        return [Durations("work", len(handful.records), NONE, NONE)]

    def fold_published(self, durations: Sequence[Durations]) -> None:
        """Note them."""
        self.published += [one.jobs for one in durations]

    def fold_given_up(self, durations: Sequence[Durations]) -> None:
        """Note them."""
        self.given_up += [one.jobs for one in durations]


def a_handful(scene: Gathering, first: int, **named: Any) -> DoneHandful:
    """Records of which a runner has had columns made."""
    handful = DoneHandful(
        [a_record(offset=offset, **named) for offset in range(first, first + done_jobs.LEAST_HANDFUL)]
    )
    scene.jobs.make_columns(handful)
    assert handful.columns is not None
    return handful


def test_columns_of_handfuls_tell_of_the_same_jobs() -> None:
    """Also of handfuls that are settled in parts, of small ones, and of such with other types, keys and headers."""
    scene = Gathering()
    scene.jobs._is_closing.set()
    whole, cut = a_handful(scene, 0), a_handful(scene, 100, key=b"k")
    random = a_handful(scene, 500, headers={wire.JOB_ID: str(uuid.uuid4()).encode()})
    typed = a_handful(scene, 200, headers={wire.JOB_TYPE: b"mail", wire.TENANT: b"acme"})
    retried = a_handful(scene, 300, headers={wire.ATTEMPT: b"2"}, key=b"a\0b")
    few = DoneHandful([a_record(offset=400)])
    scene.jobs.make_columns(few)
    assert few.columns is None
    begin, end = cut.split(cut.records[4:])  # as when the ledger of one partition could not be written at first
    scene.jobs.add([whole, random, *begin])
    scene.jobs.add([typed, few, retried, *end])
    scene.jobs.close()
    found = {job.offset: job for job in scene.told}
    assert sorted(found) == sorted(record.offset for record in records_of((whole, cut, typed, few, retried, random)))
    assert len(found) == len(scene.told)
    assert {offset: (job.job_type, job.tenant, job.key, job.attempt) for offset, job in found.items()} == {
        **{record.offset: ("work", "", None, 1) for record in records_of((whole, few, random))},
        **{record.offset: ("work", "", b"k", 1) for record in cut.records},
        **{record.offset: ("mail", "acme", None, 1) for record in typed.records},
        **{record.offset: ("work", "", b"a\0b", 2) for record in retried.records},
    }


def test_a_handful_of_which_some_are_settled_later_is_told_job_by_job() -> None:
    """The ledger of one partition was written, those of two others refused: the rest is repeated."""
    scene = Gathering()
    scene.jobs._is_closing.set()
    first, second, third = a_handful(scene, 0), a_handful(scene, 100), a_handful(scene, 200)
    refused = [*third.records, *second.records[3:7], *first.records[4:]]
    settled, failed = SettlementBatch([first, second, third]).split(refused, KafkaError(KafkaError._TIMED_OUT))
    assert [len(handful.records) for handful in settled.done] == [4, 6]
    assert [len(handful.records) for handful in failed.done] == [6, 4, 10]
    assert failed.done[-1] is third
    scene.jobs.add(settled.done)
    scene.jobs.add(failed.done)
    scene.jobs.close()
    offsets = sorted(record.offset for record in records_of((first, second, third)))
    assert sorted(job.offset for job in scene.told) == offsets


def test_a_mixed_handful_is_told_job_by_job() -> None:
    """Each type and tenant stays with its job, beside handfuls in which all have the same."""
    scene = Gathering()
    scene.jobs._is_closing.set()
    alike = a_handful(scene, 0, headers={wire.JOB_TYPE: b"mail", wire.TENANT: b"acme"})
    records = [
        a_record({wire.JOB_TYPE: b"type-%d" % (offset % 3), wire.TENANT: b"t-%d" % (offset % 2)}, offset=offset)
        for offset in range(100, 120)
    ]
    mixed = DoneHandful(records)
    scene.jobs.make_columns(mixed)
    scene.jobs.add([alike, mixed])
    scene.jobs.close()
    assert scene.published == [30]
    assert [(job.job_type, job.tenant) for job in scene.told] == [
        *[("mail", "acme")] * 10,
        *[(f"type-{offset % 3}", f"t-{offset % 2}") for offset in range(100, 120)],
    ]


def test_an_event_that_cannot_be_made_ends_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its jobs are given up, and the thread goes on with the next ones."""
    scene, record = Gathering(), a_record()
    with monkeypatch.context() as broken:
        broken.setattr(done_jobs, "encode_jobs_ended", lambda _event: 1 // 0)
        scene.add([record] * 3)
        wait_until(lambda: scene.given_up == 3, what="three jobs to be given up")
    scene.add([record])
    wait_until(lambda: scene.published == [1], what="the next event")
    scene.jobs.close()


def test_a_queue_without_jobs_has_no_thread_for_them() -> None:
    """A worker of many queues has threads enough."""
    before = threading.active_count()
    scene = Gathering()
    scene.jobs.close()
    assert (threading.active_count(), scene.published) == (before, [])


def test_a_worker_tells_of_each_job_that_is_done(cluster: ClusterSettings, namespace: str) -> None:
    """Once, with its key, tenant and attempt, and only when it is done: not of the run that failed."""
    journal = Journal()
    pipeline, queue = declare_queue(namespace)

    @pipeline.job(queue, key="number", tenant="owner", retry=RetryPolicy(attempts=2))
    def act(number: int, owner: str) -> None:
        if journal.note(number).attempt == 1 and number == 3:
            raise ValueError("the first time")

    create(pipeline, cluster)
    with Producer(pipeline, cluster) as producer:
        sent = {producer.enqueue(act, number, f"owner-{number}").job_id: number for number in range(5)}
    with running_worker(pipeline, cluster, release="v7"):
        wait_until(lambda: len(done_jobs_on(cluster, pipeline)) >= 5, what="the events")
    found = done_jobs_on(cluster, pipeline)
    assert {job.job_id: job.key for job in found} == {job_id: b"%d" % number for job_id, number in sent.items()}
    assert [job.tenant for job in found] == [f"owner-{sent[job.job_id]}" for job in found]
    assert {sent[job.job_id]: job.attempt for job in found} == {0: 1, 1: 1, 2: 1, 3: 2, 4: 1}
    assert {event.release for event in done_events(cluster, pipeline)} == {"v7"}
    assert len(found) == 5
