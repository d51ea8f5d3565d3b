"""`Reservations`: writes what an owner of partitions uses of limits by key and tenant, ahead of the use, in turns.

Each partition has a log of its own, `<namespace>.<queue>.limits`. A new owner writes a takeover, reads the log up to
it, and goes on with the levels that it finds. From then on it writes reservations, and reads them back: one counts when
the log has it with no other owner's takeover before it.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Final

from confluent_kafka import KafkaError, KafkaException, Message

from ...schemas.own_records.reservation_records import (
    RENEWS,
    UNKNOWN_MS,
    ReservationEntry,
    ReservationKind,
    ReservationRecord,
    encode_reservation,
)
from ...topology.cluster.kafka_errors import as_error, is_fatal
from .. import log_keys
from ..log_turns import AGAIN_S, ASK_S, REPLACED_REST_S, SILENT_AFTER_S, ReadPace, SilenceReport
from ..meters.reserved_meter import VALID_S
from .ownership import FEW_ENTRIES, Ownership, Renewal, TakeoverPhase
from .partition_log import PartitionLog
from .ports import LevelReader, LevelWriter, ReservationParts, ReservedLimits

_LOGGER = logging.getLogger("stoker.limits")

ACTIVE_READ_S: Final = 0.005
ASK_BESIDE_S: Final = VALID_S / 4
"""How long it may take while others are kept: those are renewed when half of their time is left."""
MOST_ENTRIES: Final = 500
"""Entries of one record, at most."""
MOST_PER_SCOPE: Final = 4
"""The log is begun anew when it has so many entries for each scope, and some more."""


class Reservations:
    """Driven by a `TurnThread`: takes over, reserves and gives up."""

    def __init__(self, limits: ReservedLimits, parts: ReservationParts) -> None:
        self._limits, self._parts = limits, parts
        self._reader: LevelReader | None = None
        self._writer: LevelWriter | None = None
        self._owned: dict[int, Ownership] = {}
        self._number = 0
        self._pace = ReadPace(ACTIVE_READ_S, parts.clock)
        self._silence = SilenceReport(parts.clock)

    def close(self) -> None:
        """Write the exact levels, and disconnect."""
        if self._writer is not None:
            for number in list(self._owned):
                self._give_up(self._writer, number)
            self._writer.close()
        if self._reader is not None:
            self._reader.close()

    def turn(self) -> None:
        """Follow the partitions as they come and go, read what has come, and write what is to be reserved.

        Raises:
            KafkaException: of a client, or of the brokers. A reader that has failed for good is replaced in the next
                turn.
        """
        try:
            self._turn()
        except KafkaException as failed:
            if is_fatal(as_error(failed)):
                self._drop_reader()
            raise

    def _drop_reader(self) -> None:
        """Give up the reader; its partitions are taken over once more, since the next one does not know them.

        It is not closed, as that would wait for what never ends.
        """
        self._reader = None
        for ownership in self._owned.values():
            if not ownership.is_resting:
                self._begin_anew(ownership, AGAIN_S)

    def _turn(self) -> None:
        reader, writer = self._clients()
        self._follow_owned(reader, writer)
        self._begin_rested(reader, writer, self._parts.clock())
        for message in reader.read(self._pace.wait_s):
            self._take(reader, writer, message)
        self._reserve(writer)
        for partition, ownership in self._owned.items():
            if ownership.is_keeping:
                self._renew(writer, partition, ownership)
        writer.poll()
        self._report_silence()

    def _clients(self) -> tuple[LevelReader, LevelWriter]:
        if self._writer is None:
            self._writer = self._parts.make_writer()
        if self._reader is None:
            self._reader = self._parts.make_reader()
        return self._reader, self._writer

    # ---- partitions come and go

    def _follow_owned(self, reader: LevelReader, writer: LevelWriter) -> None:
        owned = self._limits.owned()
        for partition in [partition for partition in self._owned if partition not in owned]:
            self._give_up(writer, partition)
            reader.end(partition)
        for partition, number in owned.items():
            known = self._owned.get(partition)
            if known is None or known.number != number:
                log = PartitionLog(self._parts.make_session())
                self._owned[partition] = Ownership(number, log, self._parts.clock())

    def _give_up(self, writer: LevelWriter, partition: int) -> None:
        """Write the exact levels of a partition, for its next owner."""
        ownership = self._owned.pop(partition)
        entries = self._limits.suspend(partition)
        if ownership.is_keeping:
            for first in range(0, len(entries), MOST_ENTRIES):
                self._number += 1
                self._write_reservations(writer, partition, ownership, entries[first : first + MOST_ENTRIES])

    # ---- a takeover

    def _begin_rested(self, reader: LevelReader, writer: LevelWriter, now_s: float) -> None:
        """Begin the takeovers that are due; the others are due in the next turn once one partition does not answer."""
        is_alone = all(not ownership.is_keeping for ownership in self._owned.values())
        for partition, ownership in self._owned.items():
            if ownership.is_resting and now_s >= ownership.rests_until_at_s:
                edges = self._ask_edges(reader, partition, ownership, ASK_S if is_alone else ASK_BESIDE_S)
                if edges is None:
                    return
                self._begin(reader, writer, partition, ownership, edges)

    def _ask_edges(
        self, reader: LevelReader, partition: int, ownership: Ownership, within_s: float
    ) -> tuple[int, int] | None:
        """Where the partition begins and ends; None where it does not answer, and is asked again after a rest.

        Raises:
            KafkaException: the client has failed for good.
        """
        try:
            return reader.ask_edges(partition, within_s)
        except KafkaException as failed:
            self._begin_anew(ownership, AGAIN_S)
            if is_fatal(as_error(failed)):
                raise
            return None

    def _begin(
        self, reader: LevelReader, writer: LevelWriter, partition: int, ownership: Ownership, edges: tuple[int, int]
    ) -> None:
        """Find where to read from: the last record holds it."""
        self._pace.note_active()
        low, high = edges
        ownership.since = high
        if low < high:
            ownership.find_last()
            self._start(reader, partition, ownership, high - 1)
        else:
            self._take_over(reader, writer, partition, ownership)

    def _take_over(self, reader: LevelReader, writer: LevelWriter, partition: int, ownership: Ownership) -> None:
        ownership.take_over()
        if not self._start(reader, partition, ownership, ownership.since):
            return
        # Of an empty log, an owner of a release without reservations may have begun anything.
        detail = {} if ownership.since or ownership.log.records else {UNKNOWN_MS: "0"}
        ownership.log = PartitionLog(ownership.log.own)
        self._write_takeover(writer, partition, ownership, detail)

    def _start(self, reader: LevelReader, partition: int, ownership: Ownership, offset: int) -> bool:
        """Read from there on; where the client refuses that, take over once more. Returns whether it is read.

        Raises:
            KafkaException: the client has failed for good. Others lose nothing by a refusal: what is read goes on.
        """
        try:
            reader.start(partition, offset)
        except KafkaException as refusal:
            self._begin_anew(ownership, AGAIN_S)
            if is_fatal(as_error(refusal)):
                raise
            return False
        return True

    def _write_takeover(
        self, writer: LevelWriter, partition: int, ownership: Ownership, detail: Mapping[str, str]
    ) -> None:
        session = ownership.log.own

        def note(error: KafkaError | None, _message: Message | None) -> None:
            if error is not None and ownership.log.own == session:
                self._begin_anew(ownership, AGAIN_S)

        record = ReservationRecord(kind=ReservationKind.TAKEOVER, session=session, since=ownership.since, detail=detail)
        writer.write(encode_reservation(record), note, partition)

    def _begin_anew(self, ownership: Ownership, rest_s: float) -> None:
        """Take over once more, after a rest."""
        ownership.begin_anew(self._parts.make_session(), self._parts.clock() + rest_s)

    # ---- what the log holds

    def _take(self, reader: LevelReader, writer: LevelWriter, message: Message) -> None:
        partition = message.partition()
        ownership = None if partition is None else self._owned.get(partition)
        if partition is None or ownership is None or ownership.is_resting:
            return
        record = ownership.log.note(message)
        if ownership.phase is TakeoverPhase.FINDING:
            ownership.since = ownership.log.since
            self._take_over(reader, writer, partition, ownership)
        elif ownership.phase is TakeoverPhase.TAKING:
            if ownership.log.taken_over_at is not None:
                self._restore(partition, ownership)
        elif record is not None:
            self._take_kept(partition, ownership, record, message.offset() or 0)

    def _restore(self, partition: int, ownership: Ownership) -> None:
        now_s, log = self._parts.clock(), ownership.log
        ownership.keep(now_s)
        self._limits.restore(partition, log.take_levels(now_s), log.unknown_at_s(now_s))

    def _take_kept(self, partition: int, ownership: Ownership, record: ReservationRecord, offset: int) -> None:
        if record.session != ownership.log.own:
            _LOGGER.info(
                "another worker keeps the limits of partition %d", partition,
                extra={log_keys.QUEUE: self._parts.queue, log_keys.PARTITIONS: [partition]},
            )  # fmt: skip
            self._limits.suspend(partition)
            self._begin_anew(ownership, REPLACED_REST_S)
        elif record.kind == ReservationKind.RESERVATIONS:
            ownership.confirmed, ownership.waits_since_at_s = record.number, None
            self._limits.confirm(partition, record.number)
        elif ownership.renewal is not None and ownership.renewal.since is None:
            ownership.renewal.since = offset
            ownership.renewal.left.extend(self._limits.scopes(partition))
            ownership.log.entries = 0

    # ---- what is written

    def _reserve(self, writer: LevelWriter) -> None:
        self._number += 1
        for partition, entries in self._limits.collect(self._number).items():
            ownership = self._owned.get(partition)
            self._pace.note_active()
            if ownership is None or not ownership.is_keeping:
                self._limits.fail(partition, self._number)
            else:
                self._write_reservations(writer, partition, ownership, entries)

    def _write_reservations(
        self, writer: LevelWriter, partition: int, ownership: Ownership, entries: Sequence[ReservationEntry]
    ) -> None:
        number, session = self._number, ownership.log.own

        def note(error: KafkaError | None, _message: Message | None) -> None:
            if error is not None and ownership.log.own == session:
                ownership.renewal = None
                self._limits.fail(partition, number)

        if ownership.waits_since_at_s is None:
            ownership.waits_since_at_s = self._parts.clock()
        record = ReservationRecord(
            kind=ReservationKind.RESERVATIONS,
            session=session,
            number=number,
            since=ownership.since,
            entries=tuple(entries),
        )
        writer.write(encode_reservation(record), note, partition)

    # ---- a log that is long is begun anew

    def _renew(self, writer: LevelWriter, partition: int, ownership: Ownership) -> None:
        """Write all scopes once more, some in each turn, so that the next owner needs nothing before."""
        renewal = ownership.renewal
        if renewal is None:
            if self._is_long(partition, ownership):
                ownership.renewal = Renewal()
                for_s = self._limits.unknown_for_s(partition)
                unknown = {} if for_s is None else {UNKNOWN_MS: f"{int(1_000 * for_s)}"}
                self._write_takeover(writer, partition, ownership, {RENEWS: "true", **unknown})
        elif renewal.left:
            self._renew_some(writer, partition, ownership, renewal)
        elif renewal.since is not None and ownership.confirmed >= renewal.last:
            ownership.since, ownership.renewal, ownership.began_at_s = renewal.since, None, self._parts.clock()

    def _is_long(self, partition: int, ownership: Ownership) -> bool:
        if self._parts.clock() - ownership.began_at_s > self._limits.longest_s:
            return True
        if ownership.log.entries <= ownership.most_entries:
            return False
        ownership.most_entries = FEW_ENTRIES + MOST_PER_SCOPE * len(self._limits.scopes(partition))
        return ownership.log.entries > ownership.most_entries

    def _renew_some(self, writer: LevelWriter, partition: int, ownership: Ownership, renewal: Renewal) -> None:
        self._number += 1
        names = [renewal.left.popleft() for _ in range(min(MOST_ENTRIES, len(renewal.left)))]
        entries, later = self._limits.states(partition, names, self._number)
        renewal.left.extend(later)
        if entries:
            renewal.last = self._number
            self._write_reservations(writer, partition, ownership, entries)

    def _report_silence(self) -> None:
        silent = self._silence.take_silent(
            {
                partition: ownership.waits_since_at_s
                for partition, ownership in self._owned.items()
                if ownership.waits_since_at_s is not None
            }
        )
        if silent:
            _LOGGER.warning(
                "jobs wait for limits by key or tenant whose levels cannot be kept: topic %s has not answered for "
                "%.0f s; check the topic (`stoker topology plan`), and Read and Write on it", self._parts.topic,
                SILENT_AFTER_S, extra={log_keys.QUEUE: self._parts.queue, log_keys.PARTITIONS: silent},
            )  # fmt: skip
