"""An index in a folder of its own, and entries for it."""

from __future__ import annotations

import sqlite3
import uuid
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from stoker.operations.job_index.database import is_building, open_for_writing, steps_to_finish
from stoker.operations.job_index.entries import DispositionEntry, HistoryEntry, JobEntry, stored_id
from stoker.operations.job_index.index_reader import IndexReader
from stoker.operations.job_index.index_writer import IndexWriter
from stoker.operations.job_index.job_filter import JobFilter
from stoker.operations.job_index.states import EVENT_STATES, State, step_of_record, step_of_state
from stoker.topology.declaration.topics import Role

ENQUEUED_MS = 1_767_268_800_000
PLACE = ("shop.mails", 0)


def an_id(number: int) -> str:
    """An id that is the same each time."""
    return str(uuid.UUID(int=(0x0195 << 112) | (7 << 76) | (2 << 62) | number))


def enqueued(number: int, **named: Any) -> JobEntry:
    """What the record on the main topic says."""
    given: dict[str, Any] = {
        "stored": stored_id(an_id(number)),
        "state": State.QUEUED,
        "life": 0,
        "step": step_of_record(1, Role.MAIN),
        "at_ms": ENQUEUED_MS + number,
        "job_type": "send",
        "queue": "mails",
        "topic": "shop.mails",
        "partition": 0,
        "offset": number,
        "enqueued_ms": ENQUEUED_MS + number,
        "source": "web",
    }
    return JobEntry(**{**given, **named})


def done(number: int, attempt: int = 1, **named: Any) -> JobEntry:
    """What the event of its success says."""
    at_ms = ENQUEUED_MS + number + 1_000 * attempt
    given = {"state": State.DONE, "step": step_of_state(attempt, State.DONE), "at_ms": at_ms, "source": ""}
    return enqueued(number, **{**given, "began_ms": at_ms - 20, "took_us": 20_000, "worker": "w1", **named})


def failed(
    number: int, attempt: int = 1, kind: str = "retried", message: str = "card declined", **named: Any
) -> JobEntry:
    """What the event of a failed run says."""
    at_ms = ENQUEUED_MS + number + 1_000 * attempt
    state = EVENT_STATES[kind]
    item = HistoryEntry(
        kind=kind,
        attempt=attempt,
        at_ms=at_ms,
        began_ms=at_ms - 20,
        worker="w1",
        error_type="shop.Declined",
        fingerprint="00ff00ff00ff00ff",
        message=message,
        stack="File shop.py, line 3",
    )
    given = {"state": state, "step": step_of_state(attempt, state), "at_ms": at_ms, "source": "", "worker": "w1"}
    return enqueued(number, **{**given, "history": [item], **named})


class Index:
    """A writer and the questions of tests."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.connection = open_for_writing(path)
        if is_building(self.connection):
            list(steps_to_finish(self.connection))
        self.writer = IndexWriter(self.connection)

    def apply(self, *entries: JobEntry, dispositions: Iterable[DispositionEntry] = (), offset: int = 0) -> None:
        """One batch."""
        self.writer.apply(entries, dispositions, {PLACE: offset})

    def states(self) -> dict[str, str]:
        """{job: state}."""
        with IndexReader(self.path) as reader:
            found = reader.find(JobFilter(), 10_000, 60)
        return {job.job_id: job.state.shown for job in found.jobs}

    def counts(self) -> dict[str, int]:
        """{state: jobs} by the small table."""
        with IndexReader(self.path) as reader:
            return {word: jobs for (word,), jobs in reader.counts(("state",), JobFilter())}


def check_counts(connection: sqlite3.Connection) -> None:
    """The small tables have what counting all jobs gives."""
    by_row = Counter(
        connection.execute("SELECT queue, type, state, coalesce(grp, 0) FROM jobs").fetchall(),
    )
    kept = {tuple(row[:4]): row[4] for row in connection.execute("SELECT * FROM counts WHERE jobs <> 0")}
    assert kept == dict(by_row)
    assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
