"""The options of `stoker schedules`: when a schedule fires, what it enqueues, and who changes it and why."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import click

from ..cli.parameters import INSTANT, Command, Duration, Options, with_options

if TYPE_CHECKING:
    from ...topology.declaration.job_type import AnyJobType, JobCall
    from ...topology.declaration.timing import Timing


_WHO: Final = (
    click.option("--reason", default="", metavar="TEXT", help="Why, for those who find it later."),
    click.option(
        "--operator",
        envvar="STOKER_OPERATOR",
        metavar="NAME",
        help="Who changes it.  [default: the user that runs this command]",
    ),
    click.option("--json", "as_json", is_flag=True, help="Print JSON."),
)
_WHEN: Final = (
    click.option(
        "--cron", metavar="EXPRESSION", help="Fire at these local times: '0 3 * * *'. Six fields have seconds."
    ),
    click.option("--tz", metavar="ZONE", help="The time zone of --cron, such as Europe/Berlin.  [default: UTC]"),
    click.option("--every", type=Duration(), help="Fire at equal intervals: 30s, 5m, 1d."),
    click.option("--start", type=INSTANT, help="The first instant at which it may fire; --every counts from it."),
    click.option("--end", type=INSTANT, help="The last instant at which it may fire."),
    click.option("--jitter", type=Duration(), help="Enqueue each job up to so much later, by chance."),
)
_HOW: Final = (
    click.option(
        "--missed",
        type=click.Choice(["skip", "latest", "all"]),
        help="What becomes of instants at which no worker ran: none, the last, or all of them.  [default: latest]",
    ),
    click.option("--missed-limit", type=click.IntRange(1), help="Of --missed all: the last so many.  [default: 100]"),
    click.option(
        "--grace", type=Duration(), help="How long an instant may be overdue and is not missed.  [default: 5m]"
    ),
    click.option(
        "--overlap",
        type=click.Choice(["allow", "skip", "wait"]),
        help="While the job before has not ended: enqueue one, enqueue none, or let it wait.  [default: allow]",
    ),
    click.option("--owner", metavar="TEXT", help="Who looks after it."),
    click.option("--description", metavar="TEXT", help="What it is for."),
)
_WHAT: Final = (
    click.option("--data", metavar="JSON", help="The payload as JSON, instead of FIELD=VALUE pairs."),
    click.option("--key", help="Ordering key of each job."),
    click.option("--tenant", help="For whom each job is."),
    click.option("--priority", metavar="NAME", help="One of the queue's priorities; the job type's own, unless given."),
    click.option("--expires", type=Duration(), help="Drop a job that has not started so long after it was enqueued."),
)
_OPTIONS: Final = ("start", "end", "jitter", "missed", "missed_limit", "grace", "overlap", "owner", "description")


def who_options(command: Command) -> Command:
    """Add who changes a schedule, and why."""
    return with_options(command, _WHO)


def schedule_options(command: Command) -> Command:
    """Add when a schedule fires, and what it enqueues."""
    return with_options(command, (*_WHEN, *_HOW, *_WHAT, *_WHO))


def timing_of(cron: str | None, tz: str | None, every: Any) -> Timing | None:
    """When it fires, by the options; None where none of them is given.

    Raises:
        UsageError: they exclude each other.
        InvalidTiming: there is no such expression, zone or interval.
    """
    from ...topology.declaration.timing import cron as at_times
    from ...topology.declaration.timing import every as at_intervals

    if cron is not None and every is not None:
        raise click.UsageError("--cron and --every exclude each other: give one of them")
    if cron is None and tz is not None:
        raise click.UsageError("--tz is the time zone of --cron: give that, too")
    if cron is not None:
        return at_times(cron, tz=tz or "UTC")
    return None if every is None else at_intervals(every)


def chosen(options: Options) -> Options:
    """The options of a schedule's own that are given."""
    return {name: options[name] for name in _OPTIONS if options.get(name) is not None}


def call_of(job_type: AnyJobType, pairs: tuple[str, ...], options: Options) -> JobCall:
    """The job of each instant.

    Raises:
        UsageError: two options exclude each other.
        InputRefused, PayloadRefused: the payload cannot be read, or does not fit.
    """
    from ...topology.declaration.job_type import CallOptions
    from ..payload_input import call_from_json, parse_json, payload_from_pairs

    data = options.get("data")
    if data is not None and pairs:
        raise click.UsageError("--data and FIELD=VALUE exclude each other: give one of them")
    payload = payload_from_pairs(job_type.contract, pairs) if data is None else parse_json(data, "--data")
    carried = CallOptions(
        key=options.get("key"),
        tenant=options.get("tenant"),
        priority=options.get("priority"),
        expires=options.get("expires"),
    )
    return call_from_json(job_type, payload, carried)


def gives_call(pairs: tuple[str, ...], options: Options) -> bool:
    """Whether anything about the job is given."""
    return bool(pairs) or any(
        options.get(name) is not None for name in ("data", "key", "tenant", "priority", "expires")
    )
