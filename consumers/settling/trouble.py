"""`TroubleLog`: what the log has of outcomes that the brokers do not take."""

from __future__ import annotations

import logging
import time
from typing import Final

from ...topology import Queue
from ...topology.counts import counted
from ...topology.log_pace import LogPace
from .. import log_keys
from ..records.job_fields import job_fields, named_job
from ..records.record import Record
from .settlement import SettlementBatch

_LOGGER = logging.getLogger("stoker.settle")

LOG_INTERVAL_S: Final = 60.0
"""How often each sort of trouble is logged while it lasts."""

_IN_VAIN: Final = (
    "waiting does not help: fix what the brokers refuse (`stoker doctor` looks at topics, limits and rights). Until "
    "then this stays uncommitted, and is tried again"
)
_IN_HOPE: Final = "this stays uncommitted, and is tried again"


class TroubleLog:
    """Logs each sort of trouble at once, again every minute while it lasts, and its end.

    Failed outcomes are of one sort where the one that is named has the same topic and error.
    """

    def __init__(self, queue: Queue) -> None:
        self._queue = queue
        self._began_at_s: float | None = None
        self._log_paces: dict[tuple[object, ...], LogPace] = {}

    @property
    def is_ongoing(self) -> bool:
        """Whether the brokers do not take outcomes at this moment."""
        return self._began_at_s is not None

    def note_silence(self, lasted_s: float) -> None:
        """Log that the brokers have not confirmed for so long."""
        self._note((), "the brokers have not confirmed outcomes for %g s; jobs wait, none is lost", lasted_s)

    def note_failed(self, failed: SettlementBatch) -> None:
        """Log that these outcomes could not be written."""
        record, error, topic = failed.first_error
        topic = topic or self._queue.ledger_topic
        is_stranded = bool(failed.stranded)
        self._note(
            (topic, None if error is None else error.code(), is_stranded),
            "the outcome of job %s%s cannot be written to %s: %s; %s",
            named_job(record),
            f", and of {counted(len(failed) - 1, 'more job')}," if len(failed) > 1 else "",
            topic,
            "no answer" if error is None else error.str(),
            _IN_VAIN if is_stranded else _IN_HOPE,
            first=record,
        )  # fmt: skip

    def note_end(self) -> None:
        """Log that outcomes are written again, if there was trouble."""
        if self._began_at_s is not None:
            lasted_s = time.monotonic() - self._began_at_s
            self._began_at_s = None
            _LOGGER.warning(
                "the worker of queue %r writes outcomes again, after %.1f s", self._queue.name, lasted_s,
                extra={log_keys.QUEUE: self._queue.name},
            )  # fmt: skip

    def _note(self, sort: tuple[object, ...], message: str, *args: object, first: Record | None = None) -> None:
        now_s = time.monotonic()
        if self._began_at_s is None:
            self._began_at_s = now_s
            self._log_paces.clear()
        if not self._log_paces.setdefault(sort, LogPace(LOG_INTERVAL_S)).try_acquire(now_s):
            return
        extra = {log_keys.QUEUE: self._queue.name} if first is None else job_fields(first, self._queue.name)
        _LOGGER.error(message, *args, extra=extra)
