"""`DoneJobs`: publishes jobs that are done, many by one event, from a thread of its own.

The settler hands over its batches as they are, which costs it next to nothing. The thread makes columns of what has
come meanwhile: so the cost of an event is shared by hundreds of jobs under load, and no job waits for it.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from ...schemas import wire_text
from ...schemas.jobs_ended import JobsEnded, encode_jobs_ended, indexed, packed, packed_ids
from ...topology.wire import headers as wire
from ..records.record import Record, attempt_or_1
from .events import enqueued
from .writes import utc

MOST_JOBS: Final = 500
"""Of one event, which has some 50 bytes for each. The records of so many fit a processor's cache: each column is a look
at all of them, and freeing them another."""
MOST_WAITING: Final = 20_000
"""Jobs that are handed over and not published yet: beyond them, some are given up."""
NO_ROOM: Final = "more jobs end than events can be made of"
INTERVAL_S: Final = 0.1
"""How long jobs gather."""

Fold = Callable[[Sequence[Record]], None]
"""Counts jobs."""
Publish = Callable[[bytes, bytes, int], None]
"""Takes an event's key and value, and of how many jobs it is."""


class DoneJobs:
    """Gathers the jobs of one queue that are done, and publishes them; the settling thread calls `add`.

    Where somebody counts them, `fold` takes those of an event right after it was made, when they are at hand, and
    `fold_given_up` at once, in the thread of `add`, those that there is no room for.

    Args:
        publish: never raises, and waits for nothing.
        give_up: takes how many jobs there is no event of, and why.
    """

    def __init__(
        self,
        queue: str,
        worker_id: str,
        release: str,
        *,
        publish: Publish,
        give_up: Callable[[int, object], None],
    ) -> None:
        self._queue, self._worker_id, self._release = queue, worker_id, release
        self._publish = publish
        self._give_up = give_up
        self._batches: deque[Sequence[Record]] = deque()
        self._waiting = 0
        self._lock = threading.Lock()
        self._has_some = threading.Event()
        self._is_closing = threading.Event()
        self._thread: threading.Thread | None = None
        self.fold: Fold | None = None
        self.fold_given_up: Fold | None = None

    def add(self, records: Sequence[Record]) -> None:
        """Take jobs that are done and settled; nothing changes the sequence any more."""
        with self._lock:
            has_room = self._waiting + len(records) <= MOST_WAITING
            if has_room:
                self._waiting += len(records)
                self._batches.append(records)
        if not has_room:
            if self.fold_given_up is not None:
                self.fold_given_up(records)
            return self._give_up(len(records), NO_ROOM)
        if self._thread is None and not self._is_closing.is_set():
            self._thread = threading.Thread(target=self._run, name=f"stoker-events-{self._queue}", daemon=True)
            self._thread.start()
        if not self._has_some.is_set():
            self._has_some.set()
        return None

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
            batches, self._batches = self._batches, deque()
            self._waiting = 0
        for records in _each_let_go(batches):
            self._publish_some(records)

    def _publish_some(self, records: list[Record]) -> None:
        for alike in _by_layout(records):
            try:
                event = _event(alike, self._queue, self._worker_id, self._release)
                self._publish(self._worker_id.encode(), encode_jobs_ended(event), event.count)
            except Exception as fault:  # noqa: BLE001  # of one event, which must not end those of all other jobs
                self._give_up(len(alike), fault)
            if self.fold is not None:
                self.fold(alike)

    def _run(self) -> None:
        while not self._is_closing.is_set():
            self._has_some.wait()
            self._is_closing.wait(INTERVAL_S)
            self._has_some.clear()
            self.flush()


def _each_let_go(batches: deque[Sequence[Record]]) -> Iterator[list[Record]]:
    """Yield records, as many as an event has, and keep none: they are freed while their memory is in the cache."""
    waiting: list[Record] = []
    while batches:
        waiting += batches.popleft()
        while len(waiting) >= MOST_JOBS or (waiting and not batches):
            yield waiting[:MOST_JOBS]
            del waiting[:MOST_JOBS]


