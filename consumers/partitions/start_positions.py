"""Where an assignment begins: what the owner before has committed, held against what the partition holds by now."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from ...topology import Queue
from .. import log_keys
from ..kafka.log_tail import ShouldStop, read_tail
from ..ordering.pending_retries import read_awaited
from ..records.assignment import Assignment, Awaited, Lane
from ..records.commit_metadata import CommitMetadata, cut

_LOGGER = logging.getLogger("stoker.progress")

REQUEST_TIMEOUT_S: Final = 10.0
EARLIEST: Final = -2
LATEST: Final = -1
"""Kafka's marks, in place of a time, for where a partition begins and ends."""
UNSEEN_SPAN: Final = 1_000
"""An owner that died may have begun jobs beyond the position that it committed last: so many are taken for begun."""
_GONE: Final = frozenset(
    {
        KafkaError.UNKNOWN_TOPIC_OR_PART,
        KafkaError._UNKNOWN_TOPIC,
        KafkaError._UNKNOWN_PARTITION,
        KafkaError._AUTO_OFFSET_RESET,
        KafkaError.OFFSET_OUT_OF_RANGE,
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class StartPosition:
    """Where one assignment begins.

    Attributes:
        state: what is known of the partition, open, with the last owner's death counted if it has died.
        spilled_at: where on the progress topic the runs were found; None where they were not there.
        awaited: of a tier, where order is strict: {key: its records there that are not complete}.
    """

    state: CommitMetadata
    spilled_at: int | None = None
    awaited: Mapping[Lane, Collection[Awaited]] = field(default_factory=dict)


def find_start_positions(
    consumer: Consumer, queue: Queue, assignments: Collection[Assignment], should_stop: ShouldStop
) -> dict[Assignment, StartPosition]:
    """Read what the group has committed for the assignments, and where their partitions begin and end.

    Raises:
        Unrestorable, KafkaException: the brokers do not answer.
    """
    by_place = {(a.topic, a.partition): a for a in assignments}
    # First what is committed, then the ends: whatever a commit marks as moved elsewhere, to a tier, lies below them,
    # also if the owner before is still at work, as one is that was cut off.
    committed = consumer.committed([TopicPartition(*place) for place in by_place], timeout=REQUEST_TIMEOUT_S)
    lows, highs = _edges(consumer, by_place, EARLIEST), _edges(consumer, by_place, LATEST)
    start_positions = {}
    for place in _checked(committed):
        at = place.topic, place.partition
        assignment = by_place[at]
        found = _Former(consumer, queue, place, should_stop).start_position(lows[at], highs[at])
        if queue.ordering == "strict" and assignment.source.goes_ahead:
            awaited = read_awaited(consumer, assignment, found.state, highs[at], should_stop)
            found = replace(found, awaited=awaited)
        start_positions[assignment] = found
    return start_positions


def _edges(consumer: Consumer, places: Iterable[tuple[str, int]], which: int) -> dict[tuple[str, int], int]:
    """{partition: where it begins or ends}, all of them in one request to each broker."""
    asked = [TopicPartition(*place, which) for place in places]
    answers = consumer.offsets_for_times(asked, timeout=REQUEST_TIMEOUT_S)
    return {(place.topic, place.partition): place.offset for place in _checked(answers)}


def _checked(places: list[TopicPartition]) -> list[TopicPartition]:
    for place in places:
        if place.error is not None:
            raise KafkaException(place.error)
    return places


class _Former:
    """What the last owner of a partition has left behind."""

    def __init__(self, consumer: Consumer, queue: Queue, place: TopicPartition, should_stop: ShouldStop) -> None:
        self._consumer = consumer
        self._queue = queue
        self._place = place
        self._should_stop = should_stop
        self._spilled_at: int | None = None

    def start_position(self, low: int, high: int) -> StartPosition:
        """Where the next one begins, in a log from offset `low` up to, not including, `high`."""
        offset = self._place.offset
        if offset < 0:  # nothing was ever committed
            return StartPosition(state=CommitMetadata(committed_offset=low, position=low))
        if offset > high:
            self._warn(
                f"the committed offset {offset} lies beyond the end, {high}: the topic was made anew or cut off. "
                f"Going on from its first record, {low}; jobs that the ledger remembers do not run again"
            )
            # The first record to come will lie before this, and begin the partition anew. Were the end wrong,
            # none would, and no offset is committed that makes everything run again.
            return StartPosition(state=CommitMetadata(committed_offset=offset, position=offset))
        known = self._read_former() or CommitMetadata(committed_offset=offset, position=offset, is_open=False)
        state = self._past_deleted(self._before_the_end(known, high), low)
        return StartPosition(state=taken_over(state, high), spilled_at=self._spilled_at)

    def _before_the_end(self, state: CommitMetadata, high: int) -> CommitMetadata:
        if state.position <= high:
            return state
        self._warn(
            f"it ends at {high}, and records up to {state.position} were seen before: it was cut off. "
            "What comes in their place is run"
        )
        return state.cut_at(high)

    def _past_deleted(self, state: CommitMetadata, low: int) -> CommitMetadata:
        if state.committed_offset >= low:
            return state
        runs = cut([*state.incomplete, (state.position, max(low, state.position))], state.committed_offset, low)
        lost = sum(end - start for start, end in runs)
        if lost:
            self._warn(
                f"up to {lost} records, from offset {state.committed_offset} to {low - 1}, were deleted before they "
                "were run: they waited for longer than the topic keeps them, or somebody deleted them. Going on from "
                f"{low}"
            )
        position = max(low, state.position)
        return replace(state, committed_offset=low, position=position, incomplete=cut(state.incomplete, low, position))

    def _read_former(self) -> CommitMetadata | None:
        metadata, offset = self._place.metadata, self._place.offset
        state = CommitMetadata.decode(metadata, offset)
        if state is None:
            self._warn(
                f"the metadata of the committed offset {offset} {CommitMetadata.fault(metadata, offset)}. Going on "
                "from there; jobs beyond it that are done come again, and the ledger skips those that it remembers"
            )
            return None
        if state.spilled_at is None:
            return state
        spilled = self._read_spilled(state.spilled_at)
        if spilled is None:
            self._warn(
                f"what is complete beyond the committed offset {state.committed_offset} cannot be read from "
                f"{self._queue.progress_topic}, so it is delivered again; the ledger skips what it remembers"
            )
            return state.without_runs()
        return state.with_runs_of(spilled)

    def _read_spilled(self, spilled_at: int) -> CommitMetadata | None:
        """The newest spilled state of this partition, from the one on that the commit refers to."""
        topic, key = self._queue.progress_topic, self._place.topic.encode()
        try:
            _, end = self._consumer.get_watermark_offsets(
                TopicPartition(topic, self._place.partition), timeout=REQUEST_TIMEOUT_S
            )
            newest = None
            place = TopicPartition(topic, self._place.partition, spilled_at)
            for message in read_tail(self._consumer, place, end, self._should_stop):
                if message.key() == key and (state := CommitMetadata.from_bytes(message.value() or b"")) is not None:
                    newest, self._spilled_at = state, message.offset()
        except KafkaException as failure:
            if failure.args[0].code() in _GONE:
                return None
            raise
        return newest

    def _warn(self, what: str) -> None:
        _LOGGER.warning(
            "%s/%d: %s", self._place.topic, self._place.partition, what,
            extra={log_keys.QUEUE: self._queue.name, log_keys.PARTITIONS: [self._place.partition]},
        )  # fmt: skip


def taken_over(state: CommitMetadata, high: int) -> CommitMetadata:
    """What the next owner knows and writes first: the state opened, with the death counted of an owner that died."""
    if not state.is_open:
        return replace(state, is_open=True)
    window_end = max(state.window_end, min(high, state.position + UNSEEN_SPAN))
    return replace(state, deaths=state.deaths + 1, window_end=window_end)
