"""Where an assignment begins: what the owner before has committed, held against what the partition holds by now."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from confluent_kafka import Consumer, TopicPartition

from ...topology import Queue
from ...topology.cluster.leaders import answered
from ...topology.counts import counted
from ...topology.wire.commit_metadata import CommitMetadata, OffsetRange, SpilledAt
from .. import log_keys
from ..kafka.log_tail import REQUEST_TIMEOUT_S, ShouldStop
from ..ordering.pending_retries import read_awaited
from ..partitions.chunk_reader import FoundChunks, read_chunks
from ..progress.assignment import Assignment, Awaited, Lane
from ..progress.offset_set import OffsetSet
from ..unique.waiting_holders import WaitingHolder, read_waiting
from .carried import CarriedJobs, read_carried

_LOGGER = logging.getLogger("stoker.progress")

EARLIEST: Final = -2
LATEST: Final = -1
"""Kafka's marks, in place of a time, for where a partition begins and ends."""
UNSEEN_SPAN: Final = 1_000
"""An owner that died may have begun jobs beyond the position that it committed last: so many are taken for begun."""
WIDENED_AFTER: Final = 2
"""From so many deaths on, each further one doubles the span: else a job beyond it would kill owners for ever, where a
job before it takes long and owners die sooner than they commit their position."""
MOST_DOUBLED: Final = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class StartPosition:
    """Where one assignment begins.

    Attributes:
        state: what is known of the partition, open, with the last owner's death counted if it has died.
        incomplete: which offsets below the position are incomplete; None where `state` has them.
        spilled_at: where on the progress topic these were found; None where they were not there.
        former_chunks: the keys of what stands there of this partition, by the chunk's number.
        awaited: of a tier, where order is strict: {key: {offset: a record there that is not complete}}.
        unique: of a tier or a delay topic, the unique jobs that wait there.
        carried: of a carried topic, its records that are not complete; None for any other.
    """

    state: CommitMetadata
    incomplete: OffsetSet | None = None
    spilled_at: SpilledAt | None = None
    former_chunks: Sequence[tuple[int, bytes]] = ()
    awaited: Mapping[Lane, Mapping[int, Awaited]] = field(default_factory=dict)
    unique: Sequence[WaitingHolder] = ()
    carried: CarriedJobs | None = None

    def is_complete(self, offset: int) -> bool:
        """Whether the record there needs nothing more."""
        is_left = self.incomplete is not None and offset in self.incomplete
        return offset < self.state.committed_offset or (offset < self.state.position and not is_left)


