"""The events on a cluster's topic, read as anybody reads them."""

from __future__ import annotations

from typing import Any

from stoker.schemas import decode_own
from stoker.schemas.own_records.jobs_ended import JobsEnded, decode_jobs_ended
from stoker.schemas.own_records.own import is_own
from stoker.topology import ClusterSettings, Pipeline
from stoker.topology.declaration.topics import pipeline_topics
from support.scenes.worker import read_topic
from support.sight.ended_jobs import EndedJob, jobs_of


def _values(cluster: ClusterSettings, pipeline: Pipeline) -> list[bytes]:
    (spec,) = [spec for spec in pipeline_topics(pipeline) if spec.name == pipeline.events_topic]
    return [value for message in read_topic(cluster, spec.name, spec.partitions) if (value := message.value())]


def job_events(cluster: ClusterSettings, pipeline: Pipeline) -> list[dict[str, Any]]:
    """All events of one job or action each."""
    return [decode_own("JobEvent", value) for value in _values(cluster, pipeline) if is_own("JobEvent", value)]


def done_events(cluster: ClusterSettings, pipeline: Pipeline) -> list[JobsEnded]:
    """All events of jobs that are done."""
    return [decode_jobs_ended(value) for value in _values(cluster, pipeline) if is_own("JobsEnded", value)]


def done_jobs(cluster: ClusterSettings, pipeline: Pipeline) -> list[EndedJob]:
    """The jobs of which an event says that they are done."""
    return [job for event in done_events(cluster, pipeline) for job in jobs_of(event)]
