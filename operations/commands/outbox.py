"""`stoker outbox`: the table of jobs that are enqueued by the transactions of a database, and their relay to Kafka."""

from __future__ import annotations

import sys
from contextlib import nullcontext
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import click

from ...topology.counts import counted
from ..audit_log.prunes import OUTBOX_PRUNED, Prune, audit_options, recorded_prune
from ..cli.app import AppContext, pass_app
from ..cli.logs import log_to_stderr
from ..cli.output import age_since, echo_line, echo_lines, print_json, print_table
from ..cli.parameters import Duration, MetricsAddress, TableOptions, ddl_options, dialect_given, metrics_options
from ..cli.process_end import stop_signals

if TYPE_CHECKING:
    from ...databases.outbox.rows import OutboxStatus


_table = TableOptions("outbox")
_as_json = click.option("--json", "as_json", is_flag=True, help="Print data instead of sentences.")


@click.group()
def outbox() -> None:
    """Publish jobs that exist exactly if a transaction of a database commits.

    An application puts such jobs into a table with `Outbox(pipeline).enqueue(connection, job, ...)`. A relay publishes
    them, and deletes each row when the brokers have it. PostgreSQL is reached through psycopg, from the extra
    inbox-postgres.

    \b
    Exit codes: 0 done; 1 the table is missing, or the database refuses; 2 a wrong URL or name;
      3 the database or Kafka cannot be reached.
    """


@outbox.command()
@_table
@ddl_options
def create(url: str | None, table: str, print_only: bool, dialect: str | None) -> None:
    """Create the tables. Where they are there, nothing is changed."""
    from ...databases.outbox.table import table_ddl
    from ..outbox import create_outbox

    if print_only:
        echo_lines(table_ddl(dialect_given(dialect, url), table).rstrip("\n"))
        return
    create_outbox(_table.given(url), table)
    echo_line(f"The outbox {table} is there.")


@outbox.command(short_help="Publish the rows until SIGTERM or Ctrl+C.")
@_table
@metrics_options
@pass_app
def relay(app: AppContext, *, url: str | None, table: str, metrics_number: int | None, metrics_host: str) -> None:
    """Publish the rows of the table until SIGTERM or Ctrl+C.

    Start several, on different machines: one publishes, the others take over within a second or so when it ends
    (within 5 s on SQLite). Each waits for a database or brokers that are away. The rows may be of any pipeline; the
    contracts of this application (-A) are registered first. With --metrics-port, it shows metrics for Prometheus.

    \b
    Examples:
      stoker -A shop.jobs:pipeline outbox relay --url sqlite:///shop.sqlite
      STOKER_OUTBOX_URL=postgresql://shop@db/shop stoker -A shop.jobs:pipeline outbox relay
    """
    from ...producers.metrics.sample import SampleSource
    from ...producers.outbox.relay import OutboxRelay
    from ..views.logging_json import JsonFormatter

    log_to_stderr(app.log_level or "info", None if sys.stderr.isatty() else JsonFormatter())
    runner = OutboxRelay(app.pipeline, _table.given(url), app.start_cluster(), table=table)
    at = MetricsAddress.given(metrics_number, metrics_host)
    source = SampleSource(app.pipeline.namespace, runner.samples)
    with stop_signals(runner.stop), nullcontext() if at is None else at.serve(source):
        runner.run()


@outbox.command(short_help="Show what waits, what failed, and which relay works.")
@_table
@_as_json
def status(url: str | None, table: str, as_json: bool) -> None:
    """Show how many rows wait and since when, what could not be published, and which relay works."""
    from ..outbox import is_relay_working, outbox_status

    found = outbox_status(_table.given(url), table)
    is_working = is_relay_working(found)
    if as_json:
        print_json({"table": table, "is_relay_working": is_working, **_as_data(found)})
        return
    _print_status(table, found, is_working=is_working)


def _as_data(found: OutboxStatus) -> dict[str, object]:
    oldest_age_s = None if found.oldest_at is None else (datetime.now(UTC) - found.oldest_at).total_seconds()
    data = asdict(found)
    return {"rows": found.waiting + found.behind + found.failed, "oldest_age_s": oldest_age_s, **data}


def _print_status(table: str, found: OutboxStatus, *, is_working: bool) -> None:
    size = None if found.size_bytes is None else f"{found.size_bytes / 1e6:,.1f} MB"
    print_table(
        ("OUTBOX", "WAITING", "BEHIND", "FAILED", "OLDEST", "SIZE"),
        [(table, found.waiting, found.behind, found.failed, age_since(found.oldest_at), size)],
    )
    if found.beat is None or not is_working:
        last = "" if found.beat_at is None else f"; the last one wrote a note {age_since(found.beat_at)} ago"
        echo_line(f"No relay works{last}: start `stoker outbox relay`.")
    else:
        beat = found.beat
        echo_line(
            f"Relay {beat.holder}: {counted(beat.published, 'row')} published, {beat.rate_per_s:,.0f} a second of late."
        )
        if beat.trouble:
            echo_line(f"It cannot publish now: {beat.trouble}")
    if found.first_failed:
        echo_line("Could not be published, so that later rows of the same keys wait:")
        rows = [
            (row.id, row.job_type, row.job_id, row.tries, age_since(row.since), row.reason)
            for row in found.first_failed
        ]
        print_table(("ROW", "TYPE", "JOB", "TRIES", "AGE", "REASON"), rows)


@outbox.command(short_help="Try failed rows again at once.")
@_table
@_as_json
def retry(url: str | None, table: str, as_json: bool) -> None:
    """Have the relay try all rows again at once that could not be published; it does so every 30 s by itself."""
    from ..outbox import open_outbox

    with open_outbox(_table.given(url), table) as opened:
        count = opened.retry()
    if as_json:
        print_json({"table": table, "rows": count})
    else:
        echo_line(f"{counted(count, 'row')} tried again")


@outbox.command(short_help="Delete rows that cannot be published.")
@_table
@click.option(
    "--older-than", type=Duration(), default="7d", show_default=True, help="Delete what was enqueued longer ago."
)
@click.option("--dry-run", is_flag=True, help="Only count.")
@audit_options
@_as_json
@pass_app
def prune(
    app: AppContext,
    /,
    *,
    url: str | None,
    table: str,
    older_than: timedelta,
    dry_run: bool,
    as_json: bool,
    **recorded: Any,
) -> None:
    """Delete rows that could not be published, so that their jobs never run, and let those behind them go on.

    Rows that are published need no pruning: the relay deletes them. Rows that wait to be published are never deleted.
    If an application (-A) and a cluster are named, the audit trail has who has pruned, and which jobs are lost.
    """
    from ..outbox import open_outbox

    before = datetime.now(UTC) - older_than
    with open_outbox(_table.given(url), table) as opened:
        count = opened.count_failed(before)
        if not dry_run:
            lost = {
                row.job_id: f"{row.job_type} to {row.topic}: {row.reason}"
                for row in opened.status().first_failed
                if row.since < before
            }
            prune = Prune(action=OUTBOX_PRUNED, table=table, older_than=before, rows=count, lost=lost)
            with recorded_prune(app, prune, **recorded) as note_done:
                count = opened.prune_failed(before)
                note_done(count)
    if as_json:
        print_json({"table": table, "before": before, "dry_run": dry_run, "rows": count})
    else:
        verb = "to be deleted" if dry_run else "deleted"
        echo_line(f"{counted(count, 'row')} {verb}, enqueued before {before:%Y-%m-%d %H:%M} UTC")
