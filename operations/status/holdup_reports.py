"""What workers report of hold-ups: why a partition of a queue has not come further, read from the end of the events.

A report holds only for the moment in which it was made. So none is believed that is old, whose worker is not in the
group any more, or whose job lies before the offset that the group has committed by now.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from confluent_kafka import KafkaException

from ...schemas import Undecodable, UnknownSchema, decode_own
from ...topology import Queue
from ...topology.cluster.settings import ClusterUnreachable, NotAuthorized
from ...topology.wire import names
from ..cluster_view import ClusterView, Group, Partition, partitions_of
from ..instants import rounded
from ..stored_jobs.errors import StoredJobsError
from ..stored_jobs.topic_reader import Span, TopicReader

BELIEVED_FOR: Final = timedelta(seconds=15)
"""Workers repeat a report every 5 s while it lasts."""
MOST_EVENTS: Final = 5_000
"""So many of the last events of each partition are read at most."""
STALL_S: Final = 2.0

Place = tuple[Partition, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class HoldupReport:
    """One job that a partition waits for, by its worker's word.

    Attributes:
        job_id, job_type: empty where the worker had only the offset at hand.
        state: `running`, `stuck`, `behind`, `awaiting-retry`, `awaiting-schema`, `crashed`, `unsettled` or `ready`.
        at: when the worker reported it; `since`: since when it is so.
        timeout: of a run.
        behind: the job that it waits for, where that is known; `due`: when that one's retry may start.
        trouble: why the schema store was not asked.
    """

    queue: str
    partition: Partition
    offset: int
    job_id: str
    job_type: str
    state: str
    worker: str
    at: datetime
    since: datetime
    timeout: timedelta | None = None
    behind: str = ""
    due: datetime | None = None
    trouble: str = ""

    @property
    def is_stuck(self) -> bool:
        """Whether its job runs past its timeout and could not be ended."""
        return self.state == "stuck"

    @property
    def job(self) -> str:
        """The job, for people."""
        topic, number = self.partition
        place = f"{topic}/{number}/{self.offset}"
        return f"job {self.job_id} ({self.job_type}, {place})" if self.job_id else f"the job at {place}"

    def sentence(self, now: datetime) -> str:
        """What holds the partition up, and how to go on from there."""
        lasted = rounded(now - self.since)
        within = f"its timeout of {rounded(self.timeout)}" if self.timeout is not None else "its timeout"
        match self.state:
            case "stuck":
                return (
                    f"{self.job} is stuck: it has run for {lasted}, past {within}, and cannot be ended; its key waits. "
                    f"The log of worker {self.worker} has its stack"
                )
            case "running":
                return f"{self.job} has run for {lasted}, within {within}: a long job, and no stuck one"
            case "awaiting-retry":
                earlier = f"job {self.behind}" if self.behind else "an earlier job"
                due = f", due in {rounded(self.due - now)}" if self.due is not None and self.due > now else ""
                return f"{self.job} has waited for {lasted} for the retry of {earlier} of its key{due}: order is strict"
            case "awaiting-schema":
                return f"{self.job} has waited for {lasted} for its schema: {self.trouble or 'see its worker log'}"
            case "behind":
                earlier = f"job {self.behind}, which runs" if self.behind else "an earlier one"
                return f"{self.job} has waited for {lasted} behind {earlier}: they have one key"
            case "crashed":
                return f"{self.job} waits to be run again, since its process died: see the log of {self.worker}"
            case "unsettled":
                return f"the outcome of {self.job} cannot be written for {lasted}: see the log of {self.worker}"
            case _:
                return f"{self.job} has waited for {lasted} for a free runner of worker {self.worker}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Holdups:
    """What was read. `fault`: why reports are missing; empty where all could be read."""

    reports: tuple[HoldupReport, ...] = ()
    fault: str = ""

    def believed(self, queue: Queue, group: Group, committed: Iterable[tuple[Partition, int]]) -> list[HoldupReport]:
        """Those of a queue that still hold, stuck jobs first, then the oldest; `committed`: where the group is."""
        positions, workers = dict(committed), {member.client_id for member in group.members}
        found = [
            report
            for report in self.reports
            if report.queue == queue.name
            and report.worker in workers
            and report.offset >= positions.get(report.partition, report.offset + 1)
        ]
        return sorted(found, key=lambda report: (not report.is_stuck, report.since))


NO_HOLDUPS: Final = Holdups()


def read_holdups(view: ClusterView, queues: Sequence[Queue], counts: Mapping[str, int], now: datetime) -> Holdups:
    """Read the last reports of the queues' workers, within a bounded time; what cannot be read is reported as a fault.

    Args:
        counts: {topic: partitions} of the cluster.
    """
    newest: dict[Place, HoldupReport] = {}
    for topic in sorted({names.events_topic(queue.namespace) for queue in queues}):
        partitions = partitions_of([topic], counts)
        if not partitions:
            return Holdups(fault=f"workers cannot report why, since {topic} is missing: run `stoker topology apply`")
        try:
            for report in _read(view, topic, partitions, now - BELIEVED_FOR):
                newest[report.partition, report.offset] = report
        except (ClusterUnreachable, NotAuthorized, StoredJobsError, KafkaException) as failure:
            return Holdups(fault=f"what workers report could not be read from {topic}: {failure}")
    return Holdups(reports=tuple(report for report in newest.values() if now - report.at < BELIEVED_FOR))


def _read(view: ClusterView, topic: str, partitions: Sequence[Partition], since: datetime) -> Iterable[HoldupReport]:
    starts, ends = view.offsets_since(partitions, since), view.end_offsets(partitions)
    spans = [
        Span(partition=number, start=max(starts[topic, number], ends[topic, number] - MOST_EVENTS), end=end)
        for (_, number), end in ends.items()
        if (topic, number) in starts
    ]
    if not spans:
        return
    with TopicReader(view.cluster, topic, stall_s=STALL_S) as reader:
        for message in reader.read(spans):
            report = report_of(message.value())
            if report is not None:
                yield report


def report_of(value: bytes | str | None) -> HoldupReport | None:
    """Read an event; None if it is none of a hold-up, or is one of another version of Stoker."""
    try:
        event = decode_own("JobEvent", value if isinstance(value, bytes) else None)
        return _of_event(event) if event["event"] == "held_up" else None
    except (Undecodable, UnknownSchema, KeyError, ValueError):
        return None


def _of_event(event: dict[str, Any]) -> HoldupReport:
    detail = event["detail"]
    return HoldupReport(
        queue=event["queue"],
        partition=(event["topic"], event["partition"]),
        offset=event["offset"],
        job_id=event["job_id"],
        job_type=event["job_type"],
        state=event["reason"],
        worker=event["worker"],
        at=event["at"],
        since=datetime.fromisoformat(detail["since"]),
        timeout=timedelta(seconds=float(detail["timeout_s"])) if "timeout_s" in detail else None,
        behind=detail.get("behind", ""),
        trouble=detail.get("trouble", ""),
        due=datetime.fromisoformat(detail["due"]) if "due" in detail else None,
    )
