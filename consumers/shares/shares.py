"""`Shares`: asks for shares of limits in turns, and gives them as the owner of the giving queue's first partition.

All of it goes over one log, `<namespace>.shares`. Workers pass over grants that an earlier coordinator wrote behind the
takeover of a later one.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Final

from confluent_kafka import Message

from ...schemas import Undecodable, UnknownSchema
from ...schemas.own_records.share_records import ShareEntry, ShareKind, ShareRecord, decode_share, encode_share
from .. import log_keys
from ..log_turns import ASK_S, SILENT_AFTER_S, ReadPace, SilenceReport
from .coordinator import ShareCoordinator
from .ports import SharedLimits, SharesParts, SharesReader, SharesWriter

_LOGGER = logging.getLogger("stoker.limits")

ACTIVE_READ_S: Final = 0.01
MOST_REQUESTS: Final = 1_000


class Shares:
    """Driven by a `TurnThread`: asks and gives."""

    def __init__(self, limits: SharedLimits, parts: SharesParts) -> None:
        self._limits, self._parts = limits, parts
        self._reader: SharesReader | None = None
        self._writer: SharesWriter | None = None
        self._coordinator = ShareCoordinator(limits, parts)
        self._epochs: dict[str, int] = {}
        self._taken_below = -1
        self._number = 0
        self._sent: OrderedDict[int, float] = OrderedDict()
        self._pace = ReadPace(ACTIVE_READ_S, parts.clock)
        self._asked_since_at_s: dict[str, float] = {}
        self._silence = SilenceReport(parts.clock)

    def close(self) -> None:
        """Return what no job uses, and disconnect."""
        self._coordinator.close()
        if self._reader is not None:
            self._reader.close()
        if self._writer is not None:
            self._number += 1
            for coordinator, entries in self._limits.last_requests().items():
                self._write_request(self._writer, coordinator, entries)
            self._writer.close()

    def turn(self) -> None:
        """Read what has come; give, and ask."""
        reader, writer = self._clients()
        self._coordinator.turn(reader, writer)
        for message in reader.read(ACTIVE_READ_S if self._coordinator.is_reading_back else self._pace.wait_s):
            self._take(message)
        self._coordinator.give(writer)
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

    # ---- the worker

    def _take(self, message: Message) -> None:
        offset = message.offset() or 0
        try:
            record = decode_share(message.value())
        except (Undecodable, UnknownSchema):
            return
        self._coordinator.note(record, message)
        if offset <= self._taken_below:
            return  # read once more, by a coordinator that took over
        self._taken_below = offset
        if record.kind == ShareKind.REQUEST:
            self._take_holds(record)
        elif record.kind == ShareKind.TAKEOVER:
            self._epochs[record.coordinator] = offset
        elif record.kind == ShareKind.GRANT and record.epoch >= self._epochs.get(record.coordinator, 0):
            self._epochs[record.coordinator] = record.epoch
            self._take_grant(record)

    def _take_holds(self, record: ShareRecord) -> None:
        for entry in record.entries:
            if entry.closed_ms:
                self._limits.note_held(entry)

    def _take_grant(self, record: ShareRecord) -> None:
        for entry in record.entries:
            sent_at_s = self._sent.get(entry.number)
            if sent_at_s is not None:
                self._limits.note_grant(entry, sent_at_s)
                self._asked_since_at_s.pop(record.coordinator, None)

    def _ask(self, writer: SharesWriter) -> None:
        requests = self._limits.requests()
        now_s = self._parts.clock()
        for coordinator, entries in requests.items():
            self._pace.note_active()
            self._number += 1
            self._sent[self._number] = now_s
            while len(self._sent) > MOST_REQUESTS:
                self._sent.popitem(last=False)
            self._write_request(writer, coordinator, entries)
        self._report_silence()

    def _write_request(self, writer: SharesWriter, coordinator: str, entries: Sequence[ShareEntry]) -> None:
        if any(entry.wanted > entry.used + entry.returned for entry in entries):
            self._asked_since_at_s.setdefault(coordinator, self._parts.clock())
        request = ShareRecord(
            kind=ShareKind.REQUEST,
            coordinator=coordinator,
            sender=self._parts.worker_id,
            number=self._number,
            entries=tuple(entries),
        )
        writer.write(encode_share(request), None)

    def _report_silence(self) -> None:
        silent = self._silence.take_silent(self._asked_since_at_s)
        if silent:
            _LOGGER.warning(
                "jobs wait for shares of limits, and no worker has given any for %.0f s; the worker that owns "
                "partition 0 of queue %s gives them: start one, or see why it stands still",
                SILENT_AFTER_S, " and ".join(silent),
                extra=self._fields,
            )  # fmt: skip

    @property
    def _fields(self) -> Mapping[str, object]:
        return {log_keys.QUEUE: self._parts.queue}
