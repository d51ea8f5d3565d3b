"""`GroupProtocol`: how the members of a group agree on who owns what, and how a worker learns what brokers know.

librdkafka chooses the protocol when the consumer is made, before it has met a broker. So the worker begins with the
one of Kafka 4, and `BrokerWatch` reads what each broker lists at the first connection: no question of its own, no
right, and no time is spent on it, with TLS and SASL as without.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from confluent_kafka import Consumer, KafkaError, TopicPartition

from ...producers.client import LogRelay
from ...topology import ClusterSettings
from ...topology.cluster.settings import Option

OPTION: Final = "group.protocol"
NEEDED_HEARTBEAT: Final = 1
"""The version of the heartbeat that librdkafka needs; Kafka 3.7 to 3.9 list 0, of an early trial of the protocol."""
_LOG_INFO: Final = 6
"""librdkafka's own `log_level`, of syslog's scale, where less is worse."""
_LISTED: Final = re.compile(r"ApiKey ConsumerGroupHeartbeat \(\d+\) Versions \d+\.\.(\d+)")
_NOT_LISTED: Final = re.compile(r"ConsumerGroupHeartbeat \(.*\) NOT supported by broker")


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupProtocol:
    """How the members of a group agree on who owns what.

    Both ways use a range assignor, which gives equal partition numbers of the main topic and the tiers to one member.

    Attributes:
        options: librdkafka's options that choose it.
        is_incremental: whether partitions come and go one by one; else all are given back at each rebalance.
    """

    options: Mapping[str, Option]
    is_incremental: bool

    def take(self, consumer: Consumer, given: list[TopicPartition]) -> None:
        """Begin to consume what was assigned."""
        (consumer.incremental_assign if self.is_incremental else consumer.assign)(given)

    def give_back(self, consumer: Consumer, taken: list[TopicPartition]) -> None:
        """Cease to consume what was revoked."""
        if self.is_incremental:
            consumer.incremental_unassign(taken)
        else:
            consumer.unassign()


CONSUMER_PROTOCOL: Final = GroupProtocol(
    options={OPTION: "consumer", "group.remote.assignor": "range"}, is_incremental=True
)
CLASSIC_PROTOCOL: Final = GroupProtocol(
    options={OPTION: "classic", "partition.assignment.strategy": "range"}, is_incremental=False
)
"""For brokers older than Kafka 4.0."""


def first_protocol(cluster: ClusterSettings) -> GroupProtocol:
    """The protocol to begin with: the one of Kafka 4, unless the cluster's options ask for the classic one."""
    asked = str(cluster.options.get(OPTION, "")).lower()
    return CLASSIC_PROTOCOL if asked == CLASSIC_PROTOCOL.options[OPTION] else CONSUMER_PROTOCOL


def refuses_consumer_protocol(error: KafkaError) -> bool:
    """Whether the error means that the brokers know the protocol of Kafka 4 and have it switched off."""
    return error.code() == KafkaError._FATAL and is_refusal(error.str())


def is_refusal(text: str) -> bool:
    """Whether this is what a client makes of brokers that have the protocol of Kafka 4 switched off."""
    return "ConsumerGroupHeartbeat" in text and "not supported" in text


def is_barred(error: KafkaError) -> bool:
    """Whether the brokers do not let this client join the group; the protocol of Kafka 4 ends the client over it."""
    is_fatal = error.code() == KafkaError._FATAL and "Group authorization failed" in error.str()
    return is_fatal or error.code() == KafkaError.GROUP_AUTHORIZATION_FAILED


class BrokerWatch(LogRelay):
    """Takes a consumer's log lines, and learns from them whether a broker lacks the group protocol of Kafka 4.

    It calls `on_connected` when a broker has answered.

    The lines of `debug=feature` list what a broker supports at its connection. librdkafka then logs all else as
    well, so only what the cluster's own `debug` and `log_level` ask for is passed on.
    """

    def __init__(
        self, config: Mapping[str, object], logger: logging.Logger, on_connected: Callable[[], None] = lambda: None
    ) -> None:
        super().__init__(config, logger)
        self._on_connected = on_connected
        self._lowest_level = (
            logging.DEBUG if config.get("debug") else _level(int(str(config.get("log_level", _LOG_INFO))))
        )
        self.lacks_consumer_protocol = False

    @staticmethod
    def watched(config: Mapping[str, object]) -> dict[str, object]:
        """The options of a client that is to be watched."""
        return {**config, "debug": ",".join(str(part) for part in (config.get("debug"), "feature") if part)}

    def log(self, level: int, form: str, *values: object) -> None:
        """Note what a line reports about the heartbeat, and pass it on."""
        if "APIVERSION" in values:
            self._on_connected()
            self.note(str(values[-1]))
        if "FATAL" in values and is_refusal(str(values[-1])):
            level = logging.DEBUG  # it is no fault: the worker logs that it takes the classic protocol
        if level >= self._lowest_level:
            super().log(level, form, *values)

    def note(self, line: str) -> None:
        """Take what a broker lists."""
        listed = _LISTED.search(line)
        if _NOT_LISTED.search(line) or (listed is not None and int(listed[1]) < NEEDED_HEARTBEAT):
            self.lacks_consumer_protocol = True


def _level(syslog_level: int) -> int:
    """The level of Python's logging that is meant by one of syslog."""
    named = {7: logging.DEBUG, 6: logging.INFO, 5: logging.INFO, 4: logging.WARNING, 3: logging.ERROR}
    return named.get(syslog_level, logging.CRITICAL)
