"""Restoring speaks through the worker's log alone, also where no broker answers."""

from __future__ import annotations

import threading

import pytest

from stoker.consumers.kafka.log_tail import Unrestorable
from stoker.consumers.partitions.restore import restore
from stoker.consumers.partitions.restore_thread import Restoring
from stoker.consumers.progress.assignment import Assignment
from stoker.topology import ClusterSettings
from support.scenes.worker import declare_queue
from support.waiting import wait_until

NOBODY = "127.0.0.1:1"


def test_the_clients_own_lines_do_not_go_to_stderr(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the Kafka client says of lost connections would tear a log of JSON lines apart, secrets and all."""
    monkeypatch.setattr("stoker.consumers.partitions.start_positions.REQUEST_TIMEOUT_S", 0.5)
    _, queue = declare_queue("quiet")
    with pytest.raises(Unrestorable):
        list(restore(ClusterSettings(bootstrap_servers=NOBODY), queue, [Assignment(1, queue.topic, 0)], lambda: False))
    said = capfd.readouterr().err.splitlines()
    assert [line for line in said if line.startswith("%")] == []  # as librdkafka begins its own lines


def test_a_crash_while_partitions_are_restored_is_known_also_when_others_have_begun(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its partitions would rest for ever: the worker stops."""
    monkeypatch.setattr(threading, "excepthook", lambda _args: None)
    fault = ValueError("of the first")
    faults: list[Exception] = [fault]

    def find_missing(_partitions: object) -> None:
        raise faults.pop() if faults else Unrestorable("crashing.work", "no answer")

    _, queue = declare_queue("crashing")
    restoring = Restoring(
        queue, ClusterSettings(bootstrap_servers=NOBODY), find_missing=find_missing, on_restored=lambda _restored: None
    )
    restoring.begin([Assignment(1, queue.topic, 0)])
    wait_until(lambda: restoring.crashed is fault and not restoring.is_busy, what="the crash")
    restoring.begin([Assignment(2, queue.topic, 1)])
    assert restoring.crashed is fault
    restoring.stop()
