"""`count_waiting`: how many jobs an order would cancel, counted by reading what waits on the topics of their queues.

A worker commits which jobs it has finished beyond the lowest unfinished one, so these are not counted. What it finishes
while this reads is, so the count is that of a moment ago.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from confluent_kafka import TopicPartition

from ...consumers.progress.offset_set import OffsetSet
from ...consumers.sources.source import Source, Tier, sources_of
from ...schemas.own_records.control_records import ControlOrder
from ...topology import Pipeline, Queue
from ...topology.wire.commit_metadata import CommitMetadata
from ..cluster_view import ClusterView, Partition, partitions_of
from ..stored_jobs.stored_job import StoredJob, record_of
from ..stored_jobs.topic_reader import ReadProgress, Span, TopicReader
from .queues import due_of

IsMeant = Callable[[StoredJob], bool]


@dataclass(frozen=True, slots=True)
class WaitingJobs:
    """The jobs that an order would cancel.

    Attributes:
        states: {`queued`, `delayed` or `retrying`: how many}; those that run count as queued.
        types: {(queue, job type): how many}.
    """

    states: Counter[str] = field(default_factory=Counter)
    types: Counter[tuple[str, str]] = field(default_factory=Counter)

    @property
    def total(self) -> int:
        """How many in all."""
        return self.types.total()

    def note(self, queue: Queue, source: Source, record: StoredJob) -> None:
        """Count one more."""
        self.states[_state_of(source, record)] += 1
        self.types[queue.name, record.job_type] += 1


def _state_of(source: Source, record: StoredJob) -> str:
    if isinstance(source, Tier):
        return "retrying"
    due = due_of(record)
    return "queued" if due is None or due <= datetime.now(UTC) else "delayed"


def is_meant_by(order: ControlOrder, job_ids: Collection[str] = ()) -> IsMeant:
    """Which records are of jobs that an order cancels: those of these ids, or else those that its filter takes."""
    if job_ids:
        wanted = frozenset(job_ids)
        return lambda record: record.job_id in wanted
    return lambda record: (
        order.job_type in (None, record.job_type)
        and order.key in (None, record.key)
        and order.tenant in (None, record.tenant)
        and (order.before is None or _enqueued_at(record) < order.before)
    )


def _enqueued_at(record: StoredJob) -> datetime:
    return record.at if record.replay else record.enqueued_at


def count_waiting(
    view: ClusterView, pipeline: Pipeline, order: ControlOrder, is_meant: IsMeant, progress: ReadProgress | None = None
) -> WaitingJobs:
    """Count the jobs that have not ended and that an order means.

    Raises:
        ClusterUnreachable, NotAuthorized: the topics cannot be read.
        StoredJobsError: a topic is missing, or the brokers stop answering.
    """
    found = WaitingJobs()
    for queue in pipeline.queues.values():
        if order.queue in (None, queue.name):
            _count_queue(view, queue, is_meant, found, progress)
    return found


def _count_queue(
    view: ClusterView, queue: Queue, is_meant: IsMeant, found: WaitingJobs, progress: ReadProgress | None
) -> None:
    counts = view.topics()
    committed = view.commits_of(queue.group, partitions_of(queue.job_topics, counts))
    there = [(topic, source) for topic, source in sources_of(queue).items() if topic in counts]
    for topic, source in there:
        for record in filter(is_meant, _incomplete(view, topic, committed, progress)):
            found.note(queue, source, record)


def _incomplete(
    view: ClusterView, topic: str, committed: Mapping[Partition, TopicPartition], progress: ReadProgress | None
) -> Iterator[StoredJob]:
    with TopicReader(view.cluster, topic) as reader:
        spans, done = [], {}
        for span in reader.spans():
            place = committed.get((topic, span.partition))
            begun = span if place is None else _behind(span, place)
            spans.append(begun)
            done[span.partition] = _complete_in(begun, place)
        for record in map(record_of, reader.read(spans, progress)):
            if not done[record.ref.partition](record.ref.offset):
                yield record


def _behind(span: Span, place: TopicPartition) -> Span:
    start = min(max(span.start, place.offset), span.end)
    return Span(partition=span.partition, start=start, end=span.end)


def _complete_in(span: Span, place: TopicPartition | None) -> Callable[[int], bool]:
    """Whether a record of a span is complete by the commit."""
    state = None if place is None else CommitMetadata.decode(place.metadata, place.offset)
    if state is None or state.spilled_at is not None:
        return lambda _offset: False
    position, left = state.position, OffsetSet(state.incomplete)
    return lambda offset: offset < position and offset not in left
