"""`Shares`: a thread that asks for shares of limits, and gives them as the owner of the giving queue's first partition.

All of it goes over one log, `<namespace>.shares`. A giver that takes over writes a takeover, reads the log back over
the longest window and up to that record, and so knows what was granted and used. Workers pass over grants that an
earlier giver wrote behind the takeover.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from confluent_kafka import KafkaError, KafkaException, Message

from ...schemas import Undecodable, UnknownSchema
from ...schemas.share_records import ShareEntry, ShareKind, ShareRecord, decode_share, encode_share
from ...topology.declaration.limits import Limit, Rate
from .. import log_keys
from .limit_report import LimitReport
from .share_book import SLOTS_VALID_S, ShareBook

_LOGGER = logging.getLogger("stoker.limits")

ACTIVE_READ_S: Final = 0.01
IDLE_READ_S: Final = 0.05
ACTIVE_FOR_S: Final = 1.0
AGAIN_S: Final = 1.0
ASK_S: Final = 5.0
LAST_S: Final = 1.5
MOST_REQUESTS: Final = 1_000
SILENT_AFTER_S: Final = 15.0
REPORT_INTERVAL_S: Final = 60.0
REPORT_GIVEN_S: Final = 1.0
"""So often the giver reports what is used of its limits; workers report that to people every few seconds."""

OnWritten = Callable[[KafkaError | None, Message], None]


class SharesReader(Protocol):
    """Reads the topic of shares, as `LogReader` does."""

    position: int

    def ask_end(self, timeout_s: float) -> tuple[int, int]:
        """The first offset, and the one behind the last record."""

    def start(self, offset: int) -> None:
        """Read from this offset on."""

    def start_at_time(self, at_s: float, timeout_s: float) -> None:
        """Read from this epoch time of the brokers on."""

    def read(self, timeout_s: float) -> list[Message]:
        """Take what is there, or wait for the first record."""

    def close(self) -> None:
        """Disconnect."""


class SharesWriter(Protocol):
    """Writes to the topic of shares."""

    def write(self, value: bytes, on_written: OnWritten | None) -> None:
        """Write a record."""

    def poll(self) -> None:
        """Serve what was written."""

    def close(self) -> None:
        """Disconnect."""


class SharedLimits(Protocol):
    """The gate of limits, as this thread sees it.

    Attributes:
        in_force: {name: limit} as they are kept; another object after each change.
    """

    in_force: Mapping[str, Limit]

    def requests(self) -> Mapping[str, list[ShareEntry]]:
        """{giver: what it is to be told now}."""

    def last_requests(self) -> Mapping[str, list[ShareEntry]]:
        """{giver: last requests}: all that is held is returned."""

    def note_grant(self, entry: ShareEntry, sent_at_s: float) -> None:
        """Take in a grant."""

    def note_given(self, reports: Mapping[str, LimitReport]) -> None:
        """Take in the reports of the giver; empty where this process gives nothing."""

    def note_closed(self, entry: ShareEntry) -> None:
        """Close a scope that a worker has closed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SharesParts:
    """The parts that the thread works with.

    Attributes:
        queue: whose worker it is.
        given: {name: limit} of those that the owner of this queue's first partition gives.
        owns_first: whether that is this process.
        make_reader, make_writer: make the clients.
        on_crash: called with a fault of the thread's own.
        clock: as `time.monotonic`.
    """

    queue: str
    worker_id: str
    given: Mapping[str, Limit]
    owns_first: Callable[[], bool]
    make_reader: Callable[[], SharesReader]
    make_writer: Callable[[], SharesWriter]
    on_crash: Callable[[BaseException], None]
    clock: Callable[[], float] = time.monotonic


@dataclass(slots=True)
class _Giver:
    """A giver from its takeover on.

    Attributes:
        epoch: the offset of its takeover; None until that is written.
        brokers_ms, at_s: the time of the takeover, by the brokers' clock and by this one.
        is_read: whether the log is read up to it, so that it may give.
    """

    book: ShareBook
    epoch: int | None = None
    brokers_ms: int = 0
    at_s: float = 0.0
    is_reading: bool = False
    is_read: bool = False
    is_over: bool = False


