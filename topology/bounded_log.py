"""`log_within`: logs without waiting for a log that does not answer, for what ends a process or watches over one.

A log handler holds its lock while it writes. Where it blocks in one thread, such as on a full pipe or a network, each
other thread that logs blocks as well.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Final

LOGGED_WITHIN_S: Final = 1.0
"""How long a log that answers takes at the most, on a machine that does much else."""


def log_within(log: Callable[[], object], within_s: float = LOGGED_WITHIN_S) -> None:
    """Log in a thread of its own, and wait for it so long at the most. No error of a handler comes back.

    Args:
        log: logs one fact. Where it needs longer, it goes on beside the caller.
    """
    logging = threading.Thread(target=_log, args=(log,), name="stoker-log", daemon=True)
    try:
        logging.start()
    except RuntimeError:  # the process has no thread left: that the fact is logged is worth the risk
        _log(log)
    else:
        logging.join(within_s)


def _log(log: Callable[[], object]) -> None:
    with suppress(Exception):  # a broken handler or filter: the caller has more to do, and nowhere to say so
        log()
