"""`SpanFaults`: keeps what the application's OpenTelemetry SDK raises from the job, and logs it."""

from __future__ import annotations

import logging
import time
from types import TracebackType
from typing import Final

from .. import log_keys

_LOGGER = logging.getLogger("stoker.worker")
REPORT_INTERVAL_S: Final = 60.0
"""How often at most it is logged: an SDK that raises does so for each span."""


class SpanFaults:
    """A context that ends where the SDK raises: a sampler or a span processor may, and no job is at fault.

    Safe to use from all threads, and more than once at a time.
    """

    __slots__ = ("_queue", "_report_at_s")

    def __init__(self, queue: str) -> None:
        self._queue = queue
        self._report_at_s = 0.0

    def __enter__(self) -> None:
        return

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, _at: TracebackType | None
    ) -> bool:
        if not isinstance(fault, Exception):
            return False
        now_s = time.monotonic()
        if now_s >= self._report_at_s:
            self._report_at_s = now_s + REPORT_INTERVAL_S
            _LOGGER.error(
                "the OpenTelemetry SDK raised %s over a span of queue %r; jobs go on, and spans are missing: "
                "fix the sampler or span processor that the stack shows", type(fault).__qualname__, self._queue,
                exc_info=fault, extra={log_keys.QUEUE: self._queue},
            )  # fmt: skip
        return True
