"""A wall clock that the harness can move, for the processes of one run: they share its offset through a file.

No tool of the operating system moves the clock of single processes without rights that a test run has no claim to, so
`install` replaces `time.time` and `time.time_ns` before anything else takes hold of them: Python calls it at the start
of each process, by `site/sitecustomize.py`. Monotonic time stays.
"""

from __future__ import annotations

import mmap
import struct
import time
from pathlib import Path
from typing import Final

_FORMAT: Final = struct.Struct("<q")


def write_offset(path: Path, offset_s: float) -> None:
    """Move the wall clock of all processes that have installed it, at once and by one write."""
    with path.open("r+b" if path.exists() else "w+b") as file:
        file.write(_FORMAT.pack(round(offset_s * 1e9)))


def install(path: Path) -> None:
    """Let this process's wall clock follow the offset in the file.

    Raises:
        FileNotFoundError: the harness has not written an offset.
    """
    with path.open("rb") as file:
        shared = mmap.mmap(file.fileno(), _FORMAT.size, access=mmap.ACCESS_READ)
    real_ns = time.time_ns

    def moved_time_ns() -> int:
        return real_ns() + int(_FORMAT.unpack_from(shared)[0])

    def moved_time() -> float:
        return moved_time_ns() / 1e9

    time.time, time.time_ns = moved_time, moved_time_ns
