"""The embedded broker: the real Apache Kafka, one node, detached, its data in a folder of the project.

The state folder holds: `broker.json` (the running broker's address, process id, start time and version; gone when it
was stopped), `ports.json` (remembered, so that the address stays the same over restarts), `server.properties`,
`broker.0.log` and `broker.1.log` (bounded), `broker.out` (what Java itself prints), `data/` and `lock`.
"""

from __future__ import annotations

import base64
import json
import os
import random
import shutil
import signal
import subprocess
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from types import MappingProxyType
from typing import NewType

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from .errors import BrokerFolderFailed, BrokerStartFailed
from .java import KAFKA_VERSION, Report, find_jars, find_java
from .lock import file_lock
from .process import BrokerProcess, spawn_detached
from .settings import DEFAULT_HEAP_MB, LOG_NAME, Ports, choose_ports, format_command, server_command, write_settings

BootstrapAddress = NewType("BootstrapAddress", str)

START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 20.0
_KILL_TIMEOUT_S = 10.0
_RELEASE_TIMEOUT_S = 2.0  # a killed process may hold its ports for a moment longer
_LAST_LINES = 12
_PORT_TAKEN = "Address already in use"
_ANSWER_TIMEOUT_S = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningBroker:
    """The content of broker.json while a broker runs."""

    bootstrap_servers: str
    pid: int
    created: float  # start of the process, epoch seconds
    version: str


def project_folder(environ: Mapping[str, str] = os.environ) -> Path:
    """The state folder of the project one stands in: `.stoker/broker`, or under STOKER_HOME."""
    return Path(environ.get("STOKER_HOME") or ".stoker").absolute() / "broker"


