"""The spool of a producer: jobs wait in a local SQLite file while no broker answers, and go out in order afterwards.

The file is an outbox, and a relay in this process publishes it. A kill at any line leaves the job in the file, or not
enqueued at all; a job that was sent and not confirmed may be published twice, under one id.
"""

from __future__ import annotations

import logging
import os
import sqlite3
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import timedelta
from os import PathLike
from pathlib import Path
from typing import Final
from urllib.parse import quote

import uuid_utils

from ...databases.outbox.table import DEFAULT_TABLE, NewRow, insert_statement, table_statements
from ...schemas import SchemaStore
from ...topology.cluster.settings import ClusterSettings
from ...topology.declaration.job_type import JobCall
from ...topology.declaration.pipeline import Pipeline
from ..delivery import Receipt
from ..errors import UNREACHED, CallRefused, EnqueueError, SpoolFailed, SpoolFull
from .relay import OutboxRelay
from .rows import RowBuilder

_LOGGER = logging.getLogger("stoker.outbox")

NOWHERE: Final = -1
_LOCK_WAIT_S: Final = 10.0
_END: Final = timedelta(seconds=5)
_BATCH_ROWS: Final = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class SpooledReceipt(Receipt):
    """The job is durable in the local spool, and on no topic yet; partition and offset are -1."""

    partition: int = NOWHERE
    offset: int = NOWHERE


@dataclass(frozen=True, slots=True)
class Spool:
    """Where a producer keeps jobs while no broker answers.

    Attributes:
        path: of the SQLite file, on a disk that outlives the process; several producers may share it.
        max_jobs: jobs that it holds at the most; beyond, enqueueing fails as without a spool.
        max_bytes: the size of the file's content at the most.
    """

    path: str | PathLike[str]
    max_jobs: int = 100_000
    max_bytes: int = 256 * 1024 * 1024

    def __post_init__(self) -> None:
        """Refuse bounds that cannot be.

        Raises:
            ValueError: they cannot.
        """
        if self.max_jobs < 1 or self.max_bytes < 1:
            raise ValueError(f"a spool holds at least 1 job and 1 byte; it is {self}")


