"""`ScheduleBook`: what stands on the topic of schedules, as far as it was read."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from functools import partial
from typing import Final

from confluent_kafka import KafkaError, KafkaException, Message

from ...schemas import Undecodable, UnknownSchema
from ...schemas.own_records.schedule_records import (
    LastFiring,
    ScheduleOwner,
    ScheduleRecord,
    decode_firing,
    decode_owner,
    decode_schedule,
)
from ...topology import ClusterSettings, Pipeline
from ...topology.wire.schedules import ScheduleKey, parse_key
from ..control.log_reader import QUICK_END_MS, READ_WITHIN_S, LogReader, asking

_STEP_S: Final = 0.02


class ScheduleBook:
    """The schedules, what each has fired last, and who fires.

    Attributes:
        schedules: {name: the schedule}.
        unreadable: names of schedules that this version of Stoker cannot read.
        owners: {queue: who fires its schedules}, as it was written last.
    """

    def __init__(self) -> None:
        self.schedules: dict[str, ScheduleRecord] = {}
        self.unreadable: set[str] = set()
        self.owners: dict[str, ScheduleOwner] = {}
        self._fired: dict[str, bytes] = {}
        self._take: Final = {
            ScheduleKey.SCHEDULE: self._take_schedule,
            ScheduleKey.FIRED: partial(_put, self._fired),
            ScheduleKey.OWNER: self._take_owner,
        }

    def take(self, messages: Iterable[Message]) -> set[str]:
        """Note records, in their order; returns the names of the schedules that were made, changed or removed."""
        changed: set[str] = set()
        for message in messages:
            kind, name = parse_key(message.key())
            take = self._take.get(kind)  # type: ignore[call-overload]  # an unknown kind finds nothing
            if take is not None:
                take(name, message.value())
            if kind == ScheduleKey.SCHEDULE:
                changed.add(name)
        return changed

    def last_firing(self, name: str) -> LastFiring | None:
        """The last firing of a schedule; None where there is none, or it cannot be read.

        What a newer Stoker has written in a form of its own cannot be read; the schedule is of that form then, too.
        """
        value = self._fired.get(name)
        try:
            return None if value is None else decode_firing(value)
        except (Undecodable, UnknownSchema):
            return None

    def _take_schedule(self, name: str, value: bytes | None) -> None:
        self.schedules.pop(name, None)
        self.unreadable.discard(name)
        if value is None:
            return
        try:
            self.schedules[name] = decode_schedule(value)
        except (Undecodable, UnknownSchema):
            self.unreadable.add(name)

    def _take_owner(self, queue: str, value: bytes | None) -> None:
        try:
            self.owners[queue] = decode_owner(value)
        except (Undecodable, UnknownSchema):
            self.owners.pop(queue, None)


def _put(found: dict[str, bytes], name: str, value: bytes | None) -> None:
    if value is None:
        found.pop(name, None)
    else:
        found[name] = value


def read_book(pipeline: Pipeline, cluster: ClusterSettings, up_to: int = -1) -> ScheduleBook:
    """Read the topic of schedules to its end.

    Args:
        up_to: an offset that is read in any case: what was committed a moment ago is not visible at once.

    Raises:
        ClusterUnreachable: nothing came for so long.
        NotAuthorized: the topic may not be read.
        ControlNotReady: there is no such topic.
    """
    book, topic = ScheduleBook(), pipeline.schedules_topic
    reader = LogReader(cluster, topic, client_id="stoker-schedules", options={"fetch.wait.max.ms": QUICK_END_MS})
    try:
        with asking(cluster, topic):
            reader.start(reader.ask_end(READ_WITHIN_S)[0])
            book.take(reader.read_to_end(READ_WITHIN_S))
            book.take(_read_up_to(reader, up_to))
    finally:
        reader.close()
    return book


def _read_up_to(reader: LogReader, offset: int) -> Iterator[Message]:
    give_up_at_s = time.monotonic() + READ_WITHIN_S
    while reader.position <= offset:
        yield from reader.read(_STEP_S)
        if time.monotonic() > give_up_at_s:
            raise KafkaException(KafkaError(KafkaError._TIMED_OUT))
