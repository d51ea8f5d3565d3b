"""Where the tests' Kafka comes from when no cluster is given: a container, else the embedded broker.

The worker processes of one test run share it through a folder: the first one that needs it makes it, the process that
made the folder ends it.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from stoker.operations.broker.embedded import EmbeddedBroker
from stoker.operations.broker.errors import BrokerStartFailed, JarsMissing
from stoker.operations.broker.java import find_jars
from stoker.operations.broker.lock import file_lock
from stoker.topology.cluster.committed_offsets import committed_offsets
from stoker.topology.cluster.settings import ClusterSettings

_CONTAINER_TIMEOUT_S = 300.0  # a first start downloads the image
_STARTED_WITHIN_S = 200.0  # on a machine that does much else
_COORDINATED_WITHIN_S = 100.0
_HEAP_MB = 1_536  # the topics of very many tests are on one broker: with 512 it stood still for seconds
_BROKERS = 2
"""Of a run. One for all has more files open in the end than a process may have on many machines (20,000), and dies."""
PATIENT = {"broker.session.timeout.ms": "60000"}
"""For brokers that live as long as the run: on a machine that does much else, a broker may be silent to its controller
for the usual 4 s, and is then shut out, so that its partitions and groups are without a leader for a moment."""
_GROUPS = ("a", "b", "c", "d")
"""One for each of the four partitions of the embedded broker's topic of commits: Java hashes a letter to its code."""
OLD_KAFKA = "3.9.1"
"""The last release line before the group protocol of Kafka 4."""
SHARED = "STOKER_TESTS_SHARED"
"""Set by the process that runs pytest, inherited by xdist's workers."""
WHOLE = "STOKER_TESTS_WHOLE"
"""Set where a test that cannot have what it needs must fail, in place of being skipped."""
_START_TIMEOUT_S = 600.0  # a first start downloads the image, or the jars; other workers wait for it


def shared_folder() -> Path:
    """What the processes of this run share."""
    return Path(os.environ[SHARED])


def provide_broker(shared: Path) -> str:
    """The address of this process's broker, one of the run's, started by whoever asks first."""
    number = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % _BROKERS
    note = shared / f"cluster-{number}.json"
    with file_lock(shared / f"lock-{number}", _START_TIMEOUT_S):
        if not note.exists():
            made = _container("start") or {"bootstrap_servers": _embedded(shared / f"broker-{number}")}
            wait_coordinated(ClusterSettings(bootstrap_servers=made["bootstrap_servers"]))
            note.write_text(json.dumps(made), encoding="utf-8")
        return str(json.loads(note.read_text(encoding="utf-8"))["bootstrap_servers"])


def _embedded(folder: Path) -> str:
    """Start a broker; once more, on other ports, where somebody has taken those that were drawn."""
    broker = EmbeddedBroker(folder, heap_mb=_HEAP_MB, server_settings=PATIENT)
    try:
        return broker.start(_STARTED_WITHIN_S)
    except BrokerStartFailed:
        shutil.rmtree(folder)
        return broker.start(_STARTED_WITHIN_S)


def wait_coordinated(cluster: ClusterSettings, *groups: str) -> None:
    """Wait until the brokers answer for commits: they make the topic of commits at the first question about a group.

    Until it is there, and each of its partitions has a leader, commits and questions about them are refused.
    """
    for group in groups or _GROUPS:
        committed_offsets(cluster, group, [("none", 0)], _COORDINATED_WITHIN_S)


def provide_old_broker(shared: Path) -> str:
    """The address of this run's broker of the release line before Kafka 4; its jars are fetched once for each user."""
    try:
        find_jars(lambda _said: None, version=OLD_KAFKA)
    except JarsMissing as missing:
        cannot_have(f"Kafka {OLD_KAFKA}: {missing}")
    return EmbeddedBroker(shared / OLD_KAFKA, version=OLD_KAFKA, server_settings=PATIENT).start(_START_TIMEOUT_S)


def cannot_have(what: str) -> None:
    """Skip a test that lacks something, or fail it where the whole suite has to run."""
    (pytest.fail if os.environ.get(WHOLE) else pytest.skip)(f"this machine cannot have {what}")


def withdraw_broker(shared: Path) -> None:
    """End what `provide_broker` started, as often as it was called."""
    for number in range(_BROKERS):
        note = shared / f"cluster-{number}.json"
        made = json.loads(note.read_text(encoding="utf-8")) if note.exists() else {}
        if "container" in made:
            _container("remove", made["container"])
        EmbeddedBroker(shared / f"broker-{number}").kill()
    EmbeddedBroker(shared / OLD_KAFKA).kill()


def _container(*command: str) -> dict[str, str]:
    """Ask for a container; empty when no engine answers, or it cannot run Kafka."""
    script = [sys.executable, str(Path(__file__).with_name("container.py")), *command]
    try:
        done = subprocess.run(script, capture_output=True, text=True, timeout=_CONTAINER_TIMEOUT_S, check=True)
    except subprocess.SubprocessError:
        return {}
    return dict(json.loads(done.stdout)) if done.stdout else {}
