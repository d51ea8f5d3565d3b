"""`TopicFollower`: reads the topics of a pipeline into its index, from where the index has got to, until it is stopped.

Job topics and events are read as they come; where there is very much of it, by `BulkFill` first. The ledger is read
behind them, once they are read to their ends (`LedgerBacklog`).
"""

from __future__ import annotations

import logging
import sqlite3
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Final

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from ...topology import ClusterSettings, Pipeline
from ...topology.cluster.admin_connection import UNREACHABLE_CODES
from ...topology.cluster.handshake import unreachable
from ...topology.cluster.settings import ClusterUnreachable, NotAuthorized
from ...topology.declaration.topics import Role, declared_topics
from .bulk_fill import BulkFill
from .committed_jobs import CommittedJobs, first_open
from .database import IndexDeleted, Partition, begin_building, file_of, is_building, open_for_writing, take_lock
from .index_writer import IndexWriter
from .ledger_backlog import LedgerBacklog
from .topic_reading import (
    REQUEST_S,
    UNREADABLE,
    Reading,
    is_answered,
    lag_of,
    make_reader,
    origins_of,
    partitions_of,
    starts_of,
)

_LOGGER = logging.getLogger("stoker.status")

BATCH: Final = 5_000
WRITE_AT: Final = 20_000
"""Entries of one transaction: an event may be of a thousand jobs."""
GATHER_S: Final = 0.5
RECONCILE_FOR_S: Final = 0.2
"""How long one turn reconciles, so that what comes in meanwhile does not wait for it."""
FAR_BEHIND: Final = 1_000_000
"""Records that are still to be read, if they are more than the index has jobs: then the file is finished anew."""
TOPICS_INTERVAL_S: Final = 30.0
FORGET_INTERVAL_S: Final = 1.0
FORGET_AT_ONCE: Final = 2_000
LOOK_AT_ONCE: Final = 20_000
"""Rows that one turn looks at to find them: more than come in a second, so that a round of all rows has an end."""
LAGS_INTERVAL_S: Final = 2.0
LAST_CLIENT_ERRORS: Final = 10


@dataclass(slots=True, kw_only=True)
class Progress:
    """How far an index is.

    Attributes:
        stage: what it does, in words.
        read: records and events since the start; `reconciled` jobs that only the ledger had as ended.
        committed: jobs that ended by the commits of their group alone.
        behind: records that are still to be read; None before that is known.
        newest_ms: the newest record that was read of the job topics and the events, in ms since 1970.
        answered_at_s: when a broker answered last, by the monotonic clock; None before the first time.
        is_caught_up: whether job topics and events were read to their ends once.
        is_settled: whether the ledger and the commits were gone through since, as far as they are due.
    """

    stage: str = "following"
    read: int = 0
    reconciled: int = 0
    committed: int = 0
    forgotten: int = 0
    behind: int | None = None
    newest_ms: int = 0
    answered_at_s: float | None = None
    is_caught_up: bool = False
    is_settled: bool = False


