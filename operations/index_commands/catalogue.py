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
    from ..catalogue.forms import Entry, Sources
    from ..catalogue.last_hour import Recent
    from ..catalogue.measurements import Measured


@click.command()
@click.argument("names", metavar="[JOB_TYPE]...", nargs=-1)
@INDEX
@click.option("--since", type=Duration(), default="1d", show_default=True, help="Measure jobs that ended since.")
@click.option("--offline", is_flag=True, help="Ask no broker, so that there are no statistics.")
@click.option("--markdown", "as_markdown", is_flag=True, help="Print a page of Markdown.")
@AS_JSON
@pass_app
def catalogue(
    app: AppContext,
    *,
    names: tuple[str, ...],
    index: str | None,
    since: timedelta,
    offline: bool,
    as_markdown: bool,
    as_json: bool,
) -> None:
    """Show queues and job types with their owners, runbooks and promises, beside what was measured of them.

    With JOB_TYPE, all that is declared of these alone. A value that misses its promise has an exclamation mark; one
    that is not measured, a question mark. The index that `stoker status run` keeps has the measured values; times are
    those of the newest 10,000 done jobs of a type. Without it, they are those of the last hour that `stoker statistics
    run` keeps, which also has how many jobs are done each second. Without either, the catalogue shows what is declared.

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
    sources = _sources(app, index, since, offline=offline)
    listed = [entry for entry in entries(found, sources) if entry.job.name in chosen]
    if as_json:
        return print_json(document(found, listed, sources))
    if as_markdown:
        return echo_lines("\n".join(markdown(found, listed, sources)))
    return _print(listed, sources.notes, in_full=bool(names))


def _sources(app: AppContext, index: str | None, since: timedelta, *, offline: bool) -> Sources:
    """The measured values, and where they come from: the index, or else the statistics of the last hour."""
    from ...topology import format_duration
    from ..catalogue.forms import Sources
    from ..catalogue.last_hour import Recent
    from ..catalogue.measurements import measure
    from ..job_index.database import IndexAbsent, index_path
    from ..job_index.index_reader import IndexReader

    recent = Recent(note="No broker was asked for statistics.") if offline else _recent(app)
    try:
        with IndexReader(index_path(app.pipeline.namespace, index)) as reader:
            state = reader.state()
            measured = measure(reader, app.pipeline.job_types, datetime.now(UTC) - since)
    except IndexAbsent:
        return _without_index(recent, recent.measured(app.pipeline))
    fresh = freshness(state.age_s(time.time()), state.behind)
    note = f"Measured over the last {format_duration(since)} by the index ({fresh})."
    return Sources(measured=measured, measured_by="index", note=note, recent=recent)


def _recent(app: AppContext) -> Recent:
    from ...topology import NoCluster
    from ..catalogue.last_hour import Recent, read_recent

    try:
        return read_recent(app.pipeline, app.configured_cluster())
    except NoCluster:
        return Recent(note="No cluster is configured, so there are no statistics.")


def _without_index(recent: Recent, measured: Mapping[str, Measured]) -> Sources:
    from ..catalogue.forms import Sources

    absent = "there is no index; `stoker status run` keeps one."
    if not recent.types:
        return Sources(measured={}, measured_by=None, note=f"Nothing is measured: {absent}", recent=recent)
    note = f"Measured over the last hour by the statistics: {absent}"
    return Sources(measured=measured, measured_by="statistics", note=note, recent=recent)


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
