"""`ShareCoordinator`: gives the shares of the limits of a queue, while the queue's first partition is this process's.

It writes a takeover, reads the log back up to that record, and so knows what was granted and used. Limits of long
windows need more of the log than those of short ones: they are read afterwards, by a reader of their own, the shortest
first, and none of them holds up the limits that are known by then.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Final

from confluent_kafka import KafkaError, KafkaException, Message

from ...schemas import Undecodable, UnknownSchema
from ...schemas.own_records.share_records import ShareKind, ShareRecord, decode_share, encode_share
from ...topology.declaration.limits import Limit, Rate
from .. import log_keys
from ..log_turns import AGAIN_S, ASK_S, REPLACED_REST_S
from ..meters.limit_report import LimitReport
from .ports import SharedLimits, SharesParts, SharesReader, SharesWriter
from .share_book import PERMITS_VALID_S, ShareBook

_LOGGER = logging.getLogger("stoker.limits")

NEAR_S: Final = 60.0
"""Limits of windows up to this are read back together: the log of a minute is read in some tenths of a second."""
REPORT_GIVEN_S: Final = 1.0
"""How often the coordinator reports what is used of its limits; workers report that to people every few seconds."""


@dataclass(slots=True)
class _Term:
    """The time of one coordinator, from its takeover on.

    Attributes:
        epoch: the offset of its takeover; None until that is written.
        brokers_ms, at_s: the time of the takeover, by the brokers' clock and by this one.
        known: the limits whose log is read up to the takeover, so that they may be given.
        distant: {length of the window: limits} of those that are still to be read, the next one last.
    """

    book: ShareBook
    epoch: int | None = None
    brokers_ms: int = 0
    at_s: float = 0.0
    is_reading: bool = False
    is_over: bool = False
    near: frozenset[str] = frozenset()
    known: frozenset[str] = frozenset()
    distant: list[tuple[float, frozenset[str]]] = field(default_factory=list)


class ShareCoordinator:
    """Takes over and lets go as the first partition comes and goes; it is driven by the thread of shares."""

    def __init__(self, limits: SharedLimits, parts: SharesParts) -> None:
        self._limits, self._parts = limits, parts
        self._in_force = limits.in_force
        self._term: _Term | None = None
        self._rests_until_at_s = 0.0
        self._distant_reader: SharesReader | None = None
        self._has_reported, self._report_given_at_s = False, float("-inf")

    @property
    def is_reading_back(self) -> bool:
        """Whether there is more of the log to be read at once."""
        return self._distant_reader is not None

    def turn(self, reader: SharesReader, writer: SharesWriter) -> None:
        """Follow the changes of limits and of the partition's owner, and read on what is still to be read back."""
        self._follow_limits()
        self._follow_owner(reader, writer)
        self._read_distant()

    def close(self) -> None:
        """Disconnect."""
        self._stop_reading()

    @property
    def _given(self) -> Mapping[str, Limit]:
        """{name: limit} of those that this queue gives, as they are in force."""
        return {name: self._in_force.get(name, declared) for name, declared in self._parts.given.items()}

    def _follow_limits(self) -> None:
        if self._in_force is not self._limits.in_force:
            self._in_force = self._limits.in_force
            if self._term is not None:
                self._term.book.change(self._given, self._parts.clock())

    def _follow_owner(self, reader: SharesReader, writer: SharesWriter) -> None:
        """Take over where the first partition has come here, and let go where it has gone."""
        term = self._term
        if not (self._parts.given and self._parts.owns_first()):
            self._term = None
            self._stop_reading()
        elif term is None or (term.is_over and self._parts.clock() >= self._rests_until_at_s):
            self._take_over(writer)
        elif term.epoch is not None and not term.is_reading:
            term.is_reading = True
            self._read_back(reader, term)

    def _take_over(self, writer: SharesWriter) -> None:
        self._stop_reading()
        term = _Term(ShareBook(self._given))

        def note(error: KafkaError | None, message: Message | None) -> None:
            if error is not None or message is None:
                self._end(term, AGAIN_S)
                return
            term.at_s, term.brokers_ms = self._parts.clock(), message.timestamp()[1]
            term.epoch = message.offset()

        takeover = ShareRecord(kind=ShareKind.TAKEOVER, coordinator=self._parts.queue, sender=self._parts.worker_id)
        writer.write(encode_share(takeover), note)
        self._term = term

    def _end(self, term: _Term, rest_s: float) -> None:
        """Take over once more, after a rest."""
        term.is_over, self._rests_until_at_s = True, self._parts.clock() + rest_s
        if term is self._term:
            self._stop_reading()

    # ---- what was granted and used before

    def _read_back(self, reader: SharesReader, term: _Term) -> None:
        """Begin to read the records that near limits need; those for distant limits are read afterwards."""
        needed_s = {
            name: max(_window_s(limit), _window_s(self._parts.given[name])) for name, limit in self._given.items()
        }
        term.near = frozenset(name for name, length_s in needed_s.items() if length_s <= NEAR_S)
        lengths_s = sorted({length_s for length_s in needed_s.values() if length_s > NEAR_S}, reverse=True)
        term.distant = [
            (length_s, frozenset(name for name, needs_s in needed_s.items() if needs_s == length_s))
            for length_s in lengths_s
        ]
        self._start(reader, term, max((needed_s[name] for name in term.near), default=0.0))

    def _start(self, reader: SharesReader, term: _Term, length_s: float) -> None:
        try:
            reader.start_at_time(term.brokers_ms / 1_000 - length_s - 3 * PERMITS_VALID_S, ASK_S)
        except KafkaException:
            self._end(term, AGAIN_S)
            raise

    def _read_distant(self) -> None:
        """Read some of what the next distant limits need, once the near ones are known."""
        term = self._term
        if term is None or term.is_over or not (term.distant and term.known >= term.near):
            return
        if self._distant_reader is None:
            self._distant_reader = self._parts.make_reader()
            self._start(self._distant_reader, term, term.distant[-1][0])
        for message in self._distant_reader.read(0.0):
            if (message.offset() or 0) >= (term.epoch or 0):
                term.known |= term.distant.pop()[1]
                self._stop_reading()
                return
            self._note_former(term, message, term.distant[-1][1])

    def _stop_reading(self) -> None:
        if self._distant_reader is not None:
            self._distant_reader.close()
            self._distant_reader = None

    def _note_former(self, term: _Term, message: Message, names: Collection[str]) -> None:
        try:
            record = decode_share(message.value())
        except (Undecodable, UnknownSchema):
            return
        if record.coordinator == self._parts.queue and record.kind != ShareKind.TAKEOVER:
            ago_s = (term.brokers_ms - message.timestamp()[1]) / 1_000
            term.book.note(record, term.at_s - max(0.0, ago_s), names)

    # ---- what comes

    def note(self, record: ShareRecord, message: Message) -> None:
        """Let the book follow the log; records that come before the log is read back come again."""
        term, offset = self._term, message.offset() or 0
        if term is None or term.is_over or not term.is_reading or record.coordinator != self._parts.queue:
            return
        if record.kind == ShareKind.TAKEOVER:
            self._check_takeover(term, offset)
        elif offset < (term.epoch or 0):
            self._note_former(term, message, term.near)
        elif record.kind == ShareKind.REQUEST:
            # Of a limit that is not known yet it is passed over: amounts count up, and the next one has it all.
            term.book.note(record, self._parts.clock(), term.known)

    def _check_takeover(self, term: _Term, offset: int) -> None:
        epoch = term.epoch or 0
        if offset >= epoch:
            term.known |= term.near
        if offset > epoch:
            self._end(term, REPLACED_REST_S)
            _LOGGER.info("another worker gives shares of limits", extra={log_keys.QUEUE: self._parts.queue})

    # ---- what is given

    def give(self, writer: SharesWriter) -> None:
        """Give of the limits that are known, if this is the coordinator."""
        term = self._term
        if term is None or not term.known or term.is_over or term.epoch is None:
            self._report({})
            return
        now_s = self._parts.clock()
        entries = term.book.give(now_s, term.known)
        if now_s >= self._report_given_at_s:
            self._report_given_at_s = now_s + REPORT_GIVEN_S
            term.book.forget_idle(now_s)
            self._report(term.book.report(now_s, term.known))
        if entries:
            grant = ShareRecord(
                kind=ShareKind.GRANT,
                coordinator=self._parts.queue,
                sender=self._parts.worker_id,
                epoch=term.epoch,
                entries=tuple(entries),
            )
            writer.write(encode_share(grant), None)

    def _report(self, given: Mapping[str, LimitReport]) -> None:
        if given or self._has_reported:
            self._has_reported = bool(given)
            self._limits.note_given(given)


def _window_s(limit: Limit) -> float:
    return limit.per.total_seconds() if isinstance(limit, Rate) else 0.0
