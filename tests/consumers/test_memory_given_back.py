"""A worker's process returns memory to the system that it has used for a while."""

from __future__ import annotations

import subprocess
import sys

import pytest

SCRIPT = """
import ctypes, os, sys, time
from stoker.consumers.machine import give_memory_back, resident_bytes

if not hasattr(ctypes.CDLL(None), "malloc_trim"):
    raise SystemExit("not here")
before = resident_bytes(os.getpid())
buffers = [bytes(20_000) for _ in range(4_000)]
last = buffers[-1]
del buffers
give_memory_back()
while resident_bytes(os.getpid()) > before + 20_000_000:
    time.sleep(0.05)
print("given back")
"""


def test_freed_memory_is_given_back() -> None:
    """Also where a buffer stays behind it, so that the C library keeps all of it by itself."""
    ended = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, timeout=60, check=False)
    if "not here" in ended.stderr:
        pytest.skip("another C library")
    assert ended.stdout == "given back\n", ended.stderr
