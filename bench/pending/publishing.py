"""`Publisher`: writes the jobs that wait, with the plain client: keys, partitions and due times as it is asked."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

import confluent_kafka
import uuid_utils
from jobs import QUEUE

from pending.jobs import PLAIN
from stoker.producers.client import producer_config
from stoker.topology import ClusterSettings, Pipeline
from stoker.topology.planning.schema_store import schema_store
from stoker.topology.wire import headers as wire

OF_KEY: Final = -1
_POLL_EVERY: Final = 500
_BUFFERED: Final = 1_000_000
_FLUSH_S: Final = 60.0


class NotPublished(Exception):
    """The brokers have not confirmed all jobs."""

    def __init__(self, left: int) -> None:
        super().__init__(f"{left:,} jobs are not confirmed after {_FLUSH_S:g} s; see the log of the brokers")


@dataclass(frozen=True, slots=True, kw_only=True)
class PendingJob:
    """One job to publish.

    Attributes:
        number: its place in the notes.
        since_s: what its handler counts from, in seconds since 1970; the due time where `is_delayed`.
        partition: that of its key, if not given.
        job_id: a new one, if not given.
        tenant: for whom it is, if for anybody.
    """

    number: int
    key: str
    since_s: float
    is_delayed: bool = False
    partition: int = OF_KEY
    job_type: str = PLAIN
    job_id: str | None = None
    tenant: bytes | None = None


class Publisher:
    """Publishes jobs of one pipeline as other producers do, in whatever order they are given."""

    def __init__(self, pipeline: Pipeline, cluster: ClusterSettings) -> None:
        self._topic = pipeline.queues[QUEUE].topic
        self._contracts = {name: job_type.contract for name, job_type in pipeline.job_types.items()}
        self._store = schema_store(pipeline, cluster)
        self._client = confluent_kafka.Producer(
            producer_config(
                cluster,
                linger_ms=5,
                compression_type="lz4",
                delivery_report_only_error=True,
                queue_buffering_max_messages=_BUFFERED,
            )
        )

    def publish(self, jobs: Iterable[PendingJob]) -> None:
        """Publish the jobs in their order, and return when all are confirmed."""
        for count, job in enumerate(jobs):
            self._produce(job)
            if count % _POLL_EVERY == 0:
                self._client.poll(0)
        if left := self._client.flush(_FLUSH_S):
            raise NotPublished(left)

    def _produce(self, job: PendingJob) -> None:
        try:
            self._hand_over(job)
        except BufferError:  # the client's queue is full: it empties it
            self._client.flush(_FLUSH_S)
            self._hand_over(job)

    def _hand_over(self, job: PendingJob) -> None:
        contract = self._contracts[job.job_type]
        body = contract.encode(contract.payload((job.number, job.since_s), {}))
        self._client.produce(
            self._topic,
            value=self._store.frame(contract, body),
            key=job.key,
            headers=_headers(job),
            partition=job.partition,
        )


def _headers(job: PendingJob) -> list[tuple[str, str | bytes | None]]:
    due = [(wire.DUE, wire.format_instant(datetime.fromtimestamp(job.since_s, UTC)))] if job.is_delayed else []
    tenant = [] if job.tenant is None else [(wire.TENANT, job.tenant)]
    return [
        (wire.SPEC_VERSION, wire.SPEC_VERSION_1_0),
        (wire.JOB_ID, (job.job_id or str(uuid_utils.uuid7())).encode()),
        (wire.JOB_TYPE, job.job_type.encode()),
        (wire.SOURCE, b"/bench"),
        (wire.TIME, b"2013-01-01T05:17:00.250000Z"),
        (wire.CONTENT_TYPE, wire.CONTENT_TYPE_AVRO),
        *due,
        *tenant,
    ]
