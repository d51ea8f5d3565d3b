"""`EndedJobs`: whether the job that a schedule has enqueued before has ended, by what its group has committed.

A job has ended if its record is complete, and no other record of it waits: for a retry, for its time, since it was
carried forward, or with another priority, which an order has given it. A retry is on its topic before the record of the
attempt is committed as complete. So what waits is there if the ends of the topics are asked after the commits.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Final

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from ...schemas.own_records.control_records import RecordPlace
from ...topology import Queue
from ...topology.wire.commit_metadata import CommitMetadata
from ...topology.wire.headers import JOB_ID, SCHEDULE

ASK_S = 5.0
FRESH_S: Final = 0.15
"""Within one turn of the schedules, all questions about a partition have one answer."""
_BATCH: Final = 1_000
_POLL_S: Final = 0.05


class EndedJobs:
    """Asks the coordinator of a queue's group, and reads what waits in the queue's topics, each record once.

    Args:
        make_client: makes a client that has the group's name, and does not join it; with the first question.
    """

    def __init__(
        self, queue: Queue, make_client: Callable[[], Consumer], monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._queue, self._make_client, self._monotonic = queue, make_client, monotonic
        self._client: Consumer | None = None
        self._partitions: dict[int, _Partition] = {}

    def has_ended(self, job_id: str, place: RecordPlace) -> bool:
        """Whether the job whose record is there is done, a dead letter, or cancelled.

        One on a topic that the queue does not read counts as ended: its schedule was moved from another queue, or the
        queue declares the job's priority no more. Nobody here knows of its end, and the schedule must go on.

        Raises:
            KafkaException: the brokers do not answer in time.
        """
        if place.topic not in self._queue.job_topics:
            return True
        if self._client is None:
            self._client = self._make_client()
        if place.partition not in self._partitions:
            self._partitions[place.partition] = _Partition(self._queue, place.partition, self._monotonic)
        return self._partitions[place.partition].has_ended(self._client, job_id, place)

    def close(self) -> None:
        """Disconnect."""
        client, self._client = self._client, None
        if client is not None:
            client.close()


class _Partition:
    """The progress of one partition of the queue's topics."""

    def __init__(self, queue: Queue, number: int, monotonic: Callable[[], float]) -> None:
        self._topics = queue.job_topics
        self._read_topics = queue.job_topics if queue.priorities else queue.waiting_topics
        self._number, self._monotonic = number, monotonic
        self._committed: dict[str, TopicPartition] = {}
        self._asked_at_s = self._read_at_s = -FRESH_S
        self._read_up_to: dict[str, int] = {}
        self._ids: dict[tuple[str, int], str] = {}
        """{(topic, offset): job id} of what schedules have enqueued and may wait."""

    def has_ended(self, client: Consumer, job_id: str, place: RecordPlace) -> bool:
        if self._monotonic() - self._asked_at_s >= FRESH_S:
            self._ask(client)
        if not self._is_complete(place.topic, place.offset):
            return False
        if self._read_at_s < self._asked_at_s:
            self._read(client)
        return not any(known == job_id and self._is_waiting(*where) for where, known in self._ids.items())

    def _ask(self, client: Consumer) -> None:
        found = client.committed([TopicPartition(topic, self._number) for topic in self._topics], timeout=ASK_S)
        for partition in found:
            if partition.error is not None:
                raise KafkaException(partition.error)
        self._committed = {partition.topic: partition for partition in found}
        self._ids = {where: known for where, known in self._ids.items() if self._is_waiting(*where)}
        self._asked_at_s = self._monotonic()

    def _is_complete(self, topic: str, offset: int) -> bool:
        committed = self._committed[topic]
        return is_complete(offset, committed.offset, committed.metadata)

    def _is_waiting(self, topic: str, offset: int) -> bool:
        """Whether a record that is there is known to wait; where thousands do, which ones is not in the commit."""
        committed = self._committed[topic]
        state = CommitMetadata.decode(committed.metadata, committed.offset) if committed.offset >= 0 else None
        is_spilled = state is not None and state.spilled_at is not None and offset < state.position
        return not is_spilled and not is_complete(offset, committed.offset, committed.metadata)

    # ---- what waits

    def _read(self, client: Consumer) -> None:
        """Read on to the ends of this moment; what was read stays known if they are not reached in time."""
        ends = self._unread(client)
        give_up_at_s = self._monotonic() + ASK_S
        client.assign([TopicPartition(topic, self._number, self._read_up_to[topic]) for topic in ends])
        try:
            while any(self._read_up_to[topic] < end for topic, end in ends.items()):
                if self._monotonic() >= give_up_at_s:
                    raise KafkaException(KafkaError(KafkaError._TIMED_OUT))
                for message in client.consume(_BATCH, _POLL_S):
                    self._note(message)
        finally:
            client.unassign()
        self._read_at_s = self._monotonic()

    def _unread(self, client: Consumer) -> Mapping[str, int]:
        """{topic: its end} of those that have records which were not read and are not committed."""
        ends: dict[str, int] = {}
        for topic in self._read_topics:
            low, high = client.get_watermark_offsets(TopicPartition(topic, self._number), timeout=ASK_S)
            known = self._read_up_to.get(topic, 0)
            self._read_up_to[topic] = max(low, self._committed[topic].offset, known if known <= high else 0)
            if self._read_up_to[topic] < high:
                ends[topic] = high
        return ends

    def _note(self, message: Message) -> None:
        topic, offset, error = message.topic() or "", message.offset() or 0, message.error()
        if error is not None and error.code() != KafkaError._PARTITION_EOF:
            if error.retriable() or not error.code() > 0:
                return
            raise KafkaException(error)
        if error is None and (job_id := _scheduled_id(message)) is not None:
            self._ids[topic, offset] = job_id
        self._read_up_to[topic] = max(self._read_up_to.get(topic, 0), offset + (error is None))


def _scheduled_id(message: Message) -> str | None:
    """The id of a job that a schedule has enqueued; None for any other."""
    try:
        values = dict(message.headers() or [])
    except (SystemError, UnicodeDecodeError):  # so the client fails over a name that is not UTF-8
        return None
    job_id = values.get(JOB_ID)
    return job_id.decode(errors="replace") if SCHEDULE in values and isinstance(job_id, bytes) else None


def is_complete(offset: int, committed_offset: int, metadata: str | None) -> bool:
    """Whether an offset is complete by a commit. Pure.

    Where its runs are on the progress topic, thousands of jobs wait; the offset then counts as incomplete, until the
    commit passes it.
    """
    if offset < committed_offset:
        return True
    state = CommitMetadata.decode(metadata, committed_offset) if committed_offset >= 0 else None
    if state is None or state.spilled_at is not None or offset >= state.position:
        return False
    return not any(start <= offset < end for start, end in state.incomplete)
