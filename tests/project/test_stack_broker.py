"""The compose file's Kafka, without a container engine: the image's own wrapper turns the variables into properties."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
import yaml
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from stoker.operations.broker.java import find_jars, find_java
from stoker.operations.broker.settings import choose_ports

ROOT: Final = Path(__file__).parents[2]
START_S: Final = 90.0


def stack_settings(folder: Path, inside: int, outside: int, controller: int) -> dict[str, str]:
    """The variables of the stack's Kafka, with free ports of this machine and a data folder of the test's own."""
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
    given: dict[str, str] = compose["services"]["kafka"]["environment"]
    moved = [("kafka:29092", f"127.0.0.1:{inside}"), (":29092", f":{inside}"), ("localhost", "127.0.0.1")]
    moved += [(":9092", f":{outside}"), (":9093", f":{controller}"), ("/var/lib/kafka/data", str(folder / "data"))]
    for old, new in moved:
        given = {name: value.replace(old, new) for name, value in given.items()}
    return {**given, "CLUSTER_ID": "5L6g3nShT-eMCtK--X86sw"}  # the image's own


def wait_answering(address: str, broker: subprocess.Popen[bytes]) -> None:
    """Wait until the broker answers."""
    admin, give_up = AdminClient({"bootstrap.servers": address, "log_level": 0}), time.monotonic() + START_S
    while time.monotonic() < give_up and broker.poll() is None:
        try:
            if admin.list_topics(timeout=1).brokers:
                return
        except KafkaException:
            threading.Event().wait(0.05)
    pytest.fail(f"the stack's Kafka did not start: {Path(str(broker.args[-1])).parent}")  # type: ignore[index]


@pytest.fixture
def stack_kafka(tmp_path: Path) -> Iterator[str]:
    """The stack's Kafka, where programs on this machine reach it."""
    first, second = choose_ports(random.SystemRandom()), choose_ports(random.SystemRandom())
    settings = stack_settings(tmp_path, first.broker, second.broker, first.controller)
    java = [str(find_java()), "-Xmx512m", "-XX:TieredStopAtLevel=1", "-cp", ":".join(map(str, find_jars(print)))]
    folders = ("default", "mounted", "final")
    for name in folders:
        (tmp_path / name).mkdir()
    wrapper = ["kafka.docker.KafkaDockerWrapper", "setup"]
    named = [part for name in folders for part in (f"--{name}-configs-dir", str(tmp_path / name))]
    log = tmp_path / "kafka.out"
    with log.open("wb") as out:
        subprocess.run([*java, *wrapper, *named], env={**os.environ, **settings}, stdout=out, stderr=out, check=True)
        command = [*java, "kafka.Kafka", str(tmp_path / "final" / "server.properties")]
        broker = subprocess.Popen(command, cwd=tmp_path, stdout=out, stderr=out)
    address = settings["KAFKA_ADVERTISED_LISTENERS"].rpartition("://")[2]
    try:
        wait_answering(address, broker)
        yield address
    finally:
        broker.kill()
        broker.wait(30)


def test_the_stacks_kafka_takes_the_examples_topology(stack_kafka: str) -> None:
    """`docker compose up` gets past `topology apply` with the example, and then all is as declared."""
    environment = {**os.environ, "STOKER_BOOTSTRAP_SERVERS": stack_kafka, "STOKER_APP": "examples.flights:pipeline"}
    stoker = [sys.executable, "-m", "stoker.operations.cli", "topology"]
    for command in (["apply"], ["plan", "--check"]):
        done = subprocess.run(
            [*stoker, *command], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0, done.stderr + done.stdout
