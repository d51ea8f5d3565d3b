"""`CommitAnswers`: takes the answers to commits. What was taken is known to be kept, what was refused is sent again."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable
from typing import Final

from confluent_kafka import KafkaError, TopicPartition

from ...topology.cluster.kafka_errors import FORBIDDEN, Remedy, remedy_of
from ...topology.log_pace import LogPace
from .. import log_keys
from ..instruments.instruments import Instruments
from ..partitions.assignments import Assignments
from .commit_content import CommitContent
from .commit_pace import CommitPace
from .first_commits import FirstCommits

_LOGGER = logging.getLogger("stoker.commits")

LOG_INTERVAL_S: Final = 10.0


class CommitAnswers:
    """Takes the answers; owned by the poll thread. `counts` has how many commits the brokers took and refused."""

    def __init__(
        self,
        assignments: Assignments,
        first: FirstCommits,
        *,
        content: CommitContent,
        pace: CommitPace,
        on_forbidden: Callable[[], None],
        instruments: Instruments,
    ) -> None:
        self._assignments, self._queue_name = assignments, assignments.queue_name
        self._first = first
        self._content, self._pace = content, pace
        self._on_forbidden = on_forbidden
        self._instruments = instruments
        self._log_pace = LogPace(LOG_INTERVAL_S)
        self.counts = Counter(taken=0, refused=0)

    def take(self, error: KafkaError | None, partitions: list[TopicPartition]) -> None:
        """Take the answer to a commit: what failed is sent again with the next one.

        Args:
            error: why none of the partitions was committed; one alone may have an error of its own.
        """
        for partition in partitions:
            self._take_of(partition, is_refused=error is not None or partition.error is not None)
        refusal = error or first_error(partitions)
        self.counts["taken" if refusal is None else "refused"] += 1
        if refusal is not None:
            self._take_refusal(
                refusal, [partition for partition in partitions if error is not None or partition.error is not None]
            )
        if error is None and self._instruments:
            self._instruments.committed(_committed(partitions))

    def take_refused(self, refused: Iterable[TopicPartition]) -> None:
        """Take that a last commit was refused: these are sent again by the next, as of a consumer that closes later."""
        self.counts["refused"] += 1
        for partition in refused:
            self._take_of(partition, is_refused=True)

    def _take_of(self, partition: TopicPartition, *, is_refused: bool) -> None:
        """Have what was refused sent again; open an assignment whose own first commit was taken."""
        assignment = self._assignments.find(partition.topic, partition.partition)
        if assignment is None:
            return
        state = assignment.commit_state
        if is_refused:
            state.note_refused()
        elif state.note_taken(partition.offset, partition.metadata or ""):
            self._first.note_taken(assignment)

    def _take_refusal(self, refusal: KafkaError, refused: Collection[TopicPartition]) -> None:
        if is_too_large(refusal):
            self._lower_limit(refused)
        elif refusal.code() in FORBIDDEN:
            self._on_forbidden()
        elif refusal.code() != KafkaError._NO_OFFSET:
            # What heals by waiting is part of an outage, or of a coordinator that moves: the worker logs the former.
            level = logging.INFO if remedy_of(refusal) is Remedy.WAIT else logging.WARNING
            self._log_refusal(level, refusal, refused)

    def _log_refusal(self, level: int, refusal: KafkaError, refused: Collection[TopicPartition]) -> None:
        """Now and then: commits follow each other every quarter of a second."""
        if self._log_pace.try_acquire(time.monotonic()):
            _LOGGER.log(
                level, "queue %r: offsets of partitions %s were not committed, and will be with the next commit: %s",
                self._queue_name, _numbers(refused), refusal.str(), extra=self._fields(refused),
            )  # fmt: skip

    def log_lost(self, refusal: KafkaError, refused: Collection[TopicPartition]) -> None:
        """Log that the last commit of these was refused, and is not repeated."""
        _LOGGER.warning(
            "queue %r: the last offsets of partitions %s were not committed: %s. Jobs that ended since the "
            "commit before are delivered again, and skipped", self._queue_name, _numbers(refused),
            refusal.str(), extra=self._fields(refused),
        )  # fmt: skip

    def _lower_limit(self, partitions: Collection[TopicPartition]) -> None:
        """Metadata was too large for this cluster; the answer does not name the partition."""
        refused = max(len(partition.metadata or "") for partition in partitions)
        self._content.lower_limit(refused)
        self._pace.hasten()
        _LOGGER.warning(
            "queue %r: the brokers take less than %d characters of metadata with commits (offset.metadata.max.bytes); "
            "progress that is larger than %d goes to the progress topic", self._queue_name, refused,
            self._content.max_characters, extra=self._fields(partitions),
        )  # fmt: skip

    def _fields(self, partitions: Iterable[TopicPartition]) -> dict[str, object]:
        return {log_keys.QUEUE: self._queue_name, log_keys.PARTITIONS: _numbers(partitions)}


def first_error(partitions: Iterable[TopicPartition]) -> KafkaError | None:
    """Why one of the partitions was not committed: brokers before Kafka 4 may refuse some, and take the others."""
    return next((partition.error for partition in partitions if partition.error is not None), None)


def is_too_large(error: KafkaError) -> bool:
    """Whether the brokers take less metadata than a commit had."""
    return error.code() == KafkaError.OFFSET_METADATA_TOO_LARGE


def _numbers(partitions: Iterable[TopicPartition]) -> list[int]:
    return sorted({partition.partition for partition in partitions})


def _committed(partitions: Iterable[TopicPartition]) -> dict[tuple[str, int], int]:
    """{(topic, partition): offset} of those that were not refused."""
    return {
        (partition.topic, partition.partition): partition.offset for partition in partitions if partition.error is None
    }
