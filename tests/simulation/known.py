"""What the brokers know of a partition's progress, offset by offset: counted here without the worker's own sets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

from confluent_kafka import Message

from simulation.brokers import Place, SimBrokers
from stoker.consumers.partitions.chunk_records import ChunkKey, decode_chunk
from stoker.consumers.progress.offset_set import first_of
from stoker.topology.wire.commit_metadata import CommitMetadata


@dataclass(frozen=True, slots=True)
class Known:
    """A commit, and what it means.

    Attributes:
        left: the offsets below the position that are not complete.
    """

    state: CommitMetadata
    position: int
    left: frozenset[int]

    def is_complete(self, offset: int) -> bool:
        """Whether the record there needs nothing more."""
        return offset < self.state.committed_offset or (offset < self.position and offset not in self.left)


def committed_state(brokers: SimBrokers, place: Place) -> CommitMetadata:
    """What the commit of a partition says by itself."""
    offset, metadata = brokers.committed.get(place, (0, ""))
    return _decode(metadata, offset)


@lru_cache(4096)  # each commit is asked for many times
def _decode(metadata: str, offset: int) -> CommitMetadata:
    return CommitMetadata.decode(metadata, offset) or CommitMetadata(committed_offset=offset, position=offset)


def known_of(brokers: SimBrokers, place: Place, progress_topic: str) -> Known:
    """The same with what it refers to."""
    state = committed_state(brokers, place)
    if state.spilled_at is None:
        left = frozenset(offset for start, end in state.incomplete for offset in range(start, end))
        return Known(state, state.position, left)
    complete, ends = set[int](), [state.position]
    last = _last_records(brokers.logs[progress_topic, place[1]].records, state.spilled_at.offset)
    for raw, value in last.items():
        key, chunk = ChunkKey.decode(raw), decode_chunk(raw, value)
        if key is None or chunk is None or key[:3] != (*place, state.spilled_at.epoch):
            continue
        first = first_of(key.number)
        ends.append(first + chunk.known)
        complete |= {first + at for at in range(chunk.known) if not chunk.bits[at // 8] >> at % 8 & 1}
    return Known(state, max(ends), frozenset(range(state.committed_offset, max(ends))) - complete)


def _last_records(records: Mapping[int, Message], start: int) -> dict[bytes, bytes]:
    """{key: its last value} from an offset on."""
    found: dict[bytes, bytes] = {}
    for offset, message in sorted(records.items()):
        key = message.key()
        if offset >= start and isinstance(key, bytes):
            found[key] = message.value() or b""
    return found
