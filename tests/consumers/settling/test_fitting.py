"""What becomes of a record that its topic refuses: the largest form that it takes, and nobody waits for that."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from hashlib import sha256
from itertools import pairwise
from typing import Any, cast

import pytest
from confluent_kafka import KafkaError, KafkaException, Message, Producer

from stoker.consumers.job.failure import make_failure
from stoker.consumers.ordering.strict_lanes import StrictLanes
from stoker.consumers.partitions.ledger import moved_name
from stoker.consumers.partitions.ledger_records import names_of
from stoker.consumers.progress.assignment import Assignment
from stoker.consumers.records.outcomes import DONE, SKIPPED, Dead, Deferred, NotDone, Retried, Snoozed
from stoker.consumers.records.record import Record
from stoker.consumers.settling import settle, trouble
from stoker.consumers.settling.fitting import FIRST_CUT_BYTES
from stoker.consumers.settling.settle import SettledEvents, Settler, SettlingClients
from stoker.consumers.settling.settlement import Settlement, SettlementBatch
from stoker.consumers.settling.writes import Writes
from stoker.topology.declaration.delays import DelayClass
from stoker.topology.wire import headers as wire
from support.scenes.deliveries import NOW, TIERS, Delivery, declare
from support.waiting import wait_until

FAILURE = make_failure("work", error_type="ValueError", message="x", stack="s" * 4_000)
RETRIED = Retried(due=NOW + timedelta(seconds=1), tier=TIERS[0], next_attempt=2, failure=FAILURE)
DEAD = Dead(reason="undecodable", failure=FAILURE)
RETRY_TOPIC, DELAY_TOPIC = "unit.q.retry.1s", "unit.q.delay.short"
DEAD_TOPIC, LEDGER_TOPIC = "unit.q.dead", "unit.q.ledger"

Headers = list[tuple[str, bytes]]


class Written:
    """One record as it was handed to the client."""

    def __init__(self, topic: str, key: bytes | None, value: bytes | None, headers: Headers, producer: str) -> None:
        self.topic, self.key, self.value, self.headers, self.producer = topic, key, value, headers, producer

    @property
    def size_bytes(self) -> int:
        """Of all of it."""
        inside = sum(len(name) + len(value) for name, value in self.headers)
        return len(self.key or b"") + len(self.value or b"") + inside

    @property
    def named(self) -> dict[str, bytes]:
        """Its headers by name."""
        return dict(self.headers)


Verdict = Callable[[Written], int | None]


class PickyProducer:
    """Stands for librdkafka's producer and brokers that refuse certain records, batch by batch."""

    def __init__(self, name: str, judge: Verdict, *, in_company: bool) -> None:
        self.name, self._judge, self._in_company = name, judge, in_company
        self.failure: KafkaException | None = None
        self.tried: list[Written] = []
        self.confirmed: list[Written] = []
        self._pending: list[tuple[Written, Any]] = []

    def produce(
        self,
        topic: str,
        *,
        key: bytes | None = None,
        value: bytes | None = None,
        headers: Headers | None = None,
        on_delivery: Any = None,
        **_others: Any,
    ) -> None:
        """Queue one."""
        self._pending.append((Written(topic, key, value, headers or [], self.name), on_delivery))

    def poll(self, _timeout_s: float) -> int:
        """Confirm or refuse all, or fail once."""
        failure, self.failure = self.failure, None
        if failure is not None:
            raise failure
        return self.flush(_timeout_s)

    def flush(self, _timeout_s: float) -> int:
        """Confirm or refuse all: one that is refused takes its batch along, which is all of its topic."""
        pending, self._pending = self._pending, []
        faults = [self._judge(written) for written, _ in pending]
        for number, (written, on_delivery) in enumerate(pending):
            company = [fault for fault, (other, _) in zip(faults, pending, strict=True) if other.topic == written.topic]
            fault = next(filter(None, company), None) if self._in_company else faults[number]
            self.tried.append(written)
            if fault is None:
                self.confirmed.append(written)
            on_delivery(None if fault is None else KafkaError(fault), Message(topic=written.topic, offset=1))
        return 0


