"""`WorkerFailure`: stops a worker of which a part has failed, and keeps why."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from typing import Any

from ...topology import NotAuthorized
from ...topology.bounded_log import log_within
from ...topology.planning.contracts import ContractsRefused
from .. import log_keys
from ..errors import PollThreadHangs, WorkerCrashed

_LOGGER = logging.getLogger("stoker.worker")


class WorkerFailure:
    """The failure of one worker process, noted by any thread; the first one counts.

    It has the worker stop before it logs why: a log handler may block, or fail itself.

    Args:
        stop: begins the graceful shutdown.

    Attributes:
        error: what `Worker.run` and `Worker.wait` raise; None while all is well.
    """

    def __init__(self, stop: Callable[[], None]) -> None:
        self._stop = stop
        self.error: BaseException | None = None

    def note_queue_end(self, queue: str, error: BaseException) -> None:
        """Note what has ended the thread of a queue."""
        cause = None if isinstance(error, NotAuthorized) else error  # a missing right is no fault of code
        self._end(
            _failure_by(error, queue),
            "the worker of queue %r failed: %s", queue, error, exc_info=cause, extra={log_keys.QUEUE: queue},
        )  # fmt: skip

    def note_thread_end(self, does: str, error: BaseException) -> None:
        """Note what has ended another thread, which does something for all queues."""
        self._end(
            _failure_by(error, None),
            "the worker stops, since the thread that %s failed: %s; report this with the traceback", does, error,
            exc_info=error,
        )  # fmt: skip

    def note_refused(self, refused: ContractsRefused) -> None:
        """Note that the schema store refuses contracts."""
        self._end(refused, "the worker stops: %s", refused)

    def note_hang(self, hang: PollThreadHangs) -> None:
        """Note that the thread of a queue hangs for good."""
        self._end(hang, "%s\n%s", hang, hang.stack, extra={log_keys.QUEUE: hang.queue})

    def _end(self, error: BaseException, message: str, *arguments: object, **others: Any) -> None:
        self.error = self.error or error
        self._stop()
        log_within(partial(_LOGGER.critical, message, *arguments, **others))


def _failure_by(error: BaseException, queue: str | None) -> BaseException:
    """The error that `Worker.run` raises where another one has ended a thread: of a queue, or of the whole process."""
    if isinstance(error, WorkerCrashed | NotAuthorized):
        return error
    crash = WorkerCrashed(queue)
    crash.__cause__ = error
    return crash
