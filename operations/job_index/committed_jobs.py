"""`CommittedJobs`: notes jobs as ended whose record the group has committed; events and ledger entries may be lost.

What a queue's group has committed outlives both: a record that lies below that needs nothing more, and whatever came of
it is on a topic by then. So the commits are asked first, then the ends of the topics. Once these are read, an open job
whose latest record was committed has ended. How and when stays unknown.
"""

from __future__ import annotations

import logging
import threading
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from confluent_kafka import KafkaException, TopicPartition

from ...topology import ClusterSettings, Pipeline
from ...topology.cluster.settings import ClusterUnreachable, NotAuthorized
from ...topology.wire.commit_metadata import CommitMetadata
from ..cluster_view import ClusterView, partitions_of
from .database import Partition
from .index_writer import NO_ROW, IndexWriter, OpenRow

_LOGGER = logging.getLogger("stoker.status")

INTERVAL_S: Final = 60.0
GIVE_UP_S: Final = 600.0
"""Ends that are not read up to for so long are asked for anew: a topic that was made anew never comes to them."""
CLOSE_S: Final = 2.0
ROWS_AT_ONCE: Final = 5_000


class CommittedOffsets:
    """The offsets of one partition that a commit has as complete."""

    def __init__(self, commit: TopicPartition) -> None:
        state = CommitMetadata.decode(commit.metadata, commit.offset)
        is_whole = state is not None and state.spilled_at is None
        self._committed = commit.offset
        self._position = state.position if state is not None and is_whole else commit.offset
        runs = state.incomplete if state is not None else ()
        self._starts, self._ends = [start for start, _ in runs], [end for _, end in runs]

    def __contains__(self, offset: int) -> bool:
        if not self._committed <= offset < self._position:
            return offset < self._committed
        at = bisect_right(self._starts, offset) - 1
        return at < 0 or offset >= self._ends[at]


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """How far the groups were, and where the topics ended after that, with the ids of these."""

    committed: Mapping[Partition, CommittedOffsets]
    ends: Mapping[Partition, int]
    topic_ids: Mapping[str, str] = field(default_factory=dict)


def ask_committed(pipeline: Pipeline, cluster: ClusterSettings) -> Asked:
    """Ask how far the groups of all queues are, then for the ends and ids of the topics of jobs and events.

    Raises:
        KafkaException, ClusterUnreachable, NotAuthorized: the cluster does not answer, or must not.
    """
    view = ClusterView(cluster)
    counts = view.topics()
    committed: dict[Partition, CommittedOffsets] = {}
    topics = [pipeline.events_topic]
    for queue in pipeline.queues.values():
        found = view.commits_of(queue.group, partitions_of(queue.job_topics, counts))
        committed |= {partition: CommittedOffsets(commit) for partition, commit in found.items()}
        topics += [*queue.job_topics, queue.dead_topic]
    partitions = partitions_of(topics, counts)
    starts, ends = view.start_offsets(partitions), view.end_offsets(partitions)
    return Asked(
        committed=committed,
        ends={partition: end for partition, end in ends.items() if end > starts[partition]},
        topic_ids=view.topic_ids([topic for topic in topics if topic in counts]),
    )


def first_open(pipeline: Pipeline, cluster: ClusterSettings, places: Sequence[Partition]) -> dict[Partition, int]:
    """{partition of a job topic: first offset that its group has not committed}: from there on, jobs may wait still.

    Raises:
        KafkaException, ClusterUnreachable, NotAuthorized: the cluster does not answer, or must not.
    """
    view, found = ClusterView(cluster), dict[Partition, int]()
    for queue in pipeline.queues.values():
        own = [place for place in places if place[0] in queue.job_topics]
        commits = view.committed(queue.group, own) if own else {}
        found |= {place: commits.get(place, 0) for place in own}
    return found


class CommittedJobs:
    """Asks the cluster now and then, in a thread of its own, and goes through the open jobs by its answer.

    Attributes:
        rounds: how often it has gone through them, or did not get an answer.
    """

    def __init__(self, pipeline: Pipeline, cluster: ClusterSettings) -> None:
        self._pipeline, self._cluster = pipeline, cluster
        self._thread: threading.Thread | None = None
        self._asked: Asked | None = None
        self._committed: Mapping[int, CommittedOffsets] = {}
        self._after: OpenRow | None = None
        self._next_at_s = self._asked_at_s = 0.0
        self._made_anew: set[str] = set()
        self.rounds = 0

    def turn(self, writer: IndexWriter, now_s: float) -> int:
        """Go on with a round, or begin one if it is time; how many jobs were noted as ended."""
        if self._after is not None:
            return self._look(writer, self._after)
        if self._thread is not None and not self._thread.is_alive():
            self._take_answer(writer, now_s)
        elif self._thread is None and now_s >= self._next_at_s:
            self._next_at_s, self._asked_at_s = now_s + INTERVAL_S, now_s
            self._thread = threading.Thread(target=self._ask, name="stoker-status-commits", daemon=True)
            self._thread.start()
        return 0

    def take_made_anew(self) -> set[str]:
        """Take the topics that were made anew: the file has forgotten how far it had read them."""
        taken, self._made_anew = self._made_anew, set()
        return taken

    def close(self) -> None:
        """Wait a moment for a question that is under way."""
        if self._thread is not None:
            self._thread.join(CLOSE_S)

    def _take_answer(self, writer: IndexWriter, now_s: float) -> None:
        """Begin a round once all is read that was on the topics when they were asked for their ends."""
        asked = self._asked
        if asked is None:
            self._thread = None
            self.rounds += 1
            return
        self._made_anew |= writer.note_topics(asked.topic_ids)
        read = writer.offsets()
        if self._made_anew:
            self._thread, self._asked = None, None
        elif all(read.get(place, 0) >= end for place, end in asked.ends.items()):
            self._thread, self._asked, self._after = None, None, NO_ROW
            self._committed = {writer.place(place): committed for place, committed in asked.committed.items()}
        elif now_s >= self._asked_at_s + GIVE_UP_S:
            self._thread = None

    def _look(self, writer: IndexWriter, after: OpenRow) -> int:
        rows = writer.open_rows(after, ROWS_AT_ONCE)
        ended = [row.n for row in rows if row.off in self._committed.get(row.place, ())]
        if ended:
            writer.end_committed(ended)
        self._after = rows[-1] if len(rows) == ROWS_AT_ONCE else None
        self.rounds += self._after is None
        return len(ended)

    # ---- the thread

    def _ask(self) -> None:
        try:
            self._asked = ask_committed(self._pipeline, self._cluster)
        except (KafkaException, ClusterUnreachable, NotAuthorized) as failed:
            self._asked = None
            _LOGGER.warning(
                "the index cannot look up what the groups have committed (%s); it tries again, and shows jobs that "
                "ended without an event as unfinished until then", failed,
            )  # fmt: skip
