"""`Commits`: tells the group coordinator below which offsets everything is complete; in groups, not job by job."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable
from datetime import timedelta

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from .assignments import Assignments
from .record import Assignment

_LOGGER = logging.getLogger("stoker.commits")


class Commits:
    """Commits for one consumer; owned by its poll thread."""

    def __init__(self, assignments: Assignments, interval: timedelta) -> None:
        self._assignments = assignments
        self._interval_s = interval.total_seconds()
        self._next_s = 0.0

    def commit_if_due(self, consumer: Consumer) -> None:
        """Send what has changed since the last commit, if the interval is over; the answer comes to `note_answer`."""
        now_s = time.monotonic()
        if now_s < self._next_s:
            return
        self._next_s = now_s + self._interval_s
        changed = self._changed(self._assignments.all())
        if changed:
            try:
                consumer.commit(offsets=changed, asynchronous=True)
            except KafkaException as failure:
                self.note_answer(failure.args[0], changed)

    def commit_now(self, consumer: Consumer, assignments: Iterable[Assignment]) -> None:
        """Commit these partitions before they go away, and wait for the answer."""
        changed = self._changed(assignments)
        if not changed:
            return
        try:
            consumer.commit(offsets=changed, asynchronous=False)
        except KafkaException as failure:
            _LOGGER.warning("the last offsets were not committed; their jobs are delivered again: %s", failure.args[0])

    def note_answer(self, error: KafkaError | None, places: list[TopicPartition]) -> None:
        """Take the answer to an asynchronous commit: what failed is sent again with the next one."""
        for place in places:
            assignment = self._assignments.find(place.topic, place.partition)
            if assignment is not None and (error is not None or place.error is not None):
                assignment.committed = None
        if error is not None and error.code() != KafkaError._NO_OFFSET:
            _LOGGER.warning("offsets were not committed, and will be with the next: %s", error)

    def _changed(self, assignments: Iterable[Assignment]) -> list[TopicPartition]:
        changed = []
        for assignment in assignments:
            offset = assignment.progress.committable()
            if offset is not None and offset != assignment.committed:
                assignment.committed = offset
                changed.append(TopicPartition(assignment.topic, assignment.partition, offset))
        return changed
