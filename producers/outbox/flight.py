"""The rows on their way to Kafka: sent in the order of their keys, confirmed, or found to be at fault.

Most rows take the *fast* client, which sends many at once. It stops as a whole where a record in the middle is refused
(`enable.gapless.guarantee`), so that no later one of its key overtakes it. What might be refused takes the *careful*
client instead: a large row, one that was refused before, the first of a topic. There a key has one row at a time, so
that a refusal has nothing behind it, and the row is at fault itself.
"""

from __future__ import annotations

import json
import logging
import time
from collections import Counter
from collections.abc import Iterable
from functools import partial
from typing import Final

from confluent_kafka import KafkaError, Message

from ...databases.outbox.rows import OutboxRow
from ...topology.cluster.kafka_errors import Remedy, remedy_of
from ...topology.cluster.settings import ClusterSettings, Option, principal_of
from ..client import Outage, producer_config
from ..connection import Connection
from ..delivery import delivery_error, why_unconfirmed
from ..errors import BrokerUnreachable, EnqueueError, NotAuthorized, TopologyNotReady, UnknownTopic
from ..record import ANY_PARTITION, BuiltRecord, partition_of

_LOGGER = logging.getLogger("stoker.producers")

Key = tuple[str, bytes] | None
"""(topic, key) of a row that has a key."""

LARGE_BYTES: Final = 200_000
BAD_TOPIC_S: Final = 10.0
"""How long no row of a topic is tried after one could not be published because of the topic."""
PROBE_S: Final = 5.0
"""How long one row alone tries a topic. Then another one does as well, since the first one's partition may have no
leader; a topic that is missing would have been reported by then."""
PARTITIONS_KNOWN_S: Final = 10.0
_ASK_S: Final = 1.0
_PAUSE_S: Final = 0.2
_BOTH: Final[dict[str, Option]] = {
    "linger_ms": 1,
    "compression_type": "lz4",
    # Rows wait for the brokers for as long as need be: one that expired would let later ones of its key pass.
    "delivery_timeout_ms": 0,
    # How long a topic may be unknown. Its rows are put aside then, and tried again later.
    "topic_metadata_propagation_max_ms": 2_000,
}
_ALONE: Final[dict[str, Option]] = {"batch_num_messages": 1}
"""A batch is refused as a whole, and only one of its rows may be at fault."""
_OF_TOPICS: Final = (UnknownTopic, NotAuthorized, TopologyNotReady)
_TEMPORARY: Final = (Remedy.WAIT, Remedy.NEW_CLIENT, Remedy.NONE)


