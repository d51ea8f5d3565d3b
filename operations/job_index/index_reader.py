"""`IndexReader`: what people ask of an index, each question by an index of the file, or within a budget of time.

Jobs are listed newest first. A list walks back through windows of time, each longer than the one before it, or shorter
where one takes too long, until it has enough or its budget is spent; so it can report how far it has looked. Counts
come from the small tables alone.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from .database import Partition, offsets_in, open_for_reading
from .entries import stored_id
from .job_filter import JobFilter, has_words, match_of
from .jobs_ahead import is_ahead, main_place, waits_for_key
from .listed_jobs import COLUMNS, JOINS, ListedHistoryEntry, ListedJob, instant_of, listed, listed_history_entry, ms_of
from .states import STEPS, State

if TYPE_CHECKING:
    from ...topology import Queue

BUDGET_S: Final = 0.25
FIRST_WINDOW_MS: Final = 1_000
"""The first window of a list by one failure group; by several it is longer, since each window asks for each of them."""
MOST_GROUPS: Final = 1_000
_LOOK_EACH: Final = 2_000
"""Steps of SQLite's machine between two looks at the clock."""
_LEAST_S: Final = 0.005
"""A budget with less left than this is spent. Each window may take half of what is left."""
_NARROWER: Final = 16
"""How many times shorter the window is that is tried where one takes too long."""
_MINUTE_MS: Final = 60_000
_DONE: Final = int(State.DONE)
_END_OF_FIRST_RUN: Final = 2 * STEPS
"""A smaller step is of a first run."""
GROUPINGS: Final = ("queue", "type", "state", "failure")


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """The jobs of a list.

    Attributes:
        searched_to: all that was enqueued since then was looked at; None where that is all there is.
        more: whether there may be more of them: further back, or enqueued before the last one.
    """

    jobs: Sequence[ListedJob]
    searched_to: datetime | None
    more: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexState:
    """How far the index is: when it was written last, and how many records were behind it then."""

    read_at: datetime | None
    behind: int | None
    jobs: int

    def age_s(self, now_s: float) -> float | None:
        """How long ago it was written; where that is still to come, as the clock was set back since, how far off it is.

        So an index whose process died before that is no fresher for it.
        """
        return None if self.read_at is None else abs(now_s - self.read_at.timestamp())


@dataclass(frozen=True, slots=True)
class WindowPlan:
    """The statement of one window of a list; the bounds of the window are its first values, `LIMIT` its last.

    It finds the rows by themselves, and joins names to those alone.
    """

    text: str
    values: tuple[Any, ...]
    first_window_ms: int