class Settling:
    """A settler on such producers, and what it said was settled."""

    def __init__(self, delivery: Delivery, judge: Verdict) -> None:
        self.shared = PickyProducer("shared", judge, in_company=True)
        self.lone = PickyProducer("lone", judge, in_company=False)
        self.made_lone = 0
        self.settled: list[Record] = []
        self.items: list[Settlement] = []
        self.settler = Settler(
            delivery.queue,
            SettlingClients(make_shared=lambda: cast(Producer, self.shared), make_lone=self._make_lone),
            worker_id="w1",
            events=SettledEvents(publish=lambda _event: None),
            on_settled=self._note,
        )

    def _make_lone(self) -> Producer:
        self.made_lone += 1
        return cast(Producer, self.lone)

    def _note(self, batch: SettlementBatch) -> None:
        self.settled += batch.records
        self.items += batch.others

    def wait_settled(self, *records: Record) -> None:
        """Wait until these are."""
        wait_until(lambda: set(self.settled) == set(records), what=f"{len(records)} to be settled")

    def on(self, topic: str) -> list[Written]:
        """What was confirmed on a topic."""
        return [written for written in (*self.shared.confirmed, *self.lone.confirmed) if written.topic == topic]


@contextmanager
def settling(delivery: Delivery, judge: Verdict) -> Iterator[Settling]:
    """A started settler, ended afterwards."""
    made = Settling(delivery, judge)
    made.settler.start()
    yield made
    made.settler.stop(timedelta(seconds=5))
    assert made.settler.thread.crashed is None


def at_most(size_bytes: int, *topics: str) -> Verdict:
    """Brokers whose topics take no larger records."""

    def judge(written: Written) -> int | None:
        too_large = written.topic in topics and written.size_bytes > size_bytes
        return KafkaError.MSG_SIZE_TOO_LARGE if too_large else None

    return judge


def test_one_that_is_too_large_takes_nobody_along() -> None:
    """Its batch is refused for its sake: each goes alone, and all but that one are written whole."""
    delivery = declare()
    large = delivery.record({"ce_id": b"large"}, value=b"x" * 50_000, offset=1)
    others = [delivery.record({"ce_id": b"%d" % number}, offset=number) for number in range(2, 7)]
    with settling(delivery, at_most(20_000, DEAD_TOPIC)) as scene:
        for record in (large, *others):
            scene.settler.hand_in(record, DEAD)
        scene.wait_settled(large, *others)
    dead_letters = {written.named["ce_id"]: written for written in scene.on(DEAD_TOPIC)}
    assert len(scene.on(DEAD_TOPIC)) == 6
    for record in others:
        dead_letter = dead_letters[record.headers["ce_id"]]
        assert (dead_letter.value, dead_letter.named[wire.ERROR_STACK]) == (record.value, FAILURE.stack.encode())
        assert wire.TRUNCATED_FROM not in dead_letter.named
    assert dead_letters[b"large"].named[wire.TRUNCATED_FROM] == b"unit.q/0/1"


def test_a_lone_client_that_failed_for_good_ends_no_settler() -> None:
    """It raises that once, and what it owes is answered by and by; another one takes its place."""
    delivery = declare()
    large = delivery.record({"ce_id": b"large"}, value=b"x" * 50_000, offset=1)
    with settling(delivery, at_most(20_000, DEAD_TOPIC)) as scene:
        scene.lone.failure = KafkaException(KafkaError(KafkaError._FATAL, "fenced", fatal=True))
        scene.settler.hand_in(large, DEAD)
        scene.wait_settled(large)
    assert scene.made_lone > 1


