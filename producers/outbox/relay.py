"""`OutboxRelay`: publishes the rows of an outbox, and deletes each when the brokers have confirmed it.

The loop remembers no position. Transactions commit in another order than that in which their rows got their ids, so
each look begins at the first row that is visible, without those in flight. A row is deleted only after its
confirmation: a relay that is killed in between publishes it twice, and the ledger runs its job once.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from datetime import timedelta
from types import TracebackType
from typing import Final, Self

from ...databases import DatabaseError, OutboxTableMissing
from ...databases.outbox.opening import open_outbox_table
from ...databases.outbox.rows import Beat, OutboxRow, OutboxTable
from ...databases.outbox.table import DEFAULT_TABLE
from ...databases.url import database_errors, dialect_of
from ...schemas import SchemaStore
from ...topology.cluster.settings import ClusterSettings
from ...topology.counts import counted
from ...topology.declaration.pipeline import Pipeline
from ..metrics.all_metrics import OUTBOX_LEADS, OUTBOX_PUBLISHED, OUTBOX_TROUBLE
from ..metrics.sample import Sample
from .backlog import BacklogLooks
from .contracts import OutboxContracts
from .failed_rows import FailedRows
from .flight import Flight
from .pace import BEAT_S, RelayPace
from .row_reading import RowReading

_LOGGER = logging.getLogger("stoker.outbox")

STAND_BY_S: Final = 0.5
"""How often a relay looks whether the one that works is gone."""
_POLL_S: Final = 0.003
_HELD_POLL_S: Final = 0.02
_TABLE_S: Final = 5.0
_RECONNECT_S: Final = (0.1, 0.5, 1.0, 2.0, 5.0)


class OutboxRelay:
    """Publishes an outbox from a thread of this process, or from the calling one.

    Any number of relays may run for one table: one works, the others take over when it ends or is killed.

    Args:
        pipeline: whose contracts are registered before the first row goes out; the rows may be of others as well.
        url: of the database, `postgresql://…` or `sqlite:///…`; connect to PostgreSQL itself, not to a pooler that
            gives transactions to connections.
        cluster: where to publish; None reads the environment.
        table: `table` or `schema.table`.
        store: where contracts are registered; None makes the one of the cluster settings.

    Raises:
        DatabaseUrlInvalid, InvalidTableName, NoCluster, SettingRefused: one of these cannot be used.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        url: str,
        cluster: ClusterSettings | None = None,
        *,
        table: str = DEFAULT_TABLE,
        store: SchemaStore | None = None,
    ) -> None:
        self._url, self._name = url, table
        self._errors = (database_errors(dialect_of(url)), DatabaseError)
        cluster = cluster or ClusterSettings.from_environment()
        self._flight = Flight(cluster)
        self._contracts = OutboxContracts(table, pipeline, cluster, store, self._flight)
        self._reading = RowReading(self._flight)
        self._failed = FailedRows(table, self._flight)
        self._holder = f"{socket.gethostname()}/{os.getpid()}/{id(self):x}"
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None
        self._table: OutboxTable | None = None
        self._is_leading = False
        self._read_earlier: set[int] = set()
        self._trouble: str | None = None
        self._looks = BacklogLooks()
        self._pace = RelayPace()

    # ---- its life

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def start(self) -> None:
        """Publish from a thread, until `close`, also after one; it waits for a database or brokers that are away."""
        self._stopped.clear()
        self._thread = threading.Thread(target=self._run_in_thread, name="stoker-outbox", daemon=True)
        self._thread.start()

    def _run_in_thread(self) -> None:
        """Wait for a table that is not there yet as well, and begin anew after a fault, since no caller sees that."""
        while True:
            try:
                return self.run()
            except OutboxTableMissing as missing:
                _LOGGER.error("outbox %s: nothing is published, since %s", self._name, missing)
            except Exception:
                _LOGGER.exception(
                    "outbox %s: the relay failed, and begins anew in %g s. Rows wait until then; report this with the "
                    "traceback", self._name, _TABLE_S,
                )  # fmt: skip
            if self._stopped.wait(_TABLE_S):
                return None

    def stop(self) -> None:
        """Have `run` end; what is in flight is confirmed first, for some seconds at the most."""
        self._stopped.set()

    def close(self, timeout: timedelta = timedelta(seconds=20)) -> None:
        """Stop, and wait for the thread. Harmless when repeated."""
        self.stop()
        if self._thread is not None:
            self._thread.join(timeout.total_seconds())
            self._thread = None

    @property
    def is_leading(self) -> bool:
        """Whether this relay works; another one may, while this one stands by."""
        return self._is_leading

    @property
    def published(self) -> int:
        """Rows that this relay has published and deleted."""
        return self._pace.published

    def samples(self) -> Iterator[Sample]:
        """The samples of its metrics; called by any thread."""
        yield Sample(OUTBOX_PUBLISHED, (self._name,), self.published)
        yield Sample(OUTBOX_LEADS, (self._name,), self.is_leading)
        yield Sample(OUTBOX_TROUBLE, (self._name,), self.is_leading and self._flight.trouble is not None)
        yield from self._looks.samples(self._name)

    def run(self) -> None:
        """Publish until `stop` is called, whatever goes away meanwhile.

        Raises:
            OutboxTableMissing: at the start, there is no such table.
        """
        self._open_at_start()
        failures = 0
        try:
            while not self._stopped.is_set():
                try:
                    self._turn()
                    failures = 0
                except self._errors as error:
                    self._lose_table(error)
                    self._stopped.wait(_RECONNECT_S[min(failures, len(_RECONNECT_S) - 1)])
                    failures += 1
        finally:
            self._end()

    def _open_at_start(self) -> None:
        try:
            self._opened()
        except OutboxTableMissing:
            raise
        except self._errors as error:
            self._lose_table(error)

    def _end(self) -> None:
        """Let the others work as soon as all that was sent is confirmed."""
        give_up_at_s = time.monotonic() + _RECONNECT_S[-1]
        table = self._table
        while self._is_leading and self._flight.rows and time.monotonic() < give_up_at_s:
            self._flight.poll(0.05)
        if table is not None:
            with suppress(*self._errors):
                self._note_answers(table)
                table.give_lead(self._holder)
            with suppress(*self._errors):
                table.close()
        self._is_leading, self._table = False, None
        self._looks.forget()
        self._flight.abandon()

    # ---- the database

    def _opened(self) -> OutboxTable:
        if self._table is None:
            table = open_outbox_table(self._url, self._name)
            try:
                table.prepare()
            except BaseException:
                table.close()
                raise
            self._table = table
            if self._trouble is not None:
                self._trouble = None
                _LOGGER.warning("outbox %s: the database answers again", self._name)
        return self._table

    def _lose_table(self, error: Exception) -> None:
        """Go on with a new connection; the lead may be with another relay by then."""
        if self._trouble is None:
            _LOGGER.warning(
                "outbox %s: the database cannot be used, rows wait until it can: %s", self._name, str(error).strip()
            )
        self._trouble = str(error)
        self._is_leading = False
        self._read_earlier.update(self._flight.rows, self._flight.confirmed)
        self._looks.forget()
        table, self._table = self._table, None
        if table is not None:
            with suppress(*self._errors):
                table.close()

    # ---- one turn

    def _turn(self) -> None:
        table = self._opened()
        if not self._take_lead(table) or not self._contracts.register():
            self._flight.poll(0)
            self._stopped.wait(STAND_BY_S)
            return
        self._flight.poll(_POLL_S if self._flight.rows else 0)
        self._note_answers(table)
        rows = self._reading.read(table)
        self._set_behind(table, rows)
        sent = self._flight.send(row for row in rows if not row.is_behind)
        self._failed.retry(table, self._reading.most_failed)
        self._beat(table)
        if rows:
            table.stay_awake()
        if rows and not sent:  # they wait for others of their keys
            self._flight.poll(_HELD_POLL_S)
        elif not sent and not self._flight.rows:
            table.wait(BEAT_S)

    def _take_lead(self, table: OutboxTable) -> bool:
        leads = table.take_lead(self._holder)
        if leads:
            self._looks.look(table)
        else:
            self._looks.forget()
        if leads != self._is_leading:
            self._is_leading = leads
            _LOGGER.info("outbox %s: this relay %s", self._name, "publishes" if leads else "stands by")
        return leads

    def _note_answers(self, table: OutboxTable) -> None:
        """Delete what is confirmed, and mark rows as failed; the next connection does what a lost one left."""
        confirmed, faults = self._flight.confirmed, self._flight.faults
        if confirmed:
            self._delete(table, confirmed)
            self._pace.published += len(confirmed)
            confirmed.clear()
        if faults:
            self._failed.note(table, faults)
            faults.clear()

    def _delete(self, table: OutboxTable, confirmed: Mapping[int, str]) -> None:
        """Delete rows; of those that were read over a connection before this one, only where they are the same jobs'.

        A replica that is promoted gives new rows the ids of those that it had not received.
        """
        earlier = {row: job for row, job in confirmed.items() if row in self._read_earlier}
        if earlier:
            table.delete_jobs(earlier)
        table.delete([row for row in confirmed if row not in earlier])
        self._read_earlier.intersection_update(self._flight.rows)

    def _set_behind(self, table: OutboxTable, rows: Collection[OutboxRow]) -> None:
        behind = [row.id for row in rows if row.is_behind]
        if behind:
            table.set_behind(behind)

    def _beat(self, table: OutboxTable) -> None:
        if not self._pace.is_beat_due():
            return
        rate, published = self._pace.take_rate(), self._pace.published
        table.note(Beat(holder=self._holder, published=published, rate_per_s=rate, trouble=self._flight.trouble))
        minute = self._pace.take_minute()
        if minute is not None:
            rows, length_s = minute
            _LOGGER.info("outbox %s: %s published in %.0f s", self._name, counted(rows, "row"), length_s)
