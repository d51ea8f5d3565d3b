"""`stoker worker` ends once it is told to, whatever hangs in it: by itself, or by its fleet."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from stoker.operations.cli.exit_codes import ExitCode
from stoker.topology import ClusterSettings, Pipeline
from support.scenes.worker import create
from support.waiting import wait_until

pytestmark = pytest.mark.timeout(180)

DEADLINE_S = 60.0
APPLICATION = """
import ctypes, logging, threading
from stoker.consumers import fleet
from stoker.consumers.poll_loop import poll_thread_watch
from stoker.consumers.poll_loop.housekeeping import Housekeeping
from stoker.topology import Pipeline

pipeline = Pipeline({namespace!r})
pipeline.queue("work", partitions=2)

def hang(_self):
    print("hangs", flush=True)
    {hang}

Housekeeping.turn = hang
poll_thread_watch.POLL_THREAD_AFTER_GRACE_S = 0.5
fleet.PROCESS_AFTER_GRACE_S = {killed_after_s}
"""
WAIT = "threading.Event().wait(600)"
HOLD_INTERPRETER = "ctypes.PyDLL(None).sleep(600)"
HOLD_LOG = """handler = logging.Handler()
    handler.emit = lambda _record: threading.Event().wait(600)
    logging.getLogger("stoker").addHandler(handler)
    logging.getLogger("stoker.worker").info("this blocks")"""


@contextmanager
def hanging(
    cluster: ClusterSettings,
    namespace: str,
    folder: Path,
    *arguments: str,
    hang: str = WAIT,
    killed_after_s: float = 60,
) -> Iterator[subprocess.Popen[bytes]]:
    """`stoker worker` whose poll threads hang; its log goes to err.log."""
    pipeline = Pipeline(namespace)
    pipeline.queue("work", partitions=2)
    create(pipeline, cluster)
    text = APPLICATION.format(namespace=namespace, hang=hang, killed_after_s=killed_after_s)
    (folder / "hanging.py").write_text(text)
    command = [sys.executable, "-m", "stoker.operations.cli", "-A", "hanging:pipeline"]
    command += ["--bootstrap-servers", str(cluster.bootstrap_servers), "worker", "--grace", "100ms", *arguments]
    command += ["--revoke-grace", "100ms"]
    with (folder / "out.log").open("wb") as out, (folder / "err.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=out, stderr=log, cwd=folder, start_new_session=True)
        try:
            yield process
        finally:
            if process.poll() is None:
                children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
                for left in [process.pid, *map(int, children)]:
                    os.kill(left, signal.SIGKILL)
            process.wait(10)


def wait_hanging(folder: Path, count: int) -> None:
    """Wait until so many poll threads hang."""
    wait_until(lambda: (folder / "out.log").read_text().count("hangs") >= count, DEADLINE_S, f"{count} hangs")


def test_sigterm_ends_a_worker_that_hangs(cluster: ClusterSettings, namespace: str, tmp_path: Path) -> None:
    """Its exit code is that of a worker that failed, and its last line names the thread."""
    with hanging(cluster, namespace, tmp_path) as process:
        wait_hanging(tmp_path, 1)
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == ExitCode.FINDING
    last = (tmp_path / "err.log").read_text().splitlines()[-1]
    assert last.startswith("Error: the worker ends, since the thread stoker-poll-work of queue 'work' hangs")


def test_sigterm_ends_a_worker_whose_log_hangs(cluster: ClusterSettings, namespace: str, tmp_path: Path) -> None:
    """A log handler that blocks in one thread blocks each other one that logs, so none that ends a worker waits."""
    with hanging(cluster, namespace, tmp_path, hang=HOLD_LOG) as process:
        wait_hanging(tmp_path, 1)
        process.send_signal(signal.SIGTERM)
        assert process.wait(40) == ExitCode.FINDING
    assert "Error: the worker ends, since the thread stoker-poll-work of" in (tmp_path / "err.log").read_text()


def test_sigterm_ends_a_fleet_that_hangs(cluster: ClusterSettings, namespace: str, tmp_path: Path) -> None:
    """Each process ends itself, and the fleet kills none."""
    with hanging(cluster, namespace, tmp_path, "--processes", "2") as process:
        wait_hanging(tmp_path, 2)
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == ExitCode.FINDING
    log = (tmp_path / "err.log").read_text()
    assert log.count("Error: the worker ends, since the thread stoker-poll-work of queue 'work' hangs") == 2
    assert "is killed" not in log


def test_a_fleet_kills_processes_that_cannot_end_themselves(
    cluster: ClusterSettings, namespace: str, tmp_path: Path
) -> None:
    """C code holds their interpreters, so that none of their threads runs."""
    arguments = ("--processes", "2")
    with hanging(cluster, namespace, tmp_path, *arguments, hang=HOLD_INTERPRETER, killed_after_s=1.0) as process:
        wait_hanging(tmp_path, 2)
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == ExitCode.FINDING
    assert (tmp_path / "err.log").read_text().count("hangs, and is killed") == 2