@pytest.mark.parametrize("outcome", [DEAD, RETRIED])
def test_what_does_not_fit_is_written_without_the_stack(outcome: NotDone) -> None:
    """The stack is the first thing that a record loses, and the only one where that is enough."""
    delivery = declare()
    record = delivery.record(value=b"v" * 10_000)
    with settling(delivery, at_most(12_000, DEAD_TOPIC, RETRY_TOPIC)) as scene:
        scene.settler.hand_in(record, outcome)
        scene.wait_settled(record)
    (written,) = scene.on(DEAD_TOPIC if outcome is DEAD else RETRY_TOPIC)
    assert wire.ERROR_STACK not in written.named
    assert (written.value, written.named[wire.ERROR_MESSAGE], written.producer) == (record.value, b"x", "lone")
    assert wire.TRUNCATED_FROM not in written.named
    assert [scene.settled, len(scene.on(LEDGER_TOPIC))] == [[record], 1]


@pytest.mark.parametrize(
    "outcome",
    [
        RETRIED,
        Snoozed(due=NOW, delay=DelayClass.SHORT),
        Deferred(due=NOW, delay=DelayClass.SHORT, reason="unknown-type", detail="?"),
    ],
)
def test_a_job_whose_next_record_fits_nowhere_is_a_dead_letter(outcome: NotDone) -> None:
    """All of it is in the dead letter, with the error of its run, or else with what was too large."""
    delivery = declare()
    record = delivery.record(value=b"v" * 10_000)
    with settling(delivery, at_most(9_000, RETRY_TOPIC, DELAY_TOPIC)) as scene:
        scene.settler.hand_in(record, outcome)
        scene.wait_settled(record)
    (dead_letter,) = scene.on(DEAD_TOPIC)
    assert (dead_letter.value, dead_letter.named[wire.REASON]) == (record.value, b"too-large")
    expected = b"x" if outcome is RETRIED else b"its 10,012 bytes do not fit unit.q.delay.short, compressed"
    assert dead_letter.named[wire.ERROR_MESSAGE].startswith(expected)
    assert [(item.outcome.__class__, item.instead_of) for item in scene.items] == [(Dead, outcome)]


def test_a_retry_that_fits_nothing_is_a_truncated_dead_letter() -> None:
    """Neither the tier nor the dead letters take it whole: one dead letter, which names the original."""
    delivery = declare()
    record = delivery.record(value=bytes(range(250)) * 40, key=b"k")
    with settling(delivery, at_most(6_000, RETRY_TOPIC, DEAD_TOPIC)) as scene:
        scene.settler.hand_in(record, RETRIED)
        scene.wait_settled(record)
    (dead_letter,) = scene.on(DEAD_TOPIC)
    assert record.value is not None
    assert (dead_letter.value, dead_letter.key) == (record.value[:5_000], b"k")
    assert dead_letter.named[wire.TRUNCATED_FROM] == b"unit.q/0/7"
    assert dead_letter.named[wire.TRUNCATED_SIZE] == b"10000"
    assert dead_letter.named[wire.TRUNCATED_DIGEST] == sha256(record.value).hexdigest().encode()
    assert dead_letter.named[wire.REASON] == b"too-large"


def test_a_dead_letter_whose_partition_has_left_is_not_written() -> None:
    """The present owner has the record delivered again, and buries it."""
    delivery = declare()
    record = delivery.record(value=b"v" * 10_000)

    def judge(written: Written) -> int | None:
        if record.assignment.is_active:
            record.assignment.leave()
            record.assignment.end()
        return KafkaError.MSG_SIZE_TOO_LARGE if written.topic == RETRY_TOPIC else None

    with settling(delivery, judge) as scene:
        scene.settler.hand_in(record, RETRIED)
        scene.wait_settled(record)
    assert (scene.on(DEAD_TOPIC), scene.on(LEDGER_TOPIC)) == ([], [])


@pytest.mark.parametrize("size", [999_900, 1_000_000, 1_000_001, 3 * FIRST_CUT_BYTES])
def test_what_is_large_goes_alone_at_once(size: int) -> None:
    """Uncompressed it would be refused, or take a batch with it."""
    delivery = declare()
    record = delivery.record(value=bytes(size))
    with settling(delivery, lambda _written: None) as scene:
        scene.settler.hand_in(record, DEAD)
        scene.wait_settled(record)
    expected = "shared" if record.size_bytes <= 1_000_000 else "lone"
    assert [written.producer for written in scene.on(DEAD_TOPIC)] == [expected]


