"""A lock between processes, held on a file: the kernel drops it when its holder dies."""

from __future__ import annotations

import fcntl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .errors import BrokerBusy

_LOOK_AGAIN_S = 0.05


@contextmanager
def file_lock(path: Path, timeout_s: float) -> Iterator[None]:
    """Hold the lock of `path` for the body; threads and processes exclude each other alike.

    Raises:
        BrokerBusy: another process held it for all of `timeout_s`.
        OSError: the file cannot be opened.
    """
    with path.open("ab") as held:
        give_up_at_s = time.monotonic() + timeout_s
        while not _try_lock(held.fileno()):
            if time.monotonic() >= give_up_at_s:
                raise BrokerBusy(path.parent, timeout_s)
            threading.Event().wait(_LOOK_AGAIN_S)
        yield


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
