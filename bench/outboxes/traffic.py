"""Transactions that enqueue, records that arrive, and the table in between."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable

import psycopg
from confluent_kafka import Consumer, TopicPartition

from stoker.producers.outbox import Outbox
from stoker.topology import ClusterSettings, Queue
from stoker.topology.declaration.job_type import AnyJobType, JobCall

Connection = psycopg.Connection[tuple[object, ...]]


def call_of(job: AnyJobType, number: int, job_id: str | None = None) -> JobCall:
    """One job of 5,000 keys."""
    configured = job if job_id is None else job.with_options(job_id=job_id)
    return configured.call(number, f"customer-{number % 5_000}", 9.95)


def fill(url: str, outbox: Outbox, job: AnyJobType, rows: int) -> None:
    """Commit so many rows in one transaction."""
    with psycopg.connect(url) as connection:
        outbox.enqueue_many(connection, (call_of(job, number) for number in range(rows)))


def count(url: str) -> int:
    """Rows that are not published and deleted, at most 1,000,000."""
    with psycopg.connect(url) as connection:
        row = connection.execute("SELECT count(*) FROM stoker_outbox").fetchone()
        assert row is not None
        return int(row[0])


class Arrivals:
    """Notes when each record arrives at a plain consumer."""

    def __init__(self, cluster: ClusterSettings, queue: Queue) -> None:
        config = cluster.client_config(group_id="bench-outbox", enable_auto_commit=False, auto_offset_reset="latest")
        self._consumer = Consumer(config)
        parts = [TopicPartition(queue.topic, number) for number in range(queue.partitions)]
        ends = [self._consumer.get_watermark_offsets(part, timeout=10.0) for part in parts]
        self._consumer.assign(
            [TopicPartition(queue.topic, part.partition, end[1]) for part, end in zip(parts, ends, strict=True)]
        )
        self.at_s: dict[str, float] = {}
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        while not self._stopped.is_set():
            for message in self._consumer.consume(500, 0.01):
                if message.error() is None:
                    job = dict(message.headers() or ())["ce_id"] or b""
                    self.at_s[job.decode() if isinstance(job, bytes) else job] = time.monotonic()

    def close(self) -> None:
        """Stop reading."""
        self._stopped.set()
        self._thread.join()
        self._consumer.close()


def commit_paced(url: str, outbox: Outbox, job: AnyJobType, per_s: int, seconds: float) -> dict[str, float]:
    """Commit single jobs at random moments; returns when the commit of each has returned."""
    draw, committed = random.Random(1), dict[str, float]()
    end_at_s = time.monotonic() + seconds
    with psycopg.connect(url) as connection:
        while time.monotonic() < end_at_s:
            name = f"paced-{len(committed)}"
            outbox.send(connection, call_of(job, len(committed), name))
            connection.commit()
            committed[name] = time.monotonic()
            time.sleep(draw.expovariate(per_s))
    return committed


class Load:
    """Writers that commit as fast as they can, and the largest size of the table meanwhile."""

    def __init__(self, url: str, outbox: Outbox, job: AnyJobType, *, writers: int, rows: int) -> None:
        self._url, self._outbox, self._job, self._rows = url, outbox, job, rows
        self._stopped = threading.Event()
        self.committed = [0] * writers
        self.peak_bytes = self.peak_rows = 0
        works: list[Callable[[], None]] = [lambda at=at: self._write(at) for at in range(writers)]  # type: ignore[misc]  # bound at once
        self._threads = [threading.Thread(target=work, daemon=True) for work in (*works, self._watch)]

    def run(self, seconds: float) -> float:
        """Write for so long; returns rows a second."""
        began_at_s = time.monotonic()
        for thread in self._threads:
            thread.start()
        time.sleep(seconds)
        self._stopped.set()
        for thread in self._threads:
            thread.join()
        return sum(self.committed) / (time.monotonic() - began_at_s)

    def _write(self, at: int) -> None:
        with psycopg.connect(self._url) as connection:
            while not self._stopped.is_set():
                self._outbox.enqueue_many(connection, (call_of(self._job, number) for number in range(self._rows)))
                connection.commit()
                self.committed[at] += self._rows

    def _watch(self) -> None:
        sql = "SELECT pg_total_relation_size('stoker_outbox'), count(*) FROM stoker_outbox"
        with psycopg.connect(self._url, autocommit=True) as connection:
            while not self._stopped.wait(0.3):
                size, rows = connection.execute(sql).fetchone() or (0, 0)
                self.peak_bytes, self.peak_rows = max(self.peak_bytes, size), max(self.peak_rows, rows)
