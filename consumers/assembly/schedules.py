"""`make_schedules`: the thread of schedules of a worker process, with what fires those of each of its queues."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Final

from ...producers.client import Outage
from ...producers.control.log_reader import END_MS, LogReader
from ...producers.readiness import KafkaCheck, Readiness
from ...producers.record import RecordBuilder
from ...producers.schedules.scheduled_calls import SOURCE
from ...producers.transaction_writer import TransactionWriter
from ...schemas import SchemaStore
from ...topology import ClusterSettings, Pipeline, Queue
from ...topology.cluster.settings import Option
from ...topology.wire.names import schedules_writer
from ..kafka.clients import make_reader
from ..schedules.ended_jobs import EndedJobs
from ..schedules.jobs_of_instants import JobsOfInstants
from ..schedules.queue_schedules import FiringParts, QueueSchedules
from ..schedules.schedule_thread import ScheduleThread, ScheduleThreadParts

PREPARE_S: Final = 10.0
READING: Final[Mapping[str, Option]] = {"isolation.level": "read_uncommitted"}
"""Records behind an open transaction are read too: waiting jobs are the settler's, which writes no transactions."""


def make_schedules(
    pipeline: Pipeline,
    cluster: ClusterSettings,
    store: SchemaStore,
    queues: Sequence[Queue],
    worker_id: str,
    *,
    owns_first: Callable[[str], bool],
    on_crash: Callable[[BaseException], None],
) -> ScheduleThread:
    """Make the thread; nothing is connected before it runs.

    Args:
        queues: those that the process works on.
        owns_first: whether it owns the first partition of a queue.
    """
    readiness = Readiness(pipeline, store, KafkaCheck(pipeline, cluster, PREPARE_S))
    builder = RecordBuilder(store, SOURCE, readiness.partitions)

    def firing(queue: Queue) -> QueueSchedules:
        client_id = f"{worker_id}-schedules"
        ended = EndedJobs(queue, partial(make_reader, cluster, queue, client_id, READING))
        outage = Outage(cluster.bootstrap_servers, f"schedules of queue {queue.name}", "they fire when it is back")
        transactional_id = schedules_writer(pipeline.namespace, queue.name)
        return QueueSchedules(
            FiringParts(
                queue=queue.name,
                topic=queue.topic,
                schedules_topic=pipeline.schedules_topic,
                transactional_id=transactional_id,
                worker_id=worker_id,
                writer=TransactionWriter(cluster, transactional_id, outage, client_id="stoker-schedules"),
                make_jobs=JobsOfInstants(pipeline, queue, builder, readiness.prepare).of,
                has_ended=ended.has_ended,
            )
        )

    parts = ScheduleThreadParts(
        schedules={queue.name: firing(queue) for queue in queues},
        owns_first=owns_first,
        make_reader=partial(
            LogReader,
            cluster,
            pipeline.schedules_topic,
            client_id=f"{worker_id}-schedules",
            options={"fetch.wait.max.ms": END_MS},
        ),
    )
    return ScheduleThread(parts, on_crash=on_crash)
