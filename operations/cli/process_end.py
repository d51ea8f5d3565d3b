"""The end of a command's process, which must not wait for good for what jobs have left behind.

Python waits at its end for all threads that are no daemons, those of `asyncio.to_thread` among them, and for what was
started with `multiprocessing`. A job that outlasts the grace would keep its worker from ending.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from contextlib import suppress
from typing import Final

LEFT_BEHIND_S: Final = 5.0
"""How long what is left behind has for its own end: what is in order ends at once."""

_LOGGER = logging.getLogger("stoker.worker")


def end_soon(code: int) -> None:
    """End this process with an exit code after a while, if it has not ended by itself until then."""
    threading.Thread(target=_end, args=(code, LEFT_BEHIND_S), name="stoker-end", daemon=True).start()


def _end(code: int, after_s: float) -> None:
    time.sleep(after_s)
    others = (found.name for found in threading.enumerate() if found is not threading.main_thread())
    left = sorted(name for name in others if not name.startswith("stoker-"))
    what = f"threads ({', '.join(left[:5])})" if left else "processes, or handlers of its end,"
    _LOGGER.warning("the process ends without %s that jobs have left behind", what)
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError, AttributeError):
            stream.flush()
    os._exit(code)
