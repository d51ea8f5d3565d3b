"""`PipeFailure`: keeps the error with which the worker itself has failed at a record."""

from __future__ import annotations

import logging

from ...schemas import wire_text
from ...topology.wire.headers import JOB_ID
from ..records.job_fields import job_fields
from ..records.record import Record

_LOGGER = logging.getLogger("stoker.worker")


class PipeFailure:
    """The failure of one queue's worker.

    Attributes:
        error: the latest one; None while all is well.
    """

    def __init__(self, queue: str) -> None:
        self._queue = queue
        self.error: BaseException | None = None

    def note(self, record: Record, error: BaseException) -> None:
        """Keep it and log it; called by any runner."""
        self.error = error
        _LOGGER.critical(
            "the worker failed while it handled job %s (%s); it stops, and the job is delivered again. Report this "
            "with the traceback",
            wire_text(record.header(JOB_ID)),
            record,
            exc_info=error,
            extra=job_fields(record, self._queue),
        )
