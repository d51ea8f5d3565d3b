"""Where the tests' Kafka comes from when no cluster is given: a container, else the embedded broker.

The worker processes of one test run share it through a folder: the first one that needs it makes it, the process that
made the folder ends it.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import docker
from docker.errors import NotFound

from stoker.operations.broker import EmbeddedBroker
from stoker.operations.broker_lock import file_lock
from stoker.operations.broker_settings import choose_ports

IMAGE = "apache/kafka:4.3.0"
_ENGINE_TIMEOUT_S = 5.0
_CONTAINER_TIMEOUT_S = 120
_START_TIMEOUT_S = 180.0  # a first start downloads the jars


def provide_broker(shared: Path) -> str:
    """The address of this run's broker, started by whoever asks first."""
    note = shared / "cluster.json"
    with file_lock(shared / "lock", _START_TIMEOUT_S):
        if not note.exists():
            made = _container() or _embedded(shared)
            note.write_text(json.dumps(made), encoding="utf-8")
        return str(json.loads(note.read_text(encoding="utf-8"))["bootstrap_servers"])


def withdraw_broker(shared: Path) -> None:
    """End what `provide_broker` started, if it was called."""
    note = shared / "cluster.json"
    made = json.loads(note.read_text(encoding="utf-8")) if note.exists() else {}
    if "container" in made:
        with suppress(NotFound):  # somebody was tidy before us
            docker.from_env().containers.get(made["container"]).remove(force=True)
    EmbeddedBroker(shared / "broker").kill()


def _container() -> dict[str, str] | None:
    """Start Kafka in a container, if a container engine answers."""
    if not _engine_answers():
        return None
    from testcontainers.core.config import testcontainers_config
    from testcontainers.core.container import DockerContainer
    from testcontainers.core.wait_strategies import LogMessageWaitStrategy

    # Its reaper would end the container with the worker that started it, while other workers still use it.
    testcontainers_config.ryuk_disabled = True
    port = choose_ports(random.SystemRandom()).broker
    started = DockerContainer(IMAGE).with_bind_ports(port, port).with_envs(**_container_settings(port))
    started.waiting_for(LogMessageWaitStrategy("Kafka Server started").with_startup_timeout(_CONTAINER_TIMEOUT_S))
    started.start()
    address = f"{started.get_container_host_ip()}:{port}"
    return {"bootstrap_servers": address, "container": str(started.get_wrapped_container().id)}


def _engine_answers() -> bool:
    """Ask in a process of its own: bounded as a whole, and a refused connection leaves no open socket here."""
    ask = "import docker; docker.from_env(timeout=2).ping()"
    try:
        asked = subprocess.run([sys.executable, "-c", ask], timeout=_ENGINE_TIMEOUT_S, capture_output=True, check=False)
    except subprocess.TimeoutExpired:
        return False
    return asked.returncode == 0


def _container_settings(port: int) -> dict[str, str]:
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
        "KAFKA_GROUP_INITIAL_REBALANCE_DELAY_MS": "0",
        "KAFKA_GROUP_CONSUMER_MIN_SESSION_TIMEOUT_MS": "1000",
        "KAFKA_GROUP_CONSUMER_MIN_HEARTBEAT_INTERVAL_MS": "500",
        "KAFKA_GROUP_CONSUMER_HEARTBEAT_INTERVAL_MS": "1000",
    }


def _embedded(shared: Path) -> dict[str, str]:
    return {"bootstrap_servers": EmbeddedBroker(shared / "broker").start(_START_TIMEOUT_S)}
