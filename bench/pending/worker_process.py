"""`WorkerProcess`: a `stoker worker` as users start it, which is held still, killed and started again."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Final

from processes import END_TIMEOUT_S, FOLDER, environment

from stoker.operations.views.logging_json import TIMESTAMP

ASSIGNED_TIMEOUT_S: Final = 120.0
"""A killed worker keeps its partitions until the brokers miss it, after 45 s by default."""
_COMMAND: Final = ("-A", "pending.app:pipeline", "worker", "--grace", "0s", "--log-format", "json")
_ASSIGNED: Final = "partitions assigned"
_LOOK_S: Final = 0.05
_LAST_LINES: Final = 15


class NotAssigned(Exception):
    """A worker did not come to its partitions."""

    def __init__(self, log: Path) -> None:
        super().__init__(f"the worker got no partitions in {ASSIGNED_TIMEOUT_S:g} s; its log:\n{log.read_text()}")


class WorkerEnded(Exception):
    """A worker that should run has ended."""

    def __init__(self, code: int, log: Path) -> None:
        last = "\n".join(log.read_text().splitlines()[-_LAST_LINES:])
        super().__init__(f"the worker ended with exit code {code}; the end of its log:\n{last}")


class WorkerProcess:
    """One worker process; `log` is its own."""

    def __init__(self, bootstrap_servers: str, variables: Mapping[str, str], log: Path) -> None:
        self._log = log
        with log.open("wb") as out:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "stoker.operations.cli", *_COMMAND],
                cwd=FOLDER,
                env=environment(bootstrap_servers, variables),
                stdout=out,
                stderr=out,
            )

    @property
    def process_id(self) -> int:
        """Whose memory is looked at."""
        return self._process.pid

    def wait_assigned(self) -> float:
        """Wait for its first partitions; returns when it logged them, in seconds since 1970.

        Raises:
            NotAssigned: it got none.
            WorkerEnded: it ended instead.
        """
        give_up_at_s = time.monotonic() + ASSIGNED_TIMEOUT_S
        while time.monotonic() < give_up_at_s:
            self.check_runs()
            if (assigned_at_s := self._assigned_at_s()) is not None:
                return assigned_at_s
            time.sleep(_LOOK_S)
        raise NotAssigned(self._log)

    def _assigned_at_s(self) -> float | None:
        with self._log.open(encoding="utf-8") as lines:
            for line in lines:
                if _ASSIGNED in line and line.endswith("\n"):
                    return datetime.fromisoformat(json.loads(line)[TIMESTAMP]).timestamp()
        return None

    def check_runs(self) -> None:
        """Look whether the process is there.

        Raises:
            WorkerEnded: it is not.
        """
        if (code := self._process.poll()) is not None:
            raise WorkerEnded(code, self._log)

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Hold the process still, so that what is published meanwhile lies there when it goes on."""
        self._process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """End it as a lost machine does."""
        self._process.kill()
        self._process.wait()

    def close(self) -> None:
        """Stop it in order, or else kill it; harmless when it has ended."""
        self._process.terminate()
        try:
            self._process.wait(END_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.kill()
