"""`Suspects`: jobs that may have killed the worker that ran them; they run alone, in child processes, to be sure.

A partition whose last commit is *open* was running when its owner died: any of the jobs that were running then may be
why. One death happens, by the kernel or by hand; from the second in a row on, what was possibly running is suspected.
A job that is alone in a child when that dies has done it, and no other job counts a crash.
"""

from __future__ import annotations

import logging
from collections.abc import Collection
from typing import Final

from ...topology import Queue
from ...topology.wire.headers import JOB_TYPE
from .. import log_keys
from ..progress.assignment import Assignment
from ..records.record import Record

_LOGGER = logging.getLogger("stoker.isolation")

SUSPECT_AFTER: Final = 2
"""Owners that must have died in a row before anybody is suspected."""
CERTAIN_DEATHS: Final = 2
"""A suspect must have killed at least so many children of its own, unless fewer crashes are borne at all."""


class Suspects:
    """The suspected records of one queue; `isolable` names the job types that a child can run, as on the wire.

    Owned by the poll thread, but for `includes`.
    """

    def __init__(self, queue: Queue, isolable: Collection[bytes]) -> None:
        self._queue = queue
        self._isolable = frozenset(isolable)
        self._among: frozenset[Assignment] = frozenset()  # replaced by the poll thread alone, and read by all runners

    def __bool__(self) -> bool:
        """Whether anybody is suspected."""
        return bool(self._among)

    def begin(self, assignment: Assignment) -> None:
        """Look at a restored assignment."""
        if assignment.crash_history.deaths >= SUSPECT_AFTER:
            _LOGGER.warning(
                "%s/%d: the last %d workers died while they owned it. Jobs below offset %d that may have been running "
                "then are suspects: the worker runs them in child processes, one at a time in each, to find the one "
                "that kills its process", assignment.topic, assignment.partition,
                assignment.crash_history.deaths, assignment.crash_history.window_end,
                extra={log_keys.QUEUE: self._queue.name, log_keys.PARTITIONS: [assignment.partition]},
            )  # fmt: skip
        if _is_suspected(assignment):
            self._among |= {assignment}

    def end(self, assignments: Collection[Assignment]) -> None:
        """Forget partitions that go away."""
        self._among = self._among.difference(assignments)

    def forget_cleared(self) -> None:
        """Forget partitions that have come beyond what was suspected."""
        self._among = frozenset(a for a in self._among if _is_suspected(a))

    def includes(self, record: Record) -> bool:
        """Whether a record is suspected, and a child can run its job."""
        return (
            record.assignment in self._among
            and (record.offset in record.assignment.crash_history.crashes or is_in_window(record))
            and record.header(JOB_TYPE) in self._isolable
        )


def _is_suspected(assignment: Assignment) -> bool:
    """Whether any job of a partition is a suspect."""
    history = assignment.crash_history
    return history.deaths >= SUSPECT_AFTER or bool(history.crashes)


def is_in_window(record: Record) -> bool:
    """Whether a record was possibly running when the last owners of its partition died."""
    history = record.assignment.crash_history
    return history.deaths >= SUSPECT_AFTER and record.offset < history.window_end


def crashes_before(record: Record, crash_limit: int) -> int:
    """How many crashes count against a job before the next one; those of whole workers only as far as they prove."""
    certain = record.assignment.crash_history.crashes.get(record.offset, 0)
    if certain or not is_in_window(record):
        return certain
    return min(record.assignment.crash_history.deaths, max(0, crash_limit - CERTAIN_DEATHS))