def jobs_ended(records: Sequence[Record], queue: str, worker_id: str, release: str) -> Iterator[JobsEnded]:
    """The events of these jobs: one for each sort of records that have the same headers."""
    return (_event(alike, queue, worker_id, release) for alike in _by_layout(records))


def _by_layout(records: Sequence[Record]) -> Iterator[Sequence[Record]]:
    """The records, by their sorts."""
    layouts = [record.layout for record in records]
    if layouts.count(layouts[0]) == len(layouts):  # takes less time than a dict of them
        yield records
        return
    for layout in dict.fromkeys(layouts):
        yield [record for record in records if record.layout is layout]


def _event(records: Sequence[Record], queue: str, worker_id: str, release: str) -> JobsEnded:
    """The event of records whose headers stand at the same places."""
    now_s = time.time()
    began_before_s, took_s = _times(records)
    types, type_indexes = _texts(records, wire.JOB_TYPE)
    places, place_indexes = indexed([record.assignment for record in records])
    tenants, tenant_indexes = _texts(records, wire.TENANT)
    key_sizes, keys = _keys(records)
    ids = _column(records, wire.JOB_ID)
    raw, is_timed = packed_ids(ids)
    positions = records[0].layout.positions
    return JobsEnded(
        queue=queue,
        worker=worker_id,
        release=release,
        at=utc(now_s),
        count=len(records),
        ids=raw,
        id_texts=() if raw else _shown(ids),
        types=types or [""],
        type_indexes=type_indexes,
        places=[{"topic": place.topic, "partition": place.partition} for place in places],
        place_indexes=place_indexes,
        offsets=packed("q", [record.offset for record in records]),
        tenants=tenants,
        tenant_indexes=tenant_indexes,
        key_sizes=key_sizes,
        keys=keys,
        attempts=packed("I", list(map(_attempt, records))) if wire.ATTEMPT in positions else b"",
        enqueued_ms=b"" if is_timed else packed("q", list(map(_enqueued_ms, records))),
        replays=_shown(_column(records, wire.REPLAY)) if wire.REPLAY in positions else (),
        began_before_s=began_before_s,
        took_s=took_s,
    )


def _times(records: Sequence[Record]) -> tuple[bytes, bytes]:
    """How long before now each run began, and how long it took."""
    now_s = time.monotonic()
    began_before_s = [now_s - record.began_at_s for record in records]
    return packed("f", began_before_s), packed("f", [record.ended_at_s - record.began_at_s for record in records])


def _shown(values: Sequence[bytes]) -> list[str]:
    return [wire_text(value) for value in values]


def _attempt(record: Record) -> int:
    return attempt_or_1(record.headers)


def _column(records: Sequence[Record], name: str) -> list[bytes]:
    """The values of a header; empty where the records have none of that name."""
    at = records[0].layout.positions.get(name)
    return [b""] * len(records) if at is None else [record.values[at] for record in records]


def _texts(records: Sequence[Record], name: str) -> tuple[list[str], bytes]:
    """The texts of a header that occur, and their indexes; none where the records have no such header."""
    if name not in records[0].layout.positions:
        return [], b""
    values, indexes = indexed(_column(records, name))
    return _shown(values), indexes


def _keys(records: Sequence[Record]) -> tuple[bytes, bytes]:
    keys = [record.key for record in records]
    try:
        return packed("i", list(map(len, keys))), b"".join(keys)  # type: ignore[arg-type]  # such as has none is below
    except TypeError:  # of a job without a key
        some = [key for key in keys if key is not None]
    if not some:
        return b"", b""
    return packed("i", [-1 if key is None else len(key) for key in keys]), b"".join(some)


def _enqueued_ms(record: Record) -> int:
    at = enqueued(record)
    return 0 if at is None else round(at.timestamp() * 1e3)
