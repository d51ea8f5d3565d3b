"""The options that the commands about jobs share: where the index is, and which jobs are meant."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

import click

from ..cli.parameters import Command, FromNow, Options, with_options

if TYPE_CHECKING:
    from ..job_index.job_filter import JobFilter


INDEX: Final = click.option(
    "--index",
    "index",
    envvar="STOKER_INDEX",
    metavar="FILE",
    help="The file of the index.  [default: .stoker/index/<namespace>.sqlite]",
)
AS_JSON: Final = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
STATES: Final = (
    *("queued", "delayed", "retrying", "snoozed", "deferred"),
    *("done", "dead", "cancelled", "expired", "discarded", "dead-discarded"),
)
_FILTERS: Final = (
    click.option("--queue", "queues", multiple=True, metavar="QUEUE", help="Of this queue; repeatable."),
    click.option("--type", "types", multiple=True, metavar="TYPE", help="Of this job type; repeatable."),
    click.option("--state", "states", multiple=True, type=click.Choice(STATES), help="In this state; repeatable."),
    click.option("--key", metavar="KEY", help="With this ordering key."),
    click.option("--tenant", default="", metavar="TENANT", help="For this tenant."),
    click.option("--worker", default="", metavar="ID", help="Whose last run this worker made."),
    click.option("--release", default="", metavar="NAME", help="Whose last run was of this release."),
    click.option("--error", default="", metavar="CLASS", help="That failed with this error, with or without module."),
    click.option("--fingerprint", default="", metavar="DIGITS", help="That failed there; the first digits are enough."),
    click.option("--words", default="", metavar="WORDS", help="Whose first failure has all of these words; card* too."),
    click.option("--since", type=FromNow(), help="Enqueued since then: an instant, or 2h for two hours ago."),
    click.option("--until", type=FromNow(), help="Enqueued before then."),
)


def job_filters(command: Command) -> Command:
    """Add the options of a filter."""
    return with_options(command, _FILTERS)


def filter_of(options: Options) -> JobFilter:
    """The filter that the options ask for."""
    from ..job_index.job_filter import JobFilter
    from ..job_index.states import SHOWN_STATES

    now = datetime.now(UTC)
    since, until = (_before(now, options[name]) for name in ("since", "until"))
    if since is not None and until is not None and since >= until:
        raise click.UsageError("--since must be before --until")
    states = [SHOWN_STATES[shown] for shown in options["states"]]
    return JobFilter(**{**options, "states": states, "since": since, "until": until})


def _before(now: datetime, given: timedelta | datetime | None) -> datetime | None:
    """The instant that is meant: a length of time counts back from now."""
    return now - given if isinstance(given, timedelta) else given
