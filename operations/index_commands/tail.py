"""`stoker jobs tail`: what happens to jobs, as it happens, one line an event. It needs no index."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import click

from ..cli.app import AppContext, pass_app
from ..cli.output import Styled, echo_line, print_json_line, styled
from ..cli.parameters import FromNow
from ..views.terminal_text import printable
from .options import AS_JSON, filter_of, job_filters

if TYPE_CHECKING:
    from ..job_index.entries import JobEntry
    from ..job_index.event_tail import EventTail
    from ..job_index.job_filter import JobFilter
    from ..job_index.listed_jobs import ListedJob

_WAIT_S: Final = 0.5
_SHOWN: Final = 100
_TYPE_WIDTH, _STATE_WIDTH = 20, 9
_WITHOUT_EVENT: Final = frozenset({"queued", "delayed", "dead-discarded"})
"""States that no event holds: they are those of records."""
_COLOURS: Final = {"done": "green", "dead": "red", "retrying": "yellow", "cancelled": "magenta", "expired": "magenta"}


@click.command("tail", short_help="Show what happens to jobs, as it happens.")
@job_filters
@click.option("--from", "start", type=FromNow(), help="Begin with what happened then: 5m ago, or at an instant.")
@click.option("--limit", type=click.IntRange(1), metavar="N", help="End after N lines.")
@AS_JSON
@pass_app
def tail(
    app: AppContext,
    /,
    *,
    start: timedelta | datetime | None,
    limit: int | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Show what happens to jobs as it happens, one line an event, until Ctrl+C. All filters that are given must hold.

    It reads the events of the workers from now on, so it needs no index. That a job was enqueued, and that its run has
    begun, has no event. Done jobs come within a second, many at a time.

    \b
    Examples:
      stoker -A shop.jobs:pipeline jobs tail --queue mails
      stoker -A shop.jobs:pipeline jobs tail --state dead --state retrying --error CardDeclined
      stoker -A shop.jobs:pipeline jobs tail --from 10m --tenant acme --json
    """
    from ..job_index.event_tail import EventTail

    _check_states_of_events(options["states"])
    wanted = filter_of(options)
    since = datetime.now(UTC) - start if isinstance(start, timedelta) else start
    with closing(EventTail(app.pipeline, app.cluster)) as events:
        events.start(since)
        if not as_json:
            echo_line(f"events of {app.pipeline.namespace}; Ctrl+C ends it", err=True)
        for number, entry in enumerate(_wanted(events, wanted), start=1):
            _print(entry, as_json=as_json)
            if number == limit:
                return


def _check_states_of_events(states: tuple[str, ...]) -> None:
    if states and _WITHOUT_EVENT.issuperset(states):
        raise click.UsageError(
            f"no event holds that a job is {' or '.join(states)}: `stoker jobs list` has these, by the index"
        )


def _wanted(events: EventTail, wanted: JobFilter) -> Iterator[JobEntry]:
    from ..job_index.event_tail import takes

    trouble = ""
    while True:
        for entry in events.read(_WAIT_S):
            if takes(wanted, entry):
                yield entry
        if events.trouble and events.trouble != trouble:
            echo_line(f"{events.trouble}: it goes on when they answer", err=True)
        trouble = events.trouble


def _print(entry: JobEntry, *, as_json: bool) -> None:
    from ..job_index.job_history import listed_of

    job = listed_of(entry)
    if as_json:
        from .job_text import job_document

        return print_json_line(job_document(job))
    return echo_line(event_line(job))


def event_line(job: ListedJob) -> Styled:
    """One event for people: when, what, which job, how long, and why."""
    at = f"{job.changed.astimezone(UTC):%H:%M:%S}.{job.changed.microsecond // 1_000:03d}"
    shown = styled(f"{job.state.shown:<{_STATE_WIDTH}}", fg=_COLOURS.get(job.state.shown))
    parts = [f"{job.job_type:<{_TYPE_WIDTH}}", job.job_id, f"run {_run_of(job)}", *_facts(job)]
    return Styled(f"{at}  {shown}  {printable('  '.join(parts))}")


def _run_of(job: ListedJob) -> int:
    """The run that the event is about: of a retry the one that failed."""
    return max(job.attempt - (job.state.shown == "retrying"), 1)


def _facts(job: ListedJob) -> Iterator[str]:
    if job.took is not None:
        yield f"{job.took.total_seconds():.3f}s"
    if job.key:
        yield f"key {job.key}"
    if job.tenant:
        yield f"tenant {job.tenant}"
    if job.error_type or job.message:
        yield f"{job.error_type.rpartition('.')[2]}: {job.message}"[:_SHOWN]
    if job.due is not None and not job.state.has_ended:
        yield f"goes on {job.due.astimezone(UTC):%H:%M:%SZ}"
