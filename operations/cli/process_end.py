"""The end of a command's process: asked for by a signal, and not kept up by what jobs have left behind.

Python waits at its end for all threads that are no daemons, those of `asyncio.to_thread` among them, and for what was
started with `multiprocessing`. A job that outlasts the grace would keep its worker from ending.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Final

LEFT_BEHIND_S: Final = 5.0
"""How long what is left behind has for its own end: what is in order ends at once."""

_LOGGER = logging.getLogger("stoker.worker")


@contextmanager
def stop_signals(asked: Callable[[], object] = lambda: None) -> Iterator[threading.Event]:
    """Set the event on SIGINT or SIGTERM, so that what is at hand is finished; a second SIGINT breaks it off.

    Args:
        asked: called then, where something else than the event is to know.
    """
    stop = threading.Event()
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def ask_to_stop(number: int, _frame: FrameType | None) -> None:
        stop.set()
        asked()
        signal.signal(number, before[signal.Signals(number)])

    for number in before:
        signal.signal(number, ask_to_stop)
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def end_soon(code: int) -> None:
    """End this process with an exit code after a while, if it has not ended by itself until then."""
    from ...topology.bounded_log import log_within  # here, since `--help` needs no Kafka client

    def end() -> None:
        time.sleep(LEFT_BEHIND_S)
        log_within(_report_left_behind)
        log_within(_flush)
        os._exit(code)

    threading.Thread(target=end, name="stoker-end", daemon=True).start()


def _report_left_behind() -> None:
    others = (found.name for found in threading.enumerate() if found is not threading.main_thread())
    left = sorted(name for name in others if not name.startswith("stoker-"))
    what = f"threads ({', '.join(left[:5])})" if left else "processes, or handlers of its end,"
    _LOGGER.warning("the process ends without %s that jobs have left behind", what)


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError, AttributeError):
            stream.flush()
