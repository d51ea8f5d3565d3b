"""Turns an event loop on which jobs run, whatever they do to it."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import traceback
from contextlib import suppress
from typing import Any

from .. import log_keys
from ..job.context import JobContext, current_job_or_none
from ..job.failure import describe_failure
from .forks import PROCESS, CopyEndingExecutor, end_copy

_LOGGER = logging.getLogger("stoker.worker")


def make_loop() -> asyncio.AbstractEventLoop:
    """An event loop for jobs."""
    loop = asyncio.new_event_loop()
    loop.set_default_executor(CopyEndingExecutor(thread_name_prefix="asyncio"))
    PROCESS.leave_in_copies(loop)
    return loop


def turn_until(loop: asyncio.AbstractEventLoop, ended: asyncio.Future[Any]) -> None:
    """Turn the loop until `ended` is done, also if jobs stop the loop, or raise what asyncio lets pass."""
    generation = PROCESS.generation
    ended.add_done_callback(lambda _: loop.stop())
    while not ended.done():
        try:
            loop.run_forever()
        except (SystemExit, KeyboardInterrupt) as error:  # from a task or callback that a job has started
            _report(error)
            continue
        if PROCESS.generation != generation:
            end_copy()
        if not ended.done():
            _LOGGER.warning("a job has stopped the event loop, which goes on; a job must not call `loop.stop()`")


def _report(error: BaseException) -> None:
    """As text: the logging module would read it once more, and lets what that raises pass."""
    failure, job = describe_failure("", error), _starter_of(error)
    if job is None:
        _LOGGER.error(
            "a task that a job started raised %s (%s); the event loop goes on\n%s",
            failure.error_type, failure.message, failure.stack,
        )  # fmt: skip
    else:
        _LOGGER.error(
            "a task that job %s (%s) started raised %s (%s); the event loop goes on\n%s",
            job.shown_id, job.job_type, failure.error_type, failure.message, failure.stack,
            extra={log_keys.JOB_ID: job.shown_id, log_keys.JOB_TYPE: job.job_type, log_keys.QUEUE: job.queue},
        )  # fmt: skip


def _starter_of(error: BaseException) -> JobContext | None:
    """The job in whose context the loop called what raised: the handle of the call is in one of the loop's frames."""
    with suppress(Exception):  # of the job's own classes, which may raise anything, and must not end the loop
        for frame, _ in traceback.walk_tb(error.__traceback__):
            called = frame.f_locals.get("self")
            if isinstance(called, asyncio.Handle):
                context: contextvars.Context | None = getattr(called, "_context", None)
                return None if context is None else context.run(current_job_or_none)
    return None