class StartPositions:
    """Knows what the group has committed for some assignments, and where their partitions begin and end."""

    def __init__(
        self, consumer: Consumer, queue: Queue, assignments: Collection[Assignment], should_stop: ShouldStop
    ) -> None:
        """Ask for commits and ends.

        Raises:
            KafkaException: the brokers do not answer.
        """
        self._consumer, self._queue, self._should_stop = consumer, queue, should_stop
        self._by_number: dict[int, list[Assignment]] = {}
        for assignment in assignments:
            self._by_number.setdefault(assignment.partition, []).append(assignment)
        partitions = [(assignment.topic, assignment.partition) for assignment in assignments]
        # First what is committed, then the ends: whatever a commit marks as moved elsewhere, to a tier, lies below
        # them, also if the owner before is still at work, as one is that was cut off.
        committed = consumer.committed([TopicPartition(*at) for at in partitions], timeout=REQUEST_TIMEOUT_S)
        self._committed = {(at.topic, at.partition): at for at in answered(committed)}
        self._lows, self._highs = _edges(consumer, partitions, EARLIEST), _edges(consumer, partitions, LATEST)

    @property
    def numbers(self) -> list[int]:
        """The numbers of the partitions."""
        return sorted(self._by_number)

    def of(self, number: int) -> dict[Assignment, StartPosition]:
        """Read on where the assignments of a partition number begin: its main topic's, tiers' and delays'.

        What waits in tiers and delays is not among it: see `with_waiting`.

        Raises:
            Unrestorable, KafkaException: the brokers do not answer.
        """
        return {assignment: self._find(assignment) for assignment in self._by_number[number]}

    def _find(self, assignment: Assignment) -> StartPosition:
        consumer, queue, should_stop = self._consumer, self._queue, self._should_stop
        at = assignment.topic, assignment.partition
        high = self._highs[at]
        found = _Former(consumer, queue, self._committed[at], should_stop).start_position(self._lows[at], high)
        if assignment.source.has_copies and found.state.committed_offset <= high:
            stretch = found.state.committed_offset, high
            carried = read_carried(consumer, assignment, queue, stretch, found.is_complete, should_stop)
            found = replace(found, carried=carried)
        return found

    def with_waiting(self, found: Mapping[Assignment, StartPosition]) -> dict[Assignment, StartPosition]:
        """Add what waits in tiers and delays for later jobs of its keys or identities, up to their present ends.

        It is called when the ledger has been read: an owner that was cut off goes on until it notices that. Of a job
        that it has moved, and that is skipped for its name in the ledger, the next record must be known.

        Raises:
            Unrestorable, KafkaException: the brokers do not answer.
        """
        delayed = [assignment for assignment in found if self._has_waiting(assignment)]
        if not delayed:
            return dict(found)
        highs = _edges(self._consumer, [(assignment.topic, assignment.partition) for assignment in delayed], LATEST)
        return {**found, **{a: self._add_waiting(a, found[a], highs[a.topic, a.partition]) for a in delayed}}

    def _has_waiting(self, assignment: Assignment) -> bool:
        source, queue = assignment.source, self._queue
        return (queue.ordering == "strict" and source.goes_ahead) or (bool(queue.unique) and source.is_delayed)

    def _add_waiting(self, assignment: Assignment, found: StartPosition, high: int) -> StartPosition:
        consumer, queue, should_stop = self._consumer, self._queue, self._should_stop
        stretch = found.state.committed_offset, high
        if queue.ordering == "strict" and assignment.source.goes_ahead:
            awaited = read_awaited(consumer, assignment, stretch, found.is_complete, should_stop)
            found = replace(found, awaited=awaited)
        if queue.unique and assignment.source.is_delayed:
            unique = read_waiting(consumer, assignment, stretch, found.is_complete, should_stop)
            found = replace(found, unique=unique)
        return found


def _edges(consumer: Consumer, partitions: Iterable[tuple[str, int]], which: int) -> dict[tuple[str, int], int]:
    """{partition: where it begins or ends}, all of them in one request to each broker."""
    asked = [TopicPartition(*partition, which) for partition in partitions]
    answers = consumer.offsets_for_times(asked, timeout=REQUEST_TIMEOUT_S)
    return {(partition.topic, partition.partition): partition.offset for partition in answered(answers)}


