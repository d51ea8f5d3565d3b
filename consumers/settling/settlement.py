"""`Settlement`: one outcome on its way to being durable; `SettlementBatch`: those that are settled together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from confluent_kafka import KafkaError

from ...topology.cluster.kafka_errors import is_fatal, needs_a_person
from ..instruments.instruments import Instruments
from ..progress.assignment import Assignment
from ..records.done_handful import DoneHandful, records_of
from ..records.outcomes import DONE, Done, Outcome, is_lasting
from ..records.record import Record
from .outgoing import OutgoingRecord
from .writes import NOTHING, Writes


@dataclass(frozen=True, slots=True)
class RecordsToWrite:
    """The first stage: the brokers have not confirmed these records."""

    records: tuple[OutgoingRecord, ...]


@dataclass(frozen=True, slots=True)
class LedgerToWrite:
    """The second stage: all records are confirmed, and the ledger's entry is not."""


@dataclass(frozen=True, slots=True)
class Settled:
    """The last stage: all is durable."""


Stage = RecordsToWrite | LedgerToWrite | Settled
"""How far a settlement has come: from one stage to the next, and never back."""
LEDGER_TO_WRITE = LedgerToWrite()
SETTLED = Settled()


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a record could not be written; `written` is None where it is the ledger's entry."""

    error: KafkaError
    written: OutgoingRecord | None = None


@dataclass(slots=True, eq=False)
class Settlement:
    """A record with its outcome, until that is durable.

    Attributes:
        instead_of: the outcome that this one replaces, since no topic takes its record; None for most.
        refusals: what could not be written, the last time that it was tried.
    """

    record: Record
    outcome: Outcome
    writes: Writes
    instead_of: Outcome | None = None
    refusals: list[Refusal] = field(default_factory=list)
    stage: Stage = field(init=False)

    def __post_init__(self) -> None:
        """Begin with the records, or with the ledger where there are none."""
        self.stage = _stage_of(self.writes.records)

    @property
    def unconfirmed(self) -> tuple[OutgoingRecord, ...]:
        """The records that are still to be written."""
        return self.stage.records if isinstance(self.stage, RecordsToWrite) else ()

    def note_answer(self, written: OutgoingRecord, error: KafkaError | None) -> None:
        """Take the brokers' answer to one of the records."""
        if error is None:
            self.stage = _stage_of(tuple(record for record in self.unconfirmed if record is not written))
        else:
            self.refusals.append(Refusal(error, written))

    def refuse(self, error: KafkaError) -> None:
        """Note why the ledger's entry, or anything at all, could not be written."""
        self.refusals.append(Refusal(error))

    def rewrite(self, forms: Mapping[OutgoingRecord, OutgoingRecord]) -> None:
        """Write records in other forms from now on."""
        self.stage = _stage_of(tuple(forms.get(record, record) for record in self.unconfirmed))

    def drop_late_writes(self) -> None:
        """Write nothing where the partition was revoked meanwhile, unless it is true for any owner or has begun."""
        is_late = not self.record.assignment.is_active and not is_lasting(self.outcome)
        if is_late and self.unconfirmed == self.writes.records:
            self.writes, self.stage = NOTHING, LEDGER_TO_WRITE

    def finish(self) -> None:
        """Note that all of it is durable."""
        self.stage = SETTLED

    @property
    def is_stranded(self) -> bool:
        """Whether waiting alone cannot help it."""
        return any(needs_a_person(refusal.error) for refusal in self.refusals)


def _stage_of(unconfirmed: tuple[OutgoingRecord, ...]) -> Stage:
    return RecordsToWrite(unconfirmed) if unconfirmed else LEDGER_TO_WRITE


