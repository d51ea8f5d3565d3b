"""The embedded broker: one per folder, the same address and data after a restart, and no stranger is ever hit."""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from confluent_kafka import Consumer, Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from stoker.operations.broker import embedded
from stoker.operations.broker.embedded import EmbeddedBroker, RunningBroker, project_folder
from stoker.operations.broker.errors import BrokerBusy, BrokerFolderFailed, BrokerStartFailed, NoFreePort
from stoker.operations.broker.lock import file_lock
from stoker.operations.broker.settings import choose_ports

TOPIC = "kept"
START = """
import pathlib, sys
from stoker.operations.broker.embedded import EmbeddedBroker
print(EmbeddedBroker(pathlib.Path(sys.argv[1])).start())
"""


def test_a_restart_keeps_the_address_and_the_records(broker: EmbeddedBroker) -> None:
    """What was written before an orderly stop is there after the next start, at the same address."""
    address = broker.start()
    _write(address, [b"one", b"two"])
    broker.stop()
    assert broker.status() is None
    assert broker.start() == address
    assert _read(address, 2) == [b"one", b"two"]


def test_a_killed_broker_comes_back_with_its_records(broker: EmbeddedBroker) -> None:
    """A broker that had no chance to shut down recovers its data, and keeps its address."""
    address = broker.start()
    _write(address, [b"one"])
    broker.kill()
    assert broker.start() == address
    assert _read(address, 1) == [b"one"]


def test_two_projects_have_a_broker_each(broker: EmbeddedBroker, tmp_path: Path) -> None:
    """Two folders mean two addresses and two sets of topics."""
    other = EmbeddedBroker(tmp_path / "other")
    try:
        first, second = broker.start(), other.start()
        _write(first, [b"only here"])
        assert first != second
        assert TOPIC not in AdminClient({"bootstrap.servers": second}).list_topics(timeout=30).topics
    finally:
        other.kill()


def test_starting_twice_at_once_gives_one_broker_that_outlives_its_starters(broker: EmbeddedBroker) -> None:
    """Two processes that start the same broker at the same moment are given the same one, and may end."""
    command = [sys.executable, "-c", START, str(broker.folder)]
    starters = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    addresses = {starter.communicate(timeout=100)[0].strip() for starter in starters}
    running = broker.status()
    assert running is not None
    assert addresses == {running.bootstrap_servers}
    mark = f"-Dstoker.broker={broker.folder}"
    assert [found.pid for found in psutil.process_iter() if mark in _command_line(found)] == [running.pid]


def test_a_taken_port_is_left_to_its_owner(broker: EmbeddedBroker) -> None:
    """If another program listens on the remembered port, the broker moves to a new one."""
    address = broker.start()
    broker.stop()
    with socket.create_server(("127.0.0.1", int(address.rpartition(":")[2]))):
        assert broker.start() != address


