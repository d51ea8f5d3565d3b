"""What is settled together, and what becomes of that which could not be written."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from confluent_kafka import KafkaError

from ...topology.cluster.kafka_errors import needs_a_person
from ..records.outcomes import Done, NotDone
from ..records.record import Record
from .writes import Writes


@dataclass(slots=True, eq=False)
class Settlement:
    """A record with its outcome, until it is settled.

    Attributes:
        error: why it could not be written.
        instead_of: the outcome that it replaces, since what that one asks for can never be written; None for most.
    """

    record: Record
    outcome: NotDone
    writes: Writes
    error: KafkaError | None = None
    instead_of: NotDone | None = None

    def fail(self, error: KafkaError) -> None:
        """Note why it could not be written."""
        self.error = error


@dataclass(slots=True, eq=False)
class SettlementBatch:
    """What is settled together.

    Attributes:
        done: of jobs that are done, the most by far, there is nothing but the name to write.
        done_error: why `done` could not be written, where this is a batch that failed.
    """

    done: list[Record] = field(default_factory=list)
    others: list[Settlement] = field(default_factory=list)
    done_error: KafkaError | None = None

    def __len__(self) -> int:
        return len(self.done) + len(self.others)

    @property
    def records(self) -> list[Record]:
        """All of its records."""
        return [*self.done, *(item.record for item in self.others)]

    @property
    def outcomes(self) -> Counter[str]:
        """{outcome's class name: how many}."""
        counts = Counter(type(item.outcome).__name__ for item in self.others)
        if self.done:
            counts[Done.__name__] = len(self.done)
        return counts

    @property
    def stranded(self) -> int:
        """How many of a batch that failed no waiting can help."""
        lost = [item for item in self.others if item.error is not None and needs_a_person(item.error)]
        return len(lost) + (len(self.done) if self.done_error is not None and needs_a_person(self.done_error) else 0)

    @property
    def first_error(self) -> tuple[Record, KafkaError | None, str | None]:
        """One record of a batch that failed, why, and the topic that it was for; None for the ledger's."""
        if self.others:
            first = self.others[0]
            return first.record, first.error, None if first.writes.record is None else first.writes.record.topic
        return self.done[0], self.done_error, None


def merged(first: SettlementBatch, second: SettlementBatch) -> SettlementBatch:
    """Two groups that failed, as one."""
    error = first.done_error or second.done_error
    return SettlementBatch([*first.done, *second.done], [*first.others, *second.others], error)
