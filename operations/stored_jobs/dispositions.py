"""Dispositions: the records on a dead-letter topic that mark dead letters as replayed or discarded.

A disposition lies in the same partition as its dead letter, so the topic, read from its beginning, shows which dead
letters are open, and no disposition outlives its dead letter.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Final

from ...topology.wire import headers as wire
from .stored_job import RawHeaders, Ref, StoredJob, parse_ref


class DispositionVerdict(Enum):
    """The fate of a dead letter."""

    REPLAYED = "replayed"
    DISCARDED = "discarded"


@dataclass(frozen=True, slots=True, kw_only=True)
class Disposition:
    """The fate of one dead letter, when it was decided and by whom.

    Attributes:
        settles: the dead letter.
        action_id: id of the replay or discard that it belongs to.
        reason: the operator's; may be empty.
        at: None before it is written.
    """

    settles: Ref
    verdict: DispositionVerdict
    action_id: str
    operator: str
    reason: str = ""
    at: datetime | None = None

    def headers(self) -> RawHeaders:
        """As they are written."""
        pairs: RawHeaders = [
            (wire.DISPOSITION, self.verdict.value.encode()),
            (wire.SETTLES, str(self.settles.offset).encode()),
            (wire.REPLAY, self.action_id.encode()),
            (wire.OPERATOR, self.operator.encode("ascii", "backslashreplace")),
        ]
        return [*pairs, (wire.OPERATOR_REASON, self.reason.encode())] if self.reason else pairs


def is_disposition(record: StoredJob) -> bool:
    """Whether the record is a disposition, sound or not, and so no dead letter."""
    return wire.DISPOSITION in record.headers


def disposition_of(record: StoredJob) -> Disposition | None:
    """Read a disposition; None when the record is none, or names a verdict or a dead letter that cannot be."""
    verdict, settles = record.text(wire.DISPOSITION), parse_ref(f"{record.ref.partition}/{record.text(wire.SETTLES)}")
    if verdict not in _VERDICTS or settles is None or settles.offset >= record.ref.offset:
        return None
    return Disposition(
        settles=settles,
        verdict=DispositionVerdict(verdict),
        action_id=record.replay,
        operator=record.text(wire.OPERATOR),
        reason=record.text(wire.OPERATOR_REASON),
        at=record.at,
    )


_VERDICTS: Final = frozenset(verdict.value for verdict in DispositionVerdict)


class OffsetBitmap:
    """A set of offsets of one partition, a bit each: a million settled dead letters cost 125 kB."""

    def __init__(self, first: int) -> None:
        self._first = first
        self._bits = bytearray()

    def add(self, offset: int) -> None:
        """Take an offset in; those before the first one kept are gone from the log, and ignored."""
        place = offset - self._first
        if place < 0:
            return
        if place >> 3 >= len(self._bits):
            self._bits.extend(bytes((place >> 3) + 1 - len(self._bits)))
        self._bits[place >> 3] |= 1 << (place & 7)

    def __contains__(self, offset: int) -> bool:
        place = offset - self._first
        return 0 <= place < len(self._bits) << 3 and bool(self._bits[place >> 3] >> (place & 7) & 1)


class SettledDeadLetters:
    """Which dead letters are settled and how, for all partitions.

    Args:
        firsts: {partition: first offset that the log still holds}.
        action_id: also remember which dead letters this one action has settled.
    """

    def __init__(self, firsts: dict[int, int], *, action_id: str | None = None) -> None:
        self._sets = {
            verdict: {number: OffsetBitmap(first) for number, first in firsts.items()} for verdict in DispositionVerdict
        }
        self._action_id = action_id
        self._by_action = {number: OffsetBitmap(first) for number, first in firsts.items()}

    def note(self, disposition: Disposition) -> None:
        """Take a disposition in."""
        partition, offset = disposition.settles
        self._sets[disposition.verdict][partition].add(offset)
        if self._action_id is not None and disposition.action_id == self._action_id:
            self._by_action[partition].add(offset)

    def verdicts(self, ref: Ref) -> list[DispositionVerdict]:
        """All verdicts on a dead letter; empty while it is open."""
        return [verdict for verdict, sets in self._sets.items() if ref.offset in sets[ref.partition]]

    def is_done_by_action(self, ref: Ref) -> bool:
        """Whether the action given at the start has settled the dead letter already."""
        return ref.offset in self._by_action[ref.partition]
