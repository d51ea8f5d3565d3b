"""Settling repeats what failed and only that: one confirmed record for each outcome, and nobody waits for another."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, cast

import pytest
from confluent_kafka import KafkaError, Message, Producer

from stoker.consumers.job.failure import describe_failure
from stoker.consumers.partitions.ledger import tried_name
from stoker.consumers.partitions.ledger_records import names_of
from stoker.consumers.records.outcomes import DONE, SKIPPED, Dead, Done, Outcome, Retried
from stoker.consumers.records.record import Record
from stoker.consumers.settling.next_records import SettlingContext
from stoker.consumers.settling.outgoing import OutgoingRecord
from stoker.consumers.settling.settle import SettledEvents, Settler, SettlingClients
from stoker.consumers.settling.settlement import SettlementBatch
from stoker.consumers.settling.writes import WRITERS, Writer
from stoker.schemas.own_records.job_events import JobEvent
from support.scenes.deliveries import NOW, TIERS, Delivery, declare
from support.waiting import wait_until

DEAD = Dead(reason="permanent", failure=describe_failure("work", ValueError("x")))
RETRIED = Retried(
    due=NOW + timedelta(seconds=1), tier=TIERS[0], next_attempt=2, failure=describe_failure("work", ValueError("x"))
)


def announce(record: Record, outcome: Outcome, context: SettlingContext) -> Sequence[OutgoingRecord]:
    """A second record, made up: the outcome of each even offset."""
    key, place = type(outcome).__name__.encode(), record.assignment.partition
    told = OutgoingRecord(topic="unit.told", partition=place, key=key, value=b"", headers=[])
    return [] if record.offset % 2 else [told]


ANNOUNCED = (*WRITERS, Writer(follows=(Done, Retried), plan=announce))


class UnreliableProducer:
    """Stands for librdkafka's producer with brokers that refuse some topics for a while, as none does at will."""

    def __init__(self, refused: set[str]) -> None:
        self.refused = refused
        self.guessed: set[str] = set()
        self.refusals = 0
        self.confirmed: list[tuple[str, bytes | None]] = []
        self.remembered: set[str] = set()
        self._pending: list[tuple[str, bytes | None, bytes, Any]] = []

    def produce(
        self, topic: str, *, key: bytes | None = None, value: bytes = b"", on_delivery: Any = None, **_others: Any
    ) -> None:
        """Queue one."""
        self._pending.append((topic, key, value, on_delivery))

    def flush(self, _timeout_s: float) -> int:
        """Confirm or refuse all."""
        for topic, key, value, on_delivery in self._pending:
            if topic in self.refused:
                self.refusals += 1
                on_delivery(KafkaError(KafkaError._MSG_TIMED_OUT), Message(topic=topic, key=key))
            elif topic in self.guessed:
                self.guessed.discard(topic)
                on_delivery(None, Message(topic=topic, key=key))
            else:
                self.confirmed.append((topic, key))
                if topic.endswith(".ledger"):
                    self.remembered.update(names_of(key or b"", value))
                on_delivery(None, Message(topic=topic, key=key, offset=len(self.confirmed)))
        self._pending.clear()
        return 0

    def count(self, topic: str) -> int:
        """How often something was confirmed on a topic."""
        return sum(1 for confirmed, _ in self.confirmed if confirmed == topic)


class Settling:
    """A settler on such a producer, and what it said was settled."""

    def __init__(self, delivery: Delivery, refused: set[str], writers: Sequence[Writer]) -> None:
        self.producer = UnreliableProducer(refused)
        self.settled: list[Record] = []
        self.events: list[JobEvent] = []
        self.settler = Settler(
            delivery.queue,
            SettlingClients(make_shared=self._client, make_lone=self._client),
            worker_id="w1",
            events=SettledEvents(publish=self.events.append),
            on_settled=self._note,
            writers=writers,
        )

    def _client(self) -> Producer:
        return cast(Producer, self.producer)

    def _note(self, batch: SettlementBatch) -> None:
        self.settled += batch.records

    def hand_in(self, record: Record, outcome: Outcome) -> None:
        """As a runner does."""
        self.settler.hand_in(record, outcome)


