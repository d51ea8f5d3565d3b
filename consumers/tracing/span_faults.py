"""`SpanFaults`: keeps what the application's OpenTelemetry SDK raises from the job, and logs it."""

from __future__ import annotations

import logging
import time
from types import TracebackType

from ...topology.log_pace import LogPace
from .. import log_keys

_LOGGER = logging.getLogger("stoker.worker")


class SpanFaults:
    """A context that ends where the SDK raises: a sampler or a span processor may, and no job is at fault.

    An SDK that raises does so for each span, so this is logged once a minute.

    Safe to use from all threads, and more than once at a time.
    """

    __slots__ = ("_log_pace", "_queue")

    def __init__(self, queue: str) -> None:
        self._queue = queue
        self._log_pace = LogPace()

    def __enter__(self) -> None:
        return

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, _at: TracebackType | None
    ) -> bool:
        if not isinstance(fault, Exception):
            return False
        if self._log_pace.take(time.monotonic()):
            _LOGGER.error(
                "the OpenTelemetry SDK raised %s over a span of queue %r; jobs go on, and spans are missing: "
                "fix the sampler or span processor that the stack shows", type(fault).__qualname__, self._queue,
                exc_info=fault, extra={log_keys.QUEUE: self._queue},
            )  # fmt: skip
        return True
