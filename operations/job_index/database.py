"""The file of the index: its tables, how it is opened, and when it is emptied. All of it can be built again."""

from __future__ import annotations

import fcntl
import os
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO, Final

from ...topology.counts import counted

Partition = tuple[str, int]
"""A topic, and the number of a partition of it."""
FORM: Final = 3
"""The form of the tables; a file of another one is emptied and built again."""
BUILDING: Final = -FORM
"""The form of a file that has no indexes yet."""
CACHE_KIB: Final = 65_536
BUSY_MS: Final = 5_000

_TABLES: Final = """
CREATE TABLE names (k INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
CREATE TABLE jobs (
    n INTEGER PRIMARY KEY, id BLOB NOT NULL UNIQUE, type INTEGER NOT NULL, queue INTEGER NOT NULL, tenant INTEGER,
    key TEXT, enq INTEGER NOT NULL, state INTEGER NOT NULL, life INTEGER NOT NULL, step INTEGER NOT NULL,
    at INTEGER NOT NULL, began INTEGER, took INTEGER, worker INTEGER, release INTEGER, source INTEGER,
    place INTEGER NOT NULL, off INTEGER NOT NULL, due INTEGER, grp INTEGER
);
CREATE INDEX jobs_dead ON jobs (place, off) WHERE state = 4;
CREATE TABLE aliases (name TEXT PRIMARY KEY, n INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE history (
    n INTEGER NOT NULL, life INTEGER NOT NULL, attempt INTEGER NOT NULL, kind TEXT NOT NULL, seq INTEGER NOT NULL,
    at INTEGER NOT NULL, began INTEGER, due INTEGER, worker INTEGER, release INTEGER, grp INTEGER, message TEXT,
    reason TEXT, detail TEXT, PRIMARY KEY (n, life, attempt, kind, seq)
) WITHOUT ROWID;
CREATE TABLE failures (
    g INTEGER PRIMARY KEY, type INTEGER NOT NULL, fingerprint TEXT NOT NULL, error INTEGER NOT NULL, message TEXT,
    stack TEXT, first INTEGER NOT NULL, last INTEGER NOT NULL, runs INTEGER NOT NULL, UNIQUE (type, fingerprint, error)
);
CREATE TABLE counts (
    queue INTEGER NOT NULL, type INTEGER NOT NULL, state INTEGER NOT NULL, grp INTEGER NOT NULL, jobs INTEGER NOT NULL,
    PRIMARY KEY (queue, type, state, grp)
) WITHOUT ROWID;
CREATE TABLE minutes (
    minute INTEGER NOT NULL, queue INTEGER NOT NULL, type INTEGER NOT NULL, state INTEGER NOT NULL,
    grp INTEGER NOT NULL, jobs INTEGER NOT NULL, PRIMARY KEY (minute, queue, type, state, grp)
) WITHOUT ROWID;
CREATE TABLE texts (n INTEGER PRIMARY KEY, message TEXT NOT NULL);
CREATE VIRTUAL TABLE words USING fts5 (message, content='texts', content_rowid='n', detail='none');
CREATE TABLE offsets (
    topic TEXT NOT NULL, partition INTEGER NOT NULL, next INTEGER NOT NULL, PRIMARY KEY (topic, partition)
) WITHOUT ROWID;
CREATE TABLE facts (fact TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
"""
_LATER: Final = {
    "jobs_by_key": "jobs (key, enq) WHERE key IS NOT NULL",
    "jobs_by_tenant": "jobs (tenant, enq) WHERE tenant IS NOT NULL",
    "jobs_by_type": "jobs (type, enq)",
    "jobs_open": "jobs (state, type, enq) WHERE state <> 3",
    "jobs_open_by_tenant": "jobs (tenant, state, enq) WHERE state <> 3 AND tenant IS NOT NULL",
    "jobs_by_failure": "jobs (grp, enq) WHERE grp IS NOT NULL",
    "aliases_by_job": "aliases (n)",
}
"""The indexes that a file gets once all is read: to add an entry to each of them takes longer than to sort them all."""


class IndexAbsent(Exception):
    """There is no index of the namespace here, it is not built yet, or another version of Stoker wrote it."""

    def __init__(self, path: Path, why: str, remedy: str = "`stoker status run` builds it") -> None:
        super().__init__(f"{path}: {why}; {remedy}")
        self.path = path


def index_path(namespace: str, given: str | None = None, environ: Mapping[str, str] = os.environ) -> Path:
    """The file of a namespace's index: as it is given, or in this folder's `.stoker`, or under STOKER_HOME."""
    if given:
        return Path(given).absolute()
    return Path(environ.get("STOKER_HOME") or ".stoker").absolute() / "index" / f"{namespace}.sqlite"


