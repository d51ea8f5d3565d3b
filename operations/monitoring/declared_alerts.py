"""Alerts that follow from what a pipeline declares: which queues there are, and for how long they keep jobs."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from ...producers.metrics import all_metrics as metrics
from ...producers.metrics.all_metrics import PIPELINE
from .alert import Alert

if TYPE_CHECKING:
    from ...topology import Pipeline

NEAR: Final = 0.5
"""The part of the retention from which on a waiting job is near its end: there is as much time again to act."""
DEFAULT_RETENTION: Final = timedelta(days=7)


def retention_near(retention: timedelta, selector: str = "") -> Alert:
    """Build the alert for jobs that wait so long that their topic may soon delete them.

    Args:
        selector: of the queue that keeps its records for `retention`; empty for all queues of all pipelines.
    """
    near_s = retention.total_seconds() * NEAR
    return Alert(
        name="StokerRetentionNear",
        severity="critical",
        expr=f"max by (pipeline, queue) ({metrics.OLDEST.name}{{{selector}}}) > {near_s:.0f}",
        lasts="5m",
        summary="A job of queue {{ $labels.queue }} has waited for {{ $value | humanizeDuration }}",
        description=f"The queue keeps records for {retention.total_seconds() / 86_400:g} days. Workers write waiting "
        "jobs again before that. Were all workers to stop, Kafka would delete the oldest in as much time again.",
    )


def unserved(pipeline: str, queue: str) -> Alert:
    """Build the alert for a declared queue that no worker has partitions of, whether or not one ever had."""
    return Alert(
        name="StokerNoWorker",
        severity="critical",
        expr=f'absent({metrics.PARTITIONS.name}{{{_selector(pipeline, queue)},state="running"}} > 0)',
        lasts="3m",
        summary=f"No worker has partitions of queue {queue}",
        description="Prometheus sees no worker with partitions of it. Jobs are kept, and none runs.",
        labels={PIPELINE: pipeline, "queue": queue},
    )


def declared_alerts(pipeline: Pipeline) -> Iterator[Alert]:
    """Build the alerts of each declared queue."""
    for queue in pipeline.queues.values():
        yield unserved(pipeline.namespace, queue.name)
        yield retention_near(queue.retention, _selector(pipeline.namespace, queue.name))


def _selector(pipeline: str, queue: str) -> str:
    return f'{PIPELINE}="{pipeline}",queue="{queue}"'
