"""`PartitionLog`: what the log of reservations holds of one partition, as a new owner reads it. Pure.

Sessions follow each other by their takeovers, in the order of the log. A reservation counts if its session is the one
that took over last: what an owner that was cut off writes behind the takeover of the next one does not count, for
that owner itself neither, since it reads its reservations back before it uses them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from confluent_kafka import TIMESTAMP_LOG_APPEND_TIME, Message

from ...schemas import Undecodable, UnknownSchema
from ...schemas.own_records.reservation_records import (
    RENEWS,
    UNKNOWN_MS,
    ReservationEntry,
    ReservationKind,
    ReservationRecord,
    decode_reservation,
)
from ..meters.level import Level
from ..meters.reserved_meter import VALID_S

ScopeName = tuple[str, bytes]
"""A limit's name, and a key or tenant."""
_THOUSANDTHS: Final = 1_000


class FormerLevel(NamedTuple):
    """The level of a scope as it was read; there may be very many of which few are needed.

    Attributes:
        at_s: when it was written, by this process's clock.
    """

    entry: ReservationEntry
    at_s: float

    @property
    def level(self) -> Level:
        """The level that the entry states."""
        entry, at_s = self
        amounts = zip(entry.ages_ms, entry.amounts, strict=False)
        return Level(
            at_s=at_s,
            used=tuple((at_s - age_ms / 1_000, used) for age_ms, used in amounts),
            tokens=None if entry.tokens is None else entry.tokens / _THOUSANDTHS,
            reserved=entry.reserved,
            reserved_until_at_s=at_s + VALID_S,
        )

    def is_over(self, lasts_s: float, now_s: float) -> bool:
        """Whether nothing is left of what was used, which lasts for so long."""
        return now_s - self.at_s > lasts_s + VALID_S


@dataclass(slots=True)
class PartitionLog:
    """One partition's log, from an offset on.

    Attributes:
        session: the present one, whose takeover came last.
        is_whole: whether all could be read.
        taken_over_at: the offset of the first takeover of this process's own session; None before it.
        since: the offset from which on the log is needed, by its last record.
        records, entries: how many were read.
    """

    own: str
    session: str | None = None
    is_whole: bool = True
    taken_over_at: int | None = None
    since: int = 0
    records: int = 0
    entries: int = 0
    _brokers_ms: int = 0
    _number: int = -1
    _unknown_at_ms: int | None = None
    _entries: dict[ScopeName, tuple[ReservationEntry, int]] = field(default_factory=dict)

    def note(self, message: Message) -> ReservationRecord | None:
        """Take in a record; returns it if it counts."""
        self.records += 1
        kind_of_time, at_ms = message.timestamp()
        record = _decoded(message)
        if record is None or kind_of_time != TIMESTAMP_LOG_APPEND_TIME:
            self.is_whole = False
        if record is None:
            self.since = 0
            return None
        if self._is_superseded(record):
            return None
        self.since = record.since
        self.entries += len(record.entries)
        if record.kind == ReservationKind.TAKEOVER:
            self._note_takeover(record, message.offset() or 0, at_ms)
            return record
        if record.kind == ReservationKind.RESERVATIONS and record.session == (self.session or record.session):
            return self._note_reservations(record, at_ms)
        return None

    def _is_superseded(self, record: ReservationRecord) -> bool:
        """Whether an owner begins its log anew that was superseded before, as while it was frozen."""
        return RENEWS in record.detail and self.session not in (None, record.session)

    def _note_takeover(self, record: ReservationRecord, offset: int, at_ms: int) -> None:
        if record.session != self.session:
            self.session, self._number = record.session, -1
        unknown_ms = record.detail.get(UNKNOWN_MS)
        if unknown_ms is not None:
            self._unknown_at_ms = max(self._unknown_at_ms or 0, at_ms - int(unknown_ms))
        if record.session == self.own and self.taken_over_at is None:
            self.taken_over_at, self._brokers_ms = offset, at_ms

    def _note_reservations(self, record: ReservationRecord, at_ms: int) -> ReservationRecord | None:
        if record.number <= self._number:
            return None  # it was written late: a later one has more
        self._number = record.number
        if self.taken_over_at is None:
            for entry in record.entries:
                self._entries[entry.limit, entry.value] = entry, at_ms
        return record

    def unknown_at_s(self, taken_over_s: float) -> float | None:
        """The time at which scopes without a level were full, since nothing was known; None where all was known.

        Args:
            taken_over_s: the time of the own takeover by this process's clock; so for `take_levels`.
        """
        if not self.is_whole:
            return taken_over_s
        return None if self._unknown_at_ms is None else self._local_s(self._unknown_at_ms, taken_over_s)

    def take_levels(self, taken_over_s: float) -> Iterator[tuple[ScopeName, FormerLevel]]:
        """The level of each scope; given once. A log that is not whole has none."""
        entries, self._entries = self._entries, {}
        for name, (entry, at_ms) in entries.items() if self.is_whole else ():
            yield name, FormerLevel(entry, self._local_s(at_ms, taken_over_s))

    def _local_s(self, at_ms: int, taken_over_s: float) -> float:
        return taken_over_s - max(0.0, (self._brokers_ms - at_ms) / 1_000)


def _decoded(message: Message) -> ReservationRecord | None:
    try:
        return decode_reservation(message.value())
    except (Undecodable, UnknownSchema):
        return None


def entry_of(name: ScopeName, level: Level, now_s: float, reserved: int) -> ReservationEntry:
    """The entry of a scope as it is now; times are rounded to later ones, tokens to fewer."""
    return ReservationEntry(
        limit=name[0],
        value=name[1],
        reserved=reserved,
        ages_ms=tuple(int((now_s - at_s) * 1_000 // 1) for at_s, _ in level.used),
        amounts=tuple(used for _, used in level.used),
        tokens=None if level.tokens is None else int(level.tokens * _THOUSANDTHS // 1),
    )