def open_for_writing(path: Path) -> sqlite3.Connection:
    """Open the file for its one writer; what another version wrote is emptied, a damaged file is thrown away.

    A new one lacks most indexes and the words of messages, until `steps_to_finish` were taken.

    Raises:
        sqlite3.Error: the folder takes no file, or another process writes it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        return _open_in_this_form(path)
    except sqlite3.DatabaseError as damaged:
        if isinstance(damaged, sqlite3.OperationalError):
            raise
    throw_away(path)
    return _open_in_this_form(path)


def _open_in_this_form(path: Path) -> sqlite3.Connection:
    """Open the file, and have it in this form: emptied in place where it has another, as readers may have it open.

    A file that were deleted under a reader would share its `-wal` and `-shm` with the new one: both fail by that.
    """
    connection = _connect(path)
    try:
        if abs(_form_of(connection)) != FORM:
            emptied = "".join(f"DROP TABLE IF EXISTS {name};" for name in _tables_of(connection))
            connection.executescript(f"BEGIN IMMEDIATE; {emptied} {_TABLES} PRAGMA user_version = {BUILDING}; COMMIT;")
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def _tables_of(connection: sqlite3.Connection) -> list[str]:
    """The tables that it has, quoted; virtual ones come first, as some of the others go with them."""
    return [
        '"' + name.replace('"', '""') + '"'
        for (name,) in connection.execute(
            "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite~_%' ESCAPE '~'"
            " ORDER BY sql NOT LIKE 'CREATE VIRTUAL %'"
        )
    ]


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=BUSY_MS / 1e3)
    connection.executescript(
        f"PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA cache_size = -{CACHE_KIB};"
        "PRAGMA temp_store = MEMORY; PRAGMA wal_autocheckpoint = 4000;"
    )
    return connection


def _form_of(connection: sqlite3.Connection) -> int:
    found: int = connection.execute("PRAGMA user_version").fetchone()[0]
    return found


def offsets_in(connection: sqlite3.Connection) -> dict[Partition, int]:
    """{partition: next offset to read}, in the same state of the file as its rows."""
    rows = connection.execute("SELECT topic, partition, next FROM offsets")
    return {(topic, partition): offset for topic, partition, offset in rows}


def is_building(connection: sqlite3.Connection) -> bool:
    """Whether the file has no indexes yet."""
    return _form_of(connection) == BUILDING


def steps_to_finish(connection: sqlite3.Connection) -> Iterator[str]:
    """Add what a file under construction lacks, step by step, each of which may take several seconds.

    A kill leaves the steps before it done. Readers find the file from the end on.

    Yields:
        The name of each step before it is taken.
    """
    for name, columns in _LATER.items():
        yield name
        connection.execute(f"CREATE INDEX IF NOT EXISTS {name} ON {columns}")
    yield "words"
    connection.execute("INSERT INTO words (words) VALUES ('rebuild')")
    connection.execute(f"PRAGMA user_version = {FORM}")


STEPS_TO_FINISH: Final = len(_LATER) + 1


def begin_building(connection: sqlite3.Connection) -> None:
    """Take the indexes and the words away: very much is to be read, and adding them in the end is faster."""
    dropped = "".join(f"DROP INDEX IF EXISTS {name};" for name in _LATER)
    connection.executescript(
        f"BEGIN IMMEDIATE; PRAGMA user_version = {BUILDING}; {dropped} INSERT INTO words (words) VALUES ('delete-all');"
        "COMMIT;"
    )


def throw_away(path: Path) -> None:
    """Delete the file, with what SQLite keeps beside it."""
    for suffix in ("", "-wal", "-shm"):
        with suppress(FileNotFoundError):
            path.with_name(path.name + suffix).unlink()


def open_for_reading(path: Path) -> sqlite3.Connection:
    """Open the file beside its writer.

    Raises:
        IndexAbsent: there is none that this version can read.
    """
    try:
        if not path.exists():
            raise IndexAbsent(path, "there is no index")
        connection = sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, isolation_level=None, timeout=BUSY_MS / 1e3)
    except (OSError, sqlite3.Error) as refused:
        raise IndexAbsent(path, f"it cannot be read ({refused})") from refused
    try:
        form = _form_of(connection)
    except sqlite3.DatabaseError as damaged:
        connection.close()
        raise IndexAbsent(path, f"it cannot be read ({damaged})") from damaged
    if form == BUILDING:
        jobs = connection.execute("SELECT coalesce(max(n), 0) FROM jobs").fetchone()[0]
        connection.close()
        raise IndexAbsent(
            path, f"it is being built, and has {counted(jobs, 'job')} so far", "`stoker status run` goes on with it"
        )
    if form != FORM:
        connection.close()
        raise IndexAbsent(path, "another version of Stoker has written it")
    return connection


class IndexDeleted(Exception):
    """The file was deleted, or another one put in its place, while it was written."""

    def __init__(self, path: Path) -> None:
        super().__init__(f"{path}: the index was deleted")
        self.path = path


def file_of(path: Path) -> tuple[int, int] | None:
    """Device and number of the file at a path, which no other file has; None where there is none."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino


class IndexBusy(Exception):
    """Another process writes the index."""

    def __init__(self, path: Path) -> None:
        super().__init__(
            f"{path}: another `stoker status run` writes this index; one is enough, or give this one a file of its own "
            "with --index"
        )
        self.path = path


def take_lock(path: Path) -> IO[bytes]:
    """Be the one writer of a file until the answer is closed, or the process ends.

    Raises:
        IndexBusy: another process is.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    held = path.with_name(f"{path.name}.lock").open("ab")
    try:
        fcntl.flock(held.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        held.close()
        raise IndexBusy(path) from None
    return held
