"""The settings of the embedded broker: its ports, Kafka's server properties, its bounded log, its command line.

All paths are relative to the state folder, where it is started: nothing needs quoting, whatever the folder is called.
"""

from __future__ import annotations

import random
import socket
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from .errors import NoFreePort
from .process import folder_mark

HOST = "127.0.0.1"
LOG_NAME = "broker.0.log"
_PORTS = range(20_000, 32_000)  # below the ports Linux lends to outgoing connections, so that they stay free
_TRIES = 200
_LOOK_AGAIN_S = 0.02

_SERVER = """\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@{host}:{controller}
listeners=PLAINTEXT://{host}:{broker},CONTROLLER://{host}:{controller}
advertised.listeners=PLAINTEXT://{host}:{broker}
controller.listener.names=CONTROLLER
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT
log.dirs=data
auto.create.topics.enable=false
# One node: nothing can be replicated.
default.replication.factor=1
offsets.topic.replication.factor=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
# Few partitions and threads, small buffers: it shares a machine with the program under development.
offsets.topic.num.partitions=4
transaction.state.log.num.partitions=4
share.coordinator.state.topic.num.partitions=4
num.network.threads=2
num.io.threads=4
background.threads=2
log.cleaner.dedupe.buffer.size=16777216
log.index.size.max.bytes=1048576
# A broker that was killed is let in again only after its old session has ended.
broker.heartbeat.interval.ms=500
broker.session.timeout.ms=4000
# A developer restarts consumers all day: groups settle at once, and may ask for short sessions.
group.initial.rebalance.delay.ms=0
group.consumer.min.session.timeout.ms=1000
group.consumer.min.heartbeat.interval.ms=500
group.consumer.heartbeat.interval.ms=1000
group.min.session.timeout.ms=1000
"""

# Kafka logs through java.util.logging: part of every Java, and its file handler bounds what is kept (2 x 4 MB).
_LOGGING = """\
handlers=java.util.logging.FileHandler
.level=INFO
java.util.logging.FileHandler.pattern=broker.%g.log
java.util.logging.FileHandler.limit=4000000
java.util.logging.FileHandler.count=2
java.util.logging.FileHandler.append=true
java.util.logging.FileHandler.formatter=java.util.logging.SimpleFormatter
java.util.logging.SimpleFormatter.format=%1$tFT%1$tT.%1$tL %4$s %3$s: %5$s%6$s%n
org.apache.kafka.level=WARNING
kafka.level=WARNING
"""

DEFAULT_HEAP_MB: Final = 512
"""Enough for some thousand partitions; with more, the broker stops for seconds to collect garbage."""
_JVM = ("-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Djava.awt.headless=true")


@dataclass(frozen=True, slots=True, kw_only=True)
class Ports:
    """The two ports of a broker, both on the loopback address."""

    broker: int
    controller: int

    @property
    def bootstrap_servers(self) -> str:
        """The address for clients."""
        return f"{HOST}:{self.broker}"

    def wait_free(self, timeout_s: float) -> bool:
        """Wait until both ports are free; false when one is still in use after `timeout_s`."""
        give_up_at_s = time.monotonic() + timeout_s
        while not (_is_free(self.broker) and _is_free(self.controller)):
            if time.monotonic() >= give_up_at_s:
                return False
            threading.Event().wait(_LOOK_AGAIN_S)
        return True


def choose_ports(draw: random.Random) -> Ports:
    """Find two free ports.

    Raises:
        NoFreePort: of many that were tried.
    """
    free = [port for port in draw.sample(_PORTS, _TRIES) if _is_free(port)]
    if len(free) < 2:
        raise NoFreePort(_TRIES, HOST, _PORTS)
    return Ports(broker=free[0], controller=free[1])


def write_settings(folder: Path, ports: Ports, extra: Mapping[str, str]) -> None:
    """Write the files that Kafka reads at its start; `extra` server properties win over the usual ones."""
    server = _SERVER.format(host=HOST, broker=ports.broker, controller=ports.controller)
    server += "".join(f"{name}={value}\n" for name, value in extra.items())
    (folder / "server.properties").write_text(server, encoding="ascii")
    (folder / "logging.properties").write_text(_LOGGING, encoding="ascii")


def server_command(java: Path, jars: Sequence[Path], folder: Path, heap_mb: int = DEFAULT_HEAP_MB) -> list[str]:
    """The command line that runs the broker; its working directory is `folder`."""
    return [*_java(java, jars, heap_mb), folder_mark(folder), "kafka.Kafka", "server.properties"]


def format_command(java: Path, jars: Sequence[Path], cluster_id: str) -> list[str]:
    """The command line that prepares an empty data folder."""
    tool = ["kafka.tools.StorageTool", "format", "-t", cluster_id, "-c", "server.properties", "--ignore-formatted"]
    return [*_java(java, jars), *tool]


def _java(java: Path, jars: Sequence[Path], heap_mb: int = DEFAULT_HEAP_MB) -> list[str]:
    classpath = ":".join(str(jar) for jar in jars)
    return [str(java), f"-Xmx{heap_mb}m", *_JVM, "-Djava.util.logging.config.file=logging.properties", "-cp", classpath]


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as Java does: a port in TIME_WAIT is free
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True
