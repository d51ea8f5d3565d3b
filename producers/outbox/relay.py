"""`OutboxRelay`: publishes the rows of an outbox, and deletes each when the brokers have confirmed it.

The loop remembers no position. Transactions commit in another order than that in which their rows got their ids, so
each look begins at the first row that is visible, without those in flight. A row is deleted only after its
confirmation: a relay that is killed in between publishes it twice, and the ledger runs its job once.
"""

from __future__ import annotations

import logging
import math
import os
import socket
import threading
import time
from collections.abc import Collection, Iterable, Iterator
from contextlib import suppress
from datetime import timedelta
from types import TracebackType
from typing import Final, Self

from ...databases import DatabaseError, OutboxTableMissing
from ...databases.outbox.opening import open_outbox_table
from ...databases.outbox.rows import Beat, OutboxRow, OutboxTable
from ...databases.outbox.table import DEFAULT_TABLE
from ...databases.url import database_errors, dialect_of
from ...schemas import RegistryUnreachable, SchemaError, SchemaStore, SchemaStoreUnreachable
from ...topology.cluster.settings import ClusterSettings
from ...topology.counts import counted
from ...topology.declaration.pipeline import Pipeline
from ...topology.log_pace import LogPace
from ...topology.planning.schema_store import schema_store
from ..metrics.all_metrics import OUTBOX_LEADS, OUTBOX_PUBLISHED, OUTBOX_TROUBLE
from ..metrics.sample import Sample
from .backlog import BacklogLooks
from .flight import Flight
from .pace import BEAT_S, LOG_EVERY_S, RelayPace

_LOGGER = logging.getLogger("stoker.outbox")