@contextmanager
def settling(delivery: Delivery, refused: set[str], writers: Sequence[Writer] = WRITERS) -> Iterator[Settling]:
    """A started settler, ended afterwards."""
    made = Settling(delivery, refused, writers)
    made.settler.start()
    yield made
    made.settler.stop(timedelta(seconds=5))
    assert made.settler.thread.crashed is None


def test_nothing_is_settled_before_it_is_confirmed() -> None:
    """Record, then ledger, then the word to the poll thread."""
    delivery = declare()
    with settling(delivery, set()) as scene:
        record = delivery.record()
        scene.hand_in(record, RETRIED)
        wait_until(lambda: scene.settled == [record])
    topics = [topic for topic, _ in scene.producer.confirmed]
    assert topics[:2] == ["unit.q.retry.1s", "unit.q.ledger"]


def test_a_done_job_is_remembered_though_its_partition_was_revoked() -> None:
    """It is true whoever owns the partition, and spares the present owner a second run."""
    delivery = declare()
    with settling(delivery, set()) as scene:
        record = delivery.record()
        record.assignment.leave()
        record.assignment.end()
        scene.hand_in(record, DONE)
        wait_until(lambda: scene.settled == [record])
    assert scene.producer.remembered == {record.deduplication_id}


@pytest.mark.expected_errors("cannot be written")
def test_done_jobs_whose_batch_cannot_be_written_are_not_settled_until_it_can() -> None:
    """All of the batch wait, and all are remembered in the end."""
    delivery = declare()
    records = [delivery.record({"ce_id": b"job-%d" % number}, offset=number) for number in range(1_100)]
    with settling(delivery, {"unit.q.ledger"}) as scene:
        for record in records:
            scene.hand_in(record, DONE)
        wait_until(lambda: scene.producer.refusals >= 6, what="a repetition of three batches")
        assert scene.settled == []
        scene.producer.refused.clear()
        wait_until(lambda: set(scene.settled) == set(records))
    assert scene.producer.remembered == {record.deduplication_id for record in records}


@pytest.mark.expected_errors("cannot be written")
def test_a_retry_that_cannot_be_written_is_not_settled_until_it_can() -> None:
    """Neither is its ledger entry written; others are settled meanwhile."""
    delivery = declare()
    with settling(delivery, {"unit.q.retry.1s"}) as scene:
        failing, fine = delivery.record(offset=1), delivery.record({"ce_id": b"fine"}, offset=2)
        scene.hand_in(failing, RETRIED)
        scene.hand_in(fine, DONE)
        wait_until(lambda: scene.settled == [fine])
        assert scene.producer.remembered == {"fine"}
        scene.producer.refused.clear()
        wait_until(lambda: scene.settled == [fine, failing])
    assert scene.producer.count("unit.q.retry.1s") == 1


@pytest.mark.expected_errors("cannot be written")
@pytest.mark.parametrize("topic", ["unit.q.retry.1s", "unit.q.ledger"])
def test_a_delivery_that_no_broker_has_confirmed_is_written_again(topic: str) -> None:
    """The client guesses that a record is stored when a later one is, and reports it without an offset; a leader that
    has just taken over makes the guess wrong, and the job would be lost."""
    delivery = declare()
    with settling(delivery, set()) as scene:
        scene.producer.guessed.add(topic)
        record = delivery.record()
        scene.hand_in(record, RETRIED)
        wait_until(lambda: scene.settled == [record])
    assert scene.producer.count("unit.q.retry.1s") == scene.producer.count("unit.q.ledger") == 1


@pytest.mark.expected_errors("cannot be written")
def test_a_retry_whose_ledger_entry_fails_is_published_once() -> None:
    """What is confirmed is not written again while the rest is repeated: the job would multiply."""
    delivery = declare()
    with settling(delivery, {"unit.q.ledger"}) as scene:
        record = delivery.record()
        scene.hand_in(record, RETRIED)
        wait_until(lambda: scene.producer.refusals >= 3, what="two repetitions")
        assert scene.settled == []
        scene.producer.refused.clear()
        wait_until(lambda: scene.settled == [record])
    assert scene.producer.count("unit.q.retry.1s") == 1


