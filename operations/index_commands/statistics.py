"""`stoker statistics`: the process that counts what becomes of jobs, how long they wait and run, and its figures."""

from __future__ import annotations

import importlib.util
import os
import socket
import sys
import uuid
from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Final

import click

from ...topology import format_duration
from ...topology.counts import counted
from ..cli.app import AppContext, pass_app
from ..cli.failures import CommandFailure
from ..cli.logs import log_to_stderr
from ..cli.output import Figure, echo_line, print_json, print_table
from ..cli.parameters import Duration
from ..cli.process_end import stop_signals
from .options import AS_JSON
from .progress_printer import ProgressPrinter, ProgressView

if TYPE_CHECKING:
    from ..statistics.messages import ProcessSettings
    from ..statistics.reading import Statistics, TypeStatistics
    from ..statistics.supervising import Course

TITLES: Final = ("QUEUE", "TYPE", "DONE/S", "FAILED/S", "WAIT P50", "P95", "P99", "RUN P50", "P95", "P99")
FAILURE_TITLES: Final = ("FAILED", "QUEUE", "TYPE", "ERROR", "FINGERPRINT", "MESSAGE")
MESSAGE_WIDTH: Final = 60


@click.group()
def statistics() -> None:
    """Keep and show statistics: how many jobs are done and fail, how long they wait and run, and what fails.

    \b
    Exit codes: 0 done; 1 there are none, or they are stale; 3 Kafka cannot be reached.
    """


@statistics.command(short_help="Keep the statistics, until SIGTERM or Ctrl+C.")
@click.option(
    "--stall",
    type=Duration(),
    default="20s",
    show_default=True,
    help="Restart the Faust process when it is silent, or leaves an event uncounted, for so long.",
)
@click.option("--once", is_flag=True, help="End when all events that are there now have been counted.")
@AS_JSON
@pass_app
def run(app: AppContext, *, stall: timedelta, once: bool, as_json: bool) -> None:
    """Count the events of this pipeline's jobs, until SIGTERM or Ctrl+C.

    It counts in a process of its own with Faust, which it watches: when that process dies or stalls, it is started
    again, and nothing is counted twice. Start it several times, on any hosts, and the processes share the partitions of
    the events. No worker waits for it. It needs the extra `stoker[stats]`. With --json it prints a line every 5 s.

    \b
    Examples:
      stoker -A shop.jobs:pipeline statistics run
      stoker -A shop.jobs:pipeline statistics run --stall 30s --json
      stoker -A shop.jobs:pipeline statistics run --once
    """
    from ...topology.planning.access import require_rights
    from ...topology.planning.rights import Duty
    from ..statistics.broker_options import broker_access
    from ..statistics.supervising import Supervisor
    from ..stored_jobs.topic_reader import require_topics
    from ..views.logging_json import JsonFormatter

    if "faust" not in sys.modules and importlib.util.find_spec("faust") is None:  # once imported, it has no spec
        raise CommandFailure("statistics are counted with Faust, which is not installed: pip install 'stoker[stats]'")
    log_to_stderr(app.log_level or "warning", None if sys.stderr.isatty() else JsonFormatter())
    cluster = app.start_cluster()
    try:
        broker_access(cluster.options)
    except OSError as unreadable:
        raise CommandFailure(f"a certificate or key of the connection cannot be read: {unreadable}") from unreadable
    require_rights(Duty.STATISTICS, app.pipeline, cluster)
    require_topics(cluster, app.pipeline.events_topic, app.pipeline.stats_topic)
    supervisor = Supervisor(_settings(app), stall_s=stall.total_seconds())
    printer = ProgressPrinter(_view(), as_json=as_json)
    echo_line(f"statistics of {app.pipeline.namespace}", err=True)

    with stop_signals() as ending:

        def note(course: Course) -> None:
            printer.note(course)
            if once and course.partitions and course.behind == 0:
                ending.set()

        supervisor.run(ending.wait, note)
    printer.end(supervisor.course)


def _settings(app: AppContext) -> ProcessSettings:
    from ..statistics.messages import ProcessSettings
    from ..stored_jobs.topic_reader import TopicReader

    pipeline, cluster = app.pipeline, app.cluster
    with TopicReader(cluster, pipeline.stats_topic) as reader:
        stats_partitions = len(reader.partitions())
    return ProcessSettings(
        bootstrap_servers=cluster.bootstrap_servers,
        options=cluster.options,
        events=pipeline.events_topic,
        stats=pipeline.stats_topic,
        stats_partitions=stats_partitions,
        group=pipeline.stats_topic,
        member=f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}",
        log_level=app.log_level or "warning",
        log_json=not sys.stderr.isatty(),
    )


def _view() -> ProgressView[Course]:
    return ProgressView(
        count=lambda course: course.jobs,
        line=course_line,
        document=course_document,
        ended="ended; what is counted stays for some hours",
    )


