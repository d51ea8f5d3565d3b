"""The client underneath: options that would break a guarantee, errors in words, logs without secrets."""

from __future__ import annotations

import logging
import time
from datetime import timedelta
from pathlib import Path

import pytest
from confluent_kafka import KafkaError, KafkaException, Message

from stoker.producers import Producer, ProducerSettings
from stoker.producers.client import LogRelay, Outage, connect, producer_config
from stoker.producers.connection import Connection, OnDelivery
from stoker.producers.delivery import Outcome, delivery_error
from stoker.producers.errors import (
    BrokerUnreachable,
    BufferFull,
    DeliveryFailed,
    EnqueueError,
    NotAuthorized,
    RecordTooLarge,
    SettingRefused,
    UnknownTopic,
    WouldDeadlock,
)
from stoker.producers.outbox.spool import Spool
from stoker.producers.record import BuiltRecord
from stoker.topology import ClusterSettings, Pipeline
from stoker.topology.cluster.forgotten_brokers import LastingProducer
from stoker.topology.cluster.settings import Option
from support.scenes.shop import Shop
from support.waiting import wait_until


def cluster_with(**options: Option) -> ClusterSettings:
    """Settings with these options, `_` for `.`."""
    named = {name.replace("_", "."): value for name, value in options.items()}
    return ClusterSettings(bootstrap_servers="localhost:9092", options=named)


@pytest.mark.parametrize(
    "options",
    [
        {"acks": "1"},
        {"acks": 0},
        {"request_required_acks": "1"},
        {"enable_idempotence": False},
        {"enable_idempotence": "false"},
        {"partitioner": "random"},
    ],
)
def test_an_option_that_breaks_a_guarantee_is_refused(options: dict[str, Option]) -> None:
    """acks, idempotence and the partitioner cannot be weakened, under none of their names; the reason is said."""
    with pytest.raises(SettingRefused, match="refused, it must be"):
        Producer(Pipeline("shop"), cluster_with(**options))
    with pytest.raises(SettingRefused):
        producer_config(cluster_with(), **options)


@pytest.mark.parametrize("options", [{"acks": "all"}, {"acks": -1}, {"enable_idempotence": "true"}])
def test_an_option_that_repeats_a_guarantee_is_fine(options: dict[str, Option]) -> None:
    """Saying what holds anyway is no fault, and the guarantee goes out as it is."""
    config = producer_config(cluster_with(**options))
    assert (config["acks"], config["enable.idempotence"], config["partitioner"]) == ("all", True, "murmur2_random")


def test_the_clusters_options_win_over_defaults_and_overrides() -> None:
    """Any other librdkafka option of the cluster passes through."""
    config = producer_config(
        cluster_with(linger_ms=7, security_protocol="SSL"), linger_ms=1, client_id="mine", log_level=3
    )
    assert (config["linger.ms"], config["security.protocol"], config["client.id"]) == (7, "SSL", "mine")
    assert (config["bootstrap.servers"], config["log_level"]) == ("localhost:9092", 3)


def test_an_unknown_option_is_refused_without_showing_its_value() -> None:
    """A misspelt secret does not end up in the message."""
    config = producer_config(cluster_with(sasl_pasword="hunter2"))
    with pytest.raises(SettingRefused, match=r"sasl\.pasword") as caught:
        connect(config, Outage("localhost:9092"))
    assert "hunter2" not in str(caught.value)


def test_log_lines_of_the_client_carry_no_secret(caplog: pytest.LogCaptureFixture) -> None:
    """A line of librdkafka that repeats a configured secret is logged with a mark in its place."""
    caplog.set_level(logging.DEBUG, logger="stoker.producers")
    relay = LogRelay(producer_config(cluster_with(sasl_password="hunter2")))
    relay.log(logging.WARNING, "%s [%s] %s", "SASL", "producer-1", "login with hunter2 failed")
    assert "[hidden]" in caplog.text
    assert "hunter2" not in caplog.text


def test_a_partition_without_leader_is_a_detail(caplog: pytest.LogCaptureFixture) -> None:
    """While an outage ends, librdkafka warns of each by the hundred; `Outage` tells of it once."""
    relay = LogRelay(producer_config(cluster_with()))
    with caplog.at_level(logging.INFO, logger="stoker.producers"):
        relay.log(
            logging.WARNING, "%s [%s] %s", "METADATAUPDATE", "p-1", "Partition q[0]: new leader-1 not found in cache"
        )
        assert not caplog.records
        relay.log(logging.WARNING, "%s [%s] %s", "REQTMOUT", "p-1", "Timed out 1 in-flight")
    assert [record.levelno for record in caplog.records] == [logging.WARNING]


