"""Blockers that workers report: why a partition of a queue has not come further, read from the end of the events.

A report holds only for the moment in which it was made. So none is believed that is old, whose worker is not in the
group any more, or whose job lies before the offset that the group has committed by now.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from confluent_kafka import KafkaException

from ...schemas import Undecodable, UnknownSchema, decode_own
from ...topology import Queue
from ...topology.cluster.settings import ClusterUnreachable, NotAuthorized
from ...topology.wire import names
from ..cluster_view import ClusterView, ConsumerGroup, Partition, partitions_of
from ..instants import rounded
from ..stored_jobs.errors import StoredJobsError
from ..stored_jobs.topic_reader import Span, TopicReader
from .waiting_reports import WaitingReport, waiting_of

BELIEVED_FOR: Final = timedelta(seconds=15)
"""Workers repeat a report every 5 s while it lasts."""
MOST_EVENTS: Final = 5_000
"""The last events of each partition that are read, at most."""
STALL_S: Final = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockerReport:
    """One job that a partition waits for, by its worker's word.

    Attributes:
        job_id, job_type: empty where the worker had only the offset at hand.
        state: `running`, `stuck`, `behind`, `awaiting-retry`, `awaiting-schema`, `crashed`, `unsettled` or
            `ready`, or else the word of the gate that holds it back.
        at: when the worker reported it; `since`: since when it is so.
        timeout: of a run.
        behind: the job that it waits for, where that is known.
        due: when that one's retry may start, or when the gates are asked again.
        trouble: why the schema store was not asked.
        ends_by: what ends the wait at any other gate, in words.
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
    ends_by: str = ""

    @property
    def about(self) -> object:
        """The subject of the report; a later report of the same one replaces it."""
        return self.partition, self.offset

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
        """A sentence: why the partition does not move, and how to go on from there."""
        return _SENTENCES.get(self.state, _closed_gate)(self, rounded(now - self.since), now)


def _stuck(report: BlockerReport, lasted: str, _now: datetime) -> str:
    return (
        f"{report.job} is stuck: it has run for {lasted}, past {_timeout(report)}, and cannot be ended; its key waits. "
        f"The log of worker {report.worker} has its stack"
    )


def _running(report: BlockerReport, lasted: str, _now: datetime) -> str:
    return f"{report.job} has run for {lasted}, within {_timeout(report)}: a long job, and no stuck one"


def _timeout(report: BlockerReport) -> str:
    return f"its timeout of {rounded(report.timeout)}" if report.timeout is not None else "its timeout"


def _awaiting_retry(report: BlockerReport, lasted: str, now: datetime) -> str:
    earlier = f"job {report.behind}" if report.behind else "an earlier job"
    due = _due(report, now, ", due")
    return f"{report.job} has waited for {lasted} for the retry of {earlier} of its key{due}: order is strict"


def _due(report: BlockerReport, now: datetime, before: str = "") -> str:
    return f"{before} in {rounded(report.due - now)}" if report.due is not None and report.due > now else ""


def _awaiting_schema(report: BlockerReport, lasted: str, _now: datetime) -> str:
    return f"{report.job} has waited for {lasted} for its schema: {report.trouble or 'see its worker log'}"


def _behind(report: BlockerReport, lasted: str, _now: datetime) -> str:
    earlier = f"job {report.behind}, which runs" if report.behind else "an earlier one"
    return f"{report.job} has waited for {lasted} behind {earlier}: they have one key"


def _crashed(report: BlockerReport, _lasted: str, now: datetime) -> str:
    return (
        f"{report.job} waits to be run again{_due(report, now)}, since its process died: see the log of {report.worker}"
    )


def _unsettled(report: BlockerReport, lasted: str, _now: datetime) -> str:
    return f"the outcome of {report.job} cannot be written for {lasted}: see the log of {report.worker}"


