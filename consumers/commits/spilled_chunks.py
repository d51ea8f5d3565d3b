"""`SpilledChunks`: which chunks of one assignment are on the progress topic, where, and which of them are due."""

from __future__ import annotations

from typing import Final

from ...topology.wire.commit_metadata import SpilledAt
from ..partitions.chunk_records import ChunkKey
from ..progress.offset_set import chunk_of, chunk_size, first_of
from ..progress.partition_progress import PartitionProgress

SPAN_RECORDS: Final = 1_000
"""Records of the progress topic that are read at most to restore a partition, or four for each of its chunks."""
SPAN_FACTOR: Final = 4

Mark = tuple[int, int]
"""A chunk's incomplete offsets, and its known ones, by number. As the latter grow, or the former become fewer, it has
changed; neither ever goes the other way alone."""


class SpilledChunks:
    """The chunks of one assignment; owned by the poll thread, without I/O.

    Attributes:
        epoch: distinguishes its chunks from those of all other assignments, also of other workers.
        next_at_s: when the next ones may be written.
    """

    def __init__(self, topic: str, partition: int, epoch: int) -> None:
        self._topic = topic
        self._partition = partition
        self.epoch = epoch
        self.next_at_s = 0.0
        self._confirmed: dict[int, Mark] = {}
        self._places: dict[int, int] = {}
        self._under_way: dict[int, Mark] = {}
        self._needed = range(0)

    def key(self, number: int) -> bytes:
        """The key of a chunk's records."""
        return ChunkKey(self._topic, self._partition, self.epoch, number).encode()

    @property
    def is_under_way(self) -> bool:
        """Whether answers of the brokers are awaited."""
        return bool(self._under_way)

    def due(self, progress: PartitionProgress, end: int) -> list[tuple[int, Mark]]:
        """The chunks to be written, what was never written first, then the oldest.

        These are those that have changed, and some that lie so far before the topic's end that a new owner would have
        much to read.
        """
        marks = _marks(progress)
        self._needed = range(min(marks, default=0), max(marks, default=-1) + 1)
        far = end - max(SPAN_RECORDS, SPAN_FACTOR * len(marks))
        due = [
            (self._places.get(number, -1), number)
            for number, mark in marks.items()
            if self._confirmed.get(number) != mark or self._places[number] < far
        ]
        return [(number, marks[number]) for _, number in sorted(due)]

    def note_sent(self, number: int, mark: Mark) -> None:
        """Note that a chunk is on its way."""
        self._under_way[number] = mark

    def note_confirmed(self, number: int, offset: int) -> None:
        """Note that the brokers have it at an offset."""
        mark = self._under_way.pop(number, None)
        if mark is not None:
            self._confirmed[number], self._places[number] = mark, offset

    def note_failed(self, number: int) -> None:
        """Note that a chunk was not written: it is due again."""
        self._under_way.pop(number, None)

    def note_all_failed(self) -> None:
        """Note that nothing that is on its way will be answered."""
        self._under_way.clear()

    @property
    def lacks_any(self) -> bool:
        """Whether a chunk that is needed was never written, and is not on its way."""
        return any(number not in self._places and number not in self._under_way for number in self._needed)

    @property
    def spilled_at(self) -> SpilledAt | None:
        """The offset that a commit may refer to; None as long as a chunk that is needed is not there."""
        places = [self._places.get(number) for number in self._needed]
        there = [place for place in places if place is not None]
        return SpilledAt(self.epoch, min(there)) if there and len(there) == len(places) else None

    def take_past(self, committed: int | None) -> list[int]:
        """The chunks that are no longer needed below a committed offset, or all; they are forgotten."""
        past = [n for n in self._places if committed is None or n < chunk_of(committed)]
        for number in past:
            del self._places[number], self._confirmed[number]
        return past


def _marks(progress: PartitionProgress) -> dict[int, Mark]:
    """{chunk: its mark} of all chunks between the committed offset and the position."""
    committed, position = progress.committable() or 0, progress.position
    found = progress.incomplete_set()
    return {
        number: (found.count_in(number), min(chunk_size(), position - first_of(number)))
        for number in range(chunk_of(committed), chunk_of(position - 1) + 1)
    }
