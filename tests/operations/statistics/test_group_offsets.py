"""The supervisor sees the brokers again after each outage: without them it starts no stalled Faust process again."""

from __future__ import annotations

from contextlib import suppress

import pytest
from confluent_kafka import KafkaException

from stoker.operations.statistics import group_offsets
from stoker.operations.statistics.group_offsets import GroupOffsets
from stoker.operations.statistics.messages import ProcessSettings
from stoker.topology.cluster import forgotten_brokers
from support.kafka.brokerless_broker import TOPIC, BrokerlessBroker
from support.waiting import wait_until

pytestmark = pytest.mark.timeout(120)


def test_a_client_that_was_cut_off_asks_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A broker that stops may say that no broker is up: librdkafka then forgets all of them, and may never look again.

    Without a strategy to recover, it never does; by a fault in it, this happens with one, too.
    """
    monkeypatch.setattr(forgotten_brokers, "REMIND_EVERY_S", 2.0)
    monkeypatch.setattr(group_offsets, "REQUEST_S", 0.5)
    broker = BrokerlessBroker()
    broker.start()
    settings = ProcessSettings(
        bootstrap_servers=broker.address,
        options={"metadata.recovery.strategy": "none", "topic.metadata.refresh.interval.ms": 100},
        events=TOPIC,
        stats="shop.stats",
        group="shop.stats",
        member="a",
        stats_partitions=1,
    )
    offsets = GroupOffsets(settings)

    def is_answered() -> bool:
        with suppress(KafkaException):
            return bool(offsets.partitions(TOPIC))
        return False

    wait_until(is_answered, what="the first answer")
    broker.is_up, asked = False, broker.asked
    wait_until(lambda: broker.asked > asked, what="the answer that no broker is up")
    broker.stop()
    wait_until(lambda: not is_answered(), what="the outage")
    broker.is_up = True
    broker.start()
    wait_until(is_answered, 30, "an answer after the outage")
    offsets.close()
    broker.stop()
