"""Where a job waits: for its time, in the topics of delays and retries, or for its turn where it was published."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from typing import Final, cast

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from ...schemas.own_records.control_records import RecordPlace
from ...topology import ClusterSettings, Queue
from ...topology.cluster.clients import make_client
from ...topology.cluster.committed_offsets import commits_of
from ...topology.cluster.settings import ANY_SIZE_BYTES
from ...topology.wire.commit_metadata import CommitMetadata
from ...topology.wire.headers import JOB_ID, HeaderList
from ...topology.wire.names import reader_group
from .log_reader import asking

Progress = Callable[[int, int], None]
"""Takes (records passed, records in all)."""

_ASK_S: Final = 10.0
_BATCH: Final = 1_000
_POLL_S: Final = 0.05


def find_waiting_record(
    cluster: ClusterSettings, queues: Iterable[Queue], job_id: str, within_s: float, progress: Progress | None = None
) -> RecordPlace | None:
    """Look a delayed or retrying job up; None where it is not there, or was not found in this time.

    Records that workers have completed are passed over.

    Raises:
        ClusterUnreachable: the brokers do not answer.
        NotAuthorized: a topic or a group may not be read.
    """
    found: RecordPlace | None = None
    give_up_at_s = time.monotonic() + within_s
    for queue in queues:
        topics = [*queue.delay_topics.values(), *queue.retry_topics.values()]
        with asking(cluster, topics[0]), closing(_Stretches(cluster, queue, topics)) as stretches:
            records = stretches.read(give_up_at_s, progress or _say_nothing)
            found = _last_of(job_id.encode(), records) or found
    return found


def find_published_record(
    cluster: ClusterSettings, queues: Iterable[Queue], job_id: str, within_s: float, progress: Progress | None = None
) -> tuple[Queue, Message] | None:
    """Look up a job that waits for its turn on a topic to which jobs are published; raises as `find_waiting_record`.

    Records that workers have completed are passed over, those beyond a slower job included.
    """
    give_up_at_s = time.monotonic() + within_s
    for queue in queues:
        topics = queue.entry_topics
        with asking(cluster, topics[0]), closing(_Stretches(cluster, queue, topics)) as stretches:
            records = stretches.read(give_up_at_s, progress or _say_nothing)
            own = (record for record in records if _is_of(record, job_id.encode()))
            found = next((record for record in own if not stretches.is_complete(record)), None)
        if found is not None:
            return queue, found
    return None


def _last_of(job_id: bytes, messages: Iterable[Message]) -> RecordPlace | None:
    found: RecordPlace | None = None
    for message in messages:
        if _is_of(message, job_id):
            found = RecordPlace(
                topic=message.topic() or "", partition=message.partition() or 0, offset=message.offset() or 0
            )
    return found


class _Stretches:
    """The stretches of some topics that wait: from their group's committed offsets to their present ends."""

    def __init__(self, cluster: ClusterSettings, queue: Queue, topics: list[str]) -> None:
        config: dict[str, object] = {
            **cluster.reader_config(
                client_id="stoker-control", receive_message_max_bytes=ANY_SIZE_BYTES, log_level=2, fetch_wait_max_ms=50
            ),
            "group.id": reader_group(queue.topic),
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "enable.partition.eof": True,
            "auto.offset.reset": "earliest",
        }
        self._places = [(topic, number) for topic in topics for number in range(queue.partitions)]
        self._committed = commits_of(cluster, queue.group, self._places, _ASK_S)
        self._open: dict[tuple[str, int], tuple[int, int]] = {}
        self._consumer = make_client(Consumer, config)

    def close(self) -> None:
        """Disconnect."""
        self._consumer.close()

    def read(self, give_up_at_s: float, progress: Progress) -> Iterator[Message]:
        """The records, as far as they come in time."""
        self._measure()
        passed, whole = 0, sum(high - begin for begin, high in self._open.values())
        self._consumer.assign([TopicPartition(*place, begin) for place, (begin, _) in self._open.items()])
        while self._open and time.monotonic() < give_up_at_s:
            records = list(filter(self._note, self._consumer.consume(_BATCH, _POLL_S)))
            passed += len(records)
            yield from records
            progress(passed, whole)

    def is_complete(self, message: Message) -> bool:
        """Whether a record is complete by the commit, beyond an earlier one that is not."""
        known = self._committed.get((message.topic() or "", message.partition() or 0))
        return known is not None and is_complete_by(known, message.offset() or 0)

    def _measure(self) -> None:
        for place in self._places:
            low, high = self._consumer.get_watermark_offsets(TopicPartition(*place), timeout=_ASK_S)
            known = self._committed.get(place)
            begin = low if known is None else max(low, known.offset)
            if begin < high:
                self._open[place] = begin, high

    def _note(self, message: Message) -> bool:
        """Whether it is a record; what has come to its end is closed."""
        error, offset = message.error(), message.offset() or 0
        place = message.topic() or "", message.partition() or 0
        if error is not None and error.code() not in (KafkaError._PARTITION_EOF, KafkaError.GROUP_AUTHORIZATION_FAILED):
            if error.retriable() or not error.code() > 0:
                return False
            raise KafkaException(error)
        end = self._open.get(place, (0, 0))[1]
        if offset + (error is None) >= end:
            self._open.pop(place, None)
        return error is None


def is_complete_by(place: TopicPartition, offset: int) -> bool:
    """Whether a record is complete by a commit of its partition; False where the commit does not have that itself."""
    state = CommitMetadata.decode(place.metadata, place.offset)
    if state is None or state.spilled_at is not None or offset >= state.position:
        return offset < place.offset
    return not any(first <= offset < end for first, end in state.incomplete)


def _is_of(message: Message, job_id: bytes) -> bool:
    try:
        pairs = cast("HeaderList", message.headers() or [])
    except (SystemError, UnicodeDecodeError):  # so the client fails over a name that is not UTF-8
        return False
    return any(name == JOB_ID and value == job_id for name, value in pairs)


def _say_nothing(_passed: int, _whole: int) -> None:
    """Nobody looks."""
