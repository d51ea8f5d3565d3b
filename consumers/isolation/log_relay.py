"""A child's log goes to where the worker's goes: its records travel over the pipe and are handled in the worker."""

from __future__ import annotations

import logging
import pickle
import sys
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import lru_cache

from ..job.context import current_job_or_none, log_fields


class _ChildError(Exception):
    """Stands in a log record for an error that was raised in a child; its text is the error's own `repr`."""

    def __repr__(self) -> str:
        """The error's representation, as the child has made it."""
        return str(self)


class PipeHandler(logging.Handler):
    """In a child: hands each record on, with the fields of the job that runs.

    It has no lock: a thread that writes to the pipe may log amid that, and would wait for one that holds the handler's
    lock and waits for the pipe's.
    """

    def __init__(self, send: Callable[[bytes], None]) -> None:
        super().__init__()
        self._send = send

    def createLock(self) -> None:
        """Make none."""
        self.lock = None

    def handle(self, record: logging.LogRecord) -> bool:
        """Send the record, unless a filter is against it."""
        kept = self.filter(record)
        if kept:
            self.emit(kept if isinstance(kept, logging.LogRecord) else record)
        return bool(kept)

    def emit(self, record: logging.LogRecord) -> None:
        """Send the record; what cannot be pickled goes as its text."""
        try:
            self._send(_packed(record))
        except OSError:  # the worker is gone, and so will this process be
            return
        except Exception:  # noqa: BLE001  # as all handlers of logging do, lest a log line fails a job
            self.handleError(record)


def _packed(record: logging.LogRecord) -> bytes:
    attributes = {name: _plain(value) for name, value in vars(record).items() if name != "exc_info"}
    attributes["msg"], attributes["args"] = record.getMessage(), None
    error = record.exc_info[1] if record.exc_info else None
    if record.exc_info and error is not None:
        attributes["exc_text"] = record.exc_text or logging.Formatter().formatException(record.exc_info)
        attributes["exc_info"] = (_ChildError, _ChildError(_text(error)), None)
    return pickle.dumps({**_job_fields(), **attributes})


def _text(error: BaseException) -> str:
    try:
        return repr(error)
    except Exception:  # noqa: BLE001  # the application's own class may raise anything
        return type(error).__name__


def _plain(value: object) -> object:
    """The value itself where any process can read it, else its text."""
    if value is None or type(value) in (str, int, float, bool, bytes):
        return value
    if isinstance(value, dict):
        return {str(name): _plain(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return str(value)


def _job_fields() -> dict[str, object]:
    """The fields by which every line of a job can be found, those of libraries too."""
    job = current_job_or_none()
    return {} if job is None else log_fields(job)


def log_levels() -> dict[str, int]:
    """{logger: level} of all that have one of their own; the root's name is empty."""
    known = [(name, found) for name, found in logging.root.manager.loggerDict.items()]
    levels = {name: found.level for name, found in known if isinstance(found, logging.Logger) and found.level}
    return {"": logging.root.level, **levels}


def log_over_pipe(levels: Mapping[str, int], send: Callable[[bytes], None]) -> None:
    """In a child: send all records over the pipe, at the worker's levels."""
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)
    logging.root.handlers[:] = [PipeHandler(send)]


def log_to_own_stderr() -> None:
    """In a process that a job has forked: the pipe is not its own."""
    logging.root.handlers[:] = [logging.StreamHandler()]


def handle_child_log(packed: bytes) -> None:
    """In the worker: handle a child's record as if it had been logged here; one that fails there is lost."""
    attributes: dict[str, object] = pickle.loads(packed)
    record = logging.makeLogRecord(attributes)
    logger = logging.getLogger(record.name)
    try:
        if logger.isEnabledFor(record.levelno):
            logger.handle(record)
    except Exception:  # noqa: BLE001  # the application's filters and handlers may raise anything; no child is at fault
        _write_once(traceback.format_exc())


@lru_cache(maxsize=100)
def _write_once(report: str) -> None:
    """Not by the log, which has failed just now."""
    if sys.stderr is not None:
        with suppress(OSError, ValueError):
            sys.stderr.write(f"a child's log line was lost, since the worker's logging raised:\n{report}")