@dataclass(frozen=True, slots=True, eq=False)
class SettlementBatch:
    """Records and outcomes that are settled together.

    Attributes:
        done: of jobs that are done, the most by far, there is nothing but the name to write.
        others: all other outcomes, and jobs that are done where more than the name is to be written.
        done_error: why `done` could not be written, where this is a batch that failed.
    """

    done: list[DoneHandful] = field(default_factory=list)
    others: list[Settlement] = field(default_factory=list)
    done_error: KafkaError | None = None

    def __len__(self) -> int:
        return self.done_count + len(self.others)

    @property
    def done_count(self) -> int:
        """How many jobs are done."""
        return sum([len(handful.records) for handful in self.done])

    def split(self, undone: list[Record], why: KafkaError | None) -> tuple[SettlementBatch, SettlementBatch]:
        """Split it into what is settled, and what is not: `undone` of its done jobs, for this reason."""
        done, repeated = self.done, list[DoneHandful]()
        if undone:
            others = set(undone)
            halves = [handful.split(others) for handful in done]
            done = [handful for settled, _ in halves for handful in settled]
            repeated = [handful for _, failed in halves for handful in failed]
        settled = [item for item in self.others if item.stage is SETTLED]
        failed = [item for item in self.others if item.stage is not SETTLED]
        return SettlementBatch(done, settled), SettlementBatch(repeated, failed, why)

    @property
    def done_parts(self) -> Iterator[tuple[Assignment, list[Record]]]:
        """The records of jobs that are done, by assignment."""
        return (part for handful in self.done for part in handful.parts)

    @property
    def done_with_records(self) -> list[DoneHandful]:
        """All jobs that are done, those with further records to be written too."""
        others = [item.record for item in self.others if item.outcome is DONE]
        return [*self.done, DoneHandful(others)] if others else self.done

    @property
    def records(self) -> list[Record]:
        """All of its records."""
        return [*records_of(self.done), *(item.record for item in self.others)]

    @property
    def ended(self) -> list[tuple[Record, Outcome]]:
        """All of its records, each with its outcome."""
        return [
            *((record, DONE) for record in records_of(self.done)),
            *((item.record, item.outcome) for item in self.others),
        ]

    @property
    def outcomes(self) -> Counter[str]:
        """{outcome's class name: how many}."""
        counts = Counter(type(item.outcome).__name__ for item in self.others)
        if self.done:
            counts[Done.__name__] += self.done_count
        return counts

    @property
    def stranded(self) -> int:
        """How many of a batch that failed no waiting can help."""
        lost = sum(item.is_stranded for item in self.others)
        return lost + (self.done_count if self.done_error is not None and needs_a_person(self.done_error) else 0)

    @property
    def is_client_finished(self) -> bool:
        """Whether a batch that failed needs another client to be written."""
        return is_fatal(self.done_error) or any(is_fatal(error) for error in self._errors())

    def _errors(self) -> Iterable[KafkaError]:
        return (refusal.error for item in self.others for refusal in item.refusals)

    @property
    def first_error(self) -> tuple[Record, KafkaError | None, str | None]:
        """One record of a batch that failed, the error, and the topic that refused it; None for the ledger's.

        Where waiting does not help one of them, it is one of these.
        """
        first = next((item for item in self.others if item.is_stranded), None)
        if first is None and self.done and (self.stranded or not self.others):
            return self.done[0].records[0], self.done_error, None
        first = first or self.others[0]
        if not first.refusals:
            return first.record, None, None
        refusal = next((one for one in first.refusals if needs_a_person(one.error)), first.refusals[0])
        return first.record, refusal.error, None if refusal.written is None else refusal.written.topic


OnSettled = Callable[[SettlementBatch], None]
"""Takes a settled batch, in the settling thread."""


def notify_instruments(instruments: Instruments, batch: SettlementBatch) -> None:
    """Call the instruments, as far as they are not switched off."""
    if instruments:
        instruments.settled(batch.ended)


def merged(first: SettlementBatch, second: SettlementBatch) -> SettlementBatch:
    """Two batches as one, with the error of the first that has one."""
    error = first.done_error or second.done_error
    return SettlementBatch([*first.done, *second.done], [*first.others, *second.others], error)
