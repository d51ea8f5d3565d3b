"""`stoker jobs`: what became of one job and why it is not running, and lists of jobs by what is known of them."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import click

from ...topology.counts import counted
from ..cli.app import AppContext, pass_app
from ..cli.failures import CommandFailure
from ..cli.output import age_since, echo_line, print_fitting_table, print_json, print_table
from ..cli.parameters import Options
from .cancel import cancel
from .options import AS_JSON, INDEX, filter_of, job_filters
from .retry import retry
from .status import STALE_AFTER_S, freshness
from .tail import tail

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..job_index.database import Partition
    from ..job_index.index_reader import Found, IndexReader
    from ..job_index.job_filter import JobFilter
    from ..job_index.job_history import JobHistory
    from ..job_index.listed_jobs import ListedJob

GROUPINGS: Final = ("queue", "type", "state", "failure")
_MESSAGE_SHOWN: Final = 60

_FROM_TOPICS: Final = click.option(
    "--topics", "from_topics", is_flag=True, help="Read the topics themselves: slower, and never behind."
)
_JOB: Final = click.argument("job_id", metavar="ID")


@click.group()
def jobs() -> None:
    """Show what became of jobs, and why one is not running; watch them, run them again, and cancel them.

    The index that `stoker status run` keeps has the answers. Without it, `show` and `why` read the topics themselves,
    `tail` needs none, and `retry` and `cancel` take ids.

    \b
    Exit codes: 0 found; 1 no such job, or no index.
    """


@jobs.command(short_help="Show the whole history of one job.")
@_JOB
@INDEX
@_FROM_TOPICS
@AS_JSON
@pass_app
def show(app: AppContext, *, job_id: str, index: str | None, from_topics: bool, as_json: bool) -> None:
    """Show the whole history of the job ID: who enqueued it, each run with its times, worker and error, what it became.

    \b
    Examples:
      stoker -A shop.jobs:pipeline jobs show 0198c2d4-7c1d-7aa0-9d3c-5f0f6c1f7d11
      stoker -A shop.jobs:pipeline jobs show nightly@2026-03-29T01:00:00Z --json
    """
    from ..catalogue.owners import owner_of
    from .job_text import job_history_document, job_history_lines

    history, note = _find_history(app, job_id, index, from_topics=from_topics)
    why, owner = _why(app, history), owner_of(app.pipeline, history.job.job_type)
    if as_json:
        return print_json({**job_history_document(history), **owner.document, "why": why, "source": note})
    for line in job_history_lines(history, why, owner):
        echo_line(line)
    return echo_line(f"({note})")


@jobs.command(short_help="Show why a job is not running, or how it ended.")
@_JOB
@INDEX
@_FROM_TOPICS
@AS_JSON
@pass_app
def why(app: AppContext, *, job_id: str, index: str | None, from_topics: bool, as_json: bool) -> None:
    """Show in a sentence or two why the job ID is not running, or how it ended.

    \b
    Example:
      stoker -A shop.jobs:pipeline jobs why 0198c2d4-7c1d-7aa0-9d3c-5f0f6c1f7d11
    """
    from ..catalogue.owners import owner_of

    history, note = _find_history(app, job_id, index, from_topics=from_topics)
    sentences, owner = _why(app, history), owner_of(app.pipeline, history.job.job_type)
    if as_json:
        behind = None if history.front is None else history.front.job_id
        answer = {"job_id": job_id, "state": history.job.state.shown, "behind": behind, "why": sentences}
        return print_json({**answer, **owner.document, "source": note})
    for sentence in filter(None, (*sentences, owner.sentence)):
        echo_line(sentence)
    return echo_line(f"({note})")


def _find_history(app: AppContext, job_id: str, index: str | None, *, from_topics: bool) -> tuple[JobHistory, str]:
    """The history of a job, and where that comes from, in words."""
    from ..job_index.database import IndexAbsent, index_path
    from ..job_index.index_reader import IndexReader
    from ..job_index.job_history import find_history

    if from_topics:
        return _read_all(app, job_id), "read from the topics"
    try:
        with IndexReader(index_path(app.pipeline.namespace, index)) as reader:
            state, read_up_to = reader.state(), reader.offsets()
            found = find_history(reader, job_id, app.pipeline.queues, datetime.now(UTC))
    except IndexAbsent:
        return _read_all(app, job_id), "there is no index, so the topics were read: `stoker status run` keeps one"
    age_s = state.age_s(time.time())
    words = freshness(age_s, state.behind)
    if found is not None:
        return found, f"by the index, {words}"
    if age_s is not None and age_s <= STALE_AFTER_S:
        return _read_newer(app, job_id, read_up_to), f"newer than the index ({words}), so read from the topics"
    return _read_all(app, job_id), f"the index does not have it ({words}), so the topics were read"


def _read_all(app: AppContext, job_id: str) -> JobHistory:
    """Read the whole topics."""
    from ..job_index.job_history import read_history

    echo_line("reading the topics; this takes a while where they are large", err=True)
    history = read_history(app.pipeline, app.cluster, job_id)
    if history is None:
        raise CommandFailure(
            f"no job {job_id} is on any topic of {app.pipeline.namespace}; it may be mistyped, or too old"
        )
    return history


def _read_newer(app: AppContext, job_id: str, read_up_to: Mapping[Partition, int]) -> JobHistory:
    """Read what the index has not read yet, such as a job that was enqueued a moment ago."""
    from ..job_index.job_history import read_history

    history = read_history(app.pipeline, app.cluster, job_id, read_up_to)
    if history is None:
        raise CommandFailure(
            f"no job {job_id} is known; it may be mistyped, or older than what the index keeps: --topics reads all "
            "that the topics still hold"
        )
    return history


def _why(app: AppContext, history: JobHistory) -> list[str]:
    """Why a job is not running, in sentences; how it ended, where it has."""
    from .reasons import Circumstances, reasons

    job = history.job
    seen = Circumstances() if job.state.has_ended else Circumstances.look(app.pipeline, app.cluster, job)
    return reasons(history, app.pipeline.queues.get(job.queue), seen, datetime.now(UTC))


@jobs.command("list", short_help="List jobs, the newest first, or count them.")
@job_filters
@click.option("--limit", type=click.IntRange(1, 10_000), default=50, show_default=True, help="At most so many.")
@click.option("--group-by", "groups", multiple=True, type=click.Choice(GROUPINGS), help="Count by this; repeatable.")
@INDEX
@AS_JSON
@pass_app
def list_jobs(
    app: AppContext, /, *, index: str | None, limit: int, groups: tuple[str, ...], as_json: bool, **options: Any
) -> None:
    """List jobs, the newest first; all filters that are given must hold.

    With --group-by it counts jobs: all that the index has, or, with --since, those that have ended since. Counting
    takes --queue, --type, --state, --error, --fingerprint and --since.

    A list has a quarter of a second. Where that is not enough, it shows how far it has looked; --until goes on there.

    \b
    Examples:
      stoker -A shop.jobs:pipeline jobs list --state dead --since 2h
      stoker -A shop.jobs:pipeline jobs list --tenant acme --type charge --words "card declined"
      stoker -A shop.jobs:pipeline jobs list --group-by type --group-by failure --state dead
    """
    from ..job_index.database import index_path
    from ..job_index.index_reader import IndexReader

    wanted = filter_of(options)
    if groups:
        _check_countable(options)
    with IndexReader(index_path(app.pipeline.namespace, index)) as reader:
        if groups:
            return _count(reader, groups, wanted, as_json=as_json)
        found = reader.find(wanted, limit)
        state = reader.state()
    note = freshness(state.age_s(time.time()), state.behind)
    if as_json:
        from .job_text import job_document

        return print_json(
            {
                "jobs": [job_document(job) for job in found.jobs],
                "searched_to": found.searched_to,
                "more": found.more,
                "index": note,
            }
        )
    return _print_list(found, note)


jobs.add_command(tail)
jobs.add_command(retry)
jobs.add_command(cancel)


def _check_countable(options: Options) -> None:
    from ..job_index.states import SHOWN_STATES

    uncounted = [name for name in ("key", "tenant", "worker", "release", "words", "until") if options[name]]
    if uncounted:
        raise click.UsageError(f"--{uncounted[0]} takes single jobs, which are not counted: leave out --group-by")
    waiting = [shown for shown in options["states"] if not SHOWN_STATES[shown].has_ended]
    if options["since"] and waiting:
        raise click.UsageError(
            f"--since counts jobs that have ended since then, none of which is {waiting[0]}: leave it out"
        )


def _count(reader: IndexReader, groups: tuple[str, ...], wanted: JobFilter, *, as_json: bool) -> None:
    from ..job_index.index_reader import MOST_GROUPS

    counts = reader.counts(groups, wanted)
    if as_json:
        return print_json([{**dict(zip(groups, words, strict=True)), "jobs": count} for words, count in counts])
    if not counts:
        return echo_line("no job is like that")
    print_table([*(name.upper() for name in groups), "JOBS"], [(*words, count) for words, count in counts])
    if len(counts) == MOST_GROUPS:
        echo_line(f"the {MOST_GROUPS:,} largest groups; filters such as --type or --state leave fewer")
    return None


def _print_list(found: Found, note: str) -> None:
    if found.jobs:
        titles = ("JOB", "TYPE", "STATE", "AGE", "ATTEMPT", "TOOK", "KEY", "TENANT", "ERROR")
        print_fitting_table(titles, [_row(job) for job in found.jobs])
    if found.more and found.searched_to is not None:
        until = found.searched_to.isoformat(timespec="milliseconds").replace("+00:00", "Z")
        echo_line(f"{counted(len(found.jobs), 'job')}, searched back to {until}; for more: --until {until}")
    else:
        echo_line(counted(len(found.jobs), "job") if found.jobs else "no job is like that")
    echo_line(f"(index {note})")


def _row(job: ListedJob) -> tuple[object, ...]:
    took = "" if job.took is None else f"{job.took.total_seconds():.3f}s"
    error = f"{job.error_type.rpartition('.')[2]}: {job.message}"[:_MESSAGE_SHOWN] if job.error_type else ""
    return (
        *(job.job_id, job.job_type, job.state.shown, age_since(job.enqueued), job.attempt, took),
        *(job.key or "", job.tenant, error),
    )