@pytest.mark.expected_errors("cannot be written")
@pytest.mark.parametrize("topic", ["unit.q.retry.1s", "unit.q.ledger"])
def test_an_outcome_that_is_written_again_and_again_has_one_event(topic: str) -> None:
    """It is published when the outcome is settled, not with each try to write it."""
    delivery = declare()
    with settling(delivery, {topic}) as scene:
        record = delivery.record()
        scene.hand_in(record, RETRIED)
        wait_until(lambda: scene.producer.refusals >= 3, what="two repetitions")
        assert scene.events == []
        scene.producer.refused.clear()
        wait_until(lambda: scene.settled == [record])
    assert [event.kind for event in scene.events] == ["retried"]


@pytest.mark.expected_errors("did not confirm")
def test_a_stop_gives_up_in_time_where_the_brokers_do_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the settler waits for them since before the stop."""
    delivery, is_waiting = declare(), threading.Event()

    def stay_silent(timeout_s: float) -> int:
        is_waiting.set()
        threading.Event().wait(timeout_s)
        return 1

    with settling(delivery, set()) as scene:
        monkeypatch.setattr(scene.producer, "flush", stay_silent)
        scene.hand_in(delivery.record(), DONE)
        assert is_waiting.wait(60)
        began_at_s = time.monotonic()
        scene.settler.stop(timedelta(seconds=0.1))
        assert time.monotonic() - began_at_s < 2
        assert not scene.settler.thread.is_alive
    assert scene.settled == []


@pytest.mark.expected_errors("cannot be written")
def test_under_steady_load_failed_writes_are_reported_and_repeated(caplog: pytest.LogCaptureFixture) -> None:
    """Outcomes that come in without a pause do not keep those in trouble waiting for one."""
    delivery, finished = declare(), threading.Event()

    def load() -> None:
        number = 100
        while not finished.is_set():
            scene.hand_in(delivery.record({"ce_id": b"%d" % number}, offset=number), DONE)
            number += 1

    with settling(delivery, {"unit.q.retry.1s"}) as scene:
        failing = delivery.record(offset=1)
        loading = threading.Thread(target=load)
        loading.start()
        scene.hand_in(failing, RETRIED)
        try:
            wait_until(lambda: any("cannot be written" in said.getMessage() for said in list(caplog.records)))
            scene.producer.refused.clear()
            wait_until(lambda: failing in scene.settled)
        finally:
            finished.set()
            loading.join()


def test_each_record_of_an_outcome_is_confirmed_before_its_ledger_entry() -> None:
    """Also of a job that is done; one that nothing follows goes into a batch of names, as ever."""
    delivery = declare()
    done, failed, plain = (delivery.record({"ce_id": b"%d" % number}, offset=number) for number in (2, 4, 5))
    with settling(delivery, set(), ANNOUNCED) as scene:
        for record, outcome in ((done, DONE), (failed, RETRIED), (plain, DONE)):
            scene.hand_in(record, outcome)
        wait_until(lambda: set(scene.settled) == {done, failed, plain})
    confirmed = scene.producer.confirmed
    assert confirmed.index(("unit.told", b"Done")) < confirmed.index(("unit.q.ledger", b"2"))
    entry = ("unit.q.ledger", tried_name(failed).encode())
    assert max(confirmed.index(("unit.told", b"Retried")), confirmed.index(("unit.q.retry.1s", None))) < (
        confirmed.index(entry)
    )
    assert {"2", "5"} < scene.producer.remembered
    assert any((key or b"").startswith(b"batch:") for topic, key in confirmed)


@pytest.mark.expected_errors("cannot be written")
@pytest.mark.parametrize("refused", ["unit.told", "unit.q.retry.1s"])
def test_of_several_records_only_those_that_are_not_confirmed_are_written_again(refused: str) -> None:
    """The ledger waits for all of them, and none is there twice."""
    delivery = declare()
    with settling(delivery, {refused}, ANNOUNCED) as scene:
        record = delivery.record(offset=2)
        scene.hand_in(record, RETRIED)
        wait_until(lambda: scene.producer.refusals >= 3, what="two repetitions")
        assert (scene.settled, scene.producer.remembered) == ([], set())
        scene.producer.refused.clear()
        wait_until(lambda: scene.settled == [record])
    assert (scene.producer.count("unit.told"), scene.producer.count("unit.q.retry.1s")) == (1, 1)
    assert scene.producer.confirmed[-1][0] == "unit.q.ledger"


DEAD = Dead(reason="attempts-spent", failure=RETRIED.failure)


@pytest.mark.expected_errors("cannot be written")
@pytest.mark.parametrize(
    ("outcome", "topic"), [(RETRIED, "unit.q.retry.1s"), (DEAD, "unit.q.dead"), (RETRIED, "unit.q.ledger")]
)
def test_a_skipped_twin_waits_until_what_follows_its_attempt_is_written(outcome: Outcome, topic: str) -> None:
    """Offsets went back, and one record that has failed was delivered again: a commit past both would lose its job."""
    delivery = declare()
    with settling(delivery, {topic}) as scene:
        failing, again = (delivery.record({"ce_id": b"1"}, offset=1) for _ in range(2))
        other = delivery.record({"ce_id": b"2"}, offset=2)
        scene.hand_in(failing, outcome)
        wait_until(lambda: scene.producer.refusals >= 1, what="a refusal")
        scene.hand_in(again, SKIPPED)
        scene.hand_in(other, SKIPPED)
        wait_until(lambda: other in scene.settled)
        assert again not in scene.settled
        scene.producer.refused.clear()
        wait_until(lambda: {failing, again, other} <= set(scene.settled))


def test_a_skipped_twin_waits_for_an_outcome_whose_records_cannot_be_planned_yet() -> None:
    """As above, where what follows a dead letter is not ready: nothing of the failure is written, or on its way."""
    delivery, ready = declare(), set[Record]()
    writer = Writer(
        follows=(Dead,), plan=lambda *_: (), is_ready=lambda record, outcome: outcome is SKIPPED or record in ready
    )
    with settling(delivery, set(), (*WRITERS, writer)) as scene:
        failing, again = (delivery.record({"ce_id": b"1"}, offset=1) for _ in range(2))
        others = [delivery.record({"ce_id": b"%d" % number}, offset=number) for number in (2, 3)]
        for record, outcome in ((failing, DEAD), (again, SKIPPED), (others[0], SKIPPED)):
            scene.hand_in(record, outcome)
        wait_until(lambda: others[0] in scene.settled)
        scene.hand_in(others[1], SKIPPED)
        wait_until(lambda: others[1] in scene.settled)
        assert scene.settled == others
        assert scene.settler.stranded == 2
        ready.add(failing)
        wait_until(lambda: {failing, again} <= set(scene.settled))


@pytest.mark.expected_errors("cannot be written")
@pytest.mark.parametrize(("outcome", "topic"), [(RETRIED, "unit.q.retry.1s"), (DEAD, "unit.q.dead")])
def test_what_was_refused_is_not_written_once_the_partition_is_another_workers(outcome: Outcome, topic: str) -> None:
    """The next owner runs the job again: its dead letter, or a second retry, would be of a job that may succeed."""
    delivery = declare()
    scene, record = Settling(delivery, {topic}, WRITERS), delivery.record()
    scene.settler.start()
    scene.hand_in(record, outcome)
    wait_until(lambda: scene.producer.refusals >= 1)
    record.assignment.leave()
    record.assignment.end()
    scene.producer.refused.clear()
    wait_until(lambda: scene.settled == [record])
    scene.settler.stop(timedelta(seconds=2))
    assert scene.producer.confirmed == []