class IndexReader:
    """Reads a file beside its writer; closed by its `with`.

    Raises:
        IndexAbsent: there is no index that this version can read.
    """

    def __init__(self, path: Path) -> None:
        self._connection = open_for_reading(path)
        self._connection.create_function("has_words", 2, has_words, deterministic=True)
        self.path = path

    def __enter__(self) -> IndexReader:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def state(self) -> IndexState:
        """How far it is."""
        facts = dict(self._connection.execute("SELECT fact, value FROM facts"))
        jobs = self._connection.execute("SELECT coalesce(sum(jobs), 0) FROM counts").fetchone()[0]
        read_at = facts.get("read_at_ms")
        return IndexState(
            read_at=None if read_at is None else instant_of(int(read_at)),
            behind=int(facts["behind"]) if "behind" in facts else None,
            jobs=jobs,
        )

    def offsets(self) -> dict[Partition, int]:
        """{partition: offset up to which its records were read}."""
        return offsets_in(self._connection)

    # ---- one job

    def job(self, job_id: str) -> ListedJob | None:
        """A job by its id."""
        return next(self._jobs("j.id = ?", (stored_id(job_id),)), None)

    def history(self, job_id: str) -> list[ListedHistoryEntry]:
        """List all that happened to a job beside its success, the first first."""
        asked = (
            "SELECT h.kind, h.life, h.attempt, h.at, h.began, h.due, w.name, r.name, e.name, f.fingerprint, h.message, "
            "f.stack, h.reason, h.detail FROM history h LEFT JOIN names w ON w.k = h.worker LEFT JOIN names r ON "
            "r.k = h.release LEFT JOIN failures f ON f.g = h.grp LEFT JOIN names e ON e.k = f.error "
            "WHERE h.n = (SELECT n FROM jobs WHERE id = ?) ORDER BY h.at, h.attempt"
        )
        return [listed_history_entry(row) for row in self._connection.execute(asked, (stored_id(job_id),))]

    def of_key(self, queue: str, key: str, most: int, before_ms: int | None = None) -> list[ListedJob]:
        """The newest jobs of a key in a queue."""
        bound = before_ms if before_ms is not None else _END_MS
        where = "j.key = ? AND j.enq < ? AND j.queue = (SELECT k FROM names WHERE name = ?) ORDER BY j.enq DESC LIMIT ?"
        return list(self._jobs(where, (key, bound, queue, most), "INDEXED BY jobs_by_key"))

    def ahead_of(self, job: ListedJob, queue: Queue, now: datetime) -> ListedJob | None:
        """The job of its key that it waits for, the first enqueued where it is several; see `jobs_ahead`."""
        if not waits_for_key(job, queue, now):
            return None
        asked = (
            f"SELECT {COLUMNS} FROM jobs b CROSS JOIN jobs j INDEXED BY jobs_by_key ON j.key = b.key {JOINS} WHERE "
            f"b.id = :id AND j.n <> b.n AND j.queue = b.queue AND ({is_ahead(job, queue)}) ORDER BY j.enq LIMIT 1"
        )
        values = {"id": stored_id(job.job_id), "now": ms_of(now), "main": main_place(job, queue)}
        return next(map(listed, self._connection.execute(asked, values)), None)

    def _jobs(self, where: str, values: tuple[Any, ...], by: str = "") -> Iterator[ListedJob]:
        for row in self._connection.execute(f"SELECT {COLUMNS} FROM jobs j {by} {JOINS} WHERE {where}", values):
            yield listed(row)

    # ---- lists

    def find(self, wanted: JobFilter, most: int, budget_s: float = BUDGET_S) -> Found:
        """The newest jobs that a filter takes, as far back as the budget allows."""
        plan, by_words = self.plan(wanted), self.plan_by_words(wanted)
        if plan is None:
            return Found(jobs=(), searched_to=None, more=False)
        oldest_ms, until_ms = self._oldest_ms(wanted), ms_of(wanted.until) if wanted.until else _END_MS
        give_up_at_s = time.monotonic() + budget_s
        if by_words is not None:
            all_time = self._within(by_words, oldest_ms, until_ms, most + 1, give_up_at_s - budget_s / 2)
            if all_time is not None:
                return _as_found(all_time, most)
            give_up_at_s = time.monotonic() + budget_s / 2  # SQLite may have looked at the clock too late
        return self._walk(plan, (oldest_ms, until_ms), most, give_up_at_s)

    def _walk(self, plan: WindowPlan, bounds_ms: tuple[int, int], most: int, give_up_at_s: float) -> Found:
        """Go back from window to window."""
        (oldest_ms, until_ms), window_ms, found = bounds_ms, plan.first_window_ms, list[ListedJob]()
        while len(found) <= most and (newest_ms := self._newest_ms(until_ms)) >= oldest_ms:
            until_ms = newest_ms + 1
            from_ms = max(until_ms - window_ms, oldest_ms)
            left_s = give_up_at_s - time.monotonic()
            some = self._within(plan, from_ms, until_ms, most + 1 - len(found), give_up_at_s - left_s / 2)
            if some is not None:
                found += some
                until_ms, window_ms = from_ms, window_ms * (2 if some else 4)
            elif left_s < _LEAST_S:
                return Found(jobs=found[:most], searched_to=instant_of(until_ms), more=True)
            else:
                window_ms = max((until_ms - from_ms) // _NARROWER, 1)
        return _as_found(found, most)

    def plan(self, wanted: JobFilter) -> WindowPlan | None:
        """The statement for one window of a list; None where a name is asked for that no job has."""
        ids = self._ids_of(wanted)
        if any(found == [] for found in ids.values()):
            return None
        clauses, values = _clauses(wanted, ids)
        if wanted.words:
            clauses.append("EXISTS (SELECT 1 FROM texts x WHERE x.n = i.n AND has_words(x.message, ?))")
            values.append(wanted.words)
        source = f"jobs i {self._index_for(wanted, ids)}"
        return _window_plan(source, clauses, values, FIRST_WINDOW_MS * max(1, len(ids.get("grp", ()))))

    def plan_by_words(self, wanted: JobFilter) -> WindowPlan | None:
        """The statement for a list in one window for all time, which goes through the jobs that have the words.

        None without words, or where a name is asked for that no job has. It takes too long where very many have them.
        """
        ids = self._ids_of(wanted)
        if not wanted.words or any(found == [] for found in ids.values()):
            return None
        clauses, values = _clauses(wanted, ids)
        source = "words CROSS JOIN jobs i ON i.n = words.rowid"
        return _window_plan(source, [*clauses, "words MATCH ?"], [*values, match_of(wanted.words)], _END_MS)

    def _ids_of(self, wanted: JobFilter) -> dict[str, list[int]]:
        """{column: numbers of the names that are asked for}; types always, since their index is the one by time."""
        named = {"queue": wanted.queues, "type": wanted.types}
        named |= {"tenant": _one(wanted.tenant), "worker": _one(wanted.worker), "release": _one(wanted.release)}
        found = {column: self._numbers(names) for column, names in named.items() if names}
        if wanted.is_of_failures:
            found["grp"] = self._groups(wanted)
        if "type" not in found:
            found["type"] = [kind for (kind,) in self._connection.execute("SELECT DISTINCT type FROM counts")]
        return found

    def _numbers(self, names: Sequence[str]) -> list[int]:
        marks = ",".join("?" * len(names))
        return [k for (k,) in self._connection.execute(f"SELECT k FROM names WHERE name IN ({marks})", tuple(names))]

    def _groups(self, wanted: JobFilter) -> list[int]:
        """The failure groups of an error class, with or without its module, and of the begin of a fingerprint."""
        asked = (
            "SELECT f.g FROM failures f LEFT JOIN names e ON e.k = f.error WHERE substr(f.fingerprint, 1, ?) = ? AND "
            "(? = '' OR e.name = ? OR substr(e.name, ?) = ?)"
        )
        suffix = f".{wanted.error}"
        values = (len(wanted.fingerprint), wanted.fingerprint, wanted.error, wanted.error, -len(suffix), suffix)
        return [g for (g,) in self._connection.execute(asked, values)]

    @staticmethod
    def _index_for(wanted: JobFilter, ids: Mapping[str, Sequence[int]]) -> str:
        """The index by which the statement must go: the one that leaves least to be looked at."""
        if wanted.key is not None:
            return "INDEXED BY jobs_by_key"
        if "grp" in ids:
            return "INDEXED BY jobs_by_failure"
        if wanted.states and State.DONE not in wanted.states:
            return "INDEXED BY jobs_open_by_tenant" if "tenant" in ids else "INDEXED BY jobs_open"
        return "INDEXED BY jobs_by_tenant" if "tenant" in ids else "INDEXED BY jobs_by_type"

    def _within(
        self, plan: WindowPlan, from_ms: int, until_ms: int, most: int, give_up_at_s: float
    ) -> list[ListedJob] | None:
        """The jobs of one window; None where the budget was spent on the way."""
        if time.monotonic() > give_up_at_s:
            return None
        self._connection.set_progress_handler(lambda: time.monotonic() > give_up_at_s, _LOOK_EACH)
        try:
            rows = self._connection.execute(plan.text, (from_ms, until_ms, *plan.values, most)).fetchall()
        except sqlite3.OperationalError as stopped:
            if "interrupted" not in str(stopped):
                raise
            return None
        finally:
            self._connection.set_progress_handler(None, 0)
        return [listed(row) for row in rows]

    def _oldest_ms(self, wanted: JobFilter) -> int:
        """Where a list ends: at the oldest job of each type, each of which is found at once."""
        oldest = self._connection.execute(
            "SELECT min((SELECT enq FROM jobs INDEXED BY jobs_by_type WHERE jobs.type = c.type ORDER BY enq LIMIT 1)) "
            "FROM (SELECT DISTINCT type FROM counts) c"
        ).fetchone()[0]
        since_ms = ms_of(wanted.since) if wanted.since else -_END_MS
        return max(since_ms, _END_MS if oldest is None else oldest)

    def _newest_ms(self, until_ms: int) -> int:
        """When the newest job before an instant was enqueued; a publisher's clock may be far ahead of this one."""
        newest = self._connection.execute(
            "SELECT max((SELECT enq FROM jobs INDEXED BY jobs_by_type WHERE jobs.type = c.type AND enq < ? "
            "ORDER BY enq DESC LIMIT 1)) FROM (SELECT DISTINCT type FROM counts) c",
            (until_ms,),
        ).fetchone()[0]
        return -_END_MS if newest is None else newest

    def times(self, job_type: str, since: datetime, most: int) -> list[tuple[float | None, float | None]]:
        """How long the newest done jobs of a type have waited and run, in seconds; None where that is not known.

        The wait is known of jobs that were not delayed and were done by their first run.
        """
        first = _END_OF_FIRST_RUN
        asked = (
            "SELECT CASE WHEN step < ? AND due IS NULL THEN began / 1e3 END, took / 1e6 FROM jobs INDEXED BY "
            f"jobs_by_type WHERE type = (SELECT k FROM names WHERE name = ?) AND enq >= ? AND state = {_DONE} "
            "ORDER BY enq DESC LIMIT ?"
        )
        return self._connection.execute(asked, (first, job_type, ms_of(since), most)).fetchall()

    # ---- counts

    def counts(
        self, by: Sequence[str], wanted: JobFilter, most: int = MOST_GROUPS
    ) -> list[tuple[tuple[str, ...], int]]:
        """How many jobs there are of each combination, the most first; of those that ended since, by the minute.

        With `since`, jobs are counted that have ended since then; without it, all that the index has. Beyond `most`
        combinations, those with the fewest jobs are left out.
        """
        table = "minutes" if wanted.since else "counts"
        clauses = " AND ".join(self._count_clauses(wanted))
        grouped = ", ".join(_GROUP_COLUMNS[name] for name in by)
        asked = (
            f"SELECT {grouped}, sum(c.jobs) AS total FROM {table} c WHERE {clauses} GROUP BY {grouped} "
            "ORDER BY total DESC LIMIT ?"
        )
        rows = self._connection.execute(asked, (most,)).fetchall()
        words = [self._words_for(name, {row[at] for row in rows}) for at, name in enumerate(by)]
        found = [(tuple(names[number] for names, number in zip(words, row, strict=False)), row[-1]) for row in rows]
        return sorted(found, key=lambda one: (-one[1], one[0]))

    def _count_clauses(self, wanted: JobFilter) -> Iterator[str]:
        yield "c.jobs > 0"
        if wanted.since:
            yield f"c.minute >= {ms_of(wanted.since) // _MINUTE_MS}"
        if wanted.queues:
            yield _among("c.queue", self._numbers(wanted.queues))
        if wanted.types:
            yield _among("c.type", self._numbers(wanted.types))
        if wanted.states:
            yield _among("c.state", [int(state) for state in wanted.states])
        if wanted.is_of_failures:
            yield _among("c.grp", self._groups(wanted))

    def _words_for(self, by: str, numbers: set[int]) -> dict[int, str]:
        """{number of a column of the counts: its words}, all at once: one by one takes as long as counting."""
        if by == "state":
            return {number: State(number).shown for number in numbers}
        marks = ",".join(map(str, numbers))
        if by != "failure":
            return dict(self._connection.execute(f"SELECT k, name FROM names WHERE k IN ({marks})"))
        rows = self._connection.execute(
            "SELECT f.g, e.name, f.fingerprint, f.message FROM failures f LEFT JOIN names e ON e.k = f.error "
            f"WHERE f.g IN ({marks})"
        )
        return {0: "", **{g: f"{error or ''} {digits}: {message or ''}" for g, error, digits, message in rows}}


def _clauses(wanted: JobFilter, ids: Mapping[str, Sequence[int]]) -> tuple[list[str], list[Any]]:
    """The conditions on a job's row beside its words, and their values after the bounds of the window."""
    clauses, values = ["i.enq >= ?", "i.enq < ?"], list[Any]()
    clauses += [f"i.{column} IN ({','.join(map(str, found))})" for column, found in ids.items()]
    if wanted.key is not None:
        clauses.append("i.key = ?")
        values.append(wanted.key)
    if wanted.states:
        clauses.append(_of_states(wanted.states))
    return clauses, values


def _window_plan(source: str, clauses: Sequence[str], values: Sequence[Any], first_window_ms: int) -> WindowPlan:
    return WindowPlan(
        f"SELECT {COLUMNS} FROM (SELECT i.* FROM {source} WHERE {' AND '.join(clauses)} ORDER BY i.enq DESC LIMIT ?) j "
        f"{JOINS} ORDER BY j.enq DESC",
        tuple(values),
        first_window_ms,
    )


def _as_found(found: Sequence[ListedJob], most: int) -> Found:
    """The jobs of a list, by those that were found: one more than it may have, where there are more.

    Those of the instant at which the list ends are left to the next one, which has only what was enqueued before; not
    where all that are shown are of this instant.
    """
    if len(found) <= most:
        return Found(jobs=found, searched_to=None, more=False)
    shown, next_at = found[:most], found[most].enqueued
    before = [job for job in shown if job.enqueued > next_at]
    if len(before) == most or not before:
        return Found(jobs=shown, searched_to=shown[-1].enqueued, more=True)
    return Found(jobs=before, searched_to=next_at + timedelta(milliseconds=1), more=True)


_GROUP_COLUMNS: Final = {"queue": "c.queue", "type": "c.type", "state": "c.state", "failure": "c.grp"}
_END_MS: Final = 1 << 53


def _among(column: str, numbers: Sequence[int]) -> str:
    return f"{column} IN ({','.join(map(str, numbers)) or 'NULL'})"


def _of_states(states: Sequence[State]) -> str:
    """The clause of states: SQLite does not see by itself that a state is not that of done jobs."""
    numbers = ",".join(str(int(state)) for state in states)
    return f"i.state IN ({numbers})" + ("" if State.DONE in states else f" AND i.state <> {_DONE}")


def _one(name: str) -> Sequence[str]:
    return (name,) if name else ()