@pytest.mark.expected_errors("waiting does not help")
def test_where_nothing_fits_it_is_reported_and_kept_and_the_others_go_on() -> None:
    """A topic that takes no record at all is a person's to fix: nothing is settled, and a shutdown does not wait."""
    delivery = declare()
    record, fine = delivery.record({"x": b"y"}, offset=1), delivery.record({"ce_id": b"fine"}, offset=2)
    with settling(delivery, at_most(10, DEAD_TOPIC)) as scene:
        scene.settler.hand_in(record, DEAD)
        wait_until(lambda: scene.settler.stranded == 1)
        scene.settler.hand_in(fine, DONE)
        scene.wait_settled(fine)
        last = scene.lone.tried[-1]
        assert (last.value, last.named["ce_id"]) == (b"", b"job-1")
    assert scene.settled == [fine]


@pytest.mark.expected_errors("waiting does not help")
def test_a_shutdown_does_not_wait_for_the_twins_of_what_nothing_fits() -> None:
    """They are held until the first is settled, which only a person can bring about."""
    delivery = declare()
    record, again = (delivery.record({"x": b"y"}, offset=1) for _ in range(2))
    with settling(delivery, at_most(10, DEAD_TOPIC)) as scene:
        scene.settler.hand_in(record, DEAD)
        scene.settler.hand_in(again, SKIPPED)
        wait_until(lambda: scene.settler.stranded == 2)
        began_at_s = time.monotonic()
        scene.settler.stop(timedelta(seconds=60))
        assert time.monotonic() - began_at_s < 30
    assert scene.settled == []


def test_a_twin_is_held_until_the_dead_letter_is_written_that_stands_for_a_retry() -> None:
    """No tier takes the retry: another settlement ends in place of the one that the twin was held for."""
    delivery = declare()
    record, again = (delivery.record({"x": b"y"}, offset=1) for _ in range(2))
    with settling(delivery, at_most(10, RETRY_TOPIC)) as scene:
        scene.settler.hand_in(record, RETRIED)
        scene.settler.hand_in(again, SKIPPED)
        scene.wait_settled(record, again)
    assert len(scene.on(DEAD_TOPIC)) == 1


@pytest.mark.expected_errors("cannot be written")
def test_a_refusal_that_is_not_about_size_cuts_nothing() -> None:
    """A topic that is compacted refuses a dead letter without a key: it goes alone, whole, until the topic is fixed."""
    delivery, fixed = declare(), list[bool]()
    bad, keyed = delivery.record(offset=1), delivery.record({"ce_id": b"keyed"}, key=b"k", offset=2)

    def judge(written: Written) -> int | None:
        keyless = written.topic == DEAD_TOPIC and written.key is None
        return KafkaError.INVALID_RECORD if keyless and not fixed else None

    with settling(delivery, judge) as scene:
        scene.settler.hand_in(bad, DEAD)
        scene.settler.hand_in(keyed, DEAD)
        scene.wait_settled(keyed)
        wait_until(lambda: scene.settler.stranded == 1)
        fixed.append(True)
        scene.wait_settled(keyed, bad)
    assert {written.value for written in scene.on(DEAD_TOPIC)} == {delivery.payload()}
    assert all(wire.ERROR_STACK in written.named for written in scene.on(DEAD_TOPIC))


@pytest.mark.expected_errors("cannot be written")
def test_names_of_done_jobs_fit_the_ledger_in_smaller_batches() -> None:
    """A cluster may have lowered its limit: the batches are halved until they fit, and no name is lost."""
    delivery = declare()
    records = [delivery.record({"ce_id": b"%04d" % number + b"x" * 200}, offset=number) for number in range(300)]
    with settling(delivery, at_most(20_000, LEDGER_TOPIC)) as scene:
        for record in records:
            scene.settler.hand_in(record, DONE)
        scene.wait_settled(*records)
    names = [name for written in scene.on(LEDGER_TOPIC) for name in names_of(written.key or b"", written.value or b"")]
    assert sorted(names) == sorted(str(record.deduplication_id) for record in records)


