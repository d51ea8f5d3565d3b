"""`stoker queues`: how many jobs wait on each topic, how fast workers run them, and why a queue stands still."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

import click

from ...topology import format_duration
from ..cli.app import AppContext, pass_app
from ..cli.output import Figure, age_since, echo_line, print_json, print_json_line, table_lines
from ..cli.parameters import Duration
from ..instants import rounded

if TYPE_CHECKING:
    from ...topology import Queue
    from ..cluster_view import ClusterView
    from ..queue_status.blocker_reports import BlockerReport
    from ..queue_status.fill import Fill
    from ..queue_status.offset_reading import OffsetReading
    from ..queue_status.queues import Backlog, QueueStatus
    from ..queue_status.waiting_reports import WaitingSum
    from ..statistics.reading import Statistics

Complete = Callable[[Sequence["QueueStatus"]], list["QueueStatus"]]

SHORTEST_PAUSE_S: Final = 0.2
STATISTICS_OF: Final = timedelta(minutes=1)
TITLES: Final = ("QUEUE", "WAITING", "OLDEST", "IN/S", "DONE/S", "WORKERS", "DEAD")


@click.command()
@click.argument("names", metavar="[QUEUE]...", nargs=-1)
@click.option("--json", "as_json", is_flag=True, help="Print JSON; with --watch, one line for each reading.")
@click.option("--watch", is_flag=True, help="Look again and again until interrupted.")
@click.option(
    "--sample",
    type=Duration(),
    default="1s",
    show_default=True,
    help="How long to measure the rates, and the pause between readings of --watch; 0s leaves the rates out.",
)
@click.option("--exact", is_flag=True, help="Count open dead letters also where there are many.")
@pass_app
def queues(
    app: AppContext, *, names: tuple[str, ...], as_json: bool, watch: bool, sample: timedelta, exact: bool
) -> None:
    """Show how many jobs wait on each topic, how fast workers run them, and why a queue stands still.

    For each QUEUE (all of them, when none is named): the jobs that wait on its main topic, in each retry tier and
    delay topic, the age of the oldest one, jobs per second in and done, workers, and dead letters. A line with an
    exclamation mark shows why waiting jobs do not run, and how to fix it. No worker needs to run for this. Below a
    queue whose workers report it stands how many of the jobs that they have taken wait for an earlier one of their
    key, for their due time, or at a gate such as a pause.

    Below a queue also stands how many of its jobs were done and failed in the last minute, and how long they waited and
    ran, where `stoker statistics run` keeps that.

    Below a queue that declares max_waiting stands how full it is, counted exactly, without delayed jobs.

    WAITING counts what the group has not committed: up to a worker's jobs in flight may be done already. DEAD counts
    open dead letters, neither replayed nor discarded. Their topic is read for it, so it is ? above 10,000 records:
    --exact reads more.

    \b
    Examples:
      stoker -A shop.jobs:pipeline queues
      stoker -A shop.jobs:pipeline queues mails --watch
      stoker -A shop.jobs:pipeline queues --json --sample 0s | jq '.[] | select(.waiting > 1000) | .queue'

    Exit codes: 0, also when jobs wait; 2 for an unknown queue; 3 when Kafka cannot be reached.
    """
    from ...topology.planning.access import require_rights
    from ...topology.planning.rights import Duty
    from ..cluster_view import ClusterView
    from ..statistics.reading import read_statistics_if_any

    chosen = app.find_queues(names)
    require_rights(Duty.QUEUES, app.pipeline, app.cluster, chosen)
    view, count_dead = ClusterView(app.cluster), _count_all_of(app) if exact else _count_few_of(app)
    complete = _completing(app, count_dead)
    for statuses in _watch(view, chosen, sample, complete) if watch else [_once(view, chosen, sample, complete)]:
        found = read_statistics_if_any(app.pipeline, app.cluster, STATISTICS_OF)
        _show(statuses, found, as_json=as_json, watch=watch)


def _completing(app: AppContext, count_dead: Callable[[QueueStatus], int | None]) -> Complete:
    """Adds what is read from other topics than those of jobs: open dead letters, and orders."""
    from ..queue_status.queue_orders import QueueOrders

    orders = QueueOrders(app.pipeline, app.cluster)

    def complete(statuses: Sequence[QueueStatus]) -> list[QueueStatus]:
        orders.look()
        faults = (orders.fault,) if orders.fault else ()
        return [
            replace(
                status,
                dead=count_dead(status),
                orders=orders.of(status.name),
                obstacles=(*status.obstacles, *faults),
            )
            for status in statuses
        ]

    return complete


def _once(view: ClusterView, chosen: Sequence[Queue], sample: timedelta, complete: Complete) -> list[QueueStatus]:
    from ..queue_status.offset_reading import read_offsets

    reading, before = read_offsets(view, chosen), None
    if sample:
        time.sleep(sample.total_seconds())
        reading, before = read_offsets(view, chosen), reading
    return _inspect(view, chosen, reading, before, complete)


def _inspect(
    view: ClusterView,
    chosen: Sequence[Queue],
    reading: OffsetReading,
    before: OffsetReading | None,
    complete: Complete,
) -> list[QueueStatus]:
    from ..queue_status.queues import inspect_queues

    return complete(inspect_queues(view, chosen, reading, before))


def _watch(
    view: ClusterView, chosen: Sequence[Queue], sample: timedelta, complete: Complete
) -> Iterator[list[QueueStatus]]:
    """Look for ever, also over a restart of the brokers; only the first reading must succeed."""
    from confluent_kafka import KafkaException

    from ...topology.cluster.settings import ClusterUnreachable
    from ..queue_status.offset_reading import read_offsets
    from ..stored_jobs.errors import ReadStalled

    before: OffsetReading | None = None
    last_error = ""
    while True:
        try:
            reading = read_offsets(view, chosen)
            statuses = _inspect(view, chosen, reading, before, complete)
        except (ClusterUnreachable, ReadStalled, KafkaException) as error:
            if before is None or not _passes(error):
                raise
            if str(error) != last_error:
                echo_line(f"{error}; looking again", err=True)
            last_error = str(error)
        else:
            yield statuses
            before, last_error = reading, ""
        time.sleep(max(sample.total_seconds(), SHORTEST_PAUSE_S))


def _passes(error: Exception) -> bool:
    """Whether it is probably part of an outage, so that looking again will do."""
    from confluent_kafka import KafkaException

    from ...topology.cluster.kafka_errors import Remedy, remedy_of

    return not isinstance(error, KafkaException) or remedy_of(error.args[0]) is Remedy.WAIT


def _count_all_of(app: AppContext) -> Callable[[QueueStatus], int | None]:
    """Counts open dead letters by reading their whole topics."""
    from ..queue_status.queues import count_open_dead_letters

    return lambda status: (
        status.dead_at_most and count_open_dead_letters(app.cluster, app.pipeline.find_queue(status.name))
    )


def _count_few_of(app: AppContext) -> Callable[[QueueStatus], int | None]:
    """Counts open dead letters where they are few; of one reading to the next, what is new is read."""
    from ..stored_jobs.dead_letter_counts import OpenDeadLetters

    topics = {queue.name: OpenDeadLetters(app.cluster, queue.dead_topic) for queue in app.pipeline.queues.values()}
    return lambda status: status.dead_at_most and topics[status.name].count()


def _show(statuses: Sequence[QueueStatus], statistics: Statistics, *, as_json: bool, watch: bool) -> None:
    if as_json:
        data = [{**queue_data(status), "statistics": _statistics_data(statistics, status.name)} for status in statuses]
        return print_json_line(data) if watch else print_json(data)
    if watch:
        click.clear()
        echo_line(f"{datetime.now(UTC):%H:%M:%S} UTC · Ctrl+C ends")
        echo_line()
    for line in queue_lines(statuses, statistics):
        echo_line(line)
    return None


def _statistics_data(statistics: Statistics, queue: str) -> dict[str, object]:
    from ..statistics.text import figures

    found = statistics.by_queue().get(queue) if statistics.is_fresh else None
    return {"freshness": statistics.freshness, "at": statistics.at, **figures(found)}


def queue_lines(statuses: Sequence[QueueStatus], statistics: Statistics | None = None) -> list[str]:
    """The table for people: a row for each queue, one for each topic where jobs wait, then what is in the way."""
    from ..statistics.text import queue_line, stale_line

    counted = statistics.by_queue() if statistics is not None and statistics.is_fresh else {}
    rows: list[Sequence[object]] = []
    notes: dict[int, list[str]] = {}
    for status in statuses:
        rows += [_queue_row(status), *(_backlog_row(backlog) for backlog in status.backlogs if backlog.waiting)]
        figures = [f"  last minute: {queue_line(counted[status.name])}"] if status.name in counted else []
        notes[len(rows)] = [*figures, *_notes(status)]
    lines = table_lines(TITLES, rows)
    table = [lines[0], *(line for at, row in enumerate(lines[1:], 1) for line in (row, *notes.get(at, [])))]
    stale = "" if statistics is None else stale_line(statistics)
    return [*table, stale] if stale else table


def _notes(status: QueueStatus) -> list[str]:
    """Lines below a queue: how full it is, how old, what was ordered, and why its jobs wait."""
    from ..queue_status.queue_orders import order_lines

    fill = [] if status.fill is None else [f"  {status.fill.sentence}"]
    ordered = [f"  {line}" for line in order_lines(status.orders)]
    waits = [] if status.waits is None else [f"  waiting for: {status.waits}"]
    obstacles = [f"  ! {obstacle}" for obstacle in status.obstacles]
    return [*fill, *_age_notes(status), *ordered, *waits, *obstacles]


def _age_notes(status: QueueStatus) -> list[str]:
    """How long the oldest job has waited beside the retention, once that is more than half of it."""
    age = timedelta(0) if status.oldest is None else datetime.now(UTC) - status.oldest
    if age <= status.retention / 2:
        return []
    return [f"  the oldest job has waited for {rounded(age)}; records are kept for {format_duration(status.retention)}"]


def _queue_row(status: QueueStatus) -> Sequence[object]:
    dead = Figure("?" if status.dead is None else f"{status.dead:,}")
    pace = status.pace
    rates = (pace.enqueued_per_s, pace.done_per_s) if pace else (None, None)
    return (status.name, status.waiting, age_since(status.oldest), *rates, len(status.group.members), dead)


def _backlog_row(backlog: Backlog) -> Sequence[object]:
    return (f"  {backlog.source.title}", backlog.waiting, age_since(backlog.oldest), "", "", "", "")


def queue_data(status: QueueStatus) -> dict[str, object]:
    """One queue for `--json`."""
    from ..control.orders_shown import order_document

    now = datetime.now(UTC)
    return {
        "queue": status.name,
        "waiting": status.waiting,
        "lag": status.lag,
        "oldest_waiting": status.oldest,
        "oldest_waiting_s": None if status.oldest is None else (now - status.oldest).total_seconds(),
        "enqueued_per_s": status.pace.enqueued_per_s if status.pace else None,
        "done_per_s": status.pace.done_per_s if status.pace else None,
        "dead": {
            "count": status.dead,
            "is_exact": status.dead is not None,
            "at_most": status.dead_at_most if status.dead is None else status.dead,
        },
        "group": status.group,
        "topics": [_backlog_data(backlog) for backlog in status.backlogs],
        "retention_s": status.retention.total_seconds(),
        "waiting_for": _waits_data(status.waits),
        **_fill_data(status.fill),
        "next_due": None if status.waits is None else status.waits.next_due,
        "orders": [order_document(order) for order in status.orders],
        "obstacles": status.obstacles,
        "blockers": [blocker_data(report) for report in status.blockers],
    }


def _fill_data(fill: Fill | None) -> dict[str, object]:
    if fill is None:
        return {"max_waiting": None, "when_full": None, "counted": None, "is_full": None}
    return {
        "max_waiting": fill.max_waiting,
        "when_full": fill.when_full,
        "counted": fill.counted,
        "is_full": fill.is_full,
    }


def _waits_data(waits: WaitingSum | None) -> dict[str, object]:
    if waits is None:
        return {"key": 0, "due": 0, "held": {}}
    return {"key": waits.key, "due": waits.due, "held": waits.held}


def blocker_data(report: BlockerReport) -> dict[str, object]:
    """One element of `blockers`, for programs."""
    topic, number = report.partition
    return {
        "topic": topic,
        "partition": number,
        "offset": report.offset,
        "job_id": report.job_id or None,
        "job_type": report.job_type or None,
        "state": report.state,
        "since": report.since,
        "timeout_s": None if report.timeout is None else report.timeout.total_seconds(),
        "behind": report.behind or None,
        "due": report.due,
        "ends_by": report.ends_by or None,
        "worker": report.worker,
    }


def _backlog_data(backlog: Backlog) -> dict[str, object]:
    return {
        "topic": backlog.topic,
        "priority": backlog.source.detail.get("priority"),
        "tier_s": backlog.source.delay.total_seconds() or None,
        "delay": backlog.source.detail.get("delay"),
        "exists": backlog.exists,
        "waiting": backlog.waiting,
        "oldest": backlog.oldest,
        "due": backlog.due,
    }
