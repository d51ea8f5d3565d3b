"""`stoker inbox`: create, look at and prune the table that makes effects in a database happen once."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import click

from ...topology.counts import counted
from ..audit_log.prunes import INBOX_PRUNED, Prune, audit_options, recorded_prune
from ..cli.app import AppContext, pass_app
from ..cli.exit_codes import ExitCode
from ..cli.failures import CommandFailure
from ..cli.output import age_since, echo_line, echo_lines, format_age, print_json, print_table
from ..cli.parameters import Duration, TableOptions, ddl_options, dialect_given

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..inbox import InboxTable

USUAL_RETENTION: Final = timedelta(days=7)
"""How long topics keep jobs unless declared otherwise; taken where no application is named."""

_table = TableOptions("inbox")
_as_json = click.option("--json", "as_json", is_flag=True, help="Print data instead of sentences.")


@click.group()
def inbox() -> None:
    """Keep the table with which jobs' effects in a database happen once.

    A job that writes inside of `with current_job().inbox(connection):` leaves its id in this table, in the same
    transaction. PostgreSQL is reached through psycopg, from the extra inbox-postgres.

    \b
    Exit codes: 0 done; 1 the table is missing; 2 a wrong URL or name; 3 the database cannot be reached;
      4 a prune was refused, because jobs could run once more.
    """


@inbox.command()
@_table
@ddl_options
def create(url: str | None, table: str, print_only: bool, dialect: str | None) -> None:
    """Create the table and its index. Where they are there, nothing is changed."""
    from ...consumers.inbox import table_ddl
    from ..inbox import create_inbox

    if print_only:
        echo_lines(table_ddl(dialect_given(dialect, url), table).rstrip("\n"))
        return
    create_inbox(_table.given(url), table)
    echo_line(f"The inbox {table} is there.")


@inbox.command()
@_table
@_as_json
def status(url: str | None, table: str, as_json: bool) -> None:
    """Show how many jobs of each queue it holds, and of what age. It counts, so a large one takes a while."""
    from ..inbox import open_table

    with open_table(_table.given(url), table) as opened:
        found = opened.status()
    if as_json:
        print_json(found)
        return
    rows = [(each.queue, each.rows, age_since(each.oldest), age_since(each.newest)) for each in found]
    print_table(("QUEUE", "JOBS", "OLDEST", "NEWEST"), rows)


@inbox.command(short_help="Forget the jobs that were done long ago.")
@_table
@click.option(
    "--older-than", type=Duration(), default="30d", show_default=True, help="Forget what was done longer ago than this."
)
@click.option("--dry-run", is_flag=True, help="Only count.")
@click.option(
    "--allow-repetitions", is_flag=True, help="Prune also what a topic may deliver again, so that jobs run once more."
)
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
    allow_repetitions: bool,
    as_json: bool,
    **recorded: Any,
) -> None:
    """Forget the jobs that were done long ago, in small transactions; run it now and then.

    A job that comes again after it was forgotten runs again. So nothing is forgotten that is younger than the longest
    retention of the application's queues (-A; without it 7 days, the usual one), unless --allow-repetitions is given.
    The age must also exceed the time in which callers repeat an idempotency key. Replays have ids of their own, so
    they run again in any case. If an application and a cluster are named, the audit trail has who has pruned.
    """
    from ..inbox import open_table

    if not allow_repetitions:
        _check_age(app, older_than)
    before = datetime.now(UTC) - older_than
    with open_table(_table.given(url), table) as opened:
        count = opened.count_older(before)
        if not dry_run:
            prune = Prune(action=INBOX_PRUNED, table=table, older_than=before, rows=count)
            with recorded_prune(app, prune, **recorded) as note_done:
                count = _prune(opened, prune, note_done)
    if as_json:
        print_json({"table": table, "before": before, "dry_run": dry_run, "jobs": count})
    else:
        verb = "to be forgotten" if dry_run else "forgotten"
        echo_line(f"{counted(count, 'job')} {verb}, done before {before:%Y-%m-%d %H:%M} UTC")


def _check_age(app: AppContext, older_than: timedelta) -> None:
    longest, whose = USUAL_RETENTION, "the usual retention, since no application is named (-A)"
    if app.application and app.pipeline.queues:
        queue = max(app.pipeline.queues.values(), key=lambda queue: queue.retention)
        longest, whose = queue.retention, f"the retention of queue {queue.name}"
    if older_than <= longest:
        raise CommandFailure(
            f"--older-than {format_age(older_than)} does not exceed {format_age(longest)}, {whose}: jobs that are "
            "still on their topics could run once more. Name a longer time, or give --allow-repetitions.",
            ExitCode.REFUSED,
        )


def _prune(opened: InboxTable, prune: Prune, note_done: Callable[[int], None]) -> int:
    deleted = 0
    for batch in opened.prune(prune.older_than):
        deleted += batch
        note_done(batch)
        echo_line(f"{deleted:,} of {counted(prune.rows, 'job')} forgotten", err=True)
    return deleted
