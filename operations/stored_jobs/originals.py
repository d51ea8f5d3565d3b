"""`Originals` fetches the records that truncated dead letters stand for, from the places that these name.

A dead letter is truncated where no form of its whole record fits the dead-letter topic. In its place a replay publishes
the original, byte for byte, or nothing.
"""

from __future__ import annotations

from dataclasses import replace
from types import TracebackType
from typing import Self

from ...topology import ClusterSettings, Queue
from .errors import TopicAbsent
from .stored_job import Ref, StoredJob, parse_ref, record_of
from .topic_reader import Span, TopicReader
from .truncation import truncation_of


class Originals:
    """The records of one queue's topics of jobs, by their places. It keeps a connection to each that it reads."""

    def __init__(self, cluster: ClusterSettings, queue: Queue) -> None:
        self._cluster = cluster
        self._topics = frozenset(queue.job_topics)
        self._readers: dict[str, TopicReader] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Disconnect."""
        for reader in self._readers.values():
            reader.close()
        self._readers.clear()

    def whole(self, dead_letter: StoredJob) -> StoredJob | None:
        """The dead letter with key, headers and value of its record; None where that one is there no more.

        Raises:
            ReadStalled, ClusterUnreachable: the topic cannot be read.
        """
        truncation = truncation_of(dead_letter)
        if truncation is None:
            return dead_letter
        found = self._read(truncation.place)
        if found is None or not truncation.describes(found.value or b""):
            return None
        return replace(dead_letter, key=found.key, value=found.value, raw_headers=found.raw_headers)

    def _read(self, place: str) -> StoredJob | None:
        topic, _, rest = place.partition("/")
        ref = parse_ref(rest)
        if topic not in self._topics or ref is None:
            return None
        try:
            return self._record_at(topic, ref)
        except TopicAbsent:
            return None

    def _record_at(self, topic: str, ref: Ref) -> StoredJob | None:
        reader = self._readers.get(topic)
        if reader is None:
            reader = self._readers[topic] = TopicReader(self._cluster, topic)
        if ref.partition not in reader.partitions():
            return None
        span = Span(partition=ref.partition, start=ref.offset, end=ref.offset + 1)
        found = next((record_of(message) for message in reader.read([span])), None)
        return found if found is not None and found.ref == ref else None  # from beyond the end it reads from the start
