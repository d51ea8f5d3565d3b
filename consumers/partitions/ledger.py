"""The ledger: which jobs were completed lately, so that a repeated one does not run again.

One ledger for each partition number of a queue. In memory it is a window of names, bounded by count and age, which is
restored from the compacted topic `<namespace>.<queue>.ledger` when the partition is assigned. A record that moved on
(to a retry tier or the dead letters) is in the ledger as well, under a name of its own: a crash between that and the
commit of its source then publishes nothing twice. Such names have a window of their own, so that many retries do not
push completed jobs out.

    <deduplication id>                          the job is completed, discarded itself, or was cancelled
    moved:<deduplication id>@<origin>#<n>       its attempt n failed, and attempt n+1 or a dead letter is on its topic
    moved:<deduplication id>@<topic/p/offset>   the record there moved on without a failure, expired, or is a duplicate
"""

from __future__ import annotations

import time
from array import array
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from itertools import chain, islice

from ...topology.declaration.queue import LedgerWindow
from ...topology.wire.headers import ATTEMPT
from ...topology.wire.ledger_names import MOVED, attempt_name
from ..progress.assignment import Place
from ..records.record import Record
from ..unique.holders import Holders
from .name_window import Clock, NameWindow


def moved_name(record: Record) -> str:
    """Name the settling of one record, not of its job: the same job may pass through many records.

    The job's id is part of it, because a topic that was deleted and made again repeats its offsets.
    """
    return f"{MOVED}{record.deduplication_id or ''}@{record}"


def tried_name(record: Record) -> str:
    """Name the settling of one attempt of a job, which any twin of the record has as well.

    A crash between the retry record's confirmation and the ledger's leaves two records of the same attempt.
    """
    return attempt_name(record.deduplication_id, record.origin, record.headers.get(ATTEMPT, b"1"))


class Ledger:
    """The remembered names of one partition; all runners read and add them.

    `holders` has its unique jobs, where the queue has any.
    """

    def __init__(self, window: LedgerWindow, clock: Clock = time.time, holders: Holders | None = None) -> None:
        self.holders = holders
        self._jobs = NameWindow(window, clock)
        self._moved = NameWindow(window, clock)
        self._failed: dict[str, Place] = {}
        self._complete_before: Sequence[int] = array("q")
        self._most_complete_before = window.jobs

    def add_job(self, name: str) -> None:
        """Remember a job that is completed now."""
        self._jobs.add(name)

    def add_jobs(self, names: Iterable[str]) -> None:
        """Remember jobs that are completed now."""
        self._jobs.add_all(names)

    def add(self, name: str) -> None:
        """Remember a name of either kind, settled now."""
        (self._moved if name.startswith(MOVED) else self._jobs).add(name)

    def add_failed(self, record: Record) -> None:
        """Remember that the attempt of a record has failed here, for as long as its assignment lasts.

        Where the assignment ends before its record is complete, nothing is written of the failure: the record comes
        again, and must not pass for settled. The ledger may outlast it, as other topics of the partition number do.
        """
        self._failed[tried_name(record)] = record.assignment, record.offset

    def add_former(self, jobs: Iterable[str], moved: Iterable[str], at_s: float) -> None:
        """Remember names of both kinds, settled at the epoch time `at_s`."""
        self._jobs.add_all_former(jobs, at_s)
        self._moved.add_all_former(moved, at_s)

    def note_complete_before(self, hashes: Iterable[int]) -> None:
        """Remember, by the hashes of their names, records that had moved on and were complete before this assignment.

        They are not delivered again unless the partition begins anew, so they must not take the memory of names.

        Args:
            hashes: the latest first; as many are kept as the window has names.
        """
        self._complete_before = array(
            "q", sorted(islice(chain(hashes, self._complete_before), self._most_complete_before))
        )

    def remembers(self, record: Record) -> bool:
        """Whether it has a name for the record: its job is completed, this attempt failed, or the record has moved on.

        Names are added when a job has ended, so what it remembers may not be durable yet.
        """
        if self._jobs.holds(record.deduplication_id):
            return True
        moved = self._moved
        if not moved.is_empty and (moved.holds(tried_name(record)) or moved.holds(moved_name(record))):
            return True
        if self._failed and self._has_failed(record):
            return True
        return bool(self._complete_before) and record.assignment.is_begun_anew and self._was_complete_before(record)

    def _has_failed(self, record: Record) -> bool:
        failed = self._failed.get(tried_name(record))
        return failed is not None and failed[0].is_active

    def has_job(self, record: Record) -> bool:
        """Whether the record's job is completed."""
        return self._jobs.holds(record.deduplication_id)

    def _was_complete_before(self, record: Record) -> bool:
        hashed, known = hash(moved_name(record)), self._complete_before  # which another thread may replace meanwhile
        at = bisect_left(known, hashed)
        return at < len(known) and known[at] == hashed

    def absorb_jobs(self, former: Ledger) -> None:
        """Take over the completed jobs of an earlier assignment in this process, whose entries may still be unwritten.

        Not what has moved on: where that was not written in time, it is left to this assignment to do again.
        """
        self._jobs.absorb(former._jobs)

    def absorb(self, restored: Ledger) -> None:
        """Take over what was read from the topic anew and is not here."""
        self._jobs.absorb(restored._jobs)
        self._moved.absorb(restored._moved)
        self.note_complete_before(restored._complete_before)
        if self.holders is not None and restored.holders is not None:
            self.holders.absorb_ended(restored.holders)

    @property
    def jobs(self) -> int:
        """How many completed jobs are remembered."""
        return len(self._jobs)

    def forget_old(self) -> None:
        """Forget what is older than the window's age, a generation at a time; called every second or so.

        The poll thread calls it, which knows what is complete: failed attempts go to the window when their records are.
        """
        self._jobs.forget_old()
        self._moved.forget_old()
        for name, place in self._failed.copy().items():  # runners add to it meanwhile
            self._keep_or_forget(name, place)

    def _keep_or_forget(self, name: str, place: Place) -> None:
        assignment, offset = place
        if assignment.is_active:
            if assignment.progress.is_incomplete(offset):
                return
            self._moved.add(name)
        if self._failed.get(name) is place:  # else the attempt has failed once more
            del self._failed[name]
