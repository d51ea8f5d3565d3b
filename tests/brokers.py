"""Where the tests' Kafka comes from when no cluster is given: a container, else the embedded broker.

The worker processes of one test run share it through a folder: the first one that needs it makes it, the process that
made the folder ends it.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from stoker.operations.broker import EmbeddedBroker
from stoker.operations.broker_lock import file_lock

_CONTAINER_TIMEOUT_S = 300.0  # a first start downloads the image
_START_TIMEOUT_S = 600.0  # a first start downloads the image, or the jars; other workers wait for it


def provide_broker(shared: Path) -> str:
    """The address of this run's broker, started by whoever asks first."""
    note = shared / "cluster.json"
    with file_lock(shared / "lock", _START_TIMEOUT_S):
        if not note.exists():
            made = _container("start") or {"bootstrap_servers": EmbeddedBroker(shared / "broker").start()}
            note.write_text(json.dumps(made), encoding="utf-8")
        return str(json.loads(note.read_text(encoding="utf-8"))["bootstrap_servers"])


def withdraw_broker(shared: Path) -> None:
    """End what `provide_broker` started, if it was called."""
    note = shared / "cluster.json"
    made = json.loads(note.read_text(encoding="utf-8")) if note.exists() else {}
    if "container" in made:
        _container("remove", made["container"])
    EmbeddedBroker(shared / "broker").kill()


def _container(*command: str) -> dict[str, str]:
    """Ask for a container; empty when no engine answers, or it cannot run Kafka."""
    script = [sys.executable, str(Path(__file__).with_name("kafka_container.py")), *command]
    try:
        done = subprocess.run(script, capture_output=True, text=True, timeout=_CONTAINER_TIMEOUT_S, check=True)
    except subprocess.SubprocessError:
        return {}
    return dict(json.loads(done.stdout)) if done.stdout else {}