def test_an_outage_is_logged_once_and_its_end_once(caplog: pytest.LogCaptureFixture) -> None:
    """However often the client repeats that no broker answers, two lines tell of an outage."""
    caplog.set_level(logging.DEBUG, logger="stoker.producers")
    outage = Outage("localhost:9092")
    outage.end()
    for _ in range(30):
        outage.note(KafkaError(KafkaError._ALL_BROKERS_DOWN, "1/1 brokers are down"))
    outage.end()
    outage.end()
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == 2
    assert "1/1 brokers are down" in said[0]
    assert "confirms again" in said[1]


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (KafkaError._MSG_TIMED_OUT, BrokerUnreachable),
        (KafkaError._TRANSPORT, BrokerUnreachable),
        (KafkaError.MSG_SIZE_TOO_LARGE, RecordTooLarge),
        (KafkaError._UNKNOWN_TOPIC, UnknownTopic),
        (KafkaError.UNKNOWN_TOPIC_OR_PART, UnknownTopic),
        (KafkaError._UNKNOWN_PARTITION, UnknownTopic),
        (KafkaError._DESTROY, UnknownTopic),
        (KafkaError.TOPIC_AUTHORIZATION_FAILED, NotAuthorized),
        (KafkaError._AUTHENTICATION, NotAuthorized),
        (KafkaError._PURGE_QUEUE, DeliveryFailed),
        (KafkaError.INVALID_RECORD, DeliveryFailed),
    ],
)
def test_each_failure_has_its_error(code: int, expected: type[EnqueueError]) -> None:
    """What callers do differently is a class of its own, with the job, the topic and the cause in its message."""
    error = delivery_error(KafkaError(code), "job-1", "shop.mails", Outage("localhost:9092"))
    assert type(error) is expected
    assert "job-1" in str(error)
    assert "shop.mails" in str(error)
    assert KafkaError(code).str() in str(error)


def test_a_timeout_under_refused_credentials_is_about_the_credentials() -> None:
    """A wrong password shows as silence; the client's own error tells the two apart."""
    outage = Outage("localhost:9092")
    outage.note(KafkaError(KafkaError._AUTHENTICATION, "SASL authentication error"))
    error = delivery_error(KafkaError(KafkaError._MSG_TIMED_OUT), "job-1", "shop.mails", outage)
    assert isinstance(error, NotAuthorized)
    assert "SASL authentication error" in str(error)


def test_a_job_that_met_refused_credentials_on_its_way_is_perhaps_published() -> None:
    """A broker takes it, restarts before it answers, and refuses the client that comes back."""
    outage = Outage("localhost:9092")
    outage.note(KafkaError(KafkaError._AUTHENTICATION, "SASL authentication error"))
    silent = delivery_error(KafkaError(KafkaError._MSG_TIMED_OUT), "job-1", "shop.mails", outage)
    assert silent.maybe_published
    assert "whether it was published is unknown" in str(silent)
    refused = delivery_error(KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED), "job-1", "shop.mails", outage)
    assert not refused.maybe_published
    assert "it was not published" in str(refused)


def test_a_client_that_gave_up_is_replaced(producer: Producer, shop: Shop) -> None:
    """A fatal error of librdkafka ends its client, not the producer: the next job goes through a new one."""
    producer.enqueue(shop.send_receipt, 1, "a")
    broken = producer._publisher.connections._live
    assert broken is not None
    # librdkafka raises it after rare faults of brokers which cannot be brought about from outside.
    broken.outage.note(KafkaError(KafkaError._FATAL, "out of order sequence", fatal=True))
    assert producer.enqueue(shop.send_receipt, 2, "a").offset >= 0
    assert producer._publisher.connections._live is not broken


def test_settings_that_cannot_be_are_refused_together() -> None:
    """Every fault is named with key, wish and value."""
    with pytest.raises(ValueError, match=r"confirm_timeout.*room_wait.*max_buffered_jobs.*max_buffered_bytes"):
        ProducerSettings(
            confirm_timeout=timedelta(0), room_wait=timedelta(-1), max_buffered_jobs=0, max_buffered_bytes=5
        )


