"""The harness's Kafka: one node or three, each broker and controller in one, each behind a proxy of its own.

Built from the embedded broker's parts. Clients reach a node through the proxy alone, since that is what it advertises;
the nodes speak to each other directly, so that a cut between clients and cluster is not a cut inside of it.
"""

from __future__ import annotations

import base64
import random
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from stoker.operations.broker.java import find_jars, find_java
from stoker.operations.broker.process import BrokerProcess, spawn_detached
from stoker.operations.broker.settings import (
    HOST,
    LOG_NAME,
    Ports,
    choose_ports,
    format_command,
    server_command,
    write_settings,
)
from support.waiting import wait_until

START_TIMEOUT_S: Final = 300.0
FIRST_START_TIMEOUT_S: Final = 90.0
"""How long a new cluster may take to answer, before it is given up for another one."""
FIRST_STARTS: Final = 3
STOP_TIMEOUT_S: Final = 12.0
HEAP: Final = "-Xmx320m"
_ANSWER_TIMEOUT_S: Final = 2.0
_LAST_WORDS: Final = 2_000
_ROLES: Final = {
    "process.roles": "broker,controller",
    "controller.listener.names": "CONTROLLER",
    "inter.broker.listener.name": "INTERNAL",
    "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,INTERNAL:PLAINTEXT",
    # Leaders move back only when the harness says so, so that a move is a fault with a time.
    "auto.leader.rebalance.enable": "false",
    "unclean.leader.election.enable": "false",
    "broker.heartbeat.interval.ms": "500",
    "broker.session.timeout.ms": "3000",
    "replica.lag.time.max.ms": "5000",
}
_REPLICATED: Final = (
    "default.replication.factor",
    "offsets.topic.replication.factor",
    "transaction.state.log.replication.factor",
    "share.coordinator.state.topic.replication.factor",
)
_IN_SYNC: Final = (
    "min.insync.replicas",
    "transaction.state.log.min.isr",
    "share.coordinator.state.topic.min.isr",
)


