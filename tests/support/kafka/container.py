"""Start Kafka in a container and print where it is, or remove it again; a process of its own, called by `brokers`.

The clients of a container engine leave sockets open until they are collected, which would count as a warning, so as a
failure, in whatever test runs at that moment.

    python kafka_container.py start                prints {"bootstrap_servers": …, "container": …}; fails without engine
    python kafka_container.py remove <container>
"""

from __future__ import annotations

import json
import os
import random
import sys

import docker
from testcontainers.core.config import testcontainers_config
from testcontainers.core.container import DockerContainer
from testcontainers.core.wait_strategies import LogMessageWaitStrategy

from stoker.operations.broker.settings import choose_ports

IMAGE = "apache/kafka:4.3.0"
_PING_TIMEOUT_S = 2
_READY_TIMEOUT_S = 90


def start() -> None:
    """Start it on a free port of this machine, and say where."""
    docker.from_env(timeout=_PING_TIMEOUT_S).ping()
    testcontainers_config.ryuk_disabled = True  # its reaper would remove the container when this process ends
    port = choose_ports(random.SystemRandom()).broker
    kafka = DockerContainer(IMAGE).with_bind_ports(port, port).with_envs(**_settings(port))
    kafka.waiting_for(LogMessageWaitStrategy("Kafka Server started").with_startup_timeout(_READY_TIMEOUT_S))
    try:
        kafka.start()
    except TimeoutError:
        kafka.stop()
        raise
    address = f"{kafka.get_container_host_ip()}:{port}"
    print(json.dumps({"bootstrap_servers": address, "container": kafka.get_wrapped_container().id}))


def remove(container: str) -> None:
    """Remove it with all it holds."""
    docker.from_env().containers.get(container).remove(force=True, v=True)


def _settings(port: int) -> dict[str, str]:
    """The image takes server properties as variables; the advertised port must be the one bound on the host."""
    host = os.environ.get("TESTCONTAINERS_HOST_OVERRIDE", "localhost")
    return {
        "KAFKA_NODE_ID": "1",
        "KAFKA_PROCESS_ROLES": "broker,controller",
        "KAFKA_CONTROLLER_QUORUM_VOTERS": "1@localhost:9093",
        "KAFKA_LISTENERS": f"PLAINTEXT://0.0.0.0:{port},CONTROLLER://localhost:9093",
        "KAFKA_ADVERTISED_LISTENERS": f"PLAINTEXT://{host}:{port}",
        "KAFKA_CONTROLLER_LISTENER_NAMES": "CONTROLLER",
        "KAFKA_LISTENER_SECURITY_PROTOCOL_MAP": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT",
        "KAFKA_AUTO_CREATE_TOPICS_ENABLE": "false",
        "KAFKA_OFFSETS_TOPIC_REPLICATION_FACTOR": "1",
        "KAFKA_OFFSETS_TOPIC_NUM_PARTITIONS": "4",
        "KAFKA_TRANSACTION_STATE_LOG_REPLICATION_FACTOR": "1",
        "KAFKA_TRANSACTION_STATE_LOG_MIN_ISR": "1",
        "KAFKA_TRANSACTION_STATE_LOG_NUM_PARTITIONS": "4",
        "KAFKA_GROUP_INITIAL_REBALANCE_DELAY_MS": "0",
        "KAFKA_GROUP_MIN_SESSION_TIMEOUT_MS": "1000",
        "KAFKA_GROUP_CONSUMER_MIN_SESSION_TIMEOUT_MS": "1000",
        "KAFKA_GROUP_CONSUMER_MIN_HEARTBEAT_INTERVAL_MS": "500",
        "KAFKA_GROUP_CONSUMER_HEARTBEAT_INTERVAL_MS": "1000",
    }


if __name__ == "__main__":
    if sys.argv[1] == "start":
        start()
    else:
        remove(sys.argv[2])
