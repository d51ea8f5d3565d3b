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
from typing import Any, Final, NamedTuple, TypeVar

from .database import Partition, is_building, offsets_in
from .entries import DispositionEntry, HistoryEntry, JobEntry, stored_id
from .ledger_names import is_of_earlier_job, job_and_place
from .states import COMMITTED_STEP, ENDED, ENDED_STEP, RECONCILED_STEP, STEPS, State, attempt_of_step, committed_step

_MINUTE_MS: Final = 60_000
_AT_ONCE: Final = 500
_NO_GROUP: Final = 0
_TOPIC: Final = "topic "
"""Facts that begin with it are the ids of topics."""
_REPEATABLE: Final = frozenset({"snoozed", "deferred"})
"""The kinds of which one attempt may have several."""

_Value = TypeVar("_Value")


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
    source: int | None
    place: int
    off: int


class OpenRow(NamedTuple):
    """A job that has not ended, and where its latest record is; they are gone through in the order of these fields."""

    state: int
    type: int
    enq: int
    n: int
    place: int
    off: int


NO_ROW: Final = OpenRow(state=-1, type=-1, enq=-1, n=-1, place=0, off=0)
"""Before the first of them."""
_ROW: Final = "n, state, type, queue, life, step, at, enq, grp, source, place, off"
_ENDED: Final = ",".join(str(int(state)) for state in ENDED)
_IS_OPEN: Final = f"(+state NOT IN ({_ENDED}) OR step % {STEPS} = {COMMITTED_STEP})"
"""As far as the ledger may know more. By the index of states, which the `+` rules out, all jobs that wait are left."""
_OPEN_ROWS: Final = (
    "SELECT state, type, enq, n, place, off FROM jobs INDEXED BY jobs_open WHERE state <> 3 AND "
    f"(state, type, enq, n) > (?, ?, ?, ?) AND state NOT IN ({_ENDED}) ORDER BY state, type, enq, n LIMIT ?"
)
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


class _Names(dict[str, int]):
    """{name: its number in the file}, where a name that is asked for first is written."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        super().__init__(connection.execute("SELECT name, k FROM names"))
        self._connection = connection

    def __missing__(self, name: str) -> int:
        number = self[name] = len(self) + 1
        self._connection.execute("INSERT INTO names VALUES (?, ?)", (number, name))
        return number

    def or_none(self, name: str) -> int | None:
        """The number of a name; None for an empty one."""
        return self[name] if name else None


def _chunks(values: Sequence[_Value]) -> Iterator[Sequence[_Value]]:
    """As many of them at a time as a statement may ask for."""
    return (values[first : first + _AT_ONCE] for first in range(0, len(values), _AT_ONCE))


def _marks(values: Sequence[object]) -> str:
    return ",".join("?" * len(values))


def _is_earlier(row: _Row, at_ms: int) -> bool:
    """Whether a name of the ledger is not that of this job by an alias, but an earlier one's; a replay has its own."""
    return not row.life and is_of_earlier_job(row.enq, at_ms)


