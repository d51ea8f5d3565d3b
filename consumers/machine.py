"""Processes and their memory: how much they hold and give back, how they ended, how many can run at once."""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

PAGE_BYTES: Final = resource.getpagesize()
MAXRSS_UNIT_BYTES: Final = 1 if sys.platform == "darwin" else 1024
TRIM_EVERY_S: Final = 2.0
TRIMMER: Final = "stoker-memory"
GROWN_BYTES: Final = 8 * 1024 * 1024
_HAS_PROC: Final = Path("/proc/self/statm").exists()


def resident_bytes(process_id: int) -> int | None:
    """The resident memory of one process, without those that it has started; None if it is gone."""
    with suppress(OSError, ValueError, IndexError, subprocess.SubprocessError):
        if _HAS_PROC:
            with open(f"/proc/{process_id}/statm", "rb") as file:
                return int(file.read().split()[1]) * PAGE_BYTES
        printed = subprocess.run(
            ("ps", "-o", "rss=", "-p", str(process_id)), capture_output=True, timeout=5, check=True
        )
        return int(printed.stdout) * 1024
    return None


def give_memory_back() -> None:
    """Have the C library return freed memory to the system, now and then, as long as this process lives.

    By itself glibc keeps what was freed in the midst of an arena. The Kafka clients fill and free one arena after
    another, so a worker would hold twice the memory that it uses. Nothing is done where there is another C library.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if trim is not None and all(thread.name != TRIMMER for thread in threading.enumerate()):
        threading.Thread(target=_trim_for_ever, args=(trim,), name=TRIMMER, daemon=True).start()


def _trim_for_ever(trim: Callable[[int], int]) -> None:
    """Trim what has grown; an arena is locked for a moment by that, and what it needs again takes a while to get."""
    held_bytes, pause = 0, threading.Event()
    while True:
        now_bytes = resident_bytes(os.getpid()) or 0
        if now_bytes > held_bytes + GROWN_BYTES:
            trim(0)
            held_bytes = resident_bytes(os.getpid()) or 0
        held_bytes = min(held_bytes, now_bytes)
        pause.wait(TRIM_EVERY_S)


def own_peak_bytes() -> int:
    """The most that this process has held so far; on Linux also what the one that started it held at that time."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * MAXRSS_UNIT_BYTES


def processors() -> int:
    """How many processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def describe_exit(code: int) -> str:
    """`exit code 1`, or the name of the signal that ended it."""
    if code >= 0:
        return f"exit code {code}"
    try:
        return f"killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"killed by signal {-code}"
