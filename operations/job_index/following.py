"""`Follower`: reads the topics of a pipeline into its index, from where the index has got to, for as long as it is let.

Job topics and events are read as they come. The ledger is read behind them, once they are read to their ends and with a
delay: by then all events have told of their jobs, and what the ledger has beyond that is mended.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Final

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from ...topology import ClusterSettings, Pipeline
from ...topology.cluster.clients import make_client
from ...topology.cluster.settings import ANY_SIZE_BYTES
from ...topology.declaration.topics import HOLDS_JOBS, Role, declared_topics
from .database import open_for_writing, take_lock
from .entries import Disposal, JobEntry, Origin, entries_of_event, entry_of_record
from .ledger_names import ended_by
from .states import State
from .writing import IndexWriter, Place

_LOGGER = logging.getLogger("stoker.status")

BATCH: Final = 5_000
GATHER_S: Final = 0.5
MEND_AFTER_S: Final = 15.0
"""How far behind the clock the ledger is read: events are given up by their workers after 30 s at most, and rarely."""
MOST_LEDGER: Final = 200_000
"""Names of the ledger that wait in memory; then its partitions are paused."""
TOPICS_INTERVAL_S: Final = 30.0
FORGET_INTERVAL_S: Final = 1.0
FORGET_AT_ONCE: Final = 2_000
REQUEST_S: Final = 10.0
LAGS_INTERVAL_S: Final = 2.0


@dataclass(slots=True, kw_only=True)
class Progress:
    """How far an index is.

    Attributes:
        read: records and events since the start; `mended` jobs that only the ledger had as ended.
        behind: records that are still to be read; None before that is known.
        newest_ms: the newest record that was read of the job topics and the events, in ms since 1970.
    """

    read: int = 0
    mended: int = 0
    forgotten: int = 0
    behind: int | None = None
    newest_ms: int = 0
    is_caught_up: bool = False


@dataclass(slots=True)
class _LedgerNames:
    place: Place
    offset: int
    at_ms: int
    ended: list[tuple[str, State]] = field(default_factory=list)


class Follower:
    """Keeps one index; all calls come from one thread.

    Args:
        keep: jobs that have ended are forgotten so long after they were enqueued.
    """

    def __init__(self, pipeline: Pipeline, cluster: ClusterSettings, path: Path, *, keep: timedelta) -> None:
        self._pipeline, self._cluster, self._keep = pipeline, cluster, keep
        self._lock = take_lock(path)
        self._writer = IndexWriter(open_for_writing(path))
        self._consumer = self._connect()
        self._origins: dict[str, Origin] = {}
        self._ledgers: set[str] = set()
        self._assigned: set[Place] = set()
        self._open: set[Place] = set()
        """Partitions that were not read to their end yet."""
        self._ends: dict[Place, int] = {}
        """Where partitions have ended, beyond the marks of transactions, which are no records."""
        self._waiting: deque[_LedgerNames] = deque()
        self._is_ledger_paused = True
        self._next_topics_s = self._next_forget_s = self._next_lags_s = 0.0
        self._forget_after_n = 0
        self.progress = Progress()
        for spec in declared_topics(pipeline):
            if spec.role in HOLDS_JOBS or spec.role is Role.EVENTS:
                self._origins[spec.name] = Origin(queue=spec.owner, role=spec.role)
            elif spec.role is Role.LEDGER:
                self._ledgers.add(spec.name)

    def _connect(self) -> Consumer:
        config = self._cluster.reader_config(
            client_id=f"stoker-status-{self._pipeline.namespace}",
            fetch_queue_backoff_ms=10,
            queued_max_messages_kbytes=32_768,
            queued_min_messages=20_000,
            reconnect_backoff_max_ms=2_000,
            receive_message_max_bytes=ANY_SIZE_BYTES,
            log_level=2,
        )
        own = {
            "group.id": f"{self._pipeline.namespace}.status",
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "auto.offset.reset": "earliest",
            "isolation.level": "read_committed",
            "enable.partition.eof": True,
            "error_cb": lambda error: _LOGGER.debug("%s", error),
        }
        return make_client(Consumer, {**config, **own})

    def run(
        self, is_stopping: Callable[[], bool], on_turn: Callable[[Progress], None] = lambda _progress: None
    ) -> None:
        """Follow the topics until told to stop; what was read is written, and the file closed by its end."""
        try:
            while not is_stopping():
                self.turn()
                on_turn(self.progress)
        finally:
            self.close()

    def turn(self) -> int:
        """Read and write one batch; how many records it had."""
        now_s = time.monotonic()
        if now_s >= self._next_topics_s:
            self._assign_new()
            self._next_topics_s = now_s + TOPICS_INTERVAL_S
        messages = self._consumer.consume(BATCH, GATHER_S)
        taken = self._take(messages)
        self._mend_if_due(time.time())
        self._keep_house(now_s)
        return taken

    def close(self) -> None:
        """Leave the brokers, and put what is in the log into the file."""
        self._consumer.close()
        self._writer.close()
        self._lock.close()

    # ---- topics

    def _assign_new(self) -> None:
        """Take on partitions that have come since; while the brokers are away, those that are known go on."""
        try:
            found = self._partitions()
        except KafkaException as failed:
            if not self._assigned:
                raise
            _LOGGER.warning("the topics cannot be looked up at the moment: %s", failed.args[0].str())
            return
        new = sorted(found - self._assigned)
        if not new:
            return
        known = self._writer.offsets()
        starts = self._starts([place for place in new if place not in known])
        assigned = [TopicPartition(*place, known.get(place, starts.get(place, 0))) for place in new]
        self._consumer.incremental_assign(assigned)
        self._assigned |= set(new)
        ledgers = [TopicPartition(*place) for place in new if place[0] in self._ledgers]
        self._open |= {place for place in new if place[0] not in self._ledgers}
        if ledgers:
            self._is_ledger_paused = True
            self._consumer.pause(ledgers)

    def _partitions(self) -> set[Place]:
        topics = self._consumer.list_topics(timeout=REQUEST_S).topics
        wanted = (*self._origins, *self._ledgers)
        return {(name, number) for name in wanted if name in topics for number in topics[name].partitions}

    def _starts(self, places: Sequence[Place]) -> dict[Place, int]:
        """Where to begin in partitions that were never read: at what is not forgotten at once."""
        since_ms = int((time.time() - self._keep.total_seconds()) * 1e3)
        asked = [TopicPartition(*place, since_ms) for place in places]
        found = self._consumer.offsets_for_times(asked, timeout=REQUEST_S) if asked else []
        return {(part.topic, part.partition): part.offset for part in found}  # -1 is the end: all there is, is older

    # ---- batches

    def _take(self, messages: Sequence[Message]) -> int:
        entries: list[JobEntry] = []
        disposals: list[Disposal] = []
        offsets: dict[Place, int] = {}
        for message in messages:
            place = (message.topic() or "", message.partition() or 0)
            if message.error() is not None:
                self._note_error(place, message)
            elif place[0] in self._ledgers:
                self._take_ledger(place, message)
            else:
                offsets[place] = (message.offset() or 0) + 1
                self._take_one(message, entries, disposals)
        if offsets:
            self._writer.apply(entries, disposals, offsets)
        self.progress.read += len(entries) + len(disposals)
        return len(messages)

    def _note_error(self, place: Place, message: Message) -> None:
        error = message.error()
        if error is not None and error.code() == KafkaError._PARTITION_EOF:
            self._open.discard(place)
            self._ends[place] = message.offset() or 0
            if not self._open and self._is_ledger_paused:
                self._is_ledger_paused = False
                self.progress.is_caught_up = True
                self._consumer.resume(self._ledger_places())
        elif error is not None:
            _LOGGER.warning("%s/%d cannot be read at the moment: %s", *place, error.str())

    def _ledger_places(self) -> list[TopicPartition]:
        return [TopicPartition(*place) for place in self._assigned if place[0] in self._ledgers]

    def _take_one(self, message: Message, entries: list[JobEntry], disposals: list[Disposal]) -> None:
        origin = self._origins[message.topic() or ""]
        self.progress.newest_ms = max(self.progress.newest_ms, message.timestamp()[1])
        if origin.role is Role.EVENTS:
            value = message.value()
            entries.extend(entries_of_event(value) if value else ())
            return
        found = entry_of_record(message, origin)
        if isinstance(found, Disposal):
            disposals.append(found)
        elif found is not None:
            entries.append(found)

    def _take_ledger(self, place: Place, message: Message) -> None:
        names = list(ended_by(message))
        self._waiting.append(_LedgerNames(place, (message.offset() or 0) + 1, message.timestamp()[1], names))
        if len(self._waiting) * 100 > MOST_LEDGER and not self._is_ledger_paused:
            self._consumer.pause(self._ledger_places())
            self._is_ledger_paused = True

    def _mend_if_due(self, now_s: float) -> None:
        """Mend by what the ledger has had for a while, once the events are read to their end."""
        due_ms = (now_s - MEND_AFTER_S) * 1e3
        ended: dict[str, tuple[State, int]] = {}
        offsets: dict[Place, int] = {}
        while self._waiting and self._waiting[0].at_ms < due_ms and len(ended) < BATCH:
            names = self._waiting.popleft()
            ended.update((name, (state, names.at_ms)) for name, state in names.ended)
            offsets[names.place] = names.offset
        if offsets:
            self.progress.mended += self._writer.mend(ended, offsets)
        elif self._is_ledger_paused and not self._open and not self._waiting:
            self._consumer.resume(self._ledger_places())
            self._is_ledger_paused = False

    # ---- housekeeping

    def _keep_house(self, now_s: float) -> None:
        if now_s >= self._next_forget_s and self.progress.is_caught_up:
            before_ms = int((time.time() - self._keep.total_seconds()) * 1e3)
            count, self._forget_after_n = self._writer.forget(before_ms, FORGET_AT_ONCE, self._forget_after_n)
            self.progress.forgotten += count
            self._next_forget_s = now_s + (0.0 if self._forget_after_n else FORGET_INTERVAL_S)
        if now_s >= self._next_lags_s:
            self._next_lags_s = now_s + LAGS_INTERVAL_S
            self.progress.behind = sum(self._lags())
            self._writer.set_fact("read_at_ms", str(int(time.time() * 1e3)))
            self._writer.set_fact("behind", str(self.progress.behind))

    def _lags(self) -> Iterator[int]:
        """How many records of each job topic and of the events are still to be read, by what the client has heard."""
        known = self._writer.offsets()
        for place in self._assigned:
            if place[0] in self._ledgers:
                continue
            try:
                low, high = self._consumer.get_watermark_offsets(TopicPartition(*place), cached=True)
            except KafkaException:
                continue
            if high > 0:
                yield max(high - max(known.get(place, low), self._ends.get(place, low), low), 0)


def origins_of(pipeline: Pipeline) -> Mapping[str, Origin]:
    """{topic: its queue and role} of those that hold jobs."""
    return {
        spec.name: Origin(queue=spec.owner, role=spec.role)
        for spec in declared_topics(pipeline)
        if spec.role in HOLDS_JOBS
    }
