"""`stoker schedules`: jobs that are enqueued again and again: look at them, change them, trigger them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from ..cli.app import AppContext, command_path, pass_app
from ..cli.output import echo_line, print_json, print_table
from ..schedules.options import call_of, chosen, gives_call, schedule_options, timing_of, who_options

if TYPE_CHECKING:
    from ...producers.schedules import Schedules, ScheduleView


@click.group()
def schedules() -> None:
    """Show, make, change and trigger schedules: jobs that are enqueued again and again.

    There is no scheduler to run: the workers of a queue fire its schedules, each instant once. Schedules that the
    application declares are put on the cluster by `stoker topology apply`; these commands pause, resume and trigger
    them, and make others beside them. `stoker control log` shows who has changed what.

    Exit codes: 0; 1 when there is no such schedule, or there is one already; 2 for an invalid value; 3 when Kafka
    cannot be reached.
    """


def _schedules(app: AppContext, operator: str | None = None) -> Schedules:
    from ...producers.schedules import Schedules

    return Schedules(app.pipeline, app.cluster, operator=operator, command=command_path())


def _show(view: ScheduleView, *, as_json: bool) -> None:
    from ..schedules.shown import schedule_document, schedule_page

    if as_json:
        print_json(schedule_document(view))
        return
    for line in schedule_page(view, datetime.now(UTC)):
        echo_line(line)


@schedules.command("list", short_help="Show all schedules.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@pass_app
def list_command(app: AppContext, *, as_json: bool) -> None:
    """Show all schedules: when each fires next, and what it has fired last.

    \b
    Examples:
      stoker -A shop.jobs:pipeline schedules list
      stoker -A shop.jobs:pipeline schedules list --json | jq -r '.[] | select(.is_paused) | .name'
    """
    from ..schedules.shown import TITLES, schedule_document, schedule_row

    with _schedules(app) as found:
        views = found.all()
    now = datetime.now(UTC)
    if as_json:
        print_json([schedule_document(view) for view in views])
    elif views:
        print_table(TITLES, [schedule_row(view, now) for view in views])
    else:
        echo_line(
            f"{app.pipeline.namespace} has no schedules: declare one with pipeline.schedule(...) and run `stoker "
            "topology apply`, or make one with `stoker schedules add`"
        )


@schedules.command(short_help="Show one schedule.")
@click.argument("name")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@pass_app
def show(app: AppContext, *, name: str, as_json: bool) -> None:
    """Show all of one schedule: its times and policies, who has changed it last and why, and who fires it."""
    with _schedules(app) as found:
        view = found.show(name)
    _show(view, as_json=as_json)


@schedules.command("next", short_help="Show when a schedule fires next.")
@click.argument("name")
@click.option("-n", "--count", type=click.IntRange(1, 1_000), default=5, show_default=True, help="So many instants.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@pass_app
def next_command(app: AppContext, *, name: str, count: int, as_json: bool) -> None:
    """Show the next instants of a schedule, in its time zone.

    \b
    Example:
      stoker -A shop.jobs:pipeline schedules next nightly-report -n 10
    """
    from ...topology.declaration.timing import in_zone
    from ..schedules.shown import ahead

    with _schedules(app) as found:
        view, instants = found.show(name), found.next(name, count)
    if as_json:
        print_json(instants)
        return
    now = datetime.now(UTC)
    for instant in instants:
        echo_line(f"{in_zone(instant, view.schedule.zone).isoformat()}  {ahead(instant - now)}")
    if not instants:
        echo_line(f"schedule {name} is paused" if view.schedule.is_paused else f"schedule {name} fires no more")


@schedules.command(short_help="Make a schedule.")
@click.argument("name")
@click.argument("job_type", metavar="JOB_TYPE")
@click.argument("pairs", metavar="[FIELD=VALUE]...", nargs=-1)
@schedule_options
@pass_app
def add(app: AppContext, /, *, name: str, job_type: str, pairs: tuple[str, ...], **options: Any) -> None:
    """Make a schedule NAME that enqueues jobs of JOB_TYPE. It fires at instants from now on.

    \b
    Examples:
      stoker -A shop.jobs:pipeline schedules add nightly-report report kind=full --cron '0 3 * * *' --tz Europe/Berlin
      stoker -A shop.jobs:pipeline schedules add poll fetch --every 5m --overlap skip --reason 'a new supplier'
    """
    found = app.pipeline.find_job_type(job_type)
    timing = timing_of(options["cron"], options["tz"], options["every"])
    if timing is None:
        raise click.UsageError("set when it fires: --cron '0 3 * * *', or --every 5m")
    call = call_of(found, pairs, options)
    with _schedules(app, options["operator"]) as changing:
        view = changing.add(name, timing, call, reason=options["reason"], **chosen(options))
    _show(view, as_json=options["as_json"])


@schedules.command(short_help="Change a schedule.")
@click.argument("name")
@click.argument("pairs", metavar="[FIELD=VALUE]...", nargs=-1)
@schedule_options
@pass_app
def edit(app: AppContext, /, *, name: str, pairs: tuple[str, ...], **options: Any) -> None:
    """Change what is given of a schedule, and leave the rest.

    With FIELD=VALUE, --data, --key, --tenant, --priority or --expires, all of the job is given anew. Schedules of the
    application are changed in its code.

    \b
    Example:
      stoker -A shop.jobs:pipeline schedules edit nightly-report --cron '30 2 * * *' --tz Europe/Berlin
    """
    timing = timing_of(options["cron"], options["tz"], options["every"])
    with _schedules(app, options["operator"]) as changing:
        call = None
        if gives_call(pairs, options):
            call = call_of(app.pipeline.find_job_type(changing.show(name).schedule.job_type), pairs, options)
        view = changing.edit(name, timing=timing, call=call, reason=options["reason"], **chosen(options))
    _show(view, as_json=options["as_json"])


@schedules.command(short_help="Let a schedule rest.")
@click.argument("name")
@who_options
@pass_app
def pause(app: AppContext, *, name: str, reason: str, operator: str | None, as_json: bool) -> None:
    """Let a schedule fire no more until `resume`. Jobs that it has enqueued run; `control pause` holds jobs back."""
    with _schedules(app, operator) as changing:
        view = changing.pause(name, reason=reason)
    _show(view, as_json=as_json)


@schedules.command(short_help="Let it fire again.")
@click.argument("name")
@who_options
@pass_app
def resume(app: AppContext, *, name: str, reason: str, operator: str | None, as_json: bool) -> None:
    """Let a schedule fire again, at instants from now on: those of the pause are left out."""
    with _schedules(app, operator) as changing:
        view = changing.resume(name, reason=reason)
    _show(view, as_json=as_json)


@schedules.command(short_help="Enqueue its jobs now.")
@click.argument("name")
@who_options
@pass_app
def trigger(app: AppContext, *, name: str, reason: str, operator: str | None, as_json: bool) -> None:
    """Enqueue the jobs of a schedule now, once, beside its own times; also of one that is paused."""
    with _schedules(app, operator) as changing:
        receipts = changing.trigger(name, reason=reason)
    if as_json:
        print_json(receipts)
        return
    for receipt in receipts:
        echo_line(f"{receipt.job_id} is at {receipt.topic}/{receipt.partition}/{receipt.offset}")


@schedules.command(short_help="Remove a schedule.")
@click.argument("name")
@who_options
@pass_app
def remove(app: AppContext, *, name: str, reason: str, operator: str | None, as_json: bool) -> None:
    """Remove a schedule. Jobs that it has enqueued run. Schedules of the application are removed from its code."""
    with _schedules(app, operator) as changing:
        changing.remove(name, reason=reason)
    if as_json:
        print_json({"removed": name})
    else:
        echo_line(f"schedule {name} is removed")
