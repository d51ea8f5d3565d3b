"""Log records as lines to read: when, how grave, what, and of which job."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Final

from .terminal_text import printable, printable_lines

DATE_AND_TIME: Final = "%Y-%m-%d %H:%M:%SZ"
TIME: Final = "%H:%M:%SZ"
_LONG_ID: Final = 16
_SHORT_ID: Final = 8


class TextFormatter(logging.Formatter):
    """Formats a record as one line, and an exception as lines below it; foreign text cannot control the terminal.

    Args:
        time_format: of the UTC time at its beginning; a terminal needs no date.
    """

    def __init__(self, time_format: str = DATE_AND_TIME) -> None:
        super().__init__()
        self._time_format = time_format

    def format(self, record: logging.LogRecord) -> str:
        """The line, or lines, without the last end."""
        at = datetime.fromtimestamp(record.created, UTC).strftime(self._time_format)
        message, below = _message_and_below(record)
        words = job_in_words(record, message) or queue_in_words(record)
        who = "" if _field(record, "job_id") else f"{record.name}: "
        about = f" · {words}" if words else ""
        line = f"{at} {record.levelname} {who}{message}{about}"
        return "\n".join([printable(line), *below, *self._exception_lines(record)])

    def _exception_lines(self, record: logging.LogRecord) -> Iterator[str]:
        if record.exc_info:
            yield printable_lines(record.exc_text or self.formatException(record.exc_info))
        if record.stack_info:
            yield printable_lines(self.formatStack(record.stack_info))


def _message_and_below(record: logging.LogRecord) -> tuple[str, list[str]]:
    """The message, and indented the lines that its template puts below it, as the stack of a stuck job.

    Only a template makes lines: line ends within values stay escapes, so that no value can pass for a record.
    """
    text = record.getMessage()
    if not record.args or "\n" not in str(record.msg):
        return text, []
    message, _, below = text.partition("\n")
    return message, [f"  {line}" for line in printable_lines(below).rstrip().split("\n")]


def job_in_words(record: logging.LogRecord, message: str) -> str:
    """The job that a record is about, unless its message names it, its queue and attempt; empty where it has none."""
    from ...consumers import log_keys  # here, since it brings the whole worker along, and few commands log

    job_id = _field(record, log_keys.JOB_ID)
    if not job_id:
        return ""
    queue, attempt = _field(record, log_keys.QUEUE), _field(record, log_keys.ATTEMPT)
    tenant = _field(record, log_keys.TENANT)
    job_type = _field(record, log_keys.JOB_TYPE)
    parts = (
        "" if f"job {job_id} ({job_type})" in message else f"{job_type} {short_id(job_id)}".strip(),
        f"in {queue}" if queue else "",
        f"tenant {tenant}" if tenant else "",
        f"attempt {attempt}" if attempt else "",
    )
    return ", ".join(filter(None, parts))


def queue_in_words(record: logging.LogRecord) -> str:
    """The queue that a record is about; empty where it is about none."""
    queue = getattr(record, "queue", None)
    return f"queue {queue}" if queue else ""


def short_id(job_id: str) -> str:
    """The end of a long id, since ids that were made in the same minute begin alike.

    >>> short_id("0198c0de-0000-7000-8000-00000000beef"), short_id("order-42")
    ('…0000beef', 'order-42')
    """
    return job_id if len(job_id) <= _LONG_ID else f"…{job_id[-_SHORT_ID:]}"


def _field(record: logging.LogRecord, name: str) -> str:
    value = getattr(record, name, None)
    return "" if value is None else str(value)
