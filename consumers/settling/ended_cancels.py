"""`EndedCancels`: notes the cancelled jobs that have ended, so that the orders to cancel them can be removed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from ..partitions.ledger import Ledger
from ..records.outcomes import SKIPPED, Cancelled, Dead, Done, Outcome
from ..records.record import Record
from ..standing_orders.cancels import NO_CANCELS, Cancels
from ..standing_orders.reschedules import Reschedules
from .settlement import SettlementBatch


class EndedCancels:
    """Falsy while no cancel stands: the settling thread asks once for each batch."""

    def __init__(self, cancels: Cancels = NO_CANCELS, ledgers: Mapping[int, Ledger] | None = None) -> None:
        """Watch.

        Args:
            ledgers: {partition number: ledger} of what is assigned; changed by the poll thread.
        """
        self._cancels = cancels
        self._ledgers = {} if ledgers is None else ledgers

    def __bool__(self) -> bool:
        return self._cancels.stands

    def note(self, settled: Iterable[tuple[Record, Outcome]]) -> None:
        """Take what is durable. Of a partition that went away, the next owner may still have the job before it."""
        for record, outcome in settled:
            if isinstance(outcome, Cancelled) and outcome.by is not None:
                self._cancels.count_cancelled(outcome.by)
            if record.assignment.is_active and self._has_ended(record, outcome):
                self._cancels.note_ended(record)

    def _has_ended(self, record: Record, outcome: Outcome) -> bool:
        """Whether the job has, and not this record alone: a twin of an attempt that has failed is skipped as well."""
        if outcome is SKIPPED:
            ledger = self._ledgers.get(record.assignment.partition)
            return ledger is not None and ledger.has_job(record)
        return isinstance(outcome, (Done, Dead, Cancelled))


def note_ended_orders(cancels: EndedCancels, reschedules: Reschedules, batch: SettlementBatch) -> None:
    """Note the jobs that orders were about, so that these can be removed; while none stands, no job is looked at."""
    if cancels:
        cancels.note(batch.ended)
    if reschedules.stands:
        reschedules.note_settled(batch.ended)
