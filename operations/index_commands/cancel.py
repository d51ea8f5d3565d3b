"""`stoker jobs cancel`: jobs of these ids, or those that filters of the index take, end without running."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, Final

import click

from ...topology.counts import counted
from ..cli.app import AppContext, pass_app
from ..cli.exit_codes import ExitCode
from ..cli.parameters import with_all
from ..cli.publishing import Printer, confirm
from ..control_commands.giving import GIVING, give, giving_of
from ..job_index.states import State
from .job_choice import MOST, Chosen, choose
from .options import INDEX, job_filters

if TYPE_CHECKING:
    from ..job_index.listed_jobs import ListedJob

_ASKING: Final = (
    click.option("--dry-run", is_flag=True, help="Show the count, order nothing."),
    click.option("--yes", "-y", is_flag=True, help="Do not ask."),
)


@click.command(short_help="Let jobs end without running.")
@click.argument("job_ids", nargs=-1, metavar="[ID]...")
@job_filters
@click.option("--limit", type=click.IntRange(1, MOST), default=MOST, show_default=True, help="At most so many.")
@INDEX
@with_all(*_ASKING, *GIVING)
@pass_app
def cancel(
    app: AppContext,
    /,
    job_ids: tuple[str, ...],
    *,
    limit: int,
    index: str | None,
    dry_run: bool,
    yes: bool,
    **options: Any,
) -> None:
    """Let jobs end as cancelled: those of these IDs, or those that the filters take.

    Filters need the index, and a --reason. A job that waits does not run (again), and one that runs is interrupted; it
    costs no attempt. What has ended is left alone. An id that nothing is known of is cancelled as well, should its job
    come. The filters are those of `jobs list`, and take the jobs that the index has now; `stoker control cancel` has
    filters for all that was enqueued before, which need no index. The command shows the count, and asks.

    \b
    Examples:
      stoker -A shop.jobs:pipeline jobs cancel 0198c2d4-7c1d-7aa0-9d3c-5f0f6c1f7d11 --reason "ordered twice"
      stoker -A shop.jobs:pipeline jobs cancel --state retrying --words "card declined" --reason "fraud" --dry-run

    Exit codes: 0; 1 when no job can be cancelled, or with --wait: some workers have not taken the order; 3 when Kafka
    cannot be reached.
    """
    giving = giving_of(options)
    if not (job_ids or giving.reason or dry_run):
        raise click.UsageError("a cancel by filters needs a --reason, for those who find it later")
    chosen = choose(app, job_ids, index, limit, options)
    ids = [job.job_id for job in chosen.jobs if not job.state.has_ended] + list(chosen.unknown)
    printer = Printer(as_json=giving.as_json)
    for line in cancel_lines(chosen):
        printer.print_line(line)
    if dry_run or not ids:
        printer.print_document({"jobs": ids, "ordered": False, "more": chosen.more, "index": chosen.note})
        if not ids:
            raise click.exceptions.Exit(ExitCode.FINDING)
        return
    confirm(f"Cancel {counted(len(ids), 'job')}?", yes=yes or bool(job_ids))
    give(app, giving, lambda control: control.cancel(*ids, reason=giving.reason))


def cancel_lines(chosen: Chosen) -> list[str]:
    """Which jobs a cancel means, by their states, for people."""
    going = Counter(job.state.shown for job in chosen.jobs if not job.state.has_ended)
    ended = Counter(_why_not(job) for job in chosen.jobs if job.state.has_ended)
    lines = [f"{count:>10,}  {word}" for word, count in sorted(going.items())]
    lines += [f"{count:>10,}  left alone: {why}" for why, count in sorted(ended.items())]
    lines += [f"{len(chosen.unknown):>10,}  not known: cancelled should they come"] if chosen.unknown else []
    if not (chosen.jobs or chosen.unknown):
        lines.append("no job is like that")
    if chosen.more:
        lines.append(f"the filters take more than these {len(chosen.jobs):,}: run it again for the others")
    return [*lines, f"({chosen.note})"]


def _why_not(job: ListedJob) -> str:
    if job.state is State.DEAD:
        return "a dead letter waits for nothing: `stoker dead discard` writes it off"
    return f"it is {job.state.shown} already"
