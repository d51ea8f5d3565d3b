"""`SpanFaults`: keeps what the application's OpenTelemetry SDK raises from the job, and logs it."""

from __future__ import annotations

import logging
import time
from types import TracebackType

from ..log_pace import LogPace


class SpanFaults:
    """A context that ends where the SDK raises: a sampler or a span processor may, and no job is at fault.

    An SDK that raises does so for each span, so this is logged once a minute.

    Safe to use from all threads, and more than once at a time.

    Args:
        logger: that of the part whose spans these are.
        queue: None where they are of jobs of several queues.
    """

    __slots__ = ("_log_pace", "_logger", "_queue")

    def __init__(self, logger: logging.Logger, queue: str | None = None) -> None:
        self._logger, self._queue = logger, queue
        self._log_pace = LogPace()

    def __enter__(self) -> None:
        return

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, _at: TracebackType | None
    ) -> bool:
        if not isinstance(fault, Exception):
            return False
        if self._log_pace.try_acquire(time.monotonic()):
            self._logger.error(
                "the OpenTelemetry SDK raised %s over a span%s; jobs go on, and spans are missing: fix the "
                "sampler or span processor that the stack shows",
                type(fault).__qualname__, "" if self._queue is None else f" of queue {self._queue!r}",
                exc_info=fault, extra={"queue": self._queue},
            )  # fmt: skip
        return True
