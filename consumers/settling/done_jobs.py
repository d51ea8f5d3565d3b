"""`DoneJobs`: publishes jobs that are done, many by one event, from a thread of its own.

Runners have columns made of each good handful that they have run (`records/ended_columns.py`); the settler hands over
what it has settled. The thread puts events together of the columns that have come meanwhile, so that the cost of an
event is shared by hundreds of jobs under load, and no job waits for it. Jobs that came one by one it takes as records.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from typing import Final, Protocol

from ...schemas.own_records.jobs_ended import encode_jobs_ended
from ..records.done_handful import DoneHandful, records_of
from ..records.ended_columns import (
    Durations,
    EndedColumns,
    Handful,
    columns_by_sort,
    columns_of_all,
    event_of,
    handful_of,
)
from ..records.record import Record
from .writes import utc

MOST_JOBS: Final = 1_000
"""Jobs of one event, which has some 45 bytes for each and their keys."""
LEAST_HANDFUL: Final = 10
"""Columns of fewer jobs cost more than the looks at cold memory that they save."""
MOST_WAITING: Final = 20_000
"""Jobs that are handed over and not published yet: beyond them, some are given up."""
NO_ROOM: Final = "more jobs end than events can be made of"
INTERVAL_S: Final = 0.1
"""How long jobs gather."""

Publish = Callable[[bytes, bytes, int], None]
"""Takes an event's key and value, and of how many jobs it is."""


class CountsDone(Protocol):
    """Counts jobs that are done. No method raises."""

    def durations(self, handful: Handful) -> Sequence[Durations]:
        """Read what is counted of jobs, by the thread that has them at hand: runners, while they are in the cache."""
        ...

    def fold_published(self, durations: Sequence[Durations]) -> None:
        """Count jobs, by the thread that publishes their events."""

    def fold_given_up(self, durations: Sequence[Durations]) -> None:
        """Count jobs that there is no room for, by the thread of `DoneJobs.add`."""


class DoneJobs:
    """Gathers the jobs of one queue that are done, and publishes them.

    `Settler.hand_in_done` calls `make_columns`, mostly in the thread of a runner. The settling thread calls `add` once
    the jobs are settled.

    Args:
        publish: never raises, and waits for nothing.
        give_up: takes how many jobs there is no event of, and why.
        job_types: those of the queue, as far as they are known: what is done has a handler, so it is of one of them.
    """

    def __init__(
        self,
        queue: str,
        worker_id: str,
        release: str,
        *,
        publish: Publish,
        give_up: Callable[[int, object], None],
        job_types: Collection[str] = (),
    ) -> None:
        self._queue, self._worker_id, self._release = queue, worker_id, release
        self._publish = publish
        self._give_up = give_up
        self._only_type = next(iter(job_types)).encode() if len(job_types) == 1 else None
        self._columns: list[EndedColumns] = []
        self._records: list[Record] = []
        self._waiting = 0
        self._lock = threading.Lock()
        self._has_some = threading.Event()
        self._is_closing = threading.Event()
        self._thread: threading.Thread | None = None
        self._counts: CountsDone | None = None

    def count_by(self, counts: CountsDone) -> None:
        """Have all jobs counted, with an event or without; called before the first of them."""
        self._counts = counts

    def make_columns(self, done: DoneHandful) -> None:
        """Make the columns of a handful that is done, where this pays; any thread may call it."""
        if len(done.records) < LEAST_HANDFUL:
            return
        try:
            handful = handful_of(done.records)
            columns = columns_of_all(handful, [assignment for assignment, _ in done.parts], self._only_type)
            if columns is not None and self._counts is not None:
                columns.durations = self._counts.durations(handful)
        except Exception:  # noqa: BLE001  # their event is made of the records, or given up there
            return
        done.columns = columns

    def add(self, done: Sequence[DoneHandful]) -> None:
        """Take jobs that are done and settled."""
        jobs = sum([len(handful.records) for handful in done])
        with self._lock:
            has_room = self._waiting + jobs <= MOST_WAITING
            if has_room:
                self._waiting += jobs
                self._take(done)
        if not has_room:
            if self._counts is not None:
                self._counts.fold_given_up(self._counts.durations(handful_of(records_of(done))))
            return self._give_up(jobs, NO_ROOM)
        if self._thread is None and not self._is_closing.is_set():
            self._begin()
        if not self._has_some.is_set():
            self._has_some.set()
        return None

    def _begin(self) -> None:
        """Begin to publish. Where the machine has no thread left, the next call tries again: the settler goes on."""
        thread = threading.Thread(target=self._run, name=f"stoker-events-{self._queue}", daemon=True)
        with suppress(RuntimeError):
            thread.start()
            self._thread = thread

    def _take(self, done: Sequence[DoneHandful]) -> None:
        for handful in done:
            if handful.columns is None:
                self._records += handful.records
            else:
                self._columns.append(handful.columns)

    def close(self) -> None:
        """Publish what has come, and end."""
        self._is_closing.set()
        self._has_some.set()
        if self._thread is not None:
            self._thread.join()
        self.flush()

    def flush(self) -> None:
        """Publish what has come until now."""
        with self._lock:
            columns, self._columns = self._columns, []
            records, self._records = self._records, []
            taken = self._waiting
        durations = [one for some in columns for one in some.durations]
        for start in range(0, len(records), MOST_JOBS):
            part = records[start : start + MOST_JOBS]
            columns += self._made(part)
            if self._counts is not None:
                durations += self._counts.durations(handful_of(part))
        for some in _by_event(columns):
            self._publish_some(some)
        if durations and self._counts is not None:
            self._counts.fold_published(durations)
        with self._lock:  # only now: until its events are made, each job takes room
            self._waiting -= taken

    def _made(self, records: Sequence[Record]) -> list[EndedColumns]:
        try:
            return columns_by_sort(records, self._only_type)
        except Exception as fault:  # noqa: BLE001  # of some jobs, which must not end the events of all others
            self._give_up(len(records), fault)
            return []

    def _publish_some(self, columns: Sequence[EndedColumns]) -> None:
        try:
            event = event_of(
                columns,
                queue=self._queue,
                worker_id=self._worker_id,
                release=self._release,
                at=utc(time.time()),
                clock_s=time.monotonic(),
            )
            self._publish(self._worker_id.encode(), encode_jobs_ended(event), event.count)
        except Exception as fault:  # noqa: BLE001  # as above
            self._give_up(sum(some.count for some in columns), fault)

    def _run(self) -> None:
        while not self._is_closing.is_set():
            self._has_some.wait()
            self._is_closing.wait(INTERVAL_S)
            self._has_some.clear()
            self.flush()


def _by_event(columns: Iterable[EndedColumns]) -> Iterator[list[EndedColumns]]:
    """Sort columns into those of one event each."""
    by_sort: dict[tuple[object, ...], list[EndedColumns]] = {}
    for some in columns:
        by_sort.setdefault(some.sort, []).append(some)
    for alike in by_sort.values():
        yield from _in_order(alike)


def _in_order(columns: Iterable[EndedColumns]) -> Iterator[list[EndedColumns]]:
    """Split columns of one sort into those of as many jobs as an event has."""
    together: list[EndedColumns] = []
    count = 0
    for some in columns:
        if together and count + some.count > MOST_JOBS:
            yield together
            together, count = [], 0
        together.append(some)
        count += some.count
    if together:
        yield together