class EmbeddedBroker:
    """One project's broker. Any number of processes may hold one for the same folder: they see the same broker.

    `server_settings` are Kafka server properties beside the usual ones; they take effect at the next start, as does
    `version`. Others than the usual one are for those who want to know how an older Kafka behaves.
    """

    def __init__(
        self,
        folder: Path,
        report: Report = lambda _line: None,
        server_settings: Mapping[str, str] = MappingProxyType({}),
        version: str = KAFKA_VERSION,
        *,
        heap_mb: int = DEFAULT_HEAP_MB,
    ) -> None:
        self.folder = folder.absolute()
        self._report = report
        self._server_settings = server_settings
        self._version = version
        self._heap_mb = heap_mb

    def start(self, timeout_s: float = START_TIMEOUT_S) -> BootstrapAddress:
        """Start it, or find it running, and wait until it answers.

        Raises:
            JavaMissing, JarsMissing: what it runs on cannot be had.
            BrokerStartFailed: it ended or did not answer in `timeout_s`; the message has the end of its log.
            BrokerFolderFailed, BrokerBusy, NoFreePort: the state folder or the ports cannot be used.
        """
        with self._locked(timeout_s):
            running = self.status()
            if running is None:
                running = self._launch_answering(timeout_s)
            else:
                self._wait_answering(running, timeout_s)
            return BootstrapAddress(running.bootstrap_servers)

    def stop(self, timeout_s: float = STOP_TIMEOUT_S) -> None:
        """Shut it down in order, so that the next start is quick; kill it only when it does not end.

        Raises:
            BrokerFolderFailed, BrokerBusy: the state folder cannot be used.
        """
        if self.folder.exists():
            with self._locked(timeout_s):
                self._end(signal.SIGTERM, timeout_s)

    def kill(self) -> None:
        """End it as a power cut would, for tests of what survives."""
        with self._locked(STOP_TIMEOUT_S):
            self._end(signal.SIGKILL, _KILL_TIMEOUT_S)

    def status(self) -> RunningBroker | None:
        """The broker that runs on this folder; None when none does, even against the state file."""
        try:
            state = RunningBroker(**json.loads((self.folder / "broker.json").read_text(encoding="utf-8")))
        except (FileNotFoundError, ValueError, TypeError):
            return None
        return state if self._process(state).is_ours() else None

    def resident_bytes(self) -> int:
        """Memory the running broker holds; 0 when none runs."""
        running = self.status()
        return self._process(running).resident_bytes() if running else 0

    def reset(self) -> None:
        """Stop it and delete its data, topics and offsets alike. The next start begins anew.

        Raises:
            BrokerFolderFailed, BrokerBusy: the state folder cannot be used.
        """
        if not self.folder.exists():
            return
        with self._locked(STOP_TIMEOUT_S):
            self._end(signal.SIGTERM, STOP_TIMEOUT_S)
            for entry in self.folder.iterdir():
                if entry.is_dir():
                    shutil.rmtree(entry)
                elif entry.name != "lock":  # others may be waiting on it
                    entry.unlink()

    @contextmanager
    def _locked(self, timeout_s: float) -> Iterator[None]:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with file_lock(self.folder / "lock", timeout_s):
                yield
        except OSError as refused:
            raise BrokerFolderFailed(self.folder, refused) from refused

    def _launch_answering(self, timeout_s: float) -> RunningBroker:
        """Launch it; a first start whose ports another program took in the meantime begins again with others."""
        remembered = self.folder / "ports.json"
        for is_last in (remembered.exists(), False, True):
            running = self._launch()
            try:
                self._wait_answering(running, timeout_s)
                break
            except BrokerStartFailed as failed:
                if is_last or _PORT_TAKEN not in failed.last_lines:
                    raise
                self._report(f"{running.bootstrap_servers} was taken by another program: choosing a new address")
                remembered.unlink()
        return running

    def _launch(self) -> RunningBroker:
        java, jars = find_java(), find_jars(self._report, version=self._version)
        ports = self._ports()
        write_settings(self.folder, ports, self._server_settings)
        (self.folder / "broker.out").write_bytes(b"")
        if not (self.folder / "data" / "meta.properties").exists():
            self._format(format_command(java, jars, _new_cluster_id()))
        self._report(f"starting Kafka {self._version} on {ports.bootstrap_servers}…")
        process = spawn_detached(server_command(java, jars, self.folder, self._heap_mb), self.folder)
        running = RunningBroker(
            bootstrap_servers=ports.bootstrap_servers,
            pid=process.pid,
            created=process.started_at_s,
            version=self._version,
        )
        _write_json(self.folder / "broker.json", asdict(running))
        return running

    def _ports(self) -> Ports:
        """The ports of last time; new ones at the first start, or when another program took them."""
        remembered = self.folder / "ports.json"
        try:
            ports = Ports(**json.loads(remembered.read_text(encoding="utf-8")))
            if ports.wait_free(_RELEASE_TIMEOUT_S):
                return ports
            self._report(f"{ports.bootstrap_servers} is taken by another program: choosing a new address")
        except (FileNotFoundError, ValueError, TypeError):
            pass  # the first start, or a file cut short: both want new ports
        ports = choose_ports(random.SystemRandom())
        _write_json(remembered, asdict(ports))
        return ports

    def _cluster_id(self) -> str:
        properties = (self.folder / "data" / "meta.properties").read_text(encoding="ascii").splitlines()
        return next(line.partition("=")[2] for line in properties if line.startswith("cluster.id="))

    def _format(self, command: list[str]) -> None:
        self._report("preparing an empty data folder…")
        try:
            with (self.folder / "broker.out").open("ab") as out:
                subprocess.run(command, cwd=self.folder, stdout=out, stderr=out, timeout=START_TIMEOUT_S, check=True)
        except subprocess.SubprocessError as failed:
            raise self._start_failed("its data folder could not be prepared") from failed

    def _wait_answering(self, running: RunningBroker, timeout_s: float) -> None:
        process = self._process(running)
        give_up_at_s = time.monotonic() + timeout_s
        admin = AdminClient({"bootstrap.servers": running.bootstrap_servers, "log_level": 0})
        cluster_id = self._cluster_id()
        while not _answers(admin, cluster_id):
            if not process.is_alive():
                (self.folder / "broker.json").unlink(missing_ok=True)
                raise self._start_failed("its process ended")
            if time.monotonic() >= give_up_at_s:
                raise self._start_failed(f"it did not answer on {running.bootstrap_servers} in {timeout_s:.0f} s")
            threading.Event().wait(0.05)

    def _end(self, how: signal.Signals, timeout_s: float) -> None:
        running = self.status()
        if running is not None:
            process = self._process(running)
            process.send(how)
            if not process.wait_gone(timeout_s):
                self._report(f"it did not end in {timeout_s:.0f} s: killing process {process.pid}")
                process.send(signal.SIGKILL)
                process.wait_gone(_KILL_TIMEOUT_S)
        (self.folder / "broker.json").unlink(missing_ok=True)

    def _process(self, running: RunningBroker) -> BrokerProcess:
        return BrokerProcess(pid=running.pid, started_at_s=running.created, folder=self.folder)

    def _start_failed(self, reason: str) -> BrokerStartFailed:
        lines = [line for name in ("broker.out", LOG_NAME) for line in _last_lines(self.folder / name)]
        return BrokerStartFailed(reason, self.folder / LOG_NAME, "\n".join(lines[-_LAST_LINES:]))


def _answers(admin: AdminClient, cluster_id: str) -> bool:
    """Whether the broker of that cluster answers; another one may have taken its port."""
    try:
        answer = admin.list_topics(timeout=_ANSWER_TIMEOUT_S)
    except KafkaException:
        return False
    return bool(answer.brokers) and answer.cluster_id == cluster_id


def _new_cluster_id() -> str:
    """Kafka wants the URL-safe base64 of 16 bytes, not beginning with a dash."""
    return base64.urlsafe_b64encode(uuid.uuid4().bytes).decode("ascii").rstrip("=").replace("-", "A")


def _last_lines(path: Path) -> list[str]:
    """The end of a log, without the frames of Java's stack traces."""
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        return []
    return [line for line in lines if not line.startswith("\tat ")][-_LAST_LINES:]


def _write_json(path: Path, content: Mapping[str, object]) -> None:
    """Replace the file in one step: a reader sees the old one or the new one."""
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(content), encoding="utf-8")
    partial.replace(path)
