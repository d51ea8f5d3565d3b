"""A real Schema Registry for the tests: Apicurio's, which speaks the same API, as a Java process beside the broker.

The worker processes of one test run share it through a folder: the first one that needs it starts it, the process that
made the folder ends it. Its jars are resolved and unpacked once per user.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import tarfile
import threading
import time
import urllib.error
import urllib.request
from contextlib import suppress
from pathlib import Path
from typing import Final

from stoker.operations.broker.java import cache_folder, find_java
from stoker.operations.broker.lock import file_lock
from stoker.operations.broker.settings import HOST, choose_ports

VERSION: Final = "3.3.3"
PATH: Final = "/apis/ccompat/v7"
"""Where it speaks the API of Confluent's registry."""
_START_S: Final = 120.0
_FETCH_S: Final = 600.0
# It belongs to init, since it serves all processes of the run, and the one that starts it may not be the last.
_DETACH: Final = '"$@" </dev/null >"$0" 2>&1 & echo $!'


def provide_registry(shared: Path) -> str:
    """The address of this run's registry, started when it is first asked for."""
    note = shared / "registry.json"
    with file_lock(shared / "registry.lock", _FETCH_S):
        if not note.exists():
            note.write_text(json.dumps(_start(shared)), encoding="utf-8")
        return str(json.loads(note.read_text(encoding="utf-8"))["url"])


def withdraw_registry(shared: Path) -> None:
    """End what `provide_registry` started, if it was called."""
    note = shared / "registry.json"
    if note.exists():
        with suppress(ProcessLookupError):
            os.kill(json.loads(note.read_text(encoding="utf-8"))["pid"], signal.SIGKILL)


def _start(shared: Path) -> dict[str, object]:
    ports = choose_ports(random.SystemRandom())
    options = {"quarkus.http.port": ports.broker, "quarkus.management.port": ports.controller}
    options |= dict.fromkeys(("quarkus.http.host", "quarkus.management.host"), HOST)  # type: ignore[arg-type]
    java = [str(find_java()), "-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]
    command = [*java, *(f"-D{name}={value}" for name, value in options.items()), "-jar", "quarkus-run.jar"]
    shell = ["/bin/sh", "-c", _DETACH, str(shared / "registry.out"), *command]
    said = subprocess.run(shell, cwd=_unpacked(), start_new_session=True, stdout=subprocess.PIPE, text=True, check=True)
    url = f"http://{HOST}:{ports.broker}{PATH}"
    _wait_answering(url)
    return {"url": url, "pid": int(said.stdout)}


def _wait_answering(url: str) -> None:
    give_up = time.monotonic() + _START_S
    while time.monotonic() < give_up:
        try:
            with urllib.request.urlopen(f"{url}/subjects", timeout=5):
                return
        except (urllib.error.URLError, OSError):
            threading.Event().wait(0.1)
    raise TimeoutError(f"the registry does not answer at {url}")


def _unpacked() -> Path:
    folder = cache_folder() / f"apicurio-{VERSION}"
    cache_folder().mkdir(parents=True, exist_ok=True)
    with file_lock(cache_folder() / "apicurio.lock", _FETCH_S):
        if not folder.exists():
            partial = folder.with_suffix(".partial")
            with tarfile.open(_fetched()) as archive:
                archive.extractall(partial, filter="data")
            partial.rename(folder)
    return folder


def _fetched() -> Path:
    from jgo.maven import MavenContext

    component = MavenContext().project("io.apicurio", "apicurio-registry-app").at_version(VERSION)
    return Path(component.artifact(classifier="all", packaging="tar.gz").resolve())
