"""`HandOver`: gives what has ended to the settler, and lets the next of its lane run."""

from __future__ import annotations

from collections.abc import Mapping

from ...topology import Queue
from ..ordering.lanes import Lanes
from ..partitions.ledger import Ledger, tried_name
from ..records.outcomes import DONE, Dead, Deferred, Outcome, Retried, is_lasting
from ..records.record import Record
from ..settling.excuse import Excuse
from ..settling.setbacks import log_setback
from ..settling.settle import Settler


class HandOver:
    """The last part of the pipe; called by all runners."""

    def __init__(
        self,
        queue: Queue,
        ledgers: Mapping[int, Ledger],
        lanes: Lanes,
        settler: Settler,
        excuse: Excuse,
    ) -> None:
        self._queue = queue
        self._ledgers = ledgers
        self._lanes = lanes
        self._settler = settler
        self._excuse = excuse

    def end(self, record: Record, outcome: Outcome) -> None:
        """Remember what is settled for the next of the lane, then let the next one run."""
        ledger = self._ledgers.get(record.assignment.partition)
        if outcome is not DONE:
            outcome = self._excuse.applied(record, outcome)
            self._lanes.expect(record, outcome)
            self._note_setback(record, outcome, ledger)
        self._settler.hand_in(record, outcome)  # before the ledger has it: a repetition must not be settled first
        if ledger is not None and record.deduplication_id is not None and (outcome is DONE or is_lasting(outcome)):
            ledger.add_job(record.deduplication_id)
        self._lanes.finish(record, outcome)

    def end_done(self, records: list[Record]) -> None:
        """The same for jobs that are done, several at once: each part is entered once for all of them."""
        self._settler.hand_in_done(records)
        for record in records:
            ledger = self._ledgers.get(record.assignment.partition)
            if ledger is not None and record.deduplication_id is not None:
                ledger.add_job(record.deduplication_id)
        self._lanes.release_all(records)

    def _note_setback(self, record: Record, outcome: Outcome, ledger: Ledger | None) -> None:
        """Take note of what is neither done nor skipped; the ledger is the one that was there before this is asked.

        So it is not the ledger of a later assignment: there, the outcome of this one is late and will not be written,
        and the record must not pass for settled.
        """
        if isinstance(outcome, Retried | Dead) and record.assignment.is_active and ledger is not None:
            ledger.add(tried_name(record))
        if isinstance(outcome, Retried | Dead | Deferred):
            log_setback(record, outcome, self._queue)
