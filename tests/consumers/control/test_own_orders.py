"""Each order of a worker's own learns whether it stands, whatever becomes of the client that has it.

A fatal error cannot be had of a real client on demand, so the clients here are none.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException, Message

from stoker.consumers.control import own_orders
from stoker.consumers.control.own_orders import OwnOrder, OwnOrders
from stoker.schemas.own_records.control_records import ControlOrder
from stoker.topology import ClusterSettings, Pipeline
from stoker.topology.wire.orders import Verb

FATAL = KafkaError(KafkaError._FATAL, "fenced")


class Client:
    """Keeps the reports that it is to give; returns them when it is polled."""

    def __init__(self) -> None:
        self.topics: list[str] = []
        self.reports: list[Callable[..., None]] = []
        self.errors: list[KafkaError | None] = []
        self.failure: KafkaException | None = None

    def produce(self, topic: str, *_values: Any, on_delivery: Callable[..., None], **_named: Any) -> None:
        """Take a record."""
        self.topics.append(topic)
        self.reports.append(on_delivery)

    def poll(self, _timeout_s: float) -> None:
        """Report on the first ones, or fail."""
        if self.failure is not None:
            raise self.failure
        while self.errors:
            self.reports.pop(0)(self.errors.pop(0), Message(topic=self.topics.pop(0), partition=0, offset=7))

    def flush(self, timeout_s: float) -> int:
        """As a poll."""
        self.poll(timeout_s)
        return 0


def order_of(job_type: str, on_answer: Callable[[KafkaError | None], None], *, is_audited: bool = False) -> OwnOrder:
    """A pause of a job type."""
    order = ControlOrder(
        order_id=job_type, verb=Verb.PAUSE, operator="w1", host="here", at=datetime.now(UTC), job_type=job_type
    )
    return OwnOrder(order=order, is_audited=is_audited, on_answer=on_answer)


def orders_through(client: Client, monkeypatch: pytest.MonkeyPatch) -> OwnOrders:
    """Those of one worker."""
    monkeypatch.setattr(own_orders, "connect", lambda _config, _outage: client)
    return OwnOrders(ClusterSettings(bootstrap_servers="localhost:1"), Pipeline("shop"), "w1")


def test_orders_that_a_client_had_when_it_failed_for_good_are_answered_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error of one of them is its last word: the others would wait for an answer for ever, unwritten."""
    client, answers = Client(), list[tuple[str, KafkaError | None]]()
    own = orders_through(client, monkeypatch)
    for name in "abc":
        own.write(order_of(name, lambda error, name=name: answers.append((name, error))))  # type: ignore[misc]
    client.errors = [None, FATAL]
    own.turn()
    assert (len(answers), dict(answers)) == (3, {"a": None, "b": FATAL, "c": FATAL})
    client.reports.pop()(None, None)  # it answers after all
    assert len(answers) == 3


@pytest.mark.parametrize("way", ["turn", "close"])
def test_orders_are_answered_also_where_the_client_itself_raises_that_it_has_failed(
    way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It does so once, from whatever is called next; the thread of orders goes on."""
    client, answers = Client(), list[KafkaError | None]()
    own = orders_through(client, monkeypatch)
    own.write(order_of("a", answers.append))
    client.failure = KafkaException(FATAL)
    if way == "turn":
        own.turn()
    else:
        own.close(1.0)
    assert answers == [FATAL]


def test_an_order_that_stands_without_its_audit_entry_is_logged_as_such(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Each of them: the order holds in the whole fleet, and nobody writes its entry again."""
    client, answers = Client(), list[KafkaError | None]()
    own = orders_through(client, monkeypatch)
    for name in "ab":
        own.write(order_of(name, answers.append, is_audited=True))
    client.errors = [None, None, *2 * [KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED)]]
    own.turn()
    assert answers == [None, None]
    assert client.topics == []
    for name in "ab":
        assert f"this worker's order to pause type/{name} holds for all workers without an audit entry" in caplog.text
    assert caplog.text.count("shop.audit did not take it") == 2
    assert "holds in this process alone" not in caplog.text


@pytest.mark.parametrize(
    ("code", "fix"),
    [
        (KafkaError.TOPIC_AUTHORIZATION_FAILED, "grant the worker the right to write to the topic"),
        (KafkaError._UNKNOWN_TOPIC, "see that the topic exists (`stoker doctor`)"),
        (KafkaError._MSG_TIMED_OUT, "see that the topic has a leader"),
    ],
)
def test_the_log_has_what_helps_against_the_error_that_an_order_met(
    code: int, fix: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A right is asked for only where it is missing."""
    client = Client()
    own = orders_through(client, monkeypatch)
    own.write(order_of("a", lambda _error: None))
    client.errors = [KafkaError(code)]
    own.turn()
    assert f"; {fix})" in caplog.text
    assert caplog.text.count(" right ") == fix.count(" right ")
