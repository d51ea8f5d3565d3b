"""`GroupConnection`: makes the clients by which one worker takes part in its queue's group, one after the other."""

from __future__ import annotations

from confluent_kafka import Consumer

from ...topology import ClusterSettings, Queue
from ..kafka.clients import OnCommit, make_consumer
from ..kafka.group_protocol import BrokerWatch, GroupProtocol, first_protocol
from ..kafka.outage import WorkerOutage


class GroupConnection:
    """Makes the clients of one worker in a group, which share cluster, queue and outage.

    Attributes:
        outage: notes from all of them whether brokers answer.
        principal: who they are for the brokers.
    """

    def __init__(self, cluster: ClusterSettings, queue: Queue, client_id: str, on_commit: OnCommit) -> None:
        self._cluster, self._queue, self._client_id, self._on_commit = cluster, queue, client_id, on_commit
        self.outage = WorkerOutage(queue.name, cluster.bootstrap_servers)
        self.principal = cluster.principal

    def first_protocol(self) -> GroupProtocol:
        """The group protocol to begin with."""
        return first_protocol(self._cluster)

    def connect(self, protocol: GroupProtocol) -> tuple[Consumer, BrokerWatch]:
        """Make a client that takes part by a protocol, and what finds out whether the brokers know that."""
        return make_consumer(
            self._cluster, self._queue, self._client_id, protocol, on_commit=self._on_commit, outage=self.outage
        )