class NotStarted(AssertionError):
    """A node did not come up; the message holds the last that it wrote."""

    def __init__(self, node: Node, why: str) -> None:
        super().__init__(f"node {node.number} in {node.folder}: {why}; it wrote last:\n{node.last_words()}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Doors:
    """The ports of one node.

    Attributes:
        clients: where the broker listens for what comes through its proxy.
        internal: where the other brokers reach it.
        controller: where the other controllers reach it.
        advertised: where the proxy listens, the only one that clients learn.
    """

    clients: int
    internal: int
    controller: int
    advertised: int


class Node:
    """One Kafka process, and what can be done to it."""

    def __init__(self, number: int, folder: Path, doors: Sequence[Doors], cluster_id: str) -> None:
        self.number, self.folder, self.doors = number, folder, doors[number - 1]
        self._process: BrokerProcess | None = None
        folder.mkdir(parents=True)
        ports = Ports(broker=self.doors.clients, controller=self.doors.controller)
        write_settings(folder, ports, _settings(number, doors))
        java, jars = find_java(), find_jars(lambda _said: None)
        self._command = [HEAP if part.startswith("-Xmx") else part for part in server_command(java, jars, folder)]
        self._format(format_command(java, jars, cluster_id))

    def _format(self, command: list[str]) -> None:
        with (self.folder / "broker.out").open("ab") as out:
            subprocess.run(command, cwd=self.folder, stdout=out, stderr=out, timeout=START_TIMEOUT_S, check=True)

    def start(self) -> None:
        """Start the process; `wait_answering` says when it is of use."""
        self._process = spawn_detached(self._command, self.folder)

    def wait_answering(self, timeout_s: float = START_TIMEOUT_S) -> None:
        """Wait until it serves clients on its own port.

        Raises:
            NotStarted: its process has ended, or does not answer in `timeout_s`.
        """
        admin = AdminClient({"bootstrap.servers": f"{HOST}:{self.doors.clients}", "log_level": 0})
        give_up_at_s = time.monotonic() + timeout_s
        while not _is_serving(admin, self.number):
            if not self.is_alive():
                raise NotStarted(self, "its process has ended")
            if time.monotonic() >= give_up_at_s:
                raise NotStarted(self, f"it did not answer in {timeout_s:g} s")

    def last_words(self) -> str:
        """The end of what its process has printed and logged."""
        files = [self.folder / "broker.out", self.folder / LOG_NAME]
        return "\n".join(file.read_text(errors="replace")[-_LAST_WORDS:] for file in files if file.exists())

    def kill(self) -> None:
        """End it as a power cut would; what it wrote is in the page cache, and so survives."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """End it in order: it hands its leaderships over first."""
        self._end(signal.SIGTERM)

    def _end(self, how: signal.Signals) -> None:
        if self._process is not None:
            self._process.send(how)
            if not self._process.wait_gone(STOP_TIMEOUT_S):
                self._process.send(signal.SIGKILL)
                self._process.wait_gone(STOP_TIMEOUT_S)

    def fill_disk(self) -> None:
        """Let every write of its process fail, as on a full disk; it is over when a new process was started.

        The limit on the size of files needs no file system of its own, and the error takes the same way in Kafka.
        """
        if self._process is not None:
            psutil.Process(self._process.pid).rlimit(resource.RLIMIT_FSIZE, (1, resource.RLIM_INFINITY))

    def is_alive(self) -> bool:
        """Whether its process is there."""
        return self._process is not None and self._process.is_alive()


class Nodes:
    """The cluster."""

    def __init__(self, folder: Path, count: int, draw: random.Random) -> None:
        doors = _choose_doors(draw, count)
        cluster_id = base64.urlsafe_b64encode(draw.randbytes(16)).decode().rstrip("=").replace("-", "A")
        self.nodes = [Node(number, folder / f"node{number}", doors, cluster_id) for number in range(1, count + 1)]

    @property
    def advertised(self) -> str:
        """The addresses for clients, each a proxy's."""
        return ",".join(f"{HOST}:{node.doors.advertised}" for node in self.nodes)

    @property
    def direct(self) -> str:
        """The addresses behind the proxies, for those that look on; metadata leads clients back to the proxies."""
        return ",".join(f"{HOST}:{node.doors.clients}" for node in self.nodes)

    def start(self, timeout_s: float = START_TIMEOUT_S) -> None:
        """Start all and wait until each answers.

        Raises:
            NotStarted: one does not.
        """
        for node in self.nodes:
            node.start()
        for node in self.nodes:
            node.wait_answering(timeout_s)

    def kill(self) -> None:
        """End all."""
        for node in self.nodes:
            node.kill()

    def wait_whole(self, timeout_s: float = START_TIMEOUT_S) -> None:
        """Wait until every partition has all of its replicas in sync, so that the next fault meets a whole cluster."""
        admin = AdminClient({"bootstrap.servers": self.direct, "log_level": 0})
        wait_until(lambda: _is_whole(admin), timeout_s, "all replicas to be in sync")


def _settings(number: int, doors: Sequence[Doors]) -> dict[str, str]:
    mine, count = doors[number - 1], len(doors)
    voters = ",".join(f"{other}@{HOST}:{door.controller}" for other, door in enumerate(doors, 1))
    listeners = (
        f"PLAINTEXT://{HOST}:{mine.clients},INTERNAL://{HOST}:{mine.internal},CONTROLLER://{HOST}:{mine.controller}"
    )
    return {
        **_ROLES,
        "node.id": str(number),
        "controller.quorum.voters": voters,
        "listeners": listeners,
        "advertised.listeners": f"PLAINTEXT://{HOST}:{mine.advertised},INTERNAL://{HOST}:{mine.internal}",
        **{name: str(count) for name in _REPLICATED},
        **{name: str(max(1, count - 1)) for name in _IN_SYNC},
    }


def start_nodes(folder: Path, count: int, draw: random.Random, tries: int = FIRST_STARTS) -> Nodes:
    """Start a new cluster; where one does not come up, since somebody else has taken a port meanwhile, another one.

    Raises:
        NotStarted: each of `tries` did not.
    """
    nodes = Nodes(folder / f"try{tries}", count, draw)
    try:
        nodes.start(FIRST_START_TIMEOUT_S)
    except NotStarted as failure:
        nodes.kill()
        if tries == 1:
            raise
        print(failure, file=sys.stderr)
        return start_nodes(folder, count, draw, tries - 1)
    return nodes


def _choose_doors(draw: random.Random, count: int) -> list[Doors]:
    """Four free ports for each node, none of them twice."""
    ports: set[int] = set()
    while len(ports) < 4 * count:
        pair = choose_ports(draw)
        ports |= {pair.broker, pair.controller}
    each = iter(ports)
    return [
        Doors(clients=next(each), internal=next(each), controller=next(each), advertised=next(each))
        for _ in range(count)
    ]


def _is_serving(admin: AdminClient, number: int) -> bool:
    try:
        return number in admin.list_topics(timeout=_ANSWER_TIMEOUT_S).brokers
    except KafkaException:
        return False


def _is_whole(admin: AdminClient) -> bool:
    try:
        topics = admin.list_topics(timeout=_ANSWER_TIMEOUT_S).topics.values()
    except KafkaException:
        return False
    return all(
        part.leader >= 0 and set(part.isrs) == set(part.replicas)
        for topic in topics
        for part in topic.partitions.values()
    )


def restart_killed(node: Node, pause_s: float) -> None:
    """Start a node again that was ended, after a pause, and wait until it answers."""
    time.sleep(pause_s)
    node.start()
    node.wait_answering()
