"""`JobsOfInstants`: makes the records of the jobs of an instant."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

from ...producers.record import RecordBuilder
from ...producers.schedules.templates import job_of, made_job
from ...producers.tracing.spans import EnqueueSpans
from ...producers.transaction_writer import TransactionRecord
from ...schemas.own_records.schedule_records import ScheduleRecord
from ...topology.declaration.job_type import AnyJobType
from ...topology.declaration.pipeline import Pipeline
from ...topology.declaration.queue import Queue
from ...topology.wire.headers import JOB_ID
from ...topology.wire.schedules import scheduled_job_id


class CannotFire(Exception):
    """A schedule cannot be fired by this process, or not now; the message has the reason."""


class JobsOfInstants:
    """Makes jobs: of the schedule's record, or by the application's function.

    Args:
        builder: of the records of calls.
        prepare: registers the contract of a job type, before its first job is built.
    """

    def __init__(
        self, pipeline: Pipeline, queue: Queue, builder: RecordBuilder, prepare: Callable[[AnyJobType], None]
    ) -> None:
        self._pipeline, self._queue = pipeline, queue
        self._builder, self._prepare = builder, prepare

    def of(
        self, schedule: ScheduleRecord, instant: datetime, partitions: int, now: datetime
    ) -> list[TransactionRecord]:
        """The records of an instant.

        Raises:
            CannotFire: the application does not declare the schedule, or its function has failed.
        """
        if schedule.value is not None:
            return [_traced(job_of(schedule, instant, self._queue, partitions, now))]
        declared = self._pipeline.schedules.get(schedule.name)
        if declared is None:
            raise CannotFire("its jobs are made by a function that this worker's application does not declare")
        try:
            calls = declared.calls_at(instant)
            for number, call in enumerate(calls):
                self._prepare(call.job_type)
                job_id = scheduled_job_id(schedule.name, instant, number)
                calls[number] = replace(call, options=replace(call.options, job_id=job_id))
            built = [EnqueueSpans.find().create(call, self._builder.build) for call in calls]
        except Exception as error:  # the application's own code: it must not end the other schedules
            raise CannotFire(f"the function that makes its jobs has failed: {type(error).__name__}: {error}") from error
        return [made_job(schedule, instant, record) for record in built]


def _traced(record: TransactionRecord) -> TransactionRecord:
    """The record with the trace that begins here."""
    job_id = dict(record.headers)[JOB_ID].decode()
    trace = EnqueueSpans.find().headers_of_scheduled(record.topic, job_id)
    return replace(record, headers=[*record.headers, *trace]) if trace else record
