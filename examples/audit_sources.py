"""Where the auditor's figures come from: the CSV, the SQLite file, and the topics, read by a plain Kafka client.

Nothing here goes through Stoker, but for the address of the cluster: header names are those of the wire contract.
"""

from __future__ import annotations

import sqlite3
import time
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from confluent_kafka import (
    Consumer,
    KafkaError,
    KafkaException,
    Message,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient, OffsetSpec  # type: ignore[attr-defined]  # re-exported without `__all__`

from examples.flight_data import MISSING, FlightFile, Row
from stoker.topology import ClusterSettings

TIMEOUT_S: Final = 20.0
READ_TIMEOUT_S: Final = 120.0

Place = tuple[str, int]
"""Topic and partition."""


class TopicsUnread(Exception):
    """The brokers did not return everything that their topics hold, so there is no balance."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ordered:
    """What the CSV holds.

    Attributes:
        by_plane: {tail number: ids of its flights}, in the order of the file.
        ids: of all flights, those without a plane too.
    """

    by_plane: dict[str, list[str]]
    ids: frozenset[str]
    rows: int


def read_csv(file: FlightFile) -> Ordered:
    """Read which flights there are, and in which order."""
    by_plane: defaultdict[str, list[str]] = defaultdict(list)
    ids, rows = set[str](), 0
    for row in file.rows():
        rows += 1
        ids.add(row_id(row))
        if row["tailnum"] not in MISSING:
            by_plane[row["tailnum"]].append(row_id(row))
    return Ordered(by_plane=dict(by_plane), ids=frozenset(ids), rows=rows)


def row_id(row: Row) -> str:
    """The identity of a row's flight, put together from its texts."""
    day = f"{row['year']}-{row['month']:0>2}-{row['day']:0>2}"
    return f"{day}-{row['carrier']}{row['flight']}-{row['origin']}-{row['sched_dep_time']:0>4}"


def count_claims(file: Path) -> int:
    """How many flights have a claim."""
    with closing(_reading(file)) as db:
        return int(db.execute("SELECT count(*) FROM claims").fetchone()[0])


def bookings(file: Path) -> dict[int, int]:
    """{process: claims that it booked}; the process that booked the latest comes last."""
    with closing(_reading(file)) as db:
        return dict(db.execute("SELECT process, count(*) FROM claims GROUP BY 1 ORDER BY max(seq)"))


def _reading(file: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro", uri=True, timeout=TIMEOUT_S)


@dataclass(frozen=True, slots=True, kw_only=True)
class Booked:
    """What the SQLite file holds.

    Attributes:
        ids: flights with a claim.
        doubled: flights with more than one.
        first_runs: {flight id: place in the order of booking} of those booked at their first attempt, without a replay.
        repeated: runs beyond the first of a flight.
        verdicts: (verdict, euros for each passenger, flights), the most frequent first.
    """

    ids: frozenset[str]
    doubled: int
    first_runs: dict[str, int]
    repeated: int
    verdicts: list[tuple[str, int, int]]


def read_claims(file: Path) -> Booked:
    """Read the claims."""
    doubled = "SELECT 1 FROM claims GROUP BY flown_on, carrier, flight, origin, departs HAVING count(*) > 1"
    verdicts = "SELECT verdict, amount_eur, count(*) FROM claims GROUP BY 1, 2 ORDER BY 3 DESC"
    first_runs = "SELECT flight_id, seq FROM claims WHERE attempt = 1 AND replay IS NULL"
    with closing(_reading(file)) as db:
        return Booked(
            ids=frozenset(flight for (flight,) in db.execute("SELECT flight_id FROM claims")),
            doubled=len(db.execute(doubled).fetchall()),
            first_runs=dict(db.execute(first_runs)),
            repeated=db.execute("SELECT coalesce(sum(runs - 1), 0) FROM claims").fetchone()[0],
            verdicts=db.execute(verdicts).fetchall(),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class OnTopics:
    """What the topics hold; of each job, once.

    Attributes:
        enqueued: jobs on the main topic, from any publisher.
        waiting: jobs on the main topic, the tiers and the delays that the group has not completed.
        dead: jobs with an open dead letter.
        dead_letters: open ones; more than jobs, where a kill made a job's retry be written twice.
    """

    enqueued: frozenset[str]
    waiting: frozenset[str]
    dead: frozenset[str]
    dead_letters: int


class QueueTopics:
    """A queue's topics, as an outsider sees them."""

    def __init__(self, cluster: ClusterSettings, namespace: str, queue: str) -> None:
        self._cluster = cluster
        self._admin = AdminClient(cluster.client_config(log_level=2))
        self.group = self.main = f"{namespace}.{queue}"
        self.dead = f"{self.main}.dead"
        found = self._admin.list_topics(timeout=TIMEOUT_S).topics
        prefixes = f"{self.main}.retry.", f"{self.main}.delay.", f"{self.main}.carried"
        self.waiting_topics = sorted(name for name in found if name.startswith(prefixes))
        self._partitions = {name: len(topic.partitions) for name, topic in found.items()}

    def waiting(self) -> int:
        """How many records of the main topic, the tiers and the delays the group has not completed.

        A record on its way from one topic to the next counts at least once: what was completed is asked for before
        the ends.
        """
        committed = self._committed()
        bounds = self._bounds([self.main, *self.waiting_topics])
        return sum(end - committed.get(place, begin) for place, (begin, end) in bounds.items())

    def read(self) -> OnTopics:
        """Read everything."""
        committed = self._committed()
        enqueued, waiting = set[str](), set[str]()
        for message in self._messages([self.main, *self.waiting_topics]):
            job_id = _header(message, "ce_id")
            if message.topic() == self.main:
                enqueued.add(job_id)
            if _offset(message) >= committed.get(_place(message), 0):
                waiting.add(job_id)
        dead_letters = self._open_dead_letters()
        return OnTopics(
            enqueued=frozenset(enqueued),
            waiting=frozenset(waiting),
            dead=frozenset(dead_letters),
            dead_letters=len(dead_letters),
        )

    def _open_dead_letters(self) -> list[str]:
        """The job ids of the dead letters that no later record of their partition settles."""
        dead_letters: dict[tuple[str, int], str] = {}
        for message in self._messages([self.dead]):
            settles = _header(message, "stoker-settles")
            if settles:
                dead_letters.pop((str(message.partition()), int(settles)), None)
            else:
                dead_letters[str(message.partition()), _offset(message)] = _header(message, "ce_id")
        return list(dead_letters.values())

    def _committed(self) -> dict[Place, int]:
        wanted = [
            TopicPartition(topic, number)
            for topic in (self.main, *self.waiting_topics)
            for number in self._numbers(topic)
        ]
        asking = Consumer({**self._cluster.client_config(log_level=2), "group.id": self.group})  # it joins nothing
        try:
            found = asking.committed(wanted, timeout=TIMEOUT_S)
        except KafkaException as error:
            if error.args[0].code() == KafkaError.GROUP_ID_NOT_FOUND:  # no worker has come yet
                return {}
            raise
        finally:
            asking.close()
        return {(at.topic, at.partition): at.offset for at in found if at.offset >= 0}

    def _bounds(self, topics: Collection[str]) -> dict[Place, tuple[int, int]]:
        """{place: (first offset, end)}."""
        places = [TopicPartition(topic, number) for topic in topics for number in self._numbers(topic)]
        begins = self._offsets(places, OffsetSpec.earliest())  # type: ignore[no-untyped-call]  # the package has no types for it
        ends = self._offsets(places, OffsetSpec.latest())  # type: ignore[no-untyped-call]  # as above
        return {place: (begins[place], ends[place]) for place in ends}

    def _offsets(self, places: list[TopicPartition], which: OffsetSpec) -> dict[Place, int]:
        futures = self._admin.list_offsets(dict.fromkeys(places, which), request_timeout=TIMEOUT_S)
        return {(at.topic, at.partition): future.result(TIMEOUT_S).offset for at, future in futures.items()}

    def _numbers(self, topic: str) -> range:
        return range(self._partitions.get(topic, 0))

    def _messages(self, topics: Collection[str]) -> Iterator[Message]:
        """Every record that the topics hold at this moment, each partition's in order."""
        give_up_at_s = time.monotonic() + READ_TIMEOUT_S
        with self._consumer() as consumer:
            unread = {place for place, (begin, end) in self._bounds(topics).items() if end > begin}
            consumer.assign([TopicPartition(topic, number, 0) for topic, number in unread])
            while unread:
                if time.monotonic() > give_up_at_s:
                    raise TopicsUnread(
                        f"after {READ_TIMEOUT_S:.0f} s, {len(unread)} partitions are not read to the end"
                    )
                yield from _records(consumer.consume(1_000, 0.2), unread)

    def _consumer(self) -> closing[Consumer]:
        config = self._cluster.client_config(
            group_id="flights-auditor",
            enable_auto_commit=False,
            enable_partition_eof=True,
            auto_offset_reset="earliest",
        )
        return closing(Consumer(config))


def _records(polled: Iterable[Message], unread: set[Place]) -> Iterator[Message]:
    """Leave out the ends of partitions, which are read then."""
    for message in polled:
        error = message.error()
        if error is None:
            yield message
        elif error.code() == KafkaError._PARTITION_EOF:
            unread.discard(_place(message))
        else:
            raise KafkaException(error)


def _place(message: Message) -> Place:
    return str(message.topic()), message.partition() or 0


def _offset(message: Message) -> int:
    return message.offset() or 0


def _header(message: Message, name: str) -> str:
    pairs: list[tuple[str, bytes]] = message.headers() or []  # type: ignore[assignment]  # a consumed message has a list
    return dict(pairs).get(name, b"").decode("utf-8", "backslashreplace")
