"""How many dead letters are open, and how many died lately: counted by reading, exactly or not at all.

The offsets of a dead-letter topic count dispositions, markers of transactions and twins as well, so that a repair would
pass for a death. Reading costs, so a topic of many records is left uncounted unless an exact count is asked for.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from confluent_kafka import KafkaException

from ...topology import ClusterSettings, NotAuthorized
from .dispositions import disposition_of, is_disposition
from .errors import StoredJobsError
from .stored_job import Ref, StoredJob, record_of
from .topic_reader import Span, TopicReader
from .twins import Digest, attempt_digest

MAX_COUNTED: Final = 10_000
"""Offsets of a dead-letter topic that are read for a count; about a second's work."""
COUNT_TIME_S: Final = 5.0
"""Dead letters that cannot be read in this time are not counted; large payloads take longer."""

Attempt = Digest | Ref
"""The name that stands for a dead letter and its twins."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RecentDeadLetters:
    """The dead letters of a topic since some instant.

    Attributes:
        died: how many.
        open: how many of them are neither replayed nor discarded.
        oldest_open: when the oldest open one of the whole topic died; None where none is open.
        is_whole: whether the whole topic was read; otherwise `oldest_open` is that of the recent ones.
    """

    died: int
    open: int
    oldest_open: datetime | None
    is_whole: bool = True


class DeadLetterIndex:
    """The dead letters among some records of a topic, twins as one, and which of them are settled."""

    def __init__(self) -> None:
        self._attempts: dict[Ref, Attempt] = {}
        self._died: dict[Attempt, datetime] = {}
        self._settled: set[Attempt] = set()

    def note(self, record: StoredJob) -> None:
        """Take in the next record of its partition."""
        disposition = disposition_of(record)
        if disposition is not None:
            attempt = self._attempts.get(disposition.settles)
            self._settled |= set() if attempt is None else {attempt}
        elif not is_disposition(record):
            attempt = self._attempts[record.ref] = attempt_digest(record) or record.ref
            self._died.setdefault(attempt, record.at)

    @property
    def open(self) -> int:
        """How many dead letters are open."""
        return len(self._died) - len(self._settled)

    def since(self, instant: datetime) -> RecentDeadLetters:
        """The dead letters of jobs that died at the instant or later."""
        recent = [attempt for attempt, at in self._died.items() if at >= instant]
        still_open = [at for attempt, at in self._died.items() if attempt not in self._settled]
        settled = sum(attempt in self._settled for attempt in recent)
        return RecentDeadLetters(
            died=len(recent), open=len(recent) - settled, oldest_open=min(still_open, default=None)
        )


class OpenDeadLetters:
    """Counts a topic's open dead letters again and again, reading each time what has come since."""

    def __init__(self, cluster: ClusterSettings, topic: str) -> None:
        self._cluster, self._topic = cluster, topic
        self._index, self._starts, self._next = DeadLetterIndex(), dict[int, int](), dict[int, int]()

    def count(self) -> int | None:
        """How many are open; None where there are too many records to count, or they cannot be read.

        Raises:
            ClusterUnreachable: no broker answered.
        """
        try:
            with TopicReader(self._cluster, self._topic, stall_s=COUNT_TIME_S) as reader:
                spans = reader.spans()
                return self._counted(reader, spans) if _is_countable(spans) else None
        except (StoredJobsError, NotAuthorized, KafkaException):
            return None

    def _counted(self, reader: TopicReader, spans: Sequence[Span]) -> int | None:
        starts = {span.partition: span.start for span in spans}
        if starts != self._starts:  # the first count, or retention took records
            self._index, self._starts, self._next = DeadLetterIndex(), starts, dict(starts)
        rest = [Span(partition=span.partition, start=self._next[span.partition], end=span.end) for span in spans]
        if not _fill(self._index, reader, rest):
            self._starts = {}
            return None
        self._next = {span.partition: span.end for span in spans}
        return self._index.open


def count_recent(cluster: ClusterSettings, topic: str, since: datetime) -> RecentDeadLetters | None:
    """Count what died since an instant, twins as one; None where that is too much to read, or cannot be read.

    Raises:
        ClusterUnreachable: no broker answered.
    """
    try:
        with TopicReader(cluster, topic, stall_s=COUNT_TIME_S) as reader:
            whole, index = reader.spans(), DeadLetterIndex()
            is_whole = _is_countable(whole)
            spans = whole if is_whole else _since(reader, whole, since)
            if not _is_countable(spans) or not _fill(index, reader, spans):
                return None
            return replace(index.since(since), is_whole=is_whole)
    except (StoredJobsError, NotAuthorized, KafkaException):
        return None


def _is_countable(spans: Sequence[Span]) -> bool:
    return sum(span.length for span in spans) <= MAX_COUNTED


def _since(reader: TopicReader, spans: Sequence[Span], since: datetime) -> list[Span]:
    firsts = reader.offsets_at(since)
    begun = [(span, firsts.get(span.partition)) for span in spans]
    return [Span(partition=span.partition, start=first, end=span.end) for span, first in begun if first is not None]


def _fill(index: DeadLetterIndex, reader: TopicReader, spans: Sequence[Span]) -> bool:
    """Take in what lies in the spans; returns whether that was done in time."""
    give_up_at_s = time.monotonic() + COUNT_TIME_S
    for message in reader.read(spans):
        if time.monotonic() > give_up_at_s:
            return False
        index.note(record_of(message))
    return True