def _ready(report: BlockerReport, lasted: str, _now: datetime) -> str:
    return f"{report.job} has waited for {lasted} for a free runner of worker {report.worker}"


def _closed_gate(report: BlockerReport, lasted: str, _now: datetime) -> str:
    """Any other gate, by its own word; perhaps one of a newer version of Stoker."""
    until = f", until {report.ends_by}" if report.ends_by else f"; the log of worker {report.worker} may have more"
    return f"{report.job} has waited for {lasted}: {report.state}{until}"


_SENTENCES: Final[Mapping[str, Callable[[BlockerReport, str, datetime], str]]] = {
    "stuck": _stuck,
    "running": _running,
    "awaiting-retry": _awaiting_retry,
    "awaiting-schema": _awaiting_schema,
    "behind": _behind,
    "crashed": _crashed,
    "unsettled": _unsettled,
    "ready": _ready,
}
"""{state: what makes its sentence} of the report, how long it has lasted in words, and the present moment."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockerReports:
    """Blockers and counts of waiting jobs. `fault`: why some are missing; empty where all were read."""

    reports: tuple[BlockerReport, ...] = ()
    waiting: tuple[WaitingReport, ...] = ()
    fault: str = ""

    def believed(
        self, queue: Queue, group: ConsumerGroup, committed: Iterable[tuple[Partition, int]]
    ) -> list[BlockerReport]:
        """The blockers of a queue that last, stuck jobs first, then the oldest; `committed`: where the group is."""
        positions, workers = dict(committed), {member.client_id for member in group.members}
        found = [
            report
            for report in self.reports
            if report.queue == queue.name
            and report.worker in workers
            and report.offset >= positions.get(report.partition, report.offset + 1)
        ]
        return sorted(found, key=lambda report: (not report.is_stuck, report.since))


NO_BLOCKERS: Final = BlockerReports()
Report = BlockerReport | WaitingReport


def read_blockers(
    view: ClusterView, queues: Sequence[Queue], counts: Mapping[str, int], now: datetime
) -> BlockerReports:
    """Read the last reports of the queues' workers, within a bounded time; what cannot be read is reported as a fault.

    Args:
        counts: {topic: partitions} of the cluster.
    """
    newest: dict[object, Report] = {}
    for topic in sorted({names.events_topic(queue.namespace) for queue in queues}):
        partitions = partitions_of([topic], counts)
        if not partitions:
            return BlockerReports(
                fault=f"workers cannot report why, since {topic} is missing: run `stoker topology apply`"
            )
        try:
            for report in _read(view, topic, partitions, now - BELIEVED_FOR):
                newest[report.about] = report
        except (ClusterUnreachable, NotAuthorized, StoredJobsError, KafkaException) as failure:
            return BlockerReports(fault=f"what workers report could not be read from {topic}: {failure}")
    recent = [report for report in newest.values() if now - report.at < BELIEVED_FOR]
    return BlockerReports(
        reports=tuple(report for report in recent if isinstance(report, BlockerReport)),
        waiting=tuple(report for report in recent if isinstance(report, WaitingReport)),
    )


def _read(view: ClusterView, topic: str, partitions: Sequence[Partition], since: datetime) -> Iterable[Report]:
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


def report_of(value: bytes | str | None) -> Report | None:
    """Read an event; None if it reports neither a blocker nor what waits, or is one of another version of Stoker."""
    try:
        event = decode_own("JobEvent", value if isinstance(value, bytes) else None)
        if event["event"] == "waiting":
            return waiting_of(event)
        return _of_event(event) if event["event"] == "blocking" else None
    except (Undecodable, UnknownSchema, KeyError, ValueError):
        return None


def _of_event(event: dict[str, Any]) -> BlockerReport:  # an Avro record: its schema has the types
    detail = event["detail"]
    return BlockerReport(
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
        ends_by=detail.get("ends_by", ""),
        due=datetime.fromisoformat(detail["due"]) if "due" in detail else None,
    )
