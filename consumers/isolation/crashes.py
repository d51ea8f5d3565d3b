"""`ChildDied`: the evidence of a process that died with a job; and the pause before the job runs again."""

from __future__ import annotations

import signal
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

FIRST_PAUSE: Final = timedelta(seconds=1)
LONGEST_PAUSE: Final = timedelta(minutes=1)
NOT_BEGUN_LIMIT: Final = 3
"""Children that die with a job before they have begun with it, and make a crash of it. The first one may have died
for no fault of the job; each after it has never run another job."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChildDied:
    """The evidence of one death.

    Attributes:
        signal, exit_code: what ended the process; one of them is None, or both where the application ignores SIGCHLD.
        resident_bytes: its memory, as last seen; its highest, where the system reports it.
        ran_s: how long the job had run; None where it had not begun.
        pid: the process.
        stack: what the interpreter wrote of its stacks as it died; empty where it had no time for it.
        silent_s: the worker killed it, since it did not begin with its job for so long; 0 where it died otherwise.
    """

    signal: int | None
    exit_code: int | None
    resident_bytes: int
    ran_s: float | None
    pid: int
    stack: str = ""
    silent_s: float = 0.0

    def __str__(self) -> str:
        """In words, for headers and logs."""
        when = "before it began with the job" if self.ran_s is None else f"after {self.ran_s:.2f} s of the job"
        return f"process {self.pid} {self.cause()} {when}, with {self.resident_bytes / 1024**2:,.0f} MiB resident"

    def cause(self) -> str:
        """How the process ended, in words."""
        if self.silent_s:
            return f"was killed by the worker, since it was silent for {self.silent_s:g} s,"
        if self.signal is None:
            return "died" if self.exit_code is None else f"ended with exit code {self.exit_code}"
        try:
            name = signal.Signals(self.signal).name
        except ValueError:
            name = f"signal {self.signal}"
        by = ", perhaps by the kernel for want of memory," if self.signal == signal.SIGKILL else ""
        return f"was killed by {name}{by}"


def pause_after(crashes: int) -> timedelta:
    """How long a job waits before it is run again after so many crashes: 1 s, 2 s, 4 s, up to a minute."""
    return min(LONGEST_PAUSE, FIRST_PAUSE * (1 << min(crashes - 1, 10)))


@dataclass(frozen=True, slots=True)
class CrashPause:
    """The `Why` of records that wait a little before they run again, since their child has died."""

    pause: timedelta

    @property
    def state(self) -> str:
        """The state of the job in a word."""
        return "crashed"

    @property
    def detail(self) -> Mapping[str, str]:
        """The event that ends the wait."""
        return {"ends_by": f"its pause of {self.pause.total_seconds():g} s ends: its process has died"}
