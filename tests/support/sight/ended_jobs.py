"""The jobs of a `JobsEnded` one by one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from stoker.schemas.own_records.jobs_ended import JobsEnded, columns_of, ids_of


@dataclass(frozen=True, slots=True, kw_only=True)
class EndedJob:
    """One job of a `JobsEnded`.

    Attributes:
        key: None where it has none.
        enqueued_ms: since 1970; 0 where it is not known.
        replay: the id of the replay that has published it; empty for most.
    """

    job_id: str
    job_type: str
    topic: str
    partition: int
    offset: int
    tenant: str
    key: bytes | None
    attempt: int
    enqueued_ms: int
    replay: str
    began: datetime
    took_s: float


def jobs_of(event: JobsEnded) -> Iterator[EndedJob]:
    """Read the jobs one by one, in their order.

    Raises:
        ValueError: its columns have not as many entries as it has jobs.
    """
    columns = columns_of(event)
    for job_id, job_type, partition, offset, tenant, key, attempt, enqueued, replay, before, took in zip(
        ids_of(event), *columns[1:], strict=True
    ):
        yield EndedJob(
            job_id=job_id,
            job_type=job_type,
            topic=event.topic,
            partition=partition,
            offset=offset,
            tenant=tenant,
            key=key,
            attempt=attempt,
            enqueued_ms=enqueued,
            replay=replay,
            began=event.at - timedelta(seconds=before),
            took_s=took,
        )