class Flight:
    """The rows that were sent and are not yet confirmed. One thread uses it.

    Attributes:
        rows: {id: key} of the rows in flight.
        confirmed: {id: job id} of the rows that the brokers have, for the caller to delete and clear.
        faults: (id, reason) of what cannot be published, for the caller to put aside and clear.
        bytes: the size of their values.
    """

    def __init__(self, cluster: ClusterSettings) -> None:
        self._outage = Outage(
            cluster.bootstrap_servers,
            "the outbox's relay",
            "the rows wait in their table",
            principal=principal_of(cluster.options),
        )
        self._fast_config = producer_config(cluster, **_BOTH, enable_gapless_guarantee=True)
        self._careful_config = producer_config(cluster, **_BOTH, **_ALONE)
        self._fast = Connection(self._fast_config, self._outage)
        self._careful_outage = Outage(cluster.bootstrap_servers, principal=self._outage.principal, level=10)
        self._careful = Connection(self._careful_config, self._careful_outage)
        self.rows: dict[int, Key] = {}
        self.bytes = 0
        self.confirmed: dict[int, str] = {}
        self.faults: list[tuple[int, str]] = []
        self._probes: dict[str, float] = {}
        self._keys = Counter[Key]()
        self._careful_keys: set[Key] = set()
        self._suspects: set[int] = set()
        self._trusted: set[str] = set()
        self._bad: dict[str, tuple[float, str]] = {}
        self._partitions: dict[str, tuple[float, int]] = {}
        self._paused_until_at_s = 0.0

    @property
    def trouble(self) -> str | None:
        """The trouble that keeps rows from being confirmed; None where there is none."""
        return None if self._outage.cause is None else f"Kafka is lost: {self._outage.cause.str()}"

    @property
    def probing(self) -> list[str]:
        """Topics of which one row is in flight, to find out whether they can be written."""
        now_s = time.monotonic()
        return [topic for topic, until_at_s in self._probes.items() if until_at_s > now_s]

    def answers(self) -> bool:
        """Whether a broker answers within a second."""
        return self._careful.answers(_ASK_S)

    def bad_topics(self) -> list[str]:
        """Topics that could not be written a moment ago."""
        now_s = time.monotonic()
        self._bad = {topic: (until_at_s, why) for topic, (until_at_s, why) in self._bad.items() if until_at_s > now_s}
        return list(self._bad)

    def send(self, rows: Iterable[OutboxRow]) -> int:
        """Send what may be sent now, and return how many rows that is; the others are to be read again.

        A row waits where an earlier one of its key waits, or is in flight with the careful client.
        """
        sent, held = 0, set[Key]()
        for row in rows:
            if self._is_pausing():  # no broker has answered for the row before
                break
            key = None if row.key is None else (row.topic, row.key)
            if key is None:
                sent += self._send(row, key)
            elif key in held or key in self._careful_keys:
                continue
            elif self._send(row, key):
                sent += 1
            else:
                held.add(key)
        return sent

    def _is_pausing(self) -> bool:
        return time.monotonic() < self._paused_until_at_s

    def _send(self, row: OutboxRow, key: Key) -> bool:
        if self._probes.get(row.topic, 0.0) > time.monotonic() or row.id in self.rows:
            return False
        if row.topic in self._bad:
            self._note_fault(row.id, self._bad[row.topic][1])
            return False
        is_new = row.topic not in self._trusted
        if is_new or row.tries or row.id in self._suspects or len(row.value) > LARGE_BYTES:
            return self._send_carefully(row, key, is_new=is_new)
        return self._offer(row, key, self._fast)

    def _send_carefully(self, row: OutboxRow, key: Key, *, is_new: bool) -> bool:
        if key is not None and key in self._keys:
            return False
        if not self._offer(row, key, self._careful):
            return False
        self._careful_keys.add(key)
        if is_new:
            self._probes[row.topic] = time.monotonic() + PROBE_S
        return True

    def _offer(self, row: OutboxRow, key: Key, connection: Connection) -> bool:
        """Hand a row to a client; False where that has no room, or refuses it at once."""
        if "\0" in row.topic:  # the client raises what no other row must see
            self._note_fault(row.id, f"job {row.job_id}: the row's topic {row.topic!r} is no name of a topic")
            return False
        try:
            record = self._record(row)
        except (ValueError, TypeError, AttributeError, RecursionError) as fault:  # another program's row
            self._note_fault(row.id, f"job {row.job_id}: the row's headers are no JSON object of texts ({fault})")
            return False
        except EnqueueError as refusal:
            self._note_offer_refused(row, refusal, connection)
            return False
        try:
            taken = connection.offer(record, partial(self._note_report, row.id, record, connection))
        except EnqueueError as refusal:
            self._note_offer_refused(row, refusal, connection)
            return False
        if taken:
            self.rows[row.id] = key
            self.bytes += len(row.value)
            self._keys[key] += 1
        return taken

    def _note_offer_refused(self, row: OutboxRow, refusal: EnqueueError, connection: Connection) -> None:
        if isinstance(refusal, BrokerUnreachable) or connection.is_broken:
            self._paused_until_at_s = time.monotonic() + _PAUSE_S
        else:
            self._note_refusal(row.id, row.topic, refusal, connection)

    def _record(self, row: OutboxRow) -> BuiltRecord:
        headers = [(_checked(name), value.encode()) for name, value in json.loads(row.headers).items()]
        partition = ANY_PARTITION
        if row.partition_key is not None:
            partition = partition_of(row.partition_key, self._count_partitions(row.topic))
        return BuiltRecord(row.topic, row.key, row.value, headers, partition, row.job_id)

    def _count_partitions(self, topic: str) -> int:
        now_s = time.monotonic()
        known_at_s, count = self._partitions.get(topic, (float("-inf"), 0))
        if now_s - known_at_s > PARTITIONS_KNOWN_S:
            count = self._careful.count_partitions(topic, _ASK_S)
            self._partitions[topic] = now_s, count
        return count

    def _note_report(
        self, row_id: int, record: BuiltRecord, connection: Connection, error: KafkaError | None, message: Message
    ) -> None:
        """Take the client's report on a row."""
        topic = record.topic
        self.bytes -= len(record.value)
        key = self.rows.pop(row_id)
        self._keys[key] -= 1
        if not self._keys[key]:
            del self._keys[key]
        if connection is self._careful:
            self._careful_keys.discard(key)
            self._probes.pop(topic, None)
        fault = why_unconfirmed(error, message)
        if fault is None:
            self._note_confirmed(row_id, record, connection)
        elif remedy_of(fault) in _TEMPORARY:
            self._paused_until_at_s = time.monotonic() + _PAUSE_S
        else:
            refusal = delivery_error(fault, record.job_id, topic, connection.outage)
            self._note_refusal(row_id, topic, refusal, connection)

    def _note_confirmed(self, row_id: int, record: BuiltRecord, connection: Connection) -> None:
        connection.outage.end()
        self.confirmed[row_id] = record.job_id
        self._trusted.add(record.topic)
        self._suspects.discard(row_id)

    def _note_refusal(self, row_id: int, topic: str, refusal: EnqueueError, connection: Connection) -> None:
        """Let the careful client find out whether the row itself is at fault."""
        is_of_topic = isinstance(refusal, _OF_TOPICS)
        if is_of_topic:
            self._trusted.discard(topic)
        if connection is self._fast:
            self._suspects.add(row_id)
            return
        if is_of_topic:
            self._bad[topic] = time.monotonic() + BAD_TOPIC_S, str(refusal)
        self._note_fault(row_id, str(refusal))

    def _note_fault(self, row_id: int, reason: str) -> None:
        self._suspects.discard(row_id)
        self.faults.append((row_id, reason))

    def poll(self, timeout_s: float) -> None:
        """Wait for reports, and replace a client that has given up; its rows are no longer in flight then."""
        self._fast.poll(timeout_s if self._fast.in_flight else 0)
        self._careful.poll(0 if self._fast.in_flight or not self._careful.in_flight else timeout_s)
        if self._fast.is_broken:
            self._fast = self._replaced(self._fast, self._fast_config, self._outage)
        if self._careful.is_broken:
            self._careful = self._replaced(self._careful, self._careful_config, self._careful_outage)

    def _replaced(self, broken: Connection, config: dict[str, Option], outage: Outage) -> Connection:
        _LOGGER.debug("the outbox's relay connects anew: %s", outage.fatal)
        broken.abandon()
        outage.fatal = None
        return Connection(config, outage)

    def abandon(self) -> None:
        """Give up on what is in flight: it stays in the table."""
        self._fast.abandon()
        self._careful.abandon()


def _checked(name: str) -> str:
    """Let a header's name pass if it can be written; on half a character, which JSON may hold, the client would crash.

    Raises:
        UnicodeEncodeError: it cannot.
    """
    name.encode()
    return name