MOST_IN_FLIGHT: Final = 4_000
MOST_BYTES: Final = 64_000_000
"""The bound on the values in flight; a read may add a quarter."""
READ_ROWS: Final = 1_000
FIRST_ROWS: Final = 100
"""As many rows the first read takes, which does not know yet how large they are."""
SLOW_READ_S: Final = 0.03
MOST_FACTOR: Final = 20
"""Reads take long while an old transaction keeps deleted rows from being vacuumed; then each takes more rows."""
RETRY_AFTER: Final = timedelta(seconds=30)
"""How long a row rests that could not be published."""
MOST_REASONS: Final = 100
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
        self._pipeline, self._url, self._name = pipeline, url, table
        self._errors = (database_errors(dialect_of(url)), DatabaseError)
        self._cluster = cluster or ClusterSettings.from_environment()
        self._store = store
        self._flight = Flight(self._cluster)
        self._holder = f"{socket.gethostname()}/{os.getpid()}/{id(self):x}"
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None
        self._table: OutboxTable | None = None
        self._is_leading = False
        self._register_at_s = -math.inf
        self._log_paces: dict[str, LogPace] = {}
        self._trouble: str | None = None
        self._looks = BacklogLooks()
        self._pace = RelayPace()
        self._retry_at_s = 0.0
        self._read_took_s = 0.0
        self._fitting_rows = FIRST_ROWS

    # ---- its life

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def start(self) -> None:
        """Publish from a thread, until `close`; it waits for a database or brokers that are away."""
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
        self._looks.forget()
        table, self._table = self._table, None
        if table is not None:
            with suppress(*self._errors):
                table.close()

    # ---- one turn

    def _turn(self) -> None:
        table = self._opened()
        if not self._take_lead(table) or not self._register():
            self._flight.poll(0)
            self._stopped.wait(STAND_BY_S)
            return
        self._flight.poll(_POLL_S if self._flight.rows else 0)
        self._note_answers(table)
        rows = self._read(table)
        self._set_behind(table, rows)
        sent = self._flight.send(row for row in rows if not row.is_behind)
        self._retry(table)
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

    def _register(self) -> bool:
        """Put the contracts where workers look for them; False while their store does not answer."""
        if time.monotonic() < self._register_at_s:
            return True
        if not self._flight.answers():  # a store on the cluster would wait for much longer
            return False
        store = self._store or schema_store(self._pipeline, self._cluster)
        try:
            for job_type in self._pipeline.job_types.values():
                store.register(job_type.contract, job_type.compatibility)
        except (SchemaStoreUnreachable, RegistryUnreachable) as silence:
            _LOGGER.warning("outbox %s: rows wait for the schema store: %s", self._name, silence)
            return False
        except SchemaError as refusal:
            self._register_at_s = time.monotonic() + LOG_EVERY_S
            _LOGGER.error(
                "outbox %s: a contract could not be registered, so workers defer its jobs; rows are published: %s",
                self._name, refusal,
            )  # fmt: skip
            return True
        finally:
            if self._store is None:
                store.close()
        self._register_at_s = math.inf
        return True

    def _note_answers(self, table: OutboxTable) -> None:
        """Delete what is confirmed, and mark rows as failed; the next connection does what a lost one left."""
        confirmed, faults = self._flight.confirmed, self._flight.faults
        if confirmed:
            table.delete(confirmed)
            self._pace.published += len(confirmed)
            confirmed.clear()
        if faults:
            self._set_failed(table, faults)
            faults.clear()

    def _set_failed(self, table: OutboxTable, faults: Iterable[tuple[int, str]]) -> None:
        by_reason: dict[str, list[int]] = {}
        for row_id, reason in faults:
            by_reason.setdefault(reason, []).append(row_id)
        for reason, ids in by_reason.items():
            table.set_failed(ids, reason)
            self._log_fault(reason, len(ids))

    def _log_fault(self, reason: str, rows: int) -> None:
        if len(self._log_paces) > MOST_REASONS:
            self._log_paces.clear()
        if not self._log_paces.setdefault(reason, LogPace()).take(time.monotonic()):
            return
        _LOGGER.error(
            "outbox %s: rows have failed (%d at once): %s. The relay tries them again every %g s; later rows of their "
            "keys wait", self._name, rows, reason, RETRY_AFTER.total_seconds(),
        )  # fmt: skip

    def _read(self, table: OutboxTable) -> list[OutboxRow]:
        factor = min(MOST_FACTOR, max(1, round(self._read_took_s / SLOW_READ_S)))
        room = factor * MOST_IN_FLIGHT - len(self._flight.rows)
        if room <= 0 or self._flight.bytes > MOST_BYTES:
            return []
        began_at_s = time.monotonic()
        rows = table.read(min(room, factor * READ_ROWS, self._fitting_rows), self._flight.rows, self._flight.probing)
        if rows:
            self._read_took_s = time.monotonic() - began_at_s
            mean_bytes = 1 + sum(len(row.value) for row in rows) // len(rows)
            self._fitting_rows = max(1, MOST_BYTES // 4 // mean_bytes)
        return rows

    def _set_behind(self, table: OutboxTable, rows: Collection[OutboxRow]) -> None:
        behind = [row.id for row in rows if row.is_behind]
        if behind:
            table.set_behind(behind)

    def _retry(self, table: OutboxTable) -> None:
        """Try rows again that could not be published, and let those behind them go on."""
        now_s = time.monotonic()
        if now_s < self._retry_at_s:
            return
        skipped = {*self._flight.probing, *self._flight.bad_topics()}
        failed = table.read_failed(min(READ_ROWS, self._fitting_rows), RETRY_AFTER, skipped)
        rows = [row for row in failed if row.id not in self._flight.rows]
        sent = self._flight.send(rows)
        table.release()
        self._retry_at_s = now_s + (0.05 if sent else BEAT_S)

    def _beat(self, table: OutboxTable) -> None:
        if not self._pace.is_beat_due():
            return
        rate, published = self._pace.take_rate(), self._pace.published
        table.note(Beat(holder=self._holder, published=published, rate_per_s=rate, trouble=self._flight.trouble))
        minute = self._pace.take_minute()
        if minute is not None:
            rows, length_s = minute
            _LOGGER.info("outbox %s: %s published in %.0f s", self._name, counted(rows, "row"), length_s)
