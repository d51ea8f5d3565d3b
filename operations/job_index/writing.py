"""`IndexWriter`: applies entries to the file, with the offsets that they were read up to in the same transaction.

So a kill at any point leaves a file that is as if each record before its offsets, and none behind them, had been read.
The rows that a batch touches are read once before they are written: so the counts are kept without counting anything.
"""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final, NamedTuple

from .entries import Disposal, JobEntry, Setback, stored_id
from .states import ENDED, ENDED_STEP, MENDED_STEP, STEPS, State, attempt_of_step

_MINUTE_MS: Final = 60_000
_AT_ONCE: Final = 500
_NO_GROUP: Final = 0
_REPEATABLE: Final = frozenset({"snoozed", "deferred"})
"""The kinds of which one attempt may have several."""

Place = tuple[str, int]


class _Row(NamedTuple):
    n: int
    state: int
    type: int
    queue: int
    life: int
    step: int
    at: int
    enq: int
    grp: int | None


_INSERT: Final = (
    "INSERT INTO jobs (id, type, queue, tenant, key, enq, state, life, step, at, began, took, worker, release, source, "
    "place, off, due, n, grp) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
_UPDATE: Final = (
    "UPDATE jobs SET state = ?, life = ?, step = ?, at = ?, began = ?, took = ?, worker = ?, "
    "release = coalesce(?, release), source = coalesce(?, source), place = ?, off = ?, due = ?, grp = ? WHERE n = ?"
)
_ADD_COUNT: Final = (
    "INSERT INTO counts VALUES (?, ?, ?, ?, ?) ON CONFLICT (queue, type, state, grp) DO UPDATE SET "
    "jobs = jobs + excluded.jobs"
)
_ADD_MINUTE: Final = (
    "INSERT INTO minutes VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (minute, queue, type, state, grp) DO UPDATE SET "
    "jobs = jobs + excluded.jobs"
)
_ADD_HISTORY: Final = "INSERT OR IGNORE INTO history VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
_COMPLETE_HISTORY: Final = (
    "UPDATE history SET at = ?, began = ?, release = ? WHERE n = ? AND life = ? AND attempt = ? AND kind = ? AND "
    "seq = ?"
)


class IndexWriter:
    """The one writer of a file."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._names: dict[str, int] = dict(connection.execute("SELECT name, k FROM names"))
        self._groups: dict[tuple[int, str, int], int] = {
            (kind, fingerprint, error): g
            for kind, fingerprint, error, g in connection.execute("SELECT type, fingerprint, error, g FROM failures")
        }
        self._next_n: int = connection.execute("SELECT coalesce(max(n), 0) + 1 FROM jobs").fetchone()[0]
        self._counts: Counter[tuple[int, int, int, int]] = Counter()
        self._minutes: Counter[tuple[int, int, int, int, int]] = Counter()

    def offsets(self) -> dict[Place, int]:
        """{(topic, partition): next offset to read}."""
        rows = self._connection.execute("SELECT topic, partition, next FROM offsets")
        return {(topic, partition): offset for topic, partition, offset in rows}

    def apply(self, entries: Iterable[JobEntry], disposals: Iterable[Disposal], offsets: Mapping[Place, int]) -> None:
        """Write what a batch says, and how far it was read."""
        latest: dict[bytes | str, JobEntry] = {}
        for entry in entries:
            key = stored_id(entry.job_id)
            known = latest.get(key)
            latest[key] = entry if known is None else known.merge(entry)
        with self._transaction():
            self._write(latest)
            for disposal in disposals:
                self._dispose(disposal)
            self._keep_offsets(offsets)

    def mend(self, ended: Mapping[str, tuple[State, int]], offsets: Mapping[Place, int]) -> int:
        """Note jobs as ended that the ledger has and no event has told of.

        Args:
            ended: {name in the ledger: (state, when it was written, in ms)}.

        Returns:
            How many there were.
        """
        with self._transaction():
            found = self._open_rows(ended)
            for name, row in found.items():
                state, at_ms = ended[name]
                self._end(row, state, at_ms, MENDED_STEP)
            self._keep_offsets(offsets)
        return len(found)

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """One transaction; what the writer remembers is read anew where it fails."""
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._keep_counts()
            self._connection.execute("COMMIT")
        except BaseException:
            self._counts.clear()
            self._minutes.clear()
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            self.__init__(self._connection)  # type: ignore[misc]  # names and groups of the lost transaction are gone
            raise

    def _keep_offsets(self, offsets: Mapping[Place, int]) -> None:
        rows = [(topic, partition, offset) for (topic, partition), offset in offsets.items()]
        self._connection.executemany("INSERT OR REPLACE INTO offsets VALUES (?, ?, ?)", rows)

    def _keep_counts(self) -> None:
        self._connection.executemany(_ADD_COUNT, [(*key, count) for key, count in self._counts.items() if count])
        self._connection.executemany(_ADD_MINUTE, [(*key, count) for key, count in self._minutes.items() if count])
        self._counts.clear()
        self._minutes.clear()

    # ---- rows

    def _write(self, latest: Mapping[bytes | str, JobEntry]) -> None:
        known = self._rows_of(list(latest))
        added: list[tuple[Any, ...]] = []
        changed: list[tuple[Any, ...]] = []
        for key, entry in latest.items():
            row = known.get(key)
            if row is None:
                added.append(self._added(key, entry))
            elif entry.version >= (row.life, row.step, row.enq + row.at):
                changed.append(self._changed(row, entry))
            elif entry.setbacks:
                self._note(row.n, entry, self._group_of(entry))
        self._connection.executemany(_INSERT, added)
        self._connection.executemany(_UPDATE, changed)

    def _rows_of(self, keys: Sequence[bytes | str]) -> dict[bytes | str, _Row]:
        found: dict[bytes | str, _Row] = {}
        for first in range(0, len(keys), _AT_ONCE):
            some = keys[first : first + _AT_ONCE]
            marks = ",".join("?" * len(some))
            asked = f"SELECT id, n, state, type, queue, life, step, at, enq, grp FROM jobs WHERE id IN ({marks})"
            for key, *rest in self._connection.execute(asked, some):
                found[key] = _Row(*rest)
        return found

    def _added(self, key: bytes | str, entry: JobEntry) -> tuple[Any, ...]:
        n, self._next_n = self._next_n, self._next_n + 1
        enq = entry.enqueued_ms or entry.at_ms
        kind, queue = self._name(entry.job_type), self._name(entry.queue)
        group = self._group_of(entry)
        self._count(queue, kind, entry.state, group, 1)
        if entry.state in ENDED:
            self._minutes[entry.at_ms // _MINUTE_MS, queue, kind, entry.state, group or _NO_GROUP] += 1
        self._note(n, entry, group)
        return (
            *(key, kind, queue, self._name_or_none(entry.tenant), entry.key, enq),
            *self._volatile(entry, enq),
            *(n, group),
        )

    def _volatile(self, entry: JobEntry, enq: int) -> tuple[Any, ...]:
        """The columns that change with each entry, times as ms since the job was enqueued."""
        return (
            *(int(entry.state), entry.life, entry.step, entry.at_ms - enq),
            entry.began_ms - enq if entry.began_ms else None,
            entry.took_us if entry.took_us >= 0 else None,
            *(self._name_or_none(entry.worker), self._name_or_none(entry.release), self._name_or_none(entry.source)),
            *(self._name(f"{entry.topic}/{entry.partition}"), entry.offset),
            entry.due_ms - enq if entry.due_ms else None,
        )

    def _changed(self, row: _Row, entry: JobEntry) -> tuple[Any, ...]:
        group = self._group_of(entry) or row.grp
        self._move(row, entry.state, group, entry.at_ms)
        self._note(row.n, entry, group)
        return (*self._volatile(entry, row.enq), group, row.n)

    def _move(self, row: _Row, state: int, group: int | None, at_ms: int) -> None:
        if (row.state, row.grp) != (state, group):
            self._count(row.queue, row.type, row.state, row.grp, -1)
            self._count(row.queue, row.type, state, group, 1)
        if row.state != state and state in ENDED:
            self._minutes[at_ms // _MINUTE_MS, row.queue, row.type, state, group or _NO_GROUP] += 1

    def _count(self, queue: int, kind: int, state: int, group: int | None, jobs: int) -> None:
        self._counts[queue, kind, state, group or _NO_GROUP] += jobs

    def _end(self, row: _Row, state: State, at_ms: int, step: int) -> None:
        self._move(row, state, row.grp, at_ms)
        step += attempt_of_step(row.step) * STEPS
        self._connection.execute(
            "UPDATE jobs SET state = ?, step = ?, at = ?, began = NULL, took = NULL, worker = NULL, due = NULL "
            "WHERE n = ?",
            (int(state), step, at_ms - row.enq, row.n),
        )

    def _dispose(self, disposal: Disposal) -> None:
        place = self._names.get(f"{disposal.topic}/{disposal.partition}")
        found = self._connection.execute(
            "SELECT n, state, type, queue, life, step, at, enq, grp FROM jobs "
            "WHERE place = ? AND off = ? AND state = 4",
            (place, disposal.offset),
        ).fetchone()
        if found is not None:
            self._end(_Row(*found), State.DROPPED, disposal.at_ms, ENDED_STEP)

    def _open_rows(self, names: Iterable[str]) -> dict[str, _Row]:
        """The rows of these names in the ledger whose jobs have not ended, as far as the index knows."""
        by_key = {stored_id(name): name for name in names}
        found = {by_key[key]: row for key, row in self._rows_of(list(by_key)).items() if row.life == 0}
        for name in names:
            if name not in found and (row := self._row_by_alias(name)) is not None:
                found[name] = row
        return {name: row for name, row in found.items() if row.state not in ENDED}

    def _row_by_alias(self, name: str) -> _Row | None:
        found = self._connection.execute(
            "SELECT j.n, state, type, queue, life, step, at, enq, grp FROM aliases a JOIN jobs j ON j.n = a.n "
            "WHERE a.name = ?",
            (name,),
        ).fetchone()
        return None if found is None else _Row(*found)

    # ---- names, failures, history

    def _name(self, name: str) -> int:
        known = self._names.get(name)
        if known is None:
            known = self._names[name] = len(self._names) + 1
            self._connection.execute("INSERT INTO names VALUES (?, ?)", (known, name))
        return known

    def _name_or_none(self, name: str) -> int | None:
        return self._name(name) if name else None

    def _group_of(self, entry: JobEntry) -> int | None:
        """The failure group of its last failure; None where it tells of none."""
        for setback in reversed(entry.setbacks):
            if setback.fingerprint or setback.error_type:
                return self._group(entry, setback)
        return None

    def _group(self, entry: JobEntry, setback: Setback) -> int:
        key = (self._name(entry.job_type), setback.fingerprint, self._name(setback.error_type))
        known = self._groups.get(key)
        if known is None:
            known = self._groups[key] = len(self._groups) + 1
            row = (known, *key, setback.message, setback.stack, setback.at_ms, setback.at_ms, 0)
            self._connection.execute("INSERT INTO failures VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", row)
        return known

    def _note(self, n: int, entry: JobEntry, group: int | None) -> None:
        """Add to the history of a job what is new in it, and to the words what it may be searched by."""
        for name in entry.names:
            self._connection.execute("INSERT OR REPLACE INTO aliases VALUES (?, ?)", (name, n))
        for setback in entry.setbacks:
            own = self._group(entry, setback) if setback.fingerprint or setback.error_type else None
            if self._add_history(n, setback, own) and own is not None:
                self._connection.execute(
                    "UPDATE failures SET runs = runs + 1, last = max(last, ?) WHERE g = ?", (setback.at_ms, own)
                )
            if setback.message:
                self._add_words(n, setback.message)

    def _add_history(self, n: int, setback: Setback, group: int | None) -> bool:
        row = (
            *(n, setback.life, setback.attempt, setback.kind, setback.at_ms if setback.kind in _REPEATABLE else 0),
            *(setback.at_ms, setback.began_ms or None, setback.due_ms or None),
            *(self._name_or_none(setback.worker), self._name_or_none(setback.release), group),
            *(setback.message or None, setback.reason or None),
            json.dumps(dict(setback.detail)) if setback.detail else None,
        )
        if self._connection.execute(_ADD_HISTORY, row).rowcount > 0:
            return True
        if setback.began_ms:  # a record of it came first, which does not know when the run began
            self._connection.execute(_COMPLETE_HISTORY, (row[5], row[6], row[9], *row[:5]))
        return False

    def _add_words(self, n: int, message: str) -> None:
        """Of a job, the first message can be searched; a second one of the same row would double the postings."""
        added = self._connection.execute("INSERT OR IGNORE INTO texts VALUES (?, ?)", (n, message))
        if added.rowcount:
            self._connection.execute("INSERT INTO words (rowid, message) VALUES (?, ?)", (n, message))

    # ---- retention

    def forget(self, before_ms: int, most: int, after_n: int = 0) -> tuple[int, int]:
        """Delete up to so many jobs that have ended and were enqueued before an instant.

        Returns:
            How many were deleted, and the row up to which was looked; 0 at the end of what is old.
        """
        looked = self._connection.execute(
            "SELECT j.n, enq, state, type, queue, grp, t.message FROM jobs j LEFT JOIN texts t ON t.n = j.n "
            "WHERE j.n > ? ORDER BY j.n LIMIT ?",
            (after_n, most),
        ).fetchall()
        old = [row for row in looked if row[1] < before_ms and row[2] in ENDED]
        with self._transaction():
            for n, _enq, state, kind, queue, group, message in old:
                self._count(queue, kind, state, group, -1)
                self._forget_row(n, message)
            self._connection.execute("DELETE FROM minutes WHERE minute < ?", (before_ms // _MINUTE_MS,))
            self._connection.execute("DELETE FROM counts WHERE jobs = 0")
        return len(old), looked[-1][0] if len(looked) == most and any(row[1] < before_ms for row in looked) else 0

    def _forget_row(self, n: int, message: str | None) -> None:
        execute = self._connection.execute
        if message is not None:
            execute("INSERT INTO words (words, rowid, message) VALUES ('delete', ?, ?)", (n, message))
            execute("DELETE FROM texts WHERE n = ?", (n,))
        for table in ("history", "aliases", "jobs"):
            execute(f"DELETE FROM {table} WHERE n = ?", (n,))  # of the line above

    def set_fact(self, fact: str, value: str) -> None:
        """Keep a fact about the index."""
        self._connection.execute("INSERT OR REPLACE INTO facts VALUES (?, ?)", (fact, value))

    def close(self) -> None:
        """Put what is in the log into the file, and close it."""
        self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        self._connection.close()
