"""`stoker catalogue`: queues and job types with their owners and promises, beside what was measured of them."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import click

from ..cli.app import AppContext, pass_app
from ..cli.output import echo_line, echo_lines, print_json, print_table
from ..cli.parameters import Duration
from .options import AS_JSON, INDEX
from .status import freshness

if TYPE_CHECKING:
    from ..catalogue.forms import Entry
    from ..catalogue.measurements import Measured


@click.command()
@click.argument("names", metavar="[JOB_TYPE]...", nargs=-1)
@INDEX
@click.option("--since", type=Duration(), default="1d", show_default=True, help="Measure jobs that ended since.")
@click.option("--markdown", "as_markdown", is_flag=True, help="Print a page of Markdown.")
@AS_JSON
@pass_app
def catalogue(
    app: AppContext, *, names: tuple[str, ...], index: str | None, since: timedelta, as_markdown: bool, as_json: bool
) -> None:
    """Show queues and job types with their owners, runbooks and promises, beside what was measured of them.

    With JOB_TYPE, all that is declared of these alone. A value that misses its promise has an exclamation mark; one
    that is not measured, a question mark. The index that `stoker status run` keeps has the measured values: without it,
    the catalogue shows what is declared. Times are those of the newest 10,000 done jobs of a type. No broker is asked.

    \b
    Examples:
      stoker -A shop.jobs:pipeline catalogue
      stoker -A shop.jobs:pipeline catalogue charge --since 7d
      stoker -A shop.jobs:pipeline catalogue --markdown > docs/catalogue.md

    Exit codes: 0, also when a promise is missed; 2 for an unknown job type.
    """
    from ...topology.declaration.catalogue import catalogue as declared
    from ..catalogue.forms import document, entries, markdown

    if as_markdown and as_json:
        raise click.UsageError("--markdown and --json exclude each other")
    chosen = [app.pipeline.find_job_type(name).name for name in names] or list(app.pipeline.job_types)
    found = declared(app.pipeline, app.registry_url)
    measured, note = _measured(app, index, since)
    listed = [entry for entry in entries(found, measured) if entry.job.name in chosen]
    if as_json:
        return print_json(document(found, listed, note))
    if as_markdown:
        return echo_lines("\n".join(markdown(found, listed, note)))
    return _print(listed, note, in_full=bool(names))


def _measured(app: AppContext, index: str | None, since: timedelta) -> tuple[Mapping[str, Measured], str]:
    """{job type: measured values}, and where they come from, in words."""
    from ...topology import format_duration
    from ..catalogue.measurements import measure
    from ..job_index.database import IndexAbsent, index_path
    from ..job_index.index_reader import IndexReader

    try:
        with IndexReader(index_path(app.pipeline.namespace, index)) as reader:
            state = reader.state()
            measured = measure(reader, app.pipeline.job_types, datetime.now(UTC) - since)
    except IndexAbsent:
        return {}, "Nothing is measured: there is no index; `stoker status run` keeps one."
    fresh = freshness(state.age_s(time.time()), state.behind)
    return measured, f"Measured over the last {format_duration(since)} by the index ({fresh})."


def _print(listed: Sequence[Entry], note: str, *, in_full: bool) -> None:
    from ..catalogue.forms import TITLES, facts, row

    if not listed:
        return echo_line("the pipeline declares no job type")
    print_table(TITLES, [row(entry) for entry in listed])
    for entry in listed if in_full else ():
        echo_line()
        echo_line(entry.job.name)
        for name, value in facts(entry):
            if value:
                echo_line(f"  {name:<12} {value}")
    return echo_line(f"({note})")
