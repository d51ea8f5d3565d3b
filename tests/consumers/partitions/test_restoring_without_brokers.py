"""Restoring speaks through the worker's log alone, also where no broker answers."""

from __future__ import annotations

import pytest

from stoker.consumers.kafka.log_tail import Unrestorable
from stoker.consumers.partitions.restore import restore
from stoker.consumers.records.assignment import Assignment
from stoker.topology import ClusterSettings
from support.scenes.worker import declare_queue

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
