"""`GroupMember`: the queue's consumer as a member of its group.

It joins by the protocol that the brokers know, joins anew with another client where this one cannot go on, and passes
on which partitions come and go. The poll thread alone calls it.
"""

from __future__ import annotations

import logging
import time
from typing import Final

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from ...topology import NotAuthorized, Queue
from ...topology.cluster.kafka_errors import FORBIDDEN
from .. import log_keys
from ..in_flight.memory_bounds import partitions_of
from ..kafka.group_protocol import (
    CLASSIC_PROTOCOL,
    CONSUMER_PROTOCOL,
    is_barred,
    refuses_consumer_protocol,
)
from ..partitions.assignments import Assignments
from ..rebalance.grace import Grace
from ..rebalance.rebalance import Rebalance
from ..sources.source import sources_of
from .connection import GroupConnection
from .membership import Membership
from .rights_watch import RightsWatch

_LOGGER = logging.getLogger("stoker.worker")

REJOIN_PAUSE_S: Final = 5.0


class GroupMember:
    """The group's consumer, and how it joined.

    Attributes:
        consumer: the client at present; another one after a fall-back or a rejoin.
    """

    def __init__(
        self,
        queue: Queue,
        connection: GroupConnection,
        *,
        assignments: Assignments,
        rebalance: Rebalance,
        grace: Grace,
        rights: RightsWatch,
        membership: Membership,
    ) -> None:
        self._queue = queue
        self._connection = connection
        self._assignments = assignments
        self._rebalance = rebalance
        self._grace = grace
        self._rights = rights
        self._membership = membership
        self._protocol = connection.first_protocol()
        self._has_joined = self._is_barred = False
        self._rejoin_at_s = 0.0
        self.consumer, self._brokers = connection.connect(self._protocol)

    def join(self) -> None:
        """Ask the group for partitions; they come by the polls that follow."""
        self.consumer.subscribe(
            list(sources_of(self._queue)),
            on_assign=self._on_assign,
            on_revoke=self._on_revoke,
            on_lost=self._on_lost,
        )

    def stay(self, now_s: float) -> None:
        """Join in another way, or anew, where that is needed; called once a turn."""
        if self._is_barred and not self._rights.is_asking and now_s >= self._rejoin_at_s:
            self._rejoin()
        if self._cannot_join():
            self._fall_back()

    def check_membership(self, now_s: float) -> None:
        """Check whether an outage is over, and whether this member has partitions; called once a second or so."""
        self._connection.outage.review()
        self._membership.check(
            now_s,
            has_partitions=bool(self._assignments.main_partitions),
            has_brokers=not self._connection.outage.is_total,
        )

    def begin_to_leave(self) -> None:
        """Note that the worker shuts down: without partitions it reports `leaving`, not `outside`."""
        self._membership.leave()

    def note_error(self, error: KafkaError) -> None:
        """Take what the consumer gave in place of a record.

        Raises:
            KafkaException: the client is of no more use.
            NotAuthorized: the group may not be joined, and never was.
        """
        if refuses_consumer_protocol(error) and self._protocol is CONSUMER_PROTOCOL:
            self._fall_back()
        elif is_barred(error):
            self._note_barred(error)
        elif error.fatal() or error.code() == KafkaError._FATAL:
            raise KafkaException(error)
        elif error.code() in FORBIDDEN:
            self._rights.alarm()
        else:
            self._membership.note_client_error(error.str())
            _LOGGER.warning(
                "queue %r: Kafka's client reports: %s. The worker goes on", self._queue.name, error.str(),
                extra={log_keys.QUEUE: self._queue.name},
            )  # fmt: skip

    def _note_barred(self, error: KafkaError) -> None:
        """The group may not be joined: a worker that never could ends, one that could waits for the right."""
        if not self._has_joined:
            raise NotAuthorized(self._connection.principal, [("Read", f"group {self._queue.group}")])
        self._is_barred = self._is_barred or error.code() == KafkaError._FATAL
        self._rights.alarm()

    def _cannot_join(self) -> bool:
        """Whether a broker lacks the protocol by which we try to join; one that gave us partitions does not."""
        is_lacking = self._brokers.lacks_consumer_protocol and self._protocol is CONSUMER_PROTOCOL
        return is_lacking and not self._assignments.all()

    def _fall_back(self) -> None:
        """Join in the way that older brokers know; nothing is assigned yet, since joining is what failed."""
        _LOGGER.warning(
            "the brokers lack the consumer group protocol of Kafka 4.0, or have it switched off; using the classic one",
            extra={log_keys.QUEUE: self._queue.name},
        )
        self._protocol = CLASSIC_PROTOCOL
        self._join_anew()

    def _rejoin(self) -> None:
        """Join anew with another client: this one was barred from the group, and a client does not get over that."""
        self._is_barred, self._rejoin_at_s = False, time.monotonic() + REJOIN_PAUSE_S
        self._rebalance.lose(partitions_of(self._assignments.all()))
        self._join_anew()

    def _join_anew(self) -> None:
        self.consumer.close()
        self.consumer, self._brokers = self._connection.connect(self._protocol)
        self.join()

    def _on_assign(self, consumer: Consumer, given: list[TopicPartition]) -> None:
        self._has_joined = True
        self._rebalance.take(given)
        self._protocol.take(consumer, given)
        consumer.pause(given)  # the main topic's until they are restored, the tiers' for good
        self._rebalance.log("assigned", given)

    def _on_revoke(self, consumer: Consumer, taken: list[TopicPartition]) -> None:
        self._rebalance.revoke(consumer, taken, self._grace.wait_ended)
        self._protocol.give_back(consumer, taken)
        self._rebalance.log("revoked", taken)

    def _on_lost(self, consumer: Consumer, taken: list[TopicPartition]) -> None:
        self._rebalance.lose(taken)
        self._protocol.give_back(consumer, taken)
        self._rebalance.log("lost", taken)
