"""`Gatherer`: reads what `stoker top` shows, again and again: from brokers, events, and the index if there is one."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from confluent_kafka import KafkaException

from ...producers.control.answers import StatusBook
from ...producers.control.log_reader import READ_WITHIN_S, LogReader, asking
from ...schemas.own_records.control_records import WorkerState
from ...topology import ClusterSettings, Pipeline
from ...topology.cluster.settings import ClusterUnreachable
from ..cluster_view import ClusterView
from ..control.worker_list import state_of
from ..job_index.database import IndexAbsent
from ..job_index.event_tail import EventTail
from ..job_index.index_reader import IndexReader
from ..job_index.job_filter import JobFilter
from ..job_index.states import State
from ..queue_status.offset_reading import OffsetReading, read_offsets
from ..queue_status.queues import QueueStatus, inspect_queues
from ..stored_jobs.errors import ReadStalled
from .event_window import WINDOW_S, EventWindow
from .picture import FailureLine, Picture, QueueLine, SlowLine, WorkerLine

PASSING: Final = (ClusterUnreachable, ReadStalled, KafkaException)
"""Errors of an outage, over which the last picture stays."""
RECENT_S: Final = 3_600.0
_EVENTS_S: Final = 0.05
_RUNNING: Final = frozenset({"running", "stuck"})
_MOST_FAILURES: Final = 50
_STALE_S: Final = 15.0
_FEW: Final = 500
"""Fewer entries at once show that no more events wait."""
_READING_S: Final = 2.0
"""How long a look reads events at the most: under load, there may always be some more."""


class Gatherer:
    """Makes pictures. Not thread-safe.

    Args:
        index: the file of the index, which need not be there.
    """

    def __init__(
        self, pipeline: Pipeline, cluster: ClusterSettings, index: Path, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._pipeline, self._cluster, self._index = pipeline, cluster, index
        self._view = ClusterView(cluster)
        self._clock, self._window = clock, EventWindow(clock)
        self._events = EventTail(pipeline, cluster)
        self._workers = LogReader(cluster, pipeline.workers_topic, client_id="stoker-top")
        self._book = StatusBook()
        self._before: OffsetReading | None = None

    def start(self) -> None:
        """Begin to read the events and the workers' statuses. Raises as `picture`."""
        self._events.start()
        with asking(self._cluster, self._pipeline.workers_topic):
            self._workers.start_at_time(time.time() - RECENT_S, READ_WITHIN_S)

    def picture(self) -> Picture:
        """Read everything anew.

        Raises:
            ClusterUnreachable, ReadStalled, KafkaException: the brokers do not answer.
            NotAuthorized, ControlNotReady: a topic may not be read, or is missing.
        """
        queues = list(self._pipeline.queues.values())
        reading = read_offsets(self._view, queues)
        statuses = inspect_queues(self._view, queues, reading, self._before)
        self._before = reading
        self.read_events()
        failures, of, missing = self._failures()
        return Picture(
            namespace=self._pipeline.namespace,
            at=datetime.now(UTC),
            queues=tuple(self._queue_line(status) for status in statuses),
            types=tuple(self._window.types()),
            workers=tuple(self._worker_lines()),
            slow=tuple(sorted(_slow_lines(statuses), key=lambda one: -one.running_s)),
            failures=tuple(failures),
            watched_s=self._window.watched_s,
            failures_of=of,
            missing=tuple(missing),
        )

    def read_events(self) -> None:
        """Take in the events that have come, for a bounded time; what is left comes with the next call."""
        give_up_at_s = self._clock() + _READING_S
        while self._window.note(self._events.read(_EVENTS_S)) >= _FEW and self._clock() < give_up_at_s:
            pass

    def close(self) -> None:
        """Disconnect."""
        self._events.close()
        self._workers.close()

    def _queue_line(self, status: QueueStatus) -> QueueLine:
        age = None if status.oldest is None else (datetime.now(UTC) - status.oldest).total_seconds()
        return QueueLine(
            name=status.name,
            waiting=status.waiting,
            oldest_s=age,
            enqueued_per_s=status.pace.enqueued_per_s if status.pace else None,
            done_per_s=status.pace.done_per_s if status.pace else None,
            failed_per_s=self._window.failed_per_s(status.name),
            workers=len(status.group.members),
            dead_records=status.dead_at_most,
            note=status.obstacles[0] if status.obstacles else "",
        )

    def _worker_lines(self) -> Iterator[WorkerLine]:
        with asking(self._cluster, self._pipeline.workers_topic):
            self._book.note(self._workers.read_to_end(READ_WITHIN_S))
        now_s = time.time()
        for one in sorted(self._book.statuses, key=lambda seen: seen.status.id):
            status = one.status
            if status.state == WorkerState.GONE or one.silent_s(now_s) > RECENT_S:
                continue
            yield WorkerLine(
                id=status.id,
                host=status.host,
                state=state_of(one, now_s),
                busy=sum(share.busy for share in status.queues),
                runners=sum(share.runners for share in status.queues),
                memory_bytes=status.memory_bytes,
                silent_s=one.silent_s(now_s),
                queues=tuple(share.queue for share in status.queues),
            )

    def _failures(self) -> tuple[list[FailureLine], str, list[str]]:
        """The failure groups: dead letters of the last hour by the index, else failed runs of the last minute."""
        try:
            with IndexReader(self._index) as reader:
                age_s = reader.state().age_s(time.time())
                if age_s is not None and age_s <= _STALE_S:
                    return list(_groups(reader)), "in the last hour, by the index", []
                why = "the index is stale: is `stoker status run` running?"
        except IndexAbsent:
            why = "there is no index: `stoker status run` keeps one"
        missing = f"failures are those of the last {WINDOW_S:.0f} s, and none from before this screen; {why}"
        return self._window.failures(), f"in the last {self._window.watched_s:.0f} s", [missing]


def _groups(reader: IndexReader) -> Iterator[FailureLine]:
    since = datetime.fromtimestamp(time.time() - RECENT_S, UTC)
    counts = reader.counts(("failure", "type"), JobFilter(states=(State.DEAD,), since=since))
    for (group, job_type), count in counts[:_MOST_FAILURES]:
        error, _, rest = group.partition(" ")
        digits, _, message = rest.partition(": ")
        yield FailureLine(error_type=error, message=message, job_type=job_type, fingerprint=digits, count=count)


def _slow_lines(statuses: list[QueueStatus]) -> Iterator[SlowLine]:
    now = datetime.now(UTC)
    for status in statuses:
        for report in status.blockers:
            if report.state in _RUNNING and report.job_id:
                yield SlowLine(
                    job_id=report.job_id,
                    job_type=report.job_type,
                    queue=status.name,
                    state=report.state,
                    running_s=(now - report.since).total_seconds(),
                    timeout_s=None if report.timeout is None else report.timeout.total_seconds(),
                    worker=report.worker,
                )


def after(picture: Picture | None, trouble: Exception) -> Picture | None:
    """The last picture, with why it is not newer."""
    return None if picture is None else replace(picture, trouble=f"{trouble}; looking again")
