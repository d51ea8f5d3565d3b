"""`ResidentPeak`: watches how much memory another process holds, as the kernel counts it."""

from __future__ import annotations

import threading
from contextlib import suppress
from pathlib import Path
from typing import Final, Self

import psutil

LOOK_S: Final = 0.1
KIB: Final = 1_024


class ResidentPeak:
    """The most that a process held resident while it was watched, looked at ten times a second."""

    def __init__(self, process_id: int) -> None:
        self._process = psutil.Process(process_id)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self.peak_bytes = 0
        self.peak_proportional_bytes = 0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_failure: object) -> None:
        self._ended.set()
        self._thread.join()

    def wait(self, seconds: float) -> None:
        """Go on watching for a while."""
        self._ended.wait(seconds)

    @property
    def peak_mb(self) -> float:
        """The peak in MB, of a million bytes each."""
        return self.peak_bytes / 1e6

    @property
    def proportional_mb(self) -> float:
        """The peak in MB where a page that several processes share counts in parts (PSS)."""
        return self.peak_proportional_bytes / 1e6

    def _watch(self) -> None:
        with suppress(psutil.NoSuchProcess, FileNotFoundError, ProcessLookupError):  # killed: the peak so far is it
            while True:
                self.peak_bytes = max(self.peak_bytes, self._process.memory_info().rss)
                proportional = proportional_bytes(self._process.pid)
                self.peak_proportional_bytes = max(self.peak_proportional_bytes, proportional)
                if self._ended.wait(LOOK_S):
                    return


def proportional_bytes(process_id: int) -> int:
    """The process's PSS; 0 where the system has no /proc, or the process is gone but not yet waited for."""
    rollup = Path(f"/proc/{process_id}/smaps_rollup")
    if not Path("/proc").exists():
        return 0
    lines = rollup.read_text(encoding="ascii", errors="replace").splitlines()
    return sum(int(line.split()[1]) * KIB for line in lines if line.startswith("Pss:"))
