"""Kafka's classes, loaded and linked beforehand in a file that Java maps: each start of a broker computes half as much.

The file is made once for each virtual environment. Java heeds it only where it was made by the same Java of the same
jars, and starts as ever where it was not.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

from stoker.operations.broker.embedded import EmbeddedBroker
from stoker.operations.broker.errors import BrokerError
from stoker.operations.broker.java import KAFKA_VERSION, find_java, java_version
from stoker.operations.broker.lock import file_lock

OPTIONS: Final = "JDK_JAVA_OPTIONS"
"""What every Java of the run takes from the environment."""
_OLDEST_JAVA: Final = 25
_MADE_WITHIN_S: Final = 120.0


def use_linked_classes() -> None:
    """Let the brokers of this process and its children start with them, where they can be had."""
    try:
        java = find_java()
        if OPTIONS not in os.environ and java_version(java) >= _OLDEST_JAVA:
            os.environ[OPTIONS] = f"-XX:AOTCache={_linked_classes(java)} -Xlog:aot*=off"
    except (BrokerError, OSError, subprocess.SubprocessError):
        pass  # no Java, no jars, or no room: tests that need a broker have their own words for it


def _linked_classes(java: Path) -> Path:
    file = Path(sys.prefix) / f"kafka-{KAFKA_VERSION}.aot"
    with file_lock(file.with_suffix(".lock"), _MADE_WITHIN_S):
        if not file.exists() or file.stat().st_mtime < java.stat().st_mtime:
            _make(file)
    return file


def _make(file: Path) -> None:
    """A broker that is stopped in order writes down what it has loaded."""
    partial = file.with_suffix(".partial")
    with tempfile.TemporaryDirectory(prefix="stoker-classes-") as folder:
        broker = EmbeddedBroker(Path(folder) / "broker")
        os.environ[OPTIONS] = f"-XX:AOTCacheOutput={partial}"
        try:
            broker.start()
            broker.stop(_MADE_WITHIN_S)
        finally:
            del os.environ[OPTIONS]
            broker.kill()
    partial.replace(file)
