"""Units of a replay: the records that it publishes together, and where its progress over a source topic is kept."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from confluent_kafka import Consumer, TopicPartition

from ..stored_jobs.stored_job import RawHeaders

_RECORD_OVERHEAD_BYTES: Final = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class Outgoing:
    """One record to be published."""

    topic: str
    partition: int
    key: bytes | None
    value: bytes | None
    headers: RawHeaders

    @property
    def size_bytes(self) -> int:
        """The size of the record on the wire, rather too high than too low."""
        in_headers = sum(len(name) + len(value or b"") + 8 for name, value in self.headers)
        return len(self.key or b"") + len(self.value or b"") + in_headers + _RECORD_OVERHEAD_BYTES


@dataclass(frozen=True, slots=True, kw_only=True)
class Unit:
    """Records that belong together, the smallest thing published.

    Attributes:
        label: what an operator calls it, for messages.
        records: in the order of publishing; may be empty, to note progress only.
        source: (partition, next offset to read) that is committed along; None where progress is kept in the records.
    """

    label: str
    records: tuple[Outgoing, ...]
    source: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RefusedUnit:
    """A unit that the brokers do not take, and why; the rest of its batch was published."""

    unit: Unit
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Bookmark:
    """Where progress over a source topic is kept: as the offsets of a group without members.

    Attributes:
        group: its name.
        consumer: of that group; it must outlive the publisher.
        texts: {partition: text kept beside its offset}.
    """

    group: str
    consumer: Consumer
    topic: str
    texts: Mapping[int, str] = field(default_factory=dict)

    def offsets(self, units: Iterable[Unit]) -> list[TopicPartition]:
        """The offsets to commit for the units' sources."""
        reached: dict[int, int] = {}
        for unit in units:
            if unit.source is not None:
                partition, offset = unit.source
                reached[partition] = max(offset, reached.get(partition, 0))
        return [
            TopicPartition(self.topic, number, offset, self.texts.get(number)) for number, offset in reached.items()
        ]
