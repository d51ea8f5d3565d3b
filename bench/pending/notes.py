"""`Notes`: what the handlers noted of each job, in a file that outlives the worker when it is killed."""

from __future__ import annotations

import mmap
from array import array
from pathlib import Path
from typing import Final

_SECONDS_BYTES: Final = 4
NOTE_BYTES: Final = 1 + _SECONDS_BYTES
"""What a note takes: how often the job began, and a 32-bit float. Touched pages count as the worker's memory."""


class Notes:
    """One note for each job, by its number; written by the worker's handlers, read by the process that measures.

    A mapped file costs a handler no system call, and the kernel keeps what was written before a SIGKILL.
    """

    def __init__(self, path: Path) -> None:
        with path.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), 0)
        jobs = len(self._map) // NOTE_BYTES
        whole = memoryview(self._map)
        self._seconds = whole[: jobs * _SECONDS_BYTES].cast("f")
        self._runs = whole[jobs * _SECONDS_BYTES :]

    @classmethod
    def create(cls, path: Path, jobs: int) -> Notes:
        """Make the file, with no note in it; it takes room on disk only as notes come."""
        with path.open("xb") as file:
            file.truncate(jobs * NOTE_BYTES)
        return cls(path)

    def add(self, number: int, seconds: float) -> None:
        """Note that the job begins; the seconds of its first run stay."""
        if not self._runs[number]:
            self._seconds[number] = seconds
        self._runs[number] += 1

    def begun(self, stretch: range) -> int:
        """How many jobs of the stretch have begun."""
        return len(stretch) - self.runs(stretch).count(0)

    def runs(self, stretch: range) -> bytes:
        """How often each job of the stretch began."""
        return bytes(self._runs[stretch.start : stretch.stop])

    def seconds(self, stretch: range) -> array[float]:
        """What was noted of each job of the stretch; 0.0 where it has not begun."""
        return array("f", self._seconds[stretch.start : stretch.stop])
