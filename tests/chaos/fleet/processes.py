"""The processes under fire: fleets of workers as users start them, and producers; and how they are hit."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil

from chaos.fleet.operating import Duty
from chaos.fleet.producing import Part

TESTS: Final = Path(__file__).parents[2]
SITE: Final = TESTS / "chaos" / "site"
END_TIMEOUT_S: Final = 60.0
OPERATORS: Final = ("fleet.operating", "fleet.scheduling")
"""The modules of those that give orders, and that change schedules, all through a run."""
ASKING: Final = "sharing.asking"
"""The module of the one that enqueues for the queues that share."""
_LOOK_S: Final = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Death:
    """A process under watch that has ended.

    Attributes:
        code: as of `Popen.returncode`; None where only its absence was seen, since it was another one's child.
    """

    what: str
    pid: int
    at_s: float
    code: int | None


class Watched:
    """A process that is started again whenever it has ended, until it ended with success or is closed."""

    def __init__(self, what: str, command: list[str], environment: dict[str, str], log: Path) -> None:
        self.what, self.deaths = what, list[Death]()
        self._command, self._environment, self._log = command, environment, log
        self._closing = threading.Event()
        self._process = self._start()
        self._thread = threading.Thread(target=self._watch, name=f"watch-{what}")
        self._thread.start()

    def _start(self) -> subprocess.Popen[bytes]:
        with self._log.open("ab") as out:
            return subprocess.Popen(
                self._command, cwd=TESTS, env=self._environment, stdout=out, stderr=out, start_new_session=True
            )

    def _watch(self) -> None:
        while not self._closing.is_set():
            code = self._process.poll()
            if code is None:
                self._closing.wait(_LOOK_S)
                continue
            self.deaths.append(Death(what=self.what, pid=self._process.pid, at_s=time.monotonic(), code=code))
            if self._is_done(code):
                return
            self._process = self._start()

    def _is_done(self, code: int) -> bool:
        """Whether it is not started again after it has ended with this code."""
        return code == 0

    @property
    def pid(self) -> int:
        """The process that runs now, or ran last."""
        return self._process.pid

    def is_finished(self) -> bool:
        """Whether it ended with success."""
        return self._process.poll() == 0

    def close(self) -> None:
        """End it in order, and its children with it."""
        self._closing.set()
        self._thread.join()
        self._process.terminate()
        try:
            self._process.wait(END_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)


class Fleet(Watched):
    """`stoker worker --processes N`: a supervisor and the processes that run the jobs; one alone needs no supervisor.

    It is started again however it ends, as a service is: one process alone ends with success on an order to stop.
    """

    def __init__(self, name: str, size: int, folder: Path, servers: str, options: list[str]) -> None:
        command = [
            *(sys.executable, "-m", "stoker.operations.cli", "-A", "chaos.fleet.app:pipeline", "worker"),
            *("--processes", str(size), "--log-format", "json", *options),
        ]
        environment = environment_of(folder, servers)
        self._is_alone = size == 1
        super().__init__(name, command, environment, folder / f"{name}.log")

    def _is_done(self, code: int) -> bool:
        return False

    def workers(self) -> list[int]:
        """The processes that run jobs now."""
        if self._is_alone:
            return [self.pid]
        try:
            children = psutil.Process(self.pid).children()
            return sorted(child.pid for child in children if child.status() != psutil.STATUS_ZOMBIE)
        except psutil.NoSuchProcess:
            return []

    def close(self) -> None:
        """End it in order; whatever children a killed supervisor has left end on their own, or are ended here."""
        left = self._children()
        super().close()
        for process in left:
            with suppress(psutil.NoSuchProcess):
                process.kill()

    def _children(self) -> list[psutil.Process]:
        try:
            return psutil.Process(self.pid).children()
        except psutil.NoSuchProcess:
            return []


def start_producer(part: Part) -> Watched:
    """Start a producer of a share of the jobs."""
    folder = Path(part.folder)
    name = f"producer{part.residue}"
    command = [sys.executable, "-m", "chaos.fleet.producing", part.to_json()]
    return Watched(name, command, environment_of(folder, part.servers), folder / f"{name}.log")


def start_operator(name: str, duty: Duty) -> Watched:
    """Start one of `OPERATORS`, or `ASKING`."""
    folder = Path(duty.folder)
    command, short = [sys.executable, "-m", f"chaos.{name}", duty.to_json()], name.rpartition(".")[2]
    return Watched(short, command, environment_of(folder, duty.servers), folder / f"{short}.log")


def environment_of(folder: Path, servers: str) -> dict[str, str]:
    """This process's environment with none of Stoker's own settings but those of the run."""
    plain = {name: value for name, value in os.environ.items() if not name.startswith("STOKER_")}
    ours = {
        "STOKER_BOOTSTRAP_SERVERS": servers,
        "STOKER_HOME": str(folder / "home"),
        "CHAOS_FOLDER": str(folder),
        "PYTHONPATH": os.pathsep.join([str(SITE), str(TESTS)]),
    }
    return {**plain, **ours}


def send(pid: int, number: signal.Signals) -> bool:
    """Signal a process; false when it is gone already."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return False
    return True


def freeze(pid: int, length_s: float, wait: Callable[[float], object] = time.sleep) -> bool:
    """Stop a process without its knowledge, as a machine that swaps or a paused container would, then let it go on."""
    if not send(pid, signal.SIGSTOP):
        return False
    try:
        wait(length_s)
    finally:
        send(pid, signal.SIGCONT)
    return True
