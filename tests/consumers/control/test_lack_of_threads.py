"""The control thread goes on where a client cannot be made for lack of threads, and makes one later.

Such a lack cannot be had on demand, so librdkafka is told to report it.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException

from stoker.consumers.control.order_remover import OrderRemover
from stoker.consumers.control.own_orders import OwnOrder, OwnOrders
from stoker.consumers.control.status_writer import StatusWriter
from stoker.producers import client, transaction_writer
from stoker.producers.client import producer_config, transactional
from stoker.producers.connection import Connection
from stoker.producers.errors import ClientNotStarted, SettingRefused
from stoker.schemas.own_records.control_records import ControlOrder, WorkerState, WorkerStatus
from stoker.topology import ClusterSettings, Pipeline
from stoker.topology.cluster.forgotten_brokers import lasting
from stoker.topology.wire.orders import Verb, cancel_key

CLUSTER = ClusterSettings(bootstrap_servers="localhost:1")
LACK = KafkaError(KafkaError._CRIT_SYS_RESOURCE, "failed to create thread")
NOW = datetime(2013, 1, 31, 12, tzinfo=UTC)


class AtEnd:
    """Has read all orders."""

    def read_to(self, _offset: int, _within_s: float) -> bool:
        """Read nothing."""
        return True


class Machine:
    """Has no thread left for a client until it is `well`; counts the attempts."""

    def __init__(self) -> None:
        self.attempts = 0
        self.is_well = False
        self._make = lasting

    def make(self, kind: Any, config: Any) -> Any:
        """Make a client."""
        self.attempts += 1
        if not self.is_well:
            raise KafkaException(LACK)
        return self._make(kind, config)


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    """Without threads."""
    machine = Machine()
    monkeypatch.setattr(client, "lasting", machine.make)
    return machine


def test_a_status_is_sent_once_there_is_a_client(machine: Machine, caplog: pytest.LogCaptureFixture) -> None:
    """Until then its caller learns each time that it was not, and the log has it once."""
    writer, answers = StatusWriter(CLUSTER, "shop.workers", "w1"), list[KafkaError | None]()
    status = WorkerStatus(
        id="w1", host="web-1", pid=1, version="1", state=WorkerState.RUNNING, started_at=NOW, at=NOW, queues=(),
        memory_bytes=0, control_offset=0, control_age_s=0.0,
    )  # fmt: skip
    for _ in range(2):
        writer.write(status, answers.append)
    assert (answers, writer.trouble, machine.attempts) == ([LACK, LACK], LACK, 2)
    assert (
        caplog.text.count(
            "the worker cannot send its status to shop.workers (failed to create thread; see that this machine"
        )
        == 1
    )
    machine.is_well = True
    writer.write(status, answers.append)
    assert (len(answers), machine.attempts) == (2, 3), "it waits for the brokers"
    writer.close(0.0)


def test_an_order_of_the_workers_own_is_answered_with_the_lack(
    machine: Machine, caplog: pytest.LogCaptureFixture
) -> None:
    """Its breaker or guard writes it again later."""
    own, answers = OwnOrders(CLUSTER, Pipeline("shop"), "w1"), list[KafkaError | None]()
    order = ControlOrder(order_id="1", verb=Verb.PAUSE, operator="w1", host="web-1", at=NOW, job_type="act")
    for is_well in (False, True):
        machine.is_well = is_well
        own.write(OwnOrder(order=order, is_audited=False, on_answer=answers.append))
    assert (answers, machine.attempts) == ([LACK], 2)
    assert caplog.text.count("the worker cannot write to shop.control (failed to create thread") == 1
    own.close(0.0)


def test_an_order_is_removed_once_there_is_a_client(machine: Machine, caplog: pytest.LogCaptureFixture) -> None:
    """It stands until then."""
    remover = OrderRemover(CLUSTER, "shop.control", "w1")
    remover.remove_soon(cancel_key("j"), "o1", "the job has ended")
    remover.turn(AtEnd())
    assert caplog.text.count("the worker cannot remove orders") == 1
    machine.is_well, remover._next_at_s, remover._writer._call_s = True, 0.0, 0.01
    remover._writer._within_s = 0.0
    remover.turn(AtEnd())
    assert machine.attempts == 2
    remover.close()


def test_an_option_that_is_refused_is_one_all_the_same(machine: Machine) -> None:
    """A worker with such an option must end: no later attempt helps."""
    machine.is_well = True
    with pytest.raises(SettingRefused, match="no such option"):
        Connection({"bootstrap.servers": "localhost:1", "no such option": 1})


@pytest.mark.parametrize("option", ["message.timeout.ms", "delivery.timeout.ms", "socket.timeout.ms"])
def test_orders_are_removed_by_a_client_whose_cluster_has_longer_waits(option: str, machine: Machine) -> None:
    """The brokers' client refuses one whose waits are longer than a transaction, which would have ended the worker."""
    machine.is_well = True
    cluster = ClusterSettings(bootstrap_servers="localhost:1", options={option: 30_000})
    config = transactional(producer_config(cluster), "t", 10.0)
    Connection(config)
    with pytest.raises(SettingRefused, match=r"transaction\.timeout\.ms"):
        Connection({**config, option: 30_000})


def test_a_worker_goes_on_where_its_client_that_removes_orders_is_refused(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It logs that once, and tries again later."""

    def refuse(*_arguments: Any) -> Any:
        raise SettingRefused("transaction.timeout.ms", "no")

    monkeypatch.setattr(transaction_writer, "connect", refuse)
    remover = OrderRemover(CLUSTER, "shop.control", "w1")
    remover.remove_soon(cancel_key("j"), "o1", "the job has ended")
    for _ in range(2):
        remover._next_at_s = 0.0
        remover.turn(AtEnd())
    assert caplog.text.count("the worker cannot remove orders that have nothing left to do") == 1


def test_a_producer_reports_the_lack_as_an_error_of_its_own(machine: Machine) -> None:
    """Its caller knows no errors of Kafka's client."""
    with pytest.raises(
        ClientNotStarted, match=r"failed to create thread.*see that this machine has threads and memory left"
    ):
        Connection({"bootstrap.servers": "localhost:1"})