def test_a_port_that_is_taken_while_the_broker_starts_is_left_to_its_owner(
    broker: EmbeddedBroker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A first start begins again with other ports, and the owner's answers do not pass for its own."""
    owner = broker.start()
    drawn = iter([replace(choose_ports(random.SystemRandom()), broker=int(owner.rpartition(":")[2]))])
    monkeypatch.setattr(embedded, "choose_ports", lambda draw: next(drawn, None) or choose_ports(draw))
    other = EmbeddedBroker(tmp_path / "other")
    try:
        address = other.start()
        assert address != owner
        _write(address, [b"only here"])
        assert TOPIC not in AdminClient({"bootstrap.servers": owner}).list_topics(timeout=30).topics
    finally:
        other.kill()


def test_a_broker_that_ignores_the_stop_is_killed_and_that_is_logged(tmp_path: Path) -> None:
    """A hung process does not keep `stop` waiting for ever."""
    said: list[str] = []
    hung = EmbeddedBroker(tmp_path / "hung", said.append)
    hung.start()
    running = hung.status()
    assert running is not None
    os.kill(running.pid, signal.SIGSTOP)
    hung.stop(timeout_s=0.2)
    assert not psutil.pid_exists(running.pid) or psutil.Process(running.pid).status() == psutil.STATUS_ZOMBIE
    assert "killing process" in said[-1]


def test_reset_deletes_the_data_and_the_next_start_is_empty(broker: EmbeddedBroker) -> None:
    """After a reset no topic is left."""
    _write(broker.start(), [b"gone"])
    broker.reset()
    assert [entry.name for entry in broker.folder.iterdir()] == ["lock"]
    assert TOPIC not in AdminClient({"bootstrap.servers": broker.start()}).list_topics(timeout=30).topics


def test_a_start_that_fails_shows_the_last_words_and_the_log(broker: EmbeddedBroker) -> None:
    """The message of a failed start holds what Kafka said."""
    (broker.folder / "data").mkdir(parents=True)
    (broker.folder / "data" / "meta.properties").write_text("version=1\nnode.id=77\ncluster.id=damaged\n")
    with pytest.raises(BrokerStartFailed, match="its process ended") as failed:
        broker.start()
    assert "77" in failed.value.last_lines
    assert str(broker.folder / "broker.0.log") in str(failed.value)


def test_a_data_folder_that_cannot_be_prepared_is_reported(broker: EmbeddedBroker) -> None:
    """A failure before Kafka even starts has its message too."""
    broker.folder.mkdir()
    (broker.folder / "data").write_text("a file where a folder must be")
    with pytest.raises(BrokerStartFailed, match="could not be prepared"):
        broker.start()


@pytest.fixture
def stranger() -> Iterator[psutil.Process]:
    """A process that is no broker."""
    command = [sys.executable, "-c", "import sys; sys.stdin.read()"]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as child:
        yield psutil.Process(child.pid)
        child.kill()


@pytest.mark.parametrize("age_s", [0.0, 3600.0])
def test_a_recycled_process_id_is_not_stopped(tmp_path: Path, stranger: psutil.Process, age_s: float) -> None:
    """A state file whose process id now belongs to another program stops nothing and counts as not running."""
    stale = EmbeddedBroker(tmp_path)
    noted = {
        "bootstrap_servers": "127.0.0.1:1",
        "pid": stranger.pid,
        "created": stranger.create_time() - age_s,
        "version": "4.3.0",
    }
    (tmp_path / "broker.json").write_text(json.dumps(noted))
    assert stale.status() is None
    stale.stop()
    assert stranger.is_running()
    assert not (tmp_path / "broker.json").exists()


@pytest.mark.parametrize("content", ["", "{", "[]", '{"pid": 1}'])
def test_a_damaged_state_file_counts_as_not_running(tmp_path: Path, content: str) -> None:
    """A file cut short by a full disk does not break `status`."""
    (tmp_path / "broker.json").write_text(content)
    assert EmbeddedBroker(tmp_path).status() is None


def test_a_machine_without_a_free_port_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    """The search for a port ends."""
    monkeypatch.setattr("stoker.operations.broker.settings._is_free", lambda _port: False)
    with pytest.raises(NoFreePort, match="no free port"):
        choose_ports(random.Random(1))


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    """Trouble with the disk names the folder and the way out."""
    (tmp_path / "file").write_text("")
    with pytest.raises(BrokerFolderFailed, match="STOKER_HOME"):
        EmbeddedBroker(tmp_path / "file" / "broker").start()


def test_a_busy_folder_is_reported_after_a_bounded_wait(tmp_path: Path) -> None:
    """Whoever comes second waits, but not for ever."""
    began = time.monotonic()
    with file_lock(tmp_path / "lock", 1), pytest.raises(BrokerBusy):
        EmbeddedBroker(tmp_path).stop(timeout_s=0.2)
    assert time.monotonic() - began < 30


def test_the_state_folder_follows_the_project_or_the_setting() -> None:
    """Without STOKER_HOME the folder lies in the working directory."""
    assert project_folder({}) == Path.cwd() / ".stoker" / "broker"
    assert project_folder({"STOKER_HOME": "/elsewhere"}) == Path("/elsewhere/broker")


def test_the_state_file_holds_what_other_rooms_read(broker: EmbeddedBroker) -> None:
    """The keys of broker.json are a contract with `stoker.topology.cluster.settings`."""
    address = broker.start()
    state = json.loads((broker.folder / "broker.json").read_text())
    assert set(state) == {"bootstrap_servers", "pid", "created", "version"}
    assert RunningBroker(**state) == broker.status()
    assert state["bootstrap_servers"] == address


def _write(address: str, values: list[bytes]) -> None:
    admin = AdminClient({"bootstrap.servers": address})
    admin.create_topics([NewTopic(TOPIC, 1, 1)])[TOPIC].result(timeout=30)
    producer = Producer({"bootstrap.servers": address, "acks": "all"})
    for value in values:
        producer.produce(TOPIC, value)
    assert producer.flush(20) == 0


def _read(address: str, count: int) -> list[bytes | None]:
    settings = {"bootstrap.servers": address, "group.id": "reader", "auto.offset.reset": "earliest"}
    consumer = Consumer(settings)
    try:
        consumer.subscribe([TOPIC])
        return [message.value() for message in consumer.consume(count, timeout=60)]
    finally:
        consumer.close()


def _command_line(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return []
