"""Replay of a queue: publish a stretch of its topics again, to run jobs once more although they have succeeded.

The jobs carry the replay's id, under which the ledger does not know them. Progress is committed in the same
transaction as the jobs, as the offsets of a group named after the replay: source and target advance together, a
continued replay starts where the last committed batch ended, and the brokers forget the progress by themselves
(after `offsets.retention.minutes`) without a record of it on any topic. The end of the stretch and the filters are kept
beside each offset, so that a continued replay cannot mean something else than the one that was begun.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from confluent_kafka import Consumer, TopicPartition

from ...topology import ClusterSettings, Pipeline, Queue
from ...topology.actor import Actor
from ...topology.cluster.clients import make_client
from ..stored_jobs.errors import FiltersTooLong, UnknownReplay
from ..stored_jobs.selection import Selection
from ..stored_jobs.stored_job import StoredJob, record_of
from ..stored_jobs.tally import GroupTally
from ..stored_jobs.topic_reader import REQUEST_TIMEOUT_S, ReadProgress, Span, TopicReader, require_topics
from .audit import Action, AuditTrail
from .pacing import Published, ReplayPace, publish_paced
from .republishing import new_action_id, republished_headers
from .transactions import TransactionalPublisher
from .units import Bookmark, Outgoing, Unit

MAX_TEXT_BYTES: Final = 3_500
"""Below the 4,096 bytes that the brokers take beside an offset by default."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """Which stretch of the topic, offsets by partition; a partition that is not named in `starts` is left alone.

    Attributes:
        starts: {partition: first offset}; None takes every partition, from `start`.
        start: an offset, or the time of publishing.
        end: None means what the topic holds when the replay begins; always excluded itself.
    """

    starts: Mapping[int, int] | None = None
    start: int | datetime = 0
    ends: Mapping[int, int] | None = None
    end: int | datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Stretch:
    """The stretch that one replay re-publishes, fixed when it begins.

    Attributes:
        spans: what is left of it.
        replays_too: also records that a replay has published.
        is_begun: its progress is kept by the brokers already.
        reason: the operator's, for the audit trail.
    """

    replay_id: str
    spans: Sequence[Span]
    selection: Selection
    replays_too: bool = False
    keep_expiry: bool = True
    is_begun: bool = False
    reason: str = ""

    def takes(self, record: StoredJob) -> bool:
        """Whether the record is published again; never one that this very replay has published."""
        if record.replay and (not self.replays_too or record.replay == self.replay_id):
            return False
        return self.selection.takes(record)

    def bookmark_text(self, span: Span) -> str:
        """The text that is kept beside the partition's offset, as JSON."""
        kept = {
            "to": span.end,
            "filters": self.selection.in_words(),
            "replays_too": self.replays_too,
            "keep_expiry": self.keep_expiry,
        }
        return json.dumps(kept, separators=(",", ":"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """The counts of a stretch.

    Attributes:
        tally: the jobs that would be published.
        replays_left_out: those that fit the filters, but were themselves published by a replay.
    """

    tally: GroupTally
    replays_left_out: int


class QueueReplay:
    """Re-publishes stretches of one queue's main topic, or of the topic of a priority, into the same topic."""

    def __init__(
        self,
        pipeline: Pipeline,
        cluster: ClusterSettings,
        queue: Queue,
        priority: str | None = None,
        *,
        actor: Actor | None = None,
    ) -> None:
        """Prepare, without connecting yet.

        Args:
            priority: whose topic; None takes the main topic.
            actor: who replays, and from where; None takes that of the process.
        """
        self._pipeline, self._cluster, self._queue = pipeline, cluster, queue
        self._actor = actor or Actor.of_process()
        self._topic = queue.topic_of(priority)

    def stretch(
        self,
        bounds: Bounds,
        selection: Selection,
        *,
        replays_too: bool = False,
        keep_expiry: bool = True,
    ) -> Stretch:
        """Fix what a new replay re-publishes. What is published from now on is never part of it.

        Raises:
            TopicAbsent: the queue has no topic yet.
            FiltersTooLong: the filters cannot be kept with the progress.
        """
        with TopicReader(self._cluster, self._topic) as reader:
            whole = [span for span in reader.spans() if selection.may_hold(span.partition)]
            starts = _offsets(reader, bounds.starts, bounds.start, {span.partition: span.end for span in whole})
            ends = _offsets(reader, bounds.ends, bounds.end, {span.partition: span.end for span in whole})
        stretch = Stretch(
            replay_id=new_action_id(),
            spans=_clipped(whole, starts, ends),
            selection=selection,
            replays_too=replays_too,
            keep_expiry=keep_expiry,
        )
        for span in stretch.spans:
            if len(stretch.bookmark_text(span)) > MAX_TEXT_BYTES:
                raise FiltersTooLong(MAX_TEXT_BYTES)
        return stretch

    def begun_stretch(self, replay_id: str) -> Stretch:
        """The rest of a replay that was begun before, as far as is known without disturbing it.

        Raises:
            UnknownReplay: the brokers keep no progress under that id.
        """
        return self._kept_stretch(replay_id, "read_uncommitted")  # does not wait for a killed one's transaction to end

    def _kept_stretch(self, replay_id: str, isolation: str) -> Stretch:
        with TopicReader(self._cluster, self._topic) as reader:
            partitions = reader.partitions()
        consumer = self._group(replay_id, isolation)
        try:
            return self._left(consumer, replay_id, partitions)
        finally:
            consumer.close()

    def _left(self, consumer: Consumer, replay_id: str, partitions: Sequence[int]) -> Stretch:
        asked = [TopicPartition(self._topic, number) for number in partitions]
        kept = [
            part for part in consumer.committed(asked, timeout=REQUEST_TIMEOUT_S) if part.offset >= 0 and part.metadata
        ]
        texts = {part.partition: json.loads(part.metadata or "{}") for part in kept}
        if not texts:
            raise UnknownReplay(replay_id, self._queue.name)
        spans = [Span(partition=part.partition, start=part.offset, end=texts[part.partition]["to"]) for part in kept]
        common = next(iter(texts.values()))
        return Stretch(
            replay_id=replay_id,
            spans=[span for span in spans if span.length],
            selection=Selection.from_words(common["filters"]),
            replays_too=common["replays_too"],
            keep_expiry=common["keep_expiry"],
            is_begun=True,
        )

    def _group_name(self, replay_id: str) -> str:
        return f"{self._queue.topic}.replay.{replay_id}"

    def _group(self, replay_id: str, isolation: str = "read_committed") -> Consumer:
        """A client of the group that keeps the replay's progress; it has no members and never gets any."""
        own = {
            "group.id": self._group_name(replay_id),
            "enable.auto.commit": False,
            "isolation.level": isolation,  # whether offsets that an open transaction holds are waited for
        }
        return make_client(Consumer, {**self._cluster.client_config(), **own})

    def count(self, stretch: Stretch, progress: ReadProgress | None = None) -> Counts:
        """Count what would be published; nothing is written."""
        tally, replays = GroupTally(), 0
        with TopicReader(self._cluster, self._topic) as reader:
            for message in reader.read(stretch.spans, progress):
                record = record_of(message)
                if stretch.takes(record):
                    tally.note(record)
                elif stretch.selection.takes(record):
                    replays += 1
        return Counts(tally=tally, replays_left_out=replays)

    def _taken(self, reader: TopicReader, stretch: Stretch, progress: ReadProgress) -> Iterator[StoredJob]:
        for message in reader.read(stretch.spans, progress):
            record = record_of(message)
            if stretch.takes(record):
                yield record

    def carry_out(
        self,
        stretch: Stretch,
        counts: Counts,
        pace: ReplayPace,
        on_progress: Callable[[Published], None] | None = None,
    ) -> Published:
        """Publish what is left of the stretch.

        Raises:
            Fenced: the same replay was continued by another process meanwhile.
            PublishFailed: a transaction could not be completed; continuing the replay is safe.
            TopicAbsent: the topology is not complete; nothing was published.
        """
        require_topics(self._cluster, self._pipeline.audit_topic)
        consumer = self._group(stretch.replay_id)
        bookmark = Bookmark(
            group=self._group_name(stretch.replay_id),
            consumer=consumer,
            topic=self._topic,
            texts={span.partition: stretch.bookmark_text(span) for span in stretch.spans},
        )
        transactional_id = f"{self._queue.topic}.replay.{stretch.replay_id}"
        try:
            with TransactionalPublisher(self._cluster, transactional_id, bookmark=bookmark) as publisher:
                return self._publish(publisher, stretch, counts, pace, on_progress)
        finally:
            consumer.close()

    def _publish(
        self,
        publisher: TransactionalPublisher,
        stretch: Stretch,
        counts: Counts,
        pace: ReplayPace,
        on_progress: Callable[[Published], None] | None,
    ) -> Published:
        trail = AuditTrail(publisher, self._pipeline, self._queue, self._actor, Action.QUEUE_REPLAY)
        if stretch.is_begun:
            kept = self._kept_stretch(stretch.replay_id, "read_committed")  # only now is the last one's progress final
            stretch = replace(kept, reason=stretch.reason)
        else:
            publisher.publish([_progress(span.partition, span.start) for span in stretch.spans])
        filters = {
            **stretch.selection.in_words(),
            "offsets": {str(s.partition): [s.start, s.end] for s in stretch.spans},
        }
        trail.begin(stretch.replay_id, counts=counts.tally.by_job_type(), filters=filters, reason=stretch.reason)
        with TopicReader(self._cluster, self._topic) as reader:
            taken = self._taken(reader, stretch, pace.break_off_once_stopped)
            units = (self._unit(record, stretch) for record in taken)
            published = publish_paced(publisher, units, pace, on_progress)
        if not published.is_stopped:
            publisher.publish([_progress(span.partition, span.end) for span in stretch.spans])
        trail.end(published)
        return published

    def _unit(self, record: StoredJob, stretch: Stretch) -> Unit:
        job = Outgoing(
            topic=self._topic,
            partition=record.ref.partition,
            key=record.key,
            value=record.value,
            headers=republished_headers(record, stretch.replay_id, keep_expiry=stretch.keep_expiry),
        )
        source = (record.ref.partition, record.ref.offset + 1)
        return Unit(label=str(record.ref), records=(job,), source=source)


def _progress(partition: int, offset: int) -> Unit:
    return Unit(label=f"progress of partition {partition}", records=(), source=(partition, offset))


def _offsets(
    reader: TopicReader, named: Mapping[int, int] | None, common: int | datetime | None, ends: Mapping[int, int]
) -> dict[int, int]:
    """{partition: offset} of a bound; a partition that has none is left out."""
    if named is not None:
        return dict(named)
    if common is None:
        return dict(ends)
    if isinstance(common, int):
        return dict.fromkeys(ends, common)
    at = reader.offsets_at(common)
    return {number: end if at[number] is None else at[number] or 0 for number, end in ends.items()}


def _clipped(whole: Sequence[Span], starts: Mapping[int, int], ends: Mapping[int, int]) -> list[Span]:
    clipped = (
        Span(
            partition=span.partition,
            start=max(span.start, starts[span.partition]),
            end=min(span.end, ends.get(span.partition, span.end)),
        )
        for span in whole
        if span.partition in starts
    )
    return [span for span in clipped if span.length]