class _Former:
    """The commit and the chunks that the last owner of a partition has left behind."""

    def __init__(self, consumer: Consumer, queue: Queue, partition: TopicPartition, should_stop: ShouldStop) -> None:
        self._consumer = consumer
        self._queue = queue
        self._partition = partition
        self._should_stop = should_stop
        self._spilled_at: SpilledAt | None = None
        self._former_chunks: Sequence[tuple[int, bytes]] = ()

    def start_position(self, low: int, high: int) -> StartPosition:
        """Where the next one begins, in a log from offset `low` up to, not including, `high`."""
        offset = self._partition.offset
        if offset < 0:  # nothing was ever committed
            return StartPosition(state=CommitMetadata(committed_offset=low, position=low))
        if offset > high:
            self._warn(
                f"the committed offset {offset} lies beyond the end, {high}: the topic was created again or truncated. "
                f"Going on from its first record, {low}; jobs that the ledger remembers do not run again"
            )
            # The first record to come will lie before this, and begin the partition anew. Were the end wrong,
            # none would, and no offset is committed that makes everything run again.
            return StartPosition(state=CommitMetadata(committed_offset=offset, position=offset))
        known = self._read_former() or CommitMetadata(committed_offset=offset, position=offset, is_open=False)
        state, incomplete = self._read_incomplete(known)
        state = self._past_deleted(self._before_the_end(state, high), incomplete, low)
        incomplete.keep(state.committed_offset, state.position)
        return StartPosition(
            state=taken_over(state, high),
            incomplete=incomplete,
            spilled_at=self._spilled_at,
            former_chunks=self._former_chunks,
        )

    def _before_the_end(self, state: CommitMetadata, high: int) -> CommitMetadata:
        if state.position <= high:
            return state
        self._spilled_at = None  # chunks that know of the records there may not count for what comes in their place
        self._warn(
            f"it ends at {high}, and records up to {state.position} were seen before: it was truncated. "
            "What comes in their place is run"
        )
        return replace(state, position=max(state.committed_offset, high))

    def _past_deleted(self, state: CommitMetadata, incomplete: OffsetSet, low: int) -> CommitMetadata:
        if state.committed_offset >= low:
            return state
        incomplete.keep(0, state.position)
        lost = incomplete.clear(0, low) + max(0, low - state.position)
        if lost:
            self._warn(
                f"records were deleted before they were run, {lost} at most, from offset {state.committed_offset} to "
                f"{low - 1}: they waited for longer than the topic keeps them, or somebody deleted them. Going on from "
                f"{low}"
            )
        return replace(state, committed_offset=low, position=max(low, state.position))

    def _read_former(self) -> CommitMetadata | None:
        metadata, offset = self._partition.metadata, self._partition.offset
        state = CommitMetadata.decode(metadata, offset)
        if state is None:
            self._warn(
                f"the metadata of the committed offset {offset} {CommitMetadata.fault(metadata, offset)}. Going on "
                "from there; jobs beyond it that are done come again, and the ledger skips those that it remembers"
            )
            return None
        return state

    def _read_incomplete(self, state: CommitMetadata) -> tuple[CommitMetadata, OffsetSet]:
        """Which offsets the last owner left incomplete, of the commit or of the progress topic, and the state by it."""
        if state.spilled_at is None:
            return replace(state, incomplete=()), OffsetSet(state.incomplete)
        found = read_chunks(
            self._consumer, self._queue.progress_topic, self._partition, state.spilled_at, self._should_stop
        )
        found = found or FoundChunks()
        self._former_chunks = found.keys
        if found.by_number:
            self._spilled_at = state.spilled_at
            self._warn_of_unread(found.unread(state.committed_offset))
        else:
            self._warn(
                f"what is complete beyond the committed offset {state.committed_offset} cannot be read from "
                f"{self._queue.progress_topic}, so it is delivered again; the ledger skips what it remembers"
            )
        position = found.position(state)
        return (
            replace(state, position=position, spilled_at=None),
            found.incomplete(state.committed_offset, position),
        )

    def _warn_of_unread(self, stretches: Sequence[OffsetRange]) -> None:
        if stretches:
            first, end = stretches[0]
            more = f", and in {counted(len(stretches) - 1, 'more range')}," if len(stretches) > 1 else ""
            self._warn(
                f"what is complete from offset {first} up to {end}{more} cannot be read from "
                f"{self._queue.progress_topic}, so it is delivered again; the ledger skips what it remembers"
            )

    def _warn(self, what: str) -> None:
        _LOGGER.warning(
            "%s/%d: %s", self._partition.topic, self._partition.partition, what,
            extra={log_keys.QUEUE: self._queue.name, log_keys.PARTITIONS: [self._partition.partition]},
        )  # fmt: skip


def taken_over(state: CommitMetadata, high: int) -> CommitMetadata:
    """The metadata that the next owner commits first: open, with one more death if the last owner has died."""
    if not state.is_open:
        return replace(state, is_open=True)
    span = UNSEEN_SPAN << min(max(0, state.deaths + 1 - WIDENED_AFTER), MOST_DOUBLED)
    window_end = max(state.window_end, min(high, state.position + span))
    return replace(state, deaths=state.deaths + 1, window_end=window_end)
