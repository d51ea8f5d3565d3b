"""`ScheduledCalls`: turns calls into what the jobs of a schedule have in common, and into jobs that run now."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Final

from ...schemas import SchemaStore
from ...schemas.own_records.schedule_records import ScheduleRecord
from ...schemas.stores.memory_store import MemorySchemaStore
from ...topology import ClusterSettings, Pipeline
from ...topology.declaration.job_type import JobCall
from ...topology.planning.schema_store import schema_store
from ...topology.wire.schedules import instant_text
from ..readiness import KafkaCheck, Readiness
from ..record import RecordBuilder
from ..transaction_writer import TransactionRecord
from .definitions import is_same
from .errors import ScheduleRefused
from .templates import Template, job_of, made_job, template_of

SOURCE: Final = "/stoker/schedules"
"""The `ce_source` of jobs that a schedule enqueues, unless the call has another."""
CHECK_S: Final = 10.0


class ScheduledCalls:
    """Registers the contracts of the calls, and connects for that with the first one."""

    def __init__(self, pipeline: Pipeline, cluster: ClusterSettings, store: SchemaStore | None) -> None:
        self._pipeline, self._cluster = pipeline, cluster
        self._given_store, self._store = store, store
        self._building: tuple[RecordBuilder, Readiness] | None = None

    def template(self, call: JobCall) -> Template:
        """The template of the jobs of a schedule that makes this call.

        Raises:
            EnqueueError: an argument or an option is refused, or the cluster is not ready.
        """
        builder, readiness = self._builder()
        readiness.prepare(call.job_type)
        return template_of(builder, call)

    def unregistered(self, call: JobCall) -> Template:
        """The template without asking the cluster; with a Schema Registry, without the ids that it would give.

        Raises:
            CallRefused: an argument or an option is refused.
        """
        store = MemorySchemaStore()
        store.register(call.job_type.contract)
        return template_of(RecordBuilder(store, SOURCE, {}), call)

    def is_same(self, one: ScheduleRecord, other: ScheduleRecord) -> bool:
        """Whether two records let the same jobs run at the same times, as far as that can be seen."""
        framed = (b"", b"") if one.value is None or other.value is None else (one.value, other.value)
        if framed[0][:1] != framed[1][:1]:  # one has the number of a Schema Registry, the other none
            other = replace(other, value=one.value)
        return is_same(one, other)

    def jobs(self, schedule: ScheduleRecord, now: datetime) -> list[TransactionRecord]:
        """The jobs of a schedule, as if it fired now; their ids are those of `trigger_ids`.

        Raises:
            ScheduleRefused: this application does not declare the function that makes them.
            EnqueueError: an argument is refused, or the cluster is not ready.
        """
        builder, readiness = self._builder()
        queue = self._pipeline.find_queue(schedule.queue)
        if schedule.value is not None:
            readiness.verify()
            partitions = KafkaCheck(self._pipeline, self._cluster, CHECK_S).partitions(queue.topic)
            (job_id,) = trigger_ids(schedule.name, now, 1)
            return [job_of(schedule, now, queue, partitions, now, job_id)]
        declared = self._pipeline.schedules.get(schedule.name)
        if declared is None:
            raise ScheduleRefused(schedule.name, "a function makes its jobs, which this application does not declare")
        calls = declared.calls_at(now)
        for call in calls:
            readiness.prepare(call.job_type)
        named = zip(calls, trigger_ids(schedule.name, now, len(calls)), strict=True)
        built = [builder.build(replace(call, options=replace(call.options, job_id=job_id))) for call, job_id in named]
        return [made_job(schedule, now, record) for record in built]

    def close(self) -> None:
        """Disconnect."""
        if self._store is not None and self._given_store is None:
            self._store.close()
        self._store, self._building = self._given_store, None

    def _builder(self) -> tuple[RecordBuilder, Readiness]:
        if self._building is None:
            if self._store is None:
                self._store = schema_store(self._pipeline, self._cluster)
            readiness = Readiness(self._pipeline, self._store, KafkaCheck(self._pipeline, self._cluster, CHECK_S))
            self._building = RecordBuilder(self._store, SOURCE, readiness.partitions), readiness
        return self._building


def trigger_ids(name: str, now: datetime, count: int) -> list[str]:
    """The ids of jobs that are triggered by hand; the job of no instant has such an id."""
    return [f"{name}@{instant_text(now)}!{number}" for number in range(count)]
