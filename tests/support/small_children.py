"""Handlers of which a child process has little memory: it cannot hold the message of a large job."""

from __future__ import annotations

import resource
from pathlib import Path

from stoker.consumers.isolation import child_flag

SPARE_BYTES = 48 * 1024 * 1024
LARGE_BYTES = 64 * 1024 * 1024


def weigh(data: bytes) -> None:
    """Do nothing with what was given."""
    assert data


def _limit_memory() -> None:
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + SPARE_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


if child_flag.is_child:
    _limit_memory()
