"""`stoker status`: the process that folds the topics into the index, and how far it is."""

from __future__ import annotations

import sys
import time
from contextlib import nullcontext
from datetime import timedelta
from typing import TYPE_CHECKING, Final

import click

from ...topology.counts import counted
from ..cli.app import AppContext, pass_app
from ..cli.logs import log_to_stderr
from ..cli.output import echo_line, print_json, print_table
from ..cli.parameters import Duration, MetricsAddress, metrics_options
from ..cli.process_end import stop_signals
from .options import AS_JSON, INDEX
from .progress_printer import ProgressPrinter, ProgressView

if TYPE_CHECKING:
    from ..job_index.topic_follower import Progress

STALE_AFTER_S: Final = 15.0


@click.group()
def status() -> None:
    """Keep an index of all jobs, which `stoker jobs` asks: where each one is, and what became of it.

    \b
    Exit codes: 0 done; 1 there is no index, or it is behind; 3 Kafka cannot be reached.
    """


@status.command(short_help="Keep the index, until SIGTERM or Ctrl+C.")
@INDEX
@click.option("--keep", type=Duration(), default="7d", show_default=True, help="Forget ended jobs that are older.")
@click.option("--once", is_flag=True, help="End when all that is there was read, ledgers and commits as well.")
@metrics_options
@AS_JSON
@pass_app
def run(
    app: AppContext,
    *,
    index: str | None,
    keep: timedelta,
    once: bool,
    metrics_number: int | None,
    metrics_host: str,
    as_json: bool,
) -> None:
    """Read the topics of this pipeline into the index, until SIGTERM or Ctrl+C.

    One process for each namespace is enough. It may be killed at any time: it goes on where the index has got to, and
    counts nothing twice. The index may be deleted at any time: it is built again from the topics. While it is built, or
    is very far behind, `stoker jobs` cannot ask it. No worker waits for it. With --json it prints a line every 5 s.
    With --metrics-port it shows metrics for Prometheus, and its health.

    \b
    Examples:
      stoker -A shop.jobs:pipeline status run
      stoker -A shop.jobs:pipeline status run --keep 30d --index /var/lib/shop/jobs.sqlite
      stoker -A shop.jobs:pipeline status run --once
    """
    from ...producers.metrics.sample import SampleSource
    from ..job_index.bulk_fill import collect_rarely
    from ..job_index.database import IndexDeleted, index_path
    from ..job_index.index_metrics import IndexMetrics
    from ..job_index.topic_follower import TopicFollower
    from ..views.logging_json import JsonFormatter

    log_to_stderr(app.log_level or "warning", None if sys.stderr.isatty() else JsonFormatter())
    path = index_path(app.pipeline.namespace, index)
    cluster = app.start_cluster()
    follower = TopicFollower(app.pipeline, cluster, path, keep=keep)
    collect_rarely()
    printer, measured = ProgressPrinter(_view(), as_json=as_json), IndexMetrics(path)
    at = MetricsAddress.given(metrics_number, metrics_host)
    echo_line(f"index of {app.pipeline.namespace}: {path}", err=True)

    source = SampleSource(app.pipeline.namespace, measured.samples)
    with stop_signals() as ending, nullcontext() if at is None else at.serve(source, measured):

        def note(progress: Progress) -> None:
            printer.note(progress)
            measured.note(progress)
            if once and progress.is_settled and progress.behind == 0:
                ending.set()

        while True:
            try:
                follower.run(ending.is_set, note)
                break
            except IndexDeleted as deleted:
                echo_line(f"{deleted}; it is built again", err=True)
                follower = TopicFollower(app.pipeline, cluster, path, keep=keep)
    printer.end(follower.progress)


def _view() -> ProgressView[Progress]:
    return ProgressView(
        count=lambda progress: progress.read,
        line=progress_line,
        document=progress_document,
        ended="ended; the index stays",
        news=lambda progress: (progress.stage, progress.is_caught_up),
    )


def progress_line(progress: Progress, rate: float) -> str:
    """The progress for people.

    Args:
        rate: records and events a second.
    """
    stage = "" if progress.stage == "following" else f"{progress.stage}: "
    behind = "?" if progress.behind is None else f"{progress.behind:,}"
    counts = {
        "reconciled with the ledger": progress.reconciled,
        "ended by commits": progress.committed,
        "forgotten": progress.forgotten,
    }
    counted = "".join(f", {count:,} {what}" for what, count in counts.items() if count)
    return f"{stage}{progress.read:,} read ({rate:,.0f}/s), {behind} behind{counted}"


def progress_document(progress: Progress, rate: float) -> dict[str, object]:
    """The progress for `--json`."""
    return {
        "stage": progress.stage,
        "read": progress.read,
        "per_s": round(rate, 1),
        "behind": progress.behind,
        "reconciled": progress.reconciled,
        "committed": progress.committed,
        "forgotten": progress.forgotten,
        "is_caught_up": progress.is_caught_up,
        "is_settled": progress.is_settled,
    }


@status.command(short_help="Show how far the index is, and what is in it.")
@INDEX
@AS_JSON
@pass_app
def show(app: AppContext, *, index: str | None, as_json: bool) -> None:
    """Show how far the index is, how large it is, and how many jobs of each queue are in which state.

    \b
    Exit codes: 0 it is up to date; 1 there is none, or it has not been written for 15 s.
    """
    from ..job_index.database import index_path
    from ..job_index.index_reader import IndexReader
    from ..job_index.job_filter import JobFilter

    path = index_path(app.pipeline.namespace, index)
    with IndexReader(path) as reader:
        state = reader.state()
        counts = reader.counts(("queue", "state"), JobFilter())
    age_s = state.age_s(time.time())
    is_stale = age_s is None or age_s > STALE_AFTER_S
    if as_json:
        print_json(
            {
                "index": str(path),
                "size_bytes": path.stat().st_size,
                "jobs": state.jobs,
                "behind": state.behind,
                "read_at": state.read_at,
                "age_s": age_s,
                "is_stale": is_stale,
                "counts": [{"queue": queue, "state": word, "jobs": jobs} for (queue, word), jobs in counts],
            }
        )
    else:
        print_table(("QUEUE", "STATE", "JOBS"), [(*words, jobs) for words, jobs in counts])
        echo_line(f"{counted(state.jobs, 'job')} in {path} ({path.stat().st_size / 1e6:,.1f} MB)")
        echo_line(freshness(age_s, state.behind))
    if is_stale:
        raise SystemExit(1)


def freshness(age_s: float | None, behind: int | None) -> str:
    """How far an index is, in words.

    >>> freshness(1.2, 0)
    'up to date, written 1 s ago'
    """
    if age_s is None:
        return "nothing was read yet"
    ago = f"written {age_s:,.0f} s ago"
    if age_s > STALE_AFTER_S:
        return f"stale: {ago}; is `stoker status run` running?"
    return f"up to date, {ago}" if not behind else f"{counted(behind, 'record')} behind, {ago}"
