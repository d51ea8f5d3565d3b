"""The demo's worker processes: `stoker worker --processes N` with its log in a file, and the one that gets killed."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil

END_TIMEOUT_S: Final = 45.0
_LAST_LINES: Final = 5


class WorkersEnded(Exception):
    """The fleet ended by itself; its log has the reason."""

    def __init__(self, code: int, log: Path) -> None:
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
        last = "\n".join(lines[-_LAST_LINES:])
        super().__init__(f"the workers ended by themselves with exit code {code}; the end of {log}:\n{last}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Workers:
    """A running fleet.

    Attributes:
        supervisor: the process that was started; its children run the jobs.
    """

    supervisor: subprocess.Popen[bytes]
    log: Path

    def process_ids(self) -> list[int]:
        """The processes that run jobs at this moment."""
        self.check()
        return sorted(child.pid for child in psutil.Process(self.supervisor.pid).children())

    def check(self) -> None:
        """See that the fleet is there.

        Raises:
            WorkersEnded: it is not.
        """
        code = self.supervisor.poll()
        if code is not None:
            raise WorkersEnded(code, self.log)


@contextmanager
def workers(command: list[str], log: Path) -> Iterator[Workers]:
    """Run a fleet, and let it shut down gracefully in the end.

    It has a session of its own, so that Ctrl+C reaches the demo alone, which then ends the fleet in its own time.
    """
    with log.open("wb") as out:
        supervisor = subprocess.Popen(command, stdout=out, stderr=out, start_new_session=True)
    try:
        yield Workers(supervisor=supervisor, log=log)
    finally:
        _end(supervisor)


def kill(process_id: int) -> None:
    """End a process as a power cut would: it has no chance to finish, commit or leave its group."""
    os.kill(process_id, signal.SIGKILL)


def _end(supervisor: subprocess.Popen[bytes]) -> None:
    supervisor.terminate()
    try:
        supervisor.wait(END_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        os.killpg(supervisor.pid, signal.SIGKILL)
        supervisor.wait()
    finally:
        _kill_group(supervisor.pid)


def _kill_group(group_id: int) -> None:
    """End what the supervisor may have left behind, if it was killed itself."""
    try:
        os.killpg(group_id, signal.SIGKILL)
    except ProcessLookupError:
        return