def course_line(course: Course, rate: float) -> str:
    """How the statistics go, for people."""
    if course.behind is None:
        return "starting: no partition is counted yet" if not course.restarts else "starting again"
    extra = "".join(
        f", {number:,} {words}"
        for number, words in (
            (course.unreadable, "events not understood"),
            (course.outside, "events too old or ahead of time"),
            (course.restarts, "restarts"),
        )
        if number
    )
    partitions = ", ".join(map(str, course.partitions)) or "none"
    done, behind = counted(course.jobs, "job"), counted(course.behind, "event")
    return f"{done} ({rate:,.0f}/s), {behind} behind, partitions {partitions}{extra}"


def course_document(course: Course, rate: float) -> dict[str, object]:
    """How the statistics go, for `--json`."""
    return {
        "events": course.events,
        "jobs": course.jobs,
        "per_s": round(rate, 1),
        "behind": course.behind,
        "partitions": course.partitions,
        "unreadable": course.unreadable,
        "outside": course.outside,
        "restarts": course.restarts,
    }


@statistics.command(short_help="Show the figures of the last minutes.")
@click.option(
    "--last", type=Duration(), default="5m", show_default=True, help="Of how long; an hour at most, such as 1m or 1h."
)
@click.option("--queue", help="Of this queue only.")
@click.option("--type", "job_type", help="Of this job type only.")
@AS_JSON
@pass_app
def show(app: AppContext, *, last: timedelta, queue: str | None, job_type: str | None, as_json: bool) -> None:
    """Show for each queue and job type how many jobs are done and fail, how long they wait and run, and what fails.

    WAIT is from being enqueued to the first run, delays included. RUN is of all runs, whatever their end. P95 is the
    time within which 95 of 100 were; all are exact to 4 %.

    \b
    Examples:
      stoker -A shop.jobs:pipeline statistics show
      stoker -A shop.jobs:pipeline statistics show --last 1h --queue mails
      stoker -A shop.jobs:pipeline statistics show --json | jq '.types[] | select(.failed_per_s > 1)'

    Exit codes: 0 they are kept now; 1 there are none, or they are stale; 3 Kafka cannot be reached.
    """
    from ...topology.planning.access import require_rights
    from ...topology.planning.rights import Duty
    from ..statistics.reading import LONGEST, SHORTEST, read_statistics

    if not SHORTEST <= last <= LONGEST:
        raise click.BadParameter(f"statistics reach back an hour, so from 10s to 1h, not {format_duration(last)}")
    if queue is not None:
        app.pipeline.find_queue(queue)
    require_rights(Duty.STATISTICS_SHOW, app.pipeline, app.cluster)
    found = read_statistics(app.pipeline, app.cluster, last)
    chosen = [one for one in found.types if queue in (None, one.queue) and job_type in (None, one.job_type)]
    if as_json:
        print_json(statistics_document(found, chosen))
    else:
        _print(found, chosen, last)
    if not found.is_fresh:
        raise SystemExit(1)


def _print(found: Statistics, chosen: Sequence[TypeStatistics], last: timedelta) -> None:
    from ..statistics.text import freshness_line

    if chosen:
        print_table(TITLES, [_row(one) for one in chosen])
    elif found.at is not None:
        echo_line(f"no job ended in the {format_duration(last)} before the last snapshot")
    failures = sorted(((one, cause) for one in chosen for cause in one.failures), key=lambda pair: -pair[1].count)
    if failures:
        echo_line()
        rows = [
            (cause.count, one.queue, one.job_type, cause.error_type, cause.fingerprint, cause.message[:MESSAGE_WIDTH])
            for one, cause in failures[:20]
        ]
        print_table(FAILURE_TITLES, rows)
    echo_line(freshness_line(found))


def _row(one: TypeStatistics) -> Sequence[object]:
    from ..statistics.text import SHARES, length, rate

    times = (one.tally.wait, one.tally.run)
    lengths = [Figure(length(histogram.quantile_s(share))) for histogram in times for share in SHARES.values()]
    return (one.queue, one.job_type, Figure(rate(one.done_per_s)), Figure(rate(one.failed_per_s)), *lengths)


def statistics_document(found: Statistics, chosen: Sequence[TypeStatistics]) -> dict[str, object]:
    """The figures for `--json`."""
    return {
        "freshness": found.freshness,
        "at": found.at,
        "since": found.since,
        "behind": found.behind,
        "processes": found.processes,
        "types": [type_document(one) for one in chosen],
    }


def type_document(one: TypeStatistics) -> dict[str, object]:
    """One type, for programs."""
    from ..statistics.text import figures

    return {
        "queue": one.queue,
        "type": one.job_type,
        "counts": dict(one.tally.counts),
        **figures(one),
        "failures": [
            {
                "count": cause.count,
                "error_type": cause.error_type,
                "fingerprint": cause.fingerprint,
                "message": cause.message,
            }
            for cause in one.failures
        ],
        "other_failures": one.tally.other_failures,
    }