@pytest.mark.parametrize("fault", [ZeroDivisionError, SystemExit])
@pytest.mark.expected_errors("the producer failed at a report of the brokers")
def test_the_thread_that_reads_reports_outlives_a_fault(
    monkeypatch: pytest.MonkeyPatch, fault: type[BaseException]
) -> None:
    """Else no later call would learn that its job is confirmed; a future's callback may raise anything."""
    polls = 0

    def poll(_connection: Connection, _timeout_s: float) -> None:
        nonlocal polls
        polls += 1
        if polls == 1:
            raise fault

    monkeypatch.setattr(Connection, "poll", poll)
    producer = Producer(Pipeline("shop"), cluster_with())
    producer._publisher.connections.live()
    wait_until(lambda: polls > 1, what="the next report")
    producer.close()


def test_a_job_that_is_handed_over_while_the_producer_ends_has_an_outcome(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its thread found the producer open; by the time it has handed the job over, nobody reads reports any more."""
    producer, outcomes = Producer(Pipeline("shop"), cluster_with()), list[Outcome]()
    offer = Connection.offer

    def offer_after_the_end(connection: Connection, record: BuiltRecord, on_delivery: OnDelivery) -> bool:
        producer.close()
        return offer(connection, record, on_delivery)

    monkeypatch.setattr(Connection, "offer", offer_after_the_end)
    assert producer._publisher.offer(BuiltRecord("shop.mails", None, b"", [], -1, "job-1"), outcomes.append)
    [outcome] = outcomes
    assert isinstance(outcome, DeliveryFailed)
    assert outcome.maybe_published


def test_giving_up_on_records_outlives_a_client_that_fails_at_that_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    """librdkafka raises a fatal error once, from whatever is called next; the reports are read all the same."""
    flushes = 0

    class Failing(LastingProducer):
        def flush(self, timeout: float = -1) -> int:
            nonlocal flushes
            flushes += 1
            if flushes == 1:
                raise KafkaException(KafkaError(KafkaError._FATAL, "out of order sequence", fatal=True))
            return super().flush(timeout)

    reports: list[KafkaError | None] = []
    monkeypatch.setattr("stoker.producers.client.LastingProducer", Failing)
    connection = Connection(producer_config(cluster_with()))
    record = BuiltRecord("shop.mails", None, b"", [], -1, "job-1")
    assert connection.offer(record, lambda error, _message: reports.append(error))
    connection.abandon()
    assert connection.is_broken
    assert [error and error.code() for error in reports] == [KafkaError._PURGE_QUEUE]


def test_a_callback_does_not_wait_for_room_that_it_takes_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """The job whose report it takes is in the buffer until it returns; the full buffer refuses another one at once."""
    producer = Producer(Pipeline("shop"), cluster_with(), settings=ProducerSettings(room_wait=timedelta(seconds=50)))
    publisher, refused = producer._publisher, list[BufferFull]()
    record = BuiltRecord("shop.mails", None, b"", [], -1, "job-1")

    def publish_more(_error: KafkaError | None, _message: Message) -> None:
        monkeypatch.setattr(Connection, "offer", lambda *_: False)
        with pytest.raises(BufferFull, match="unconfirmed after 0 s") as full:
            publisher.publish(record, lambda _outcome: None)
        refused.append(full.value)

    connection = publisher.connections.live()
    assert connection.offer(record, publish_more)
    began_at_s = time.monotonic()
    connection.abandon()
    producer.close()
    assert len(refused) == 1
    assert time.monotonic() - began_at_s < 25


def test_a_producer_that_a_callback_cannot_close_keeps_its_spool(tmp_path: Path) -> None:
    """The refusal comes first, so that the producer goes on as it was."""
    closed: list[bool] = []
    producer = Producer(Pipeline("shop"), cluster_with(), spool=Spool(tmp_path / "spool"))
    assert producer._spool is not None
    producer._spool.close = lambda: closed.append(True)  # type: ignore[method-assign]

    def close(_error: KafkaError | None, _message: Message) -> None:
        with pytest.raises(WouldDeadlock):
            producer.close()
        assert not closed

    connection = producer._publisher.connections.live()
    assert connection.offer(BuiltRecord("shop.mails", None, b"", [], -1, "job-1"), close)
    connection.abandon()
    assert not closed
    producer.close()
    assert closed == [True]
