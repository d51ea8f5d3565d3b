"""A worker process that stands still answers no probe and sends systemd no watchdog notification, whatever holds it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.request import urlopen

import pytest

from stoker.producers import Producer
from stoker.topology import ClusterSettings, Pipeline
from support.scenes.worker import create
from support.sight.scraping import free_ports
from support.waiting import wait_until

pytestmark = pytest.mark.timeout(180)

DEADLINE_S = 60.0
PROBE_S = 1.0
WATCHDOG_S = 0.2
APPLICATION = """
import ctypes
from stoker.topology import Pipeline
pipeline = Pipeline({namespace!r})
queue = pipeline.queue("work", partitions=1)

@pipeline.job(queue)
def hold_interpreter(seconds: int) -> None:
    ctypes.PyDLL(None).sleep(seconds)
"""


@dataclass(frozen=True, slots=True)
class Probed:
    """A worker process, as its keepers see it."""

    process: subprocess.Popen[bytes]
    port: int
    systemd: socket.socket

    def answers(self, path: str) -> bool:
        """Whether a probe succeeds, in the time that it is given."""
        try:
            with urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=PROBE_S) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def shows_life(self) -> bool:
        """Whether systemd hears of it, in five times the time in which it must."""
        self.systemd.setblocking(False)
        try:
            while True:
                self.systemd.recv(100)
        except BlockingIOError:
            self.systemd.settimeout(5 * WATCHDOG_S)
        try:
            return self.systemd.recv(100) == b"WATCHDOG=1"
        except TimeoutError:
            return False

    def wait_well(self) -> None:
        """Wait until all keepers are content."""
        for found in (lambda: self.answers("/ready"), lambda: self.answers("/live"), self.shows_life):
            wait_until(found, DEADLINE_S, "a worker that is well")


@contextmanager
def probed(cluster: ClusterSettings, namespace: str, folder: Path) -> Iterator[Probed]:
    """A `stoker worker` under probes and systemd's watchdog."""
    (folder / f"app_{namespace}.py").write_text(APPLICATION.format(namespace=namespace), encoding="utf-8")
    port, address = free_ports(1), str(folder / "notify")
    root = ["-A", f"app_{namespace}:pipeline", "--bootstrap-servers", cluster.bootstrap_servers]
    command = [sys.executable, "-m", "stoker.operations.cli", *root, "worker", "--metrics-port", str(port)]
    told = {"NOTIFY_SOCKET": address, "WATCHDOG_USEC": str(int(WATCHDOG_S * 1e6))}
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(address)
        process = subprocess.Popen(command, cwd=folder, env=os.environ | told, stderr=subprocess.DEVNULL)
        try:
            yield Probed(process, port, systemd)
        finally:
            process.kill()
            process.wait(10)


def test_a_process_that_stands_still_is_not_live(cluster: ClusterSettings, namespace: str, tmp_path: Path) -> None:
    """Stopped by a signal, or with its interpreter held by a job; it is live again when that is over."""
    pipeline = Pipeline(namespace)
    queue = pipeline.queue("work", partitions=1)

    @pipeline.job(queue)
    def hold_interpreter(seconds: int) -> None:
        """Nothing here."""

    create(pipeline, cluster)
    with probed(cluster, namespace, tmp_path) as worker:
        worker.wait_well()
        worker.process.send_signal(signal.SIGSTOP)
        assert not worker.answers("/live")
        assert not worker.shows_life()
        worker.process.send_signal(signal.SIGCONT)
        worker.wait_well()
        with Producer(pipeline, cluster) as producer:
            producer.enqueue(hold_interpreter, 8)
        wait_until(lambda: not worker.answers("/live"), DEADLINE_S, "a probe without an answer")
        assert not worker.shows_life()
        worker.wait_well()