@pytest.mark.parametrize("limit_bytes", [pytest.param(1_000_000, id="usual"), pytest.param(20_000, id="lowered")])
@pytest.mark.expected_errors("cannot be written")
def test_names_of_what_moved_on_are_written_in_batches_that_fit(limit_bytes: int) -> None:
    """A restart reads them all: of 300 snoozed jobs that are settled together, few records. No name is lost."""
    delivery = declare()
    records = [delivery.record({"ce_id": b"%04d" % number + b"x" * 200}, offset=number) for number in range(300)]
    with settling(delivery, at_most(limit_bytes, LEDGER_TOPIC)) as scene:
        for record in records:
            scene.settler.hand_in(record, Snoozed(due=NOW + timedelta(minutes=1), delay=DelayClass.SHORT))
        scene.wait_settled(*records)
    ledger = scene.on(LEDGER_TOPIC)
    names = [name for written in ledger for name in names_of(written.key or b"", written.value or b"")]
    assert sorted(names) == sorted(moved_name(record) for record in records)
    assert len(ledger) <= 60


@pytest.mark.expected_errors("cannot be written")
def test_trouble_is_reported_at_once_and_again_while_it_lasts(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every minute, here every 0.4 s, with job, topic and cause; and its end once."""
    monkeypatch.setattr(trouble, "LOG_INTERVAL_S", 0.4)
    monkeypatch.setattr(settle, "RETRY_PAUSE_S", 0.01)
    delivery, refused = declare(), [True]

    def judge(_written: Written) -> int | None:
        return KafkaError.NOT_ENOUGH_REPLICAS if refused else None

    def told(part: str) -> list[float]:
        return [said.created for said in list(caplog.records) if part in said.getMessage()]

    record = delivery.record()
    with settling(delivery, judge) as scene:
        scene.settler.hand_in(record, DEAD)
        said = "the outcome of job job-1 (work) cannot be written to unit.q.dead: Broker: Not enough in-sync"
        wait_until(lambda: len(told(said)) >= 4)
        refused.clear()
        scene.wait_settled(record)
        wait_until(lambda: len(told("writes outcomes again")) == 1)
    times = told("cannot be written")
    assert all(later - earlier > 0.1 for earlier, later in pairwise(times))


@pytest.mark.expected_errors("cannot be written")
def test_a_ledger_that_takes_no_entry_is_named(caplog: pytest.LogCaptureFixture) -> None:
    """Else who reads the log looks for the fault at the topics that hold jobs."""
    delivery, refused = declare(), [True]

    def judge(written: Written) -> int | None:
        return KafkaError.MSG_SIZE_TOO_LARGE if refused and written.topic == LEDGER_TOPIC else None

    record = delivery.record()
    with settling(delivery, judge) as scene:
        scene.settler.hand_in(record, DONE)
        said = (
            f"the outcome of job job-1 (work) cannot be written to {LEDGER_TOPIC}: Broker: Message size too large; "
            "waiting does not help"
        )
        wait_until(lambda: any(said in line.getMessage() for line in list(caplog.records)), what=said)
        refused.clear()
        scene.wait_settled(record)


def test_the_next_job_of_a_key_waits_for_no_retry_that_never_comes() -> None:
    """In a queue of strict order: the retry has become a dead letter, so that the lane goes on."""
    assignment, started = Assignment(1, "unit.q", 0), list[Record]()
    delivery = declare(ordering="strict")
    first = delivery.record(key=b"k", offset=1, assignment=assignment)
    second = delivery.record({"ce_id": b"second"}, key=b"k", offset=2, assignment=assignment)
    lanes = StrictLanes(started.extend)
    lanes.add([first, second])
    lanes.expect(first, RETRIED)
    lanes.finish(first, RETRIED)
    assert started == [first]
    lanes.note_settled([Settlement(first, DEAD, Writes(), instead_of=RETRIED)])
    assert started == [first, second]