class SpoolFile:
    """One producer's use of a spool; safe to use from several threads."""

    def __init__(  # the producer's own parts
        self,
        spool: Spool,
        pipeline: Pipeline,
        cluster: ClusterSettings,
        *,
        source: str | None,
        framing: SchemaStore,
        store: SchemaStore | None,
    ) -> None:
        self._spool, self._pipeline, self._cluster, self._store = spool, pipeline, cluster, store
        self._path = Path(os.fspath(spool.path)).absolute()
        # A store on the cluster cannot be asked while that is away; the relay registers the contracts. A registry may
        # be away with it, so its ids are those that the producer has by now.
        self._rows = RowBuilder(pipeline, cluster, source, framing if framing.knows_registry_ids else None)
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None
        self._opened_file: tuple[int, int] | None = None
        self._relay: OutboxRelay | None = None
        self._is_closed = False
        self._is_active = self._path.exists()

    def send(self, call: JobCall, send_now: Callable[[JobCall], Receipt]) -> Receipt:
        """Send a call at once, or put it behind those that are spooled."""
        call = with_identity(call)
        if self.is_active():
            return self.put(call)
        try:
            return send_now(call)
        except UNREACHED as silence:
            return self.put(call, silence)

    def identified(self, call: JobCall) -> JobCall:
        """A call with an id, so that a second copy of it reaches the same ledger."""
        return with_identity(call)

    @property
    def may_be_active(self) -> bool:
        """False where `is_active` would be, without a look at the file."""
        return self._is_active

    def is_active(self) -> bool:
        """Whether jobs are in the spool, so that later ones have to go there as well."""
        if not self._is_active:
            return False
        with self._lock:
            try:
                self._is_active = self._count_most() > 0
            except sqlite3.Error as fault:
                raise SpoolFailed("", "", f"{self._path}: {fault}") from fault
            if self._is_active:
                self._start_relay()
            elif self._relay is not None:
                self._relay.stop()
                self._relay = None
                _LOGGER.warning("spool %s: it is empty, jobs go to the brokers at once", self._path)
            return self._is_active

    def jobs(self) -> int:
        """How many jobs wait in the file."""
        if not self.is_active():
            return 0
        with self._lock:
            return self._count()

    def put_new(self, call: JobCall) -> SpooledReceipt:
        """Put a call behind those that are spooled; raises as `put`."""
        return self.put(with_identity(call))

    def put(self, call: JobCall, cause: Exception | None = None) -> SpooledReceipt:
        """Make a job durable in the file.

        Raises:
            CallRefused: as `Producer.enqueue`.
            SpoolFull: it holds as much as it may.
            SpoolFailed: it cannot be written.
        """
        row = self._rows.build(call)
        with self._lock:
            try:
                self._follow_path()
                self._check_room(row, cause)
                self._write(row)
            except sqlite3.Error as fault:
                raise SpoolFailed(row.job_id, row.topic, f"{self._path}: {fault}") from fault
            self._note_use(cause)
        return SpooledReceipt(job_id=row.job_id, topic=row.topic)

    def _note_use(self, cause: Exception | None) -> None:
        if not self._is_active:
            _LOGGER.warning("spool %s: no broker answers, jobs wait there: %s", self._path, cause)
        self._is_active = True
        self._start_relay()

    def put_many(self, calls: Sequence[JobCall], cause: Exception | None = None) -> list[EnqueueError | None]:
        """Make many jobs durable, in their order and with few writes to the disk.

        Returns:
            What is wrong with each call, None where it is in the file. The list ends with the first call for which
            the file has no room, or that it does not take, or whose contract cannot be known; those after it were not
            tried.
        """
        outcomes: list[EnqueueError | None] = []
        for start in range(0, len(calls), _BATCH_ROWS):
            outcomes += self._put_batch(calls[start : start + _BATCH_ROWS], cause)
            if outcomes[-1] is not None and not isinstance(outcomes[-1], CallRefused):
                break
        return outcomes

    def _put_batch(self, calls: Sequence[JobCall], cause: Exception | None) -> list[EnqueueError | None]:
        rows = self._build(calls)
        outcomes: list[EnqueueError | None] = []
        with self._lock:
            try:
                self._follow_path()
                self._opened().execute("BEGIN IMMEDIATE")
                outcomes += self._put_rows(rows, cause)
                self._opened().execute("COMMIT")
            except sqlite3.Error as fault:
                self._undo()
                return [SpoolFailed("", "", f"{self._path}: {fault}")]
            except BaseException:  # Ctrl-C, or a signal's: left open, the transaction would lock the file for all
                self._undo()
                raise
            if None in outcomes:
                self._note_use(cause)
        return outcomes

    def _build(self, calls: Sequence[JobCall]) -> list[NewRow | EnqueueError]:
        """Make the rows of calls, up to the first whose contract cannot be known."""
        rows: list[NewRow | EnqueueError] = []
        for call in calls:
            try:
                rows.append(self._rows.build(call))
            except CallRefused as refusal:
                rows.append(refusal)
            except EnqueueError as unknown:
                return [*rows, unknown]
        return rows

    def _put_rows(self, rows: Sequence[NewRow | EnqueueError], cause: Exception | None) -> list[EnqueueError | None]:
        outcomes: list[EnqueueError | None] = []
        for row in rows:
            if isinstance(row, EnqueueError):
                outcomes.append(row)
                continue
            try:
                self._check_room(row, cause)
            except SpoolFull as full:
                return [*outcomes, full]
            self._write(row)
            outcomes.append(None)
        return outcomes

    def _undo(self) -> None:
        with suppress(sqlite3.Error):
            self._opened().execute("ROLLBACK")

    def _check_room(self, row: NewRow, cause: Exception | None) -> None:
        spool = self._spool
        if self._count_most() >= spool.max_jobs and self._count() >= spool.max_jobs:
            raise SpoolFull(row.job_id, row.topic, self._full()) from cause
        pages, free, size = map(self._pragma, ("page_count", "freelist_count", "page_size"))
        used = (pages - free) * size + len(row.value)
        if used > spool.max_bytes:
            raise SpoolFull(row.job_id, row.topic, f"{self._path} has {used:,} bytes of {spool.max_bytes:,}") from cause

    def _pragma(self, name: str) -> int:
        return int(self._opened().execute(f"PRAGMA {name}").fetchone()[0])

    def _write(self, row: NewRow) -> None:
        self._opened().execute(insert_statement(DEFAULT_TABLE, "?", "sqlite"), row)

    def _full(self) -> str:
        """Describe how full the spool is, and how many of its jobs the brokers have refused."""
        full = f"{self._path} holds {self._count():,} jobs of {self._spool.max_jobs:,}"
        failed = self._count("WHERE tries > 0")
        return f"{full}; the brokers have refused {failed:,} of them" if failed else full

    def _count(self, where: str = "") -> int:
        (count,) = self._opened().execute(f"SELECT count(*) FROM {DEFAULT_TABLE} {where}").fetchone()
        return int(count)

    def _count_most(self) -> int:
        """How many jobs there are at the most, without counting them: ids ascend, and one that stays widens the gap."""
        first, last = self._opened().execute(f"SELECT min(id), max(id) FROM {DEFAULT_TABLE}").fetchone()
        return 0 if first is None else int(last - first + 1)

    def _follow_path(self) -> None:
        """Open the file anew where it was deleted: what is written to a deleted one is lost when this process ends.

        Raises:
            sqlite3.OperationalError: it holds jobs, which the relay sends from the deleted file first.
        """
        if self._connection is None or _identity_of(self._path) == self._opened_file:
            return
        if self._count_most():
            raise sqlite3.OperationalError("the file was deleted, and this process still sends the jobs in it")
        _LOGGER.warning("spool %s: it was deleted while it was empty, and is made anew", self._path)
        self._connection.close()
        self._connection = None
        if self._relay is not None:
            self._relay.stop()
            self._relay = None

    def _opened(self) -> sqlite3.Connection:
        if self._connection is None:
            connection = sqlite3.connect(
                self._path, timeout=_LOCK_WAIT_S, isolation_level=None, check_same_thread=False
            )
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=FULL")  # a confirmed job outlives a power cut
            for statement in table_statements("sqlite"):
                connection.execute(statement)
            self._connection, self._opened_file = connection, _identity_of(self._path)
        return self._connection

    def _start_relay(self) -> None:
        if self._relay is None and not self._is_closed:
            self._opened()
            url = f"sqlite:///{quote(str(self._path))}"
            self._relay = OutboxRelay(self._pipeline, url, self._cluster, store=self._store)
            self._relay.start()

    def close(self) -> None:
        """Stop sending; what is in the file stays for the next producer."""
        with self._lock:
            self._is_closed = True
            relay, self._relay = self._relay, None
        if relay is not None:
            relay.close(_END)
        with self._lock, suppress(sqlite3.Error):
            if self._connection is not None:
                self._connection.close()
                self._connection = None


def _identity_of(path: Path) -> tuple[int, int] | None:
    """Which file a path names; None where it names none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def with_identity(call: JobCall) -> JobCall:
    """Give a call an id before it is first sent, so that a second copy of it reaches the same ledger."""
    options = call.options
    if options.job_id is not None or options.idempotency_key is not None:
        return call
    return replace(call, options=replace(options, job_id=str(uuid_utils.uuid7())))