class Shares:
    """Asks and gives until it is stopped."""

    def __init__(self, limits: SharedLimits, parts: SharesParts) -> None:
        self._limits, self._parts = limits, parts
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None
        self._reader: SharesReader | None = None
        self._writer: SharesWriter | None = None
        self._giver: _Giver | None = None
        self._rests_until_s = 0.0
        self._epochs: dict[str, int] = {}
        self._taken_below = -1
        self._number = 0
        self._sent: OrderedDict[int, float] = OrderedDict()
        self._active_until_s = 0.0
        self._asked_since_s: dict[str, float] = {}
        self._reported_at_s = float("-inf")
        self._in_force = limits.in_force
        self._has_reported, self._report_given_at_s = False, float("-inf")

    def start(self) -> None:
        """Start the thread."""
        self._thread = threading.Thread(target=self._run, name=f"stoker-shares-{self._parts.queue}", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End, and return what is held; it waits for that a moment. Called from any other thread."""
        self._stopped.set()
        if self._thread is not None:
            self._thread.join(LAST_S)

    def _run(self) -> None:
        try:
            while not self._stopped.is_set():
                self._turn_or_rest()
        except BaseException as error:  # noqa: BLE001  # a worker whose limits stand still must not look alive
            self._parts.on_crash(error)
        finally:
            self.close()

    def _turn_or_rest(self) -> None:
        try:
            self.turn()
        except KafkaException as failed:
            _LOGGER.debug("shares of limits: %s", failed)
            self._stopped.wait(AGAIN_S)

    def close(self) -> None:
        """Disconnect."""
        if self._reader is not None:
            self._reader.close()
        if self._writer is not None:
            self._number += 1
            for giver, entries in self._limits.last_requests().items():
                self._write_request(self._writer, giver, entries)
            self._writer.close()

    def turn(self) -> None:
        """Read what has come; give, and ask."""
        reader, writer = self._clients()
        self._note_changes()
        self._note_owner(reader, writer)
        now_s = self._parts.clock()
        messages = reader.read(ACTIVE_READ_S if now_s < self._active_until_s else IDLE_READ_S)
        for message in messages:
            self._take(message)
        self._give(writer)
        self._ask(writer)
        writer.poll()

    def _clients(self) -> tuple[SharesReader, SharesWriter]:
        if self._writer is None:
            self._writer = self._parts.make_writer()
        if self._reader is None:
            reader = self._parts.make_reader()
            reader.start(reader.ask_end(ASK_S)[1])
            self._reader = reader
        return self._reader, self._writer

    # ---- the giver

    @property
    def _given(self) -> Mapping[str, Limit]:
        """{name: limit} of those that this queue gives, as they are in force."""
        return {name: self._in_force.get(name, declared) for name, declared in self._parts.given.items()}

    def _note_changes(self) -> None:
        """Give by the limits that are in force."""
        if self._in_force is not self._limits.in_force:
            self._in_force = self._limits.in_force
            if self._giver is not None:
                self._giver.book.change(self._given, self._parts.clock())

    def _note_owner(self, reader: SharesReader, writer: SharesWriter) -> None:
        """Take over where the first partition has come here, and let go where it has gone."""
        giver = self._giver
        if not (self._parts.given and self._parts.owns_first()):
            self._giver = None
        elif giver is None or (giver.is_over and self._parts.clock() >= self._rests_until_s):
            self._take_over(writer)
        elif giver.epoch is not None and not giver.is_reading:
            giver.is_reading = True
            self._read_back(reader, giver)

    def _take_over(self, writer: SharesWriter) -> None:
        giver = self._giver = _Giver(ShareBook(self._given))

        def note(error: KafkaError | None, message: Message) -> None:
            if error is not None:
                giver.is_over, self._rests_until_s = True, self._parts.clock() + AGAIN_S
                return
            giver.at_s, giver.brokers_ms = self._parts.clock(), message.timestamp()[1]
            giver.epoch = message.offset()

        takeover = ShareRecord(kind=ShareKind.TAKEOVER, giver=self._parts.queue, sender=self._parts.worker_id)
        writer.write(encode_share(takeover), note)

    def _read_back(self, reader: SharesReader, giver: _Giver) -> None:
        rates = [limit for limit in (*self._given.values(), *self._parts.given.values()) if isinstance(limit, Rate)]
        longest_s = max((limit.per.total_seconds() for limit in rates), default=0.0)
        try:
            reader.start_at_time(giver.brokers_ms / 1_000 - longest_s - 3 * SLOTS_VALID_S, ASK_S)
        except KafkaException:
            giver.is_over, self._rests_until_s = True, self._parts.clock() + AGAIN_S
            raise

    def _note_in_book(self, record: ShareRecord, message: Message) -> None:
        """Let the book follow the log; what comes before it is read back comes again."""
        giver, offset = self._giver, message.offset() or 0
        if giver is None or giver.is_over or not giver.is_reading or record.giver != self._parts.queue:
            return
        if record.kind == ShareKind.TAKEOVER:
            self._note_takeover(giver, offset)
        elif offset < (giver.epoch or 0):
            ago_s = (giver.brokers_ms - message.timestamp()[1]) / 1_000
            giver.book.note(record, giver.at_s - max(0.0, ago_s))
        elif record.kind == ShareKind.REQUEST:
            giver.book.note(record, self._parts.clock())

    def _note_takeover(self, giver: _Giver, offset: int) -> None:
        epoch = giver.epoch or 0
        giver.is_read = giver.is_read or offset >= epoch
        if offset > epoch:
            giver.is_over, self._rests_until_s = True, self._parts.clock() + ASK_S
            _LOGGER.info("another worker gives shares of limits", extra=self._fields)

    def _give(self, writer: SharesWriter) -> None:
        giver = self._giver
        if giver is None or not giver.is_read or giver.is_over or giver.epoch is None:
            self._report({})
            return
        now_s = self._parts.clock()
        entries = giver.book.give(now_s)
        if now_s >= self._report_given_at_s:
            self._report_given_at_s = now_s + REPORT_GIVEN_S
            self._report(giver.book.report(now_s))
        if entries:
            grant = ShareRecord(
                kind=ShareKind.GRANT,
                giver=self._parts.queue,
                sender=self._parts.worker_id,
                epoch=giver.epoch,
                entries=tuple(entries),
            )
            writer.write(encode_share(grant), None)

    def _report(self, given: Mapping[str, LimitReport]) -> None:
        if given or self._has_reported:
            self._has_reported = bool(given)
            self._limits.note_given(given)

    # ---- the worker

    def _take(self, message: Message) -> None:
        offset = message.offset() or 0
        try:
            record = decode_share(message.value())
        except (Undecodable, UnknownSchema):
            return
        self._note_in_book(record, message)
        if offset <= self._taken_below:
            return  # read once more, by a giver that took over
        self._taken_below = offset
        if record.kind == ShareKind.REQUEST:
            self._take_closings(record)
        elif record.kind == ShareKind.TAKEOVER:
            self._epochs[record.giver] = offset
        elif record.kind == ShareKind.GRANT and record.epoch >= self._epochs.get(record.giver, 0):
            self._epochs[record.giver] = record.epoch
            self._take_grant(record)

    def _take_closings(self, record: ShareRecord) -> None:
        for entry in record.entries:
            if entry.closed_ms:
                self._limits.note_closed(entry)

    def _take_grant(self, record: ShareRecord) -> None:
        for entry in record.entries:
            sent_at_s = self._sent.get(entry.number)
            if sent_at_s is not None:
                self._limits.note_grant(entry, sent_at_s)
                self._asked_since_s.pop(record.giver, None)

    def _ask(self, writer: SharesWriter) -> None:
        requests = self._limits.requests()
        now_s = self._parts.clock()
        for giver, entries in requests.items():
            self._active_until_s = now_s + ACTIVE_FOR_S
            self._number += 1
            self._sent[self._number] = now_s
            while len(self._sent) > MOST_REQUESTS:
                self._sent.popitem(last=False)
            self._write_request(writer, giver, entries)
        self._report_silence(now_s)

    def _write_request(self, writer: SharesWriter, giver: str, entries: Sequence[ShareEntry]) -> None:
        if any(entry.wanted > entry.used + entry.returned for entry in entries):
            self._asked_since_s.setdefault(giver, self._parts.clock())
        request = ShareRecord(
            kind=ShareKind.REQUEST,
            giver=giver,
            sender=self._parts.worker_id,
            number=self._number,
            entries=tuple(entries),
        )
        writer.write(encode_share(request), None)

    def _report_silence(self, now_s: float) -> None:
        silent = [giver for giver, since_s in self._asked_since_s.items() if now_s >= since_s + SILENT_AFTER_S]
        if silent and now_s >= self._reported_at_s + REPORT_INTERVAL_S:
            self._reported_at_s = now_s
            _LOGGER.warning(
                "jobs wait for shares of limits, and nobody has given any for %.0f s; the worker that owns partition 0 "
                "of queue %s gives them: start one, or see why it stands still", SILENT_AFTER_S, " and ".join(silent),
                extra=self._fields,
            )  # fmt: skip

    @property
    def _fields(self) -> Mapping[str, object]:
        return {log_keys.QUEUE: self._parts.queue}
