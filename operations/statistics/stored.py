"""Reads `<namespace>.stats`: the last record of each pane, and how far each events partition is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from confluent_kafka import Message

from ...schemas import Undecodable, UnknownSchema
from ...schemas.own_records.statistics_records import StatisticsPosition, decode_position, is_pane, is_position
from ...topology import ClusterSettings
from ..stored_jobs.topic_reader import Span, TopicReader
from .panes import PaneName

TAIL: Final = 100
"""The records at the end of a partition among which its last position is, if it ever was written."""
MARGIN_S: Final = 15.0
"""How much longer ago than the window records are read: a pane was written last after it had begun."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredPosition:
    """A position; `written` is when the brokers got it."""

    position: StatisticsPosition
    written: datetime


@dataclass(slots=True)
class StoredStatistics:
    """The topic's latest records.

    Attributes:
        panes: {events partition: {pane: its record's value}}.
        positions: {events partition: how far it is}.
    """

    panes: dict[int, dict[PaneName, bytes]] = field(default_factory=dict)
    positions: dict[int, StoredPosition] = field(default_factory=dict)


def read_stored(
    cluster: ClusterSettings, topic: str, since: datetime, partition: int | None = None
) -> StoredStatistics:
    """Read what was written since then, and the last positions, which may be older.

    Args:
        partition: of the topic; None for all.

    Raises:
        TopicAbsent, NotAuthorized, ClusterUnreachable, ReadStalled: it cannot be read.
    """
    found = StoredStatistics()
    with TopicReader(cluster, topic) as reader:
        starts = reader.offsets_at(since)
        spans = [span for span in reader.spans() if partition in (None, span.partition)]
        for message in reader.read([_since(span, starts.get(span.partition)) for span in spans]):
            _note(found, message)
    return found


def _since(span: Span, start: int | None) -> Span:
    """The span from that offset, or from a little before its end, on."""
    tail = max(span.start, span.end - TAIL)
    return Span(partition=span.partition, start=tail if start is None else min(start, tail), end=span.end)


def _note(found: StoredStatistics, message: Message) -> None:
    value = message.value()
    if is_pane(value) and value is not None:
        for partition, name in _named(message.key()):
            found.panes.setdefault(partition, {})[name] = value
    elif is_position(value):
        try:
            position = decode_position(value)
        except (Undecodable, UnknownSchema):
            return
        written = datetime.fromtimestamp(message.timestamp()[1] / 1e3, UTC)
        found.positions[position.partition] = StoredPosition(position=position, written=written)


def _named(key: bytes | None) -> Iterator[tuple[int, PaneName]]:
    """The events partition and the pane that a key names; nothing of another key."""
    parts = (key or b"").decode("utf-8", "replace").split("/")
    if len(parts) == 4 and parts[1].isdigit() and parts[2].isdigit():
        yield int(parts[1]), (parts[3], int(parts[2]))