class TopicFollower:
    """Keeps one index; all calls come from one thread.

    Args:
        keep: jobs that have ended are forgotten so long after they were enqueued.
    """

    def __init__(self, pipeline: Pipeline, cluster: ClusterSettings, path: Path, *, keep: timedelta) -> None:
        self._pipeline, self._cluster, self._keep = pipeline, cluster, keep
        self._lock, self._path = take_lock(path), path
        self._connection = open_for_writing(path)
        self._file = file_of(path)
        self._writer = IndexWriter(self._connection)
        self._client_errors: deque[str] = deque(maxlen=LAST_CLIENT_ERRORS)
        self._consumer = self._connect()
        self._origins = origins_of(pipeline, with_events=True)
        ledgers = (spec.name for spec in declared_topics(pipeline) if spec.role is Role.LEDGER)
        self._ledgers = LedgerBacklog(self._consumer, ledgers)
        self._reading = Reading(self._origins)
        self._bulk_fill: BulkFill | None = None
        self._has_begun = False
        self._assigned: set[Partition] = set()
        self._open: set[Partition] = set()
        """Partitions of job topics and events that were not read to their end yet."""
        self._to_ask: deque[Partition] = deque()
        """Partitions of job topics and events; the leader of the first is asked next."""
        self._committed = CommittedJobs(pipeline, cluster)
        self._next_topics_at_s = self._next_forget_at_s = self._next_lags_at_s = 0.0
        self._forget_after_n = 0
        self.progress = Progress()

    def _connect(self) -> Consumer:
        namespace = self._pipeline.namespace
        return make_reader(self._cluster, namespace, self._note)

    def _note(self, error: KafkaError) -> None:
        _LOGGER.debug("%s", error)
        self._client_errors.append(error.str())

    def run(
        self, is_stopping: Callable[[], bool], on_turn: Callable[[Progress], None] = lambda _progress: None
    ) -> None:
        """Follow the topics until it is to stop; what was read is written, and the file closed by its end.

        Raises:
            ClusterUnreachable: no broker answers at the start. Later, brokers that are away are waited for.
            IndexDeleted: the file is there no more; another follower builds it again.
        """
        try:
            while not is_stopping():
                self.turn(is_stopping)
                on_turn(self.progress)
        except KafkaException as failed:
            if failed.args[0].code() not in UNREACHABLE_CODES:
                raise
            self._consumer.poll(0)  # delivers the connection's own error, which explains more
            raise unreachable(self._cluster, [*self._client_errors, failed.args[0].str()]) from failed
        finally:
            self.close()

    def turn(self, is_stopping: Callable[[], bool] = lambda: False) -> None:
        """Read and write one batch, or build what there is to build."""
        now_s = time.monotonic()
        if not self._has_begun:
            self._begin()
        if self._bulk_fill is not None:
            self._fill(self._bulk_fill, is_stopping)
        else:
            if now_s >= self._next_topics_at_s:
                self._assign_new()
                self._next_topics_at_s = now_s + TOPICS_INTERVAL_S
            self._take(self._consumer.consume(BATCH, GATHER_S))
            self._reconcile()
            if self.progress.is_caught_up:
                self.progress.committed += self._committed.turn(self._writer, now_s)
                self._begin_anew(self._committed.take_made_anew())
        self._do_housekeeping(now_s)

    def close(self) -> None:
        """Leave the brokers, and put what is in the log into the file."""
        if self._bulk_fill is not None:
            self._bulk_fill.close()
        self._committed.close()
        self._consumer.close()
        self._writer.close()
        self._lock.close()

    # ---- the bulk fill

    def _begin(self) -> None:
        """Build the file first, if it is new, was not finished, or is so far behind that this is faster.

        Raises:
            KafkaException, ClusterUnreachable: no broker answers.
        """
        places = sorted(partitions_of(self._consumer, self._origins))
        self._to_ask.extend(places)
        starts = self._starts_of(places)
        if not is_building(self._connection) and self._is_far_behind(starts):
            begin_building(self._connection)
        if is_building(self._connection):
            self._bulk_fill = BulkFill(self._connection, self._connect, self._origins, starts)
        self._has_begun = True

    def _is_far_behind(self, starts: Mapping[Partition, int]) -> bool:
        behind = 0
        for place, offset in starts.items():
            low, high = self._consumer.get_watermark_offsets(TopicPartition(*place), timeout=REQUEST_S)
            behind += high - max(low, offset) if offset >= 0 else 0
        return behind > max(FAR_BEHIND, self._writer.jobs())

    def _fill(self, bulk_fill: BulkFill, is_stopping: Callable[[], bool]) -> None:
        try:
            goes_on = bulk_fill.turn(is_stopping)
        except sqlite3.OperationalError as stopped:
            if "interrupted" not in str(stopped):
                raise
            return
        self.progress.read, self.progress.newest_ms = bulk_fill.reading.read, bulk_fill.reading.newest_ms
        self.progress.stage = bulk_fill.stage
        if not goes_on:
            bulk_fill.close()
            self._bulk_fill = None
            self._writer = IndexWriter(self._connection)
            self.progress.stage = "following"

    # ---- topics

    def _assign_new(self) -> None:
        """Take on partitions that have come since; while the brokers are away, those that are known go on."""
        try:
            starts = self._starts_of_new()
        except (KafkaException, ClusterUnreachable) as failed:
            if not self._assigned:
                raise
            why = failed.args[0].str() if isinstance(failed, KafkaException) else failed
            _LOGGER.warning(
                "the index cannot look up the partitions of its topics (%s); it tries again, and reads no new ones "
                "until then", why,
            )  # fmt: skip
            return
        if not starts:
            return
        new = set(starts)
        self._consumer.incremental_assign([TopicPartition(*place, offset) for place, offset in starts.items()])
        self._assigned |= new
        ledgers = {place for place in new if place[0] in self._ledgers.topics}
        self._open |= new - ledgers
        self._to_ask.extend(new - ledgers - set(self._to_ask))
        self._ledgers.add(ledgers)

    def _starts_of_new(self) -> dict[Partition, int]:
        """Where to begin in each partition that has come since; those that are there no more have no end to wait for.

        Raises:
            KafkaException, ClusterUnreachable: no broker answers, or a new partition has no leader yet.
        """
        found = partitions_of(self._consumer, (*self._origins, *self._ledgers.topics))
        self._note_gone(found)
        new = sorted(found - self._assigned)
        return self._starts_of(new) if new else {}

    def _starts_of(self, places: Sequence[Partition]) -> dict[Partition, int]:
        """Where to go on in each partition.

        In those that were never read, that is at what is not forgotten at once, or before that at what the group of the
        queue has not committed: such jobs wait, and would be in an index that was there before.

        Raises:
            KafkaException, ClusterUnreachable: no broker answers, or a partition has no leader yet.
        """
        known = self._writer.offsets()
        starts = starts_of(self._consumer, places, known, self._keep.total_seconds())
        cut = [place for place in places if place not in known and starts[place] > 0]
        try:
            first = first_open(self._pipeline, self._cluster, cut) if cut else {}
        except NotAuthorized as refused:
            _LOGGER.warning("the index lacks jobs that have waited for longer than it keeps ended ones: %s", refused)
            return starts
        return {place: min(start, first.get(place, start)) for place, start in starts.items()}

    def _begin_anew(self, topics: Set[str]) -> None:
        """Read topics from their beginning that were deleted and made anew; the next look assigns them."""
        if not topics:
            return
        _LOGGER.warning("topics were made anew, so the index reads them from their beginning: %s", ", ".join(topics))
        former = {place for place in self._assigned if place[0] in topics}
        self._consumer.incremental_unassign([TopicPartition(*place) for place in former])
        self._assigned -= former
        self._next_topics_at_s = 0.0

    def _note_gone(self, found: Set[Partition]) -> None:
        """Wait no more for the ends of partitions that are not found; they stay assigned, and may come back."""
        for place in self._open - found:
            self._note_read(place)
        for place in self._ledgers.places - found:
            self._ledgers.note_end(place)

    def _note_read(self, place: Partition) -> None:
        """Note that a partition of job topics or events was read to its end."""
        self._open.discard(place)
        if not self._open:
            self.progress.is_caught_up = True

    # ---- batches

    def _take(self, messages: Sequence[Message]) -> None:
        reading, before = self._reading, self._reading.read
        for message in messages:
            place = (message.topic() or "", message.partition() or 0)
            if message.error() is not None:
                self._note_error(place, message)
            elif place[0] in self._ledgers.topics:
                self._ledgers.take(place, message)
            else:
                reading.take(place, message)
                if len(reading) >= WRITE_AT:
                    reading.write(self._writer)
        reading.write(self._writer)
        self.progress.read += reading.read - before
        self.progress.newest_ms = max(self.progress.newest_ms, reading.newest_ms)

    def _note_error(self, place: Partition, message: Message) -> None:
        error = message.error()
        if error is None:
            return
        if error.code() == KafkaError._PARTITION_EOF:
            self._note_end(place, message.offset() or 0)
        else:
            _LOGGER.warning(UNREADABLE, *place, error.str())

    def _note_end(self, place: Partition, offset: int) -> None:
        if place[0] in self._ledgers.topics:
            self._ledgers.note_end(place)
            return
        self._reading.note_end(place, offset)
        self._note_read(place)

    def _reconcile(self) -> None:
        """Reconcile with the ledger, which is read once job topics and events are read to their ends."""
        self.progress.reconciled += self._ledgers.reconcile_for(RECONCILE_FOR_S, self._writer)
        self.progress.is_settled = self.progress.is_caught_up and self._ledgers.is_done and self._committed.rounds > 0
        if not self._open:
            self._ledgers.resume()

    # ---- housekeeping

    def _do_housekeeping(self, now_s: float) -> None:
        if now_s >= self._next_forget_at_s and self.progress.is_caught_up:
            before_ms = int((time.time() - self._keep.total_seconds()) * 1e3)
            count, self._forget_after_n = self._writer.forget(
                before_ms, FORGET_AT_ONCE, self._forget_after_n, look=LOOK_AT_ONCE
            )
            self.progress.forgotten += count
            self._next_forget_at_s = now_s + (0.0 if count and self._forget_after_n else FORGET_INTERVAL_S)
        if now_s >= self._next_lags_at_s:
            self._next_lags_at_s = now_s + LAGS_INTERVAL_S
            if file_of(self._path) != self._file:
                raise IndexDeleted(self._path)
            self.progress.behind = self._behind()
            if self._is_answered():
                self.progress.answered_at_s = time.monotonic()
                self._writer.set_fact("read_at_ms", str(int(time.time() * 1e3)))
            self._writer.set_fact("behind", str(self.progress.behind))

    def _is_answered(self) -> bool:
        """Whether the brokers answer, each time another partition's leader: else the index ages."""
        if not self._to_ask:
            return True
        self._to_ask.rotate(-1)
        return is_answered(self._consumer, self._to_ask[-1])

    def _behind(self) -> int:
        known = self._writer.offsets()
        if self._bulk_fill is not None:
            return self._bulk_fill.behind(known)
        return lag_of(self._consumer, self._assigned - self._ledgers.places, known)