class IndexWriter:
    """The one writer of a file."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._is_building = is_building(connection)
        self._counts: Counter[tuple[int, int, int, int]] = Counter()
        self._minutes: Counter[tuple[int, int, int, int, int]] = Counter()
        self._load()

    def _load(self) -> None:
        """Read the names, groups and numbers that the file has."""
        self._names = _Names(self._connection)
        self._places: dict[Partition, int] = {}
        known = self._connection.execute("SELECT type, fingerprint, error, g FROM failures")
        self._groups: dict[tuple[int, str, int], int] = {
            (kind, fingerprint, error): g for kind, fingerprint, error, g in known
        }
        self._next_n: int = self._connection.execute("SELECT coalesce(max(n), 0) + 1 FROM jobs").fetchone()[0]

    def offsets(self) -> dict[Partition, int]:
        """{(topic, partition): next offset to read}."""
        return offsets_in(self._connection)

    def jobs(self) -> int:
        """How many jobs the file has."""
        found: int = self._connection.execute("SELECT coalesce(sum(jobs), 0) FROM counts").fetchone()[0]
        return found

    def apply(
        self, entries: Iterable[JobEntry], dispositions: Iterable[DispositionEntry], offsets: Mapping[Partition, int]
    ) -> None:
        """Write what a batch holds, and how far it was read."""
        latest: dict[bytes | str, JobEntry] = {}
        for entry in entries:
            known = latest.get(entry.stored)
            latest[entry.stored] = entry if known is None else known.merge(entry)
        with self._transaction():
            self._write(latest)
            for disposition in dispositions:
                self._drop(disposition)
            self._keep_offsets(offsets)

    def reconcile(self, ended: Mapping[str, tuple[State, int]], offsets: Mapping[Partition, int]) -> int:
        """Note jobs as ended that the ledger has and no event has reported.

        Args:
            ended: {name in the ledger: (state, when it was written, in ms)}.

        Returns:
            How many there were.
        """
        with self._transaction():
            found = {row.n: (row, *ended[name]) for name, row in self._rows_ended(ended)}
            for row, state, at_ms in found.values():
                self._end(row, state, at_ms, RECONCILED_STEP)
            self._keep_offsets(offsets)
        return len(found)

    def open_rows(self, after: OpenRow, most: int) -> list[OpenRow]:
        """The jobs that have not ended, from behind one of them on."""
        return [OpenRow(*row) for row in self._connection.execute(_OPEN_ROWS, (*after[:4], most))]

    def end_committed(self, numbers: Sequence[int]) -> None:
        """Note the jobs of these rows as ended, known by the group's commit alone: not when, and not how."""
        with self._transaction():
            for n in numbers:
                row = _Row(*self._connection.execute(f"SELECT {_ROW} FROM jobs WHERE n = ?", (n,)).fetchone())
                self._recount(row, State.DONE, row.grp)
                self._connection.execute(
                    "UPDATE jobs SET state = ?, step = ?, due = NULL WHERE n = ?",
                    (int(State.DONE), committed_step(row.step), n),
                )

    def place(self, place: Partition) -> int:
        """The number of a partition."""
        known = self._places.get(place)
        if known is None:
            known = self._places[place] = self._names[f"{place[0]}/{place[1]}"]
        return known

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
            self._load()  # without the names and groups of the lost transaction
            raise

    def _keep_offsets(self, offsets: Mapping[Partition, int]) -> None:
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
            elif self._is_later(entry, row):
                changed.append(self._changed(row, entry))
            else:
                self._complete(row, entry)
        self._connection.executemany(_INSERT, added)
        self._connection.executemany(_UPDATE, changed)

    def _is_later(self, entry: JobEntry, row: _Row) -> bool:
        is_same_place = row.place == self.place((entry.topic, entry.partition))
        return entry.is_later(row.life, row.step, row.off if is_same_place else None, row.enq + row.at)

    def _rows_of(self, keys: Sequence[bytes | str]) -> dict[bytes | str, _Row]:
        found: dict[bytes | str, _Row] = {}
        for some in _chunks(keys):
            asked = f"SELECT id, {_ROW} FROM jobs WHERE id IN ({_marks(some)})"
            for key, *rest in self._connection.execute(asked, some):
                found[key] = _Row(*rest)
        return found

    def _complete(self, row: _Row, entry: JobEntry) -> None:
        """Take from an entry that comes after a later one what only it knows."""
        group = self._group_of(entry)
        if entry.history or entry.names:
            self._note(row.n, entry, group)
        if group is not None and row.grp is None:
            self._recount(row, State(row.state), group)
            self._connection.execute("UPDATE jobs SET grp = ? WHERE n = ?", (group, row.n))
        if entry.source and row.source is None:
            self._connection.execute("UPDATE jobs SET source = ? WHERE n = ?", (self._names[entry.source], row.n))

    def _added(self, key: bytes | str, entry: JobEntry) -> tuple[Any, ...]:
        n, self._next_n = self._next_n, self._next_n + 1
        names = self._names
        enq = entry.enqueued_ms or entry.at_ms
        kind, queue = names[entry.job_type], names[entry.queue]
        group = self._group_of(entry)
        self._counts[queue, kind, entry.state, group or _NO_GROUP] += 1
        if entry.state in ENDED:
            self._minutes[entry.at_ms // _MINUTE_MS, queue, kind, entry.state, group or _NO_GROUP] += 1
        if entry.history or entry.names:
            self._note(n, entry, group)
        tenant = names[entry.tenant] if entry.tenant else None
        return (key, kind, queue, tenant, entry.key, enq, *self._volatile(entry, enq), n, group)

    def _volatile(self, entry: JobEntry, enq: int) -> tuple[Any, ...]:
        """The columns that change with each entry, times as ms since the job was enqueued."""
        names = self._names
        return (
            *(int(entry.state), entry.life, entry.step, entry.at_ms - enq),
            entry.began_ms - enq if entry.began_ms else None,
            entry.took_us if entry.took_us >= 0 else None,
            names[entry.worker] if entry.worker else None,
            names[entry.release] if entry.release else None,
            names[entry.source] if entry.source else None,
            *(self.place((entry.topic, entry.partition)), entry.offset),
            entry.due_ms - enq if entry.due_ms else None,
        )

    def _changed(self, row: _Row, entry: JobEntry) -> tuple[Any, ...]:
        group = self._group_of(entry) or row.grp
        self._move(row, entry.state, group, entry.at_ms)
        self._note(row.n, entry, group)
        return (*self._volatile(entry, row.enq), group, row.n)

    def _move(self, row: _Row, state: int, group: int | None, at_ms: int) -> None:
        if (row.state, row.grp) != (state, group):
            self._recount(row, state, group)
        was_open = row.state != state or row.step % STEPS == COMMITTED_STEP
        if was_open and state in ENDED:
            self._minutes[at_ms // _MINUTE_MS, row.queue, row.type, state, group or _NO_GROUP] += 1

    def _recount(self, row: _Row, state: int, group: int | None) -> None:
        """Count the job of a row for another state or failure group."""
        self._counts[row.queue, row.type, row.state, row.grp or _NO_GROUP] -= 1
        self._counts[row.queue, row.type, state, group or _NO_GROUP] += 1

    def _end(self, row: _Row, state: State, at_ms: int, step: int) -> None:
        self._move(row, state, row.grp, at_ms)
        step += attempt_of_step(row.step) * STEPS
        self._connection.execute(
            "UPDATE jobs SET state = ?, step = ?, at = ?, began = NULL, took = NULL, worker = NULL, due = NULL "
            "WHERE n = ?",
            (int(state), step, at_ms - row.enq, row.n),
        )

    def _drop(self, disposition: DispositionEntry) -> None:
        place = self._names.get(f"{disposition.topic}/{disposition.partition}")
        found = self._connection.execute(
            f"SELECT {_ROW} FROM jobs WHERE place = ? AND off = ? AND state = 4 ORDER BY n DESC",
            (place, disposition.offset),
        ).fetchone()
        if found is not None:
            self._end(_Row(*found), State.DEAD_DISCARDED, disposition.at_ms, ENDED_STEP)

    def _rows_ended(self, ended: Mapping[str, tuple[State, int]]) -> Iterator[tuple[str, _Row]]:
        """(name in the ledger, row) of the jobs that have ended by it, and have not as far as the index knows."""
        jobs = {name: job_and_place(name) for name in ended}
        by_id, by_alias = self._open_rows({job for job, _ in jobs.values()})
        for name, (job, place) in jobs.items():
            row = by_id.get(job) or by_alias.get(job)
            if row is None or (place and place != self._shown_place(row)):
                continue
            if job in by_id or not _is_earlier(row, ended[name][1]):
                yield name, row

    def _shown_place(self, row: _Row) -> str:
        """Where the latest record of a row stands, as the ledger names it."""
        named = self._connection.execute("SELECT name FROM names WHERE k = ?", (row.place,)).fetchone()
        return f"{named[0]}/{row.off}"

    def _open_rows(self, names: Iterable[str]) -> tuple[dict[str, _Row], dict[str, _Row]]:
        """The rows of jobs that have not ended, as far as the index knows, by their ids and by their other names."""
        by_id: dict[str, _Row] = {}
        by_alias: dict[str, _Row] = {}
        for some in _chunks(list(names)):
            by_key = {stored_id(name): name for name in some}
            asked = f"SELECT id, {_ROW} FROM jobs WHERE id IN ({_marks(some)}) AND life = 0 AND {_IS_OPEN}"
            for key, *rest in self._connection.execute(asked, list(by_key)):
                by_id[by_key[key]] = _Row(*rest)
            asked = (
                f"SELECT a.name, j.n, {_ROW.partition(', ')[2]} FROM aliases a CROSS JOIN jobs j ON j.n = a.n "
                f"WHERE a.name IN ({_marks(some)}) AND {_IS_OPEN}"
            )
            by_alias.update((name, _Row(*rest)) for name, *rest in self._connection.execute(asked, some))
        return by_id, by_alias

    # ---- names, failures, history

    def _group_of(self, entry: JobEntry) -> int | None:
        """The failure group of its last failure; None where it has none."""
        for item in reversed(entry.history):
            if item.fingerprint or item.error_type:
                return self._group(entry, item)
        return None

    def _group(self, entry: JobEntry, item: HistoryEntry) -> int:
        key = (self._names[entry.job_type], item.fingerprint, self._names[item.error_type])
        known = self._groups.get(key)
        if known is None:
            known = self._groups[key] = len(self._groups) + 1
            row = (known, *key, item.message, item.stack, item.at_ms, item.at_ms, 0)
            self._connection.execute("INSERT INTO failures VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", row)
        return known

    def _note(self, n: int, entry: JobEntry, group: int | None) -> None:
        """Add to the history of a job what is new in it, and to the words what it may be searched by."""
        for name in entry.names if entry.state not in ENDED else ():  # the ledger is asked of those that have not
            self._connection.execute("INSERT OR REPLACE INTO aliases VALUES (?, ?)", (name, n))
        for item in entry.history:
            own = self._group(entry, item) if item.fingerprint or item.error_type else None
            if self._add_history(n, item, own) and own is not None:
                self._connection.execute(
                    "UPDATE failures SET runs = runs + 1, last = max(last, ?) WHERE g = ?", (item.at_ms, own)
                )
            if item.message:
                self._add_words(n, item.message)

    def _add_history(self, n: int, item: HistoryEntry, group: int | None) -> bool:
        row = (
            *(n, item.life, item.attempt, item.kind, item.at_ms if item.kind in _REPEATABLE else 0),
            *(item.at_ms, item.began_ms or None, item.due_ms or None),
            *(self._names.or_none(item.worker), self._names.or_none(item.release), group),
            *(item.message or None, item.reason or None),
            json.dumps(dict(item.detail)) if item.detail else None,
        )
        if self._connection.execute(_ADD_HISTORY, row).rowcount > 0:
            return True
        if item.began_ms:  # a record of it came first, which does not know when the run began
            self._connection.execute(_COMPLETE_HISTORY, (row[5], row[6], row[9], *row[:5]))
        return False

    def _add_words(self, n: int, message: str) -> None:
        """Make the first message of a job searchable; a second one of the same row would double the postings."""
        added = self._connection.execute("INSERT OR IGNORE INTO texts VALUES (?, ?)", (n, message))
        if added.rowcount and not self._is_building:
            self._connection.execute("INSERT INTO words (rowid, message) VALUES (?, ?)", (n, message))

    # ---- retention

    def forget(self, before_ms: int, most: int, after_n: int = 0, *, look: int) -> tuple[int, int]:
        """Delete up to so many jobs that have ended and were enqueued before an instant.

        Rows that stay new may stand anywhere, also before all others: a publisher's clock may be ahead. So each look
        goes on behind the former one, to the last row.

        Args:
            look: at how many rows to look.

        Returns:
            How many were deleted, and the row up to which was looked; 0 at the last row.
        """
        last_n, looked = self._connection.execute(
            "SELECT max(n), count(*) FROM (SELECT n FROM jobs WHERE n > ? ORDER BY n LIMIT ?)", (after_n, look)
        ).fetchone()
        old = self._connection.execute(
            "SELECT j.n, state, type, queue, grp, t.message FROM jobs j LEFT JOIN texts t ON t.n = j.n "
            f"WHERE j.n > ? AND j.n <= ? AND enq < ? AND +state IN ({_ENDED}) ORDER BY j.n LIMIT ?",
            (after_n, last_n, before_ms, most),
        ).fetchall()
        with self._transaction():
            for n, state, kind, queue, group, message in old:
                self._counts[queue, kind, state, group or _NO_GROUP] -= 1
                self._forget_row(n, message)
            self._connection.execute("DELETE FROM minutes WHERE minute < ?", (before_ms // _MINUTE_MS,))
            self._connection.execute("DELETE FROM counts WHERE jobs = 0")
        if len(old) == most:
            return most, old[-1][0]
        return len(old), last_n if looked == look else 0

    def _forget_row(self, n: int, message: str | None) -> None:
        execute = self._connection.execute
        if message is not None:
            execute("INSERT INTO words (words, rowid, message) VALUES ('delete', ?, ?)", (n, message))
            execute("DELETE FROM texts WHERE n = ?", (n,))
        for table in ("history", "aliases", "jobs"):
            execute(f"DELETE FROM {table} WHERE n = ?", (n,))  # of the line above

    # ---- facts

    def note_topics(self, ids: Mapping[str, str]) -> set[str]:
        """Keep the ids of topics; forget how far those were read that have another one by now.

        Returns:
            These topics. They were deleted and made anew, and may have grown past where they were read up to.
        """
        facts = dict(self._connection.execute("SELECT fact, value FROM facts"))
        new = {topic: topic_id for topic, topic_id in ids.items() if facts.get(_TOPIC + topic) != topic_id}
        made_anew = {topic for topic in new if _TOPIC + topic in facts}
        if new:
            with self._transaction():
                for topic in made_anew:
                    self._connection.execute("DELETE FROM offsets WHERE topic = ?", (topic,))
                for topic, topic_id in new.items():
                    self.set_fact(_TOPIC + topic, topic_id)
        return made_anew

    def set_fact(self, fact: str, value: str) -> None:
        """Keep a fact about the index."""
        self._connection.execute("INSERT OR REPLACE INTO facts VALUES (?, ?)", (fact, value))

    def close(self) -> None:
        """Put what is in the log into the file, and close it."""
        self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        self._connection.close()
