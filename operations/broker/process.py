"""The process of the embedded broker: started detached, recognised again, ended without hitting a stranger.

A process id alone is no identity: it is handed out again. A broker is recognised by its id, its start time and the
folder that is written in its command line.
"""

from __future__ import annotations

import signal
import subprocess
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from .errors import JarsMissing

if TYPE_CHECKING:
    import psutil

_SAME_START_S = 2.0  # the kernel's boot clock and ours drift apart by a little
_LOOK_AGAIN_S = 0.02
# The shell forks and ends, so the broker belongs to init: it outlives us and leaves us no zombie.
_DETACH = '"$@" </dev/null >>broker.out 2>&1 & echo $!'


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokerProcess:
    """One run of a broker: the process id, when it was started (epoch seconds), and the folder it serves."""

    pid: int
    started_at_s: float
    folder: Path

    def is_ours(self) -> bool:
        """Whether this very run is still there, and a broker of this folder; a recycled process id is not."""
        return self._found() is not None

    def is_alive(self) -> bool:
        """Whether a run known to be ours is still there, also while it begins or ends and has no command line."""
        ps = _psutil()
        try:
            process = ps.Process(self.pid)
            return self._began_then(process) and process.status() != ps.STATUS_ZOMBIE
        except ps.NoSuchProcess:
            return False

    def resident_bytes(self) -> int:
        """Memory it holds now; 0 when it is gone."""
        found = self._found()
        return found.memory_info().rss if found else 0

    def send(self, number: signal.Signals) -> None:
        """Send a signal, to this run or not at all."""
        if found := self._found():
            found.send_signal(number)

    def wait_gone(self, timeout_s: float) -> bool:
        """Wait until it has ended; false when it has not in `timeout_s`."""
        give_up_at_s = time.monotonic() + timeout_s
        while self.is_alive():
            if time.monotonic() >= give_up_at_s:
                return False
            threading.Event().wait(_LOOK_AGAIN_S)
        return True

    def _found(self) -> psutil.Process | None:
        ps = _psutil()
        try:
            process = ps.Process(self.pid)
            return process if self._began_then(process) and folder_mark(self.folder) in process.cmdline() else None
        except (ps.NoSuchProcess, ps.AccessDenied):  # a zombie counts as the former
            return None

    def _began_then(self, process: psutil.Process) -> bool:
        return abs(process.create_time() - self.started_at_s) < _SAME_START_S


def folder_mark(folder: Path) -> str:
    """The argument in a broker's command line that names its folder."""
    return f"-Dstoker.broker={folder}"


def spawn_detached(command: list[str], folder: Path) -> BrokerProcess:
    """Start a broker that outlives this process, in its own session, its output in `broker.out`.

    Raises:
        JarsMissing: the `embedded` extra is not installed.
        OSError, subprocess.SubprocessError: no process can be started.
    """
    ps = _psutil()
    shell = ["/bin/sh", "-c", _DETACH, "stoker-broker", *command]
    printed = subprocess.run(shell, cwd=folder, start_new_session=True, stdout=subprocess.PIPE, text=True, check=True)
    pid = int(printed.stdout)
    try:
        started_at_s = float(ps.Process(pid).create_time())
    except ps.NoSuchProcess:
        started_at_s = time.time()  # it ended at once; the caller sees that it is not alive
    return BrokerProcess(pid=pid, started_at_s=started_at_s, folder=folder)


def _psutil() -> ModuleType:
    try:
        import psutil  # an optional extra
    except ImportError as missing:
        raise JarsMissing("the `embedded` extra is not installed") from missing
    return psutil
