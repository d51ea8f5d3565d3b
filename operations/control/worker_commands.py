"""`stoker control worker`: orders to workers, by id, by host, or to all."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from ..cli.app import AppContext, pass_app
from ..cli.exit_codes import ExitCode
from ..cli.failures import Failure
from ..cli.output import echo_line, print_json
from ..cli.parameters import Duration
from .giving import ending_options, give, giving_of, giving_options, instant_of, lift, with_options

if TYPE_CHECKING:
    from ...producers.control import Answers

Command = TypeVar("Command", bound=Callable[..., object])

_WORKERS: Final = (
    click.option("--worker", metavar="ID", help="This worker, as `stoker workers` shows it."),
    click.option("--host", metavar="NAME", help="All workers of this host."),
    click.option("--all", "everyone", is_flag=True, help="All workers."),
)


def worker_options(command: Command) -> Command:
    """Add the options that name workers."""
    return with_options(command, _WORKERS)


def _target_of(options: dict[str, Any]) -> dict[str, str | None]:
    """Take them out of the command's options.

    Raises:
        UsageError: they name none, or several.
    """
    worker, host, everyone = options.pop("worker"), options.pop("host"), options.pop("everyone")
    if (worker is not None) + (host is not None) + everyone != 1:
        raise click.UsageError("name the workers, with one of --worker, --host and --all")
    return {"worker": worker, "host": host}


@click.group(short_help="Let workers be quiet, stop, or show what they are doing.")
def worker() -> None:
    """Let workers be quiet, work on, stop, or show what they are doing."""


@worker.command(short_help="Let workers start no job.")
@worker_options
@ending_options
@giving_options
@pass_app
def quiet(app: AppContext, /, *, until: datetime | timedelta | None, **options: Any) -> None:
    """Let workers start no job, until `work`. Running jobs end.

    Their partitions stay with them, and the jobs in these wait: to give them to other workers, stop the worker.
    """
    giving, target, over_at = giving_of(options), _target_of(options), instant_of(until)
    give(app, giving, lambda control: control.worker_quiet(**target, until=over_at, reason=giving.reason))


@worker.command(short_help="Let quiet workers start jobs again.")
@worker_options
@giving_options
@pass_app
def work(app: AppContext, /, **options: Any) -> None:
    """Let workers start jobs again: ends `quiet` that was ordered with the same target."""
    giving, target = giving_of(options), _target_of(options)
    lift(app, giving, lambda control: control.worker_work(**target, reason=giving.reason))


@worker.command(short_help="Let workers shut down.")
@worker_options
@giving_options
@pass_app
def stop(app: AppContext, /, **options: Any) -> None:
    """Let workers shut down gracefully, as at SIGTERM: those that run now.

    What supervises them (`--processes`, systemd, Kubernetes) starts others in their place, as after any end. These are
    not meant.
    """
    giving, target = giving_of(options), _target_of(options)
    give(app, giving, lambda control: control.worker_stop(**target, reason=giving.reason))


@worker.command(short_help="Show what workers are doing.")
@worker_options
@click.option("--timeout", type=Duration(), default="10s", show_default=True, help="How long to wait for the answers.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@pass_app
def inspect(app: AppContext, /, *, timeout: timedelta, as_json: bool, **options: Any) -> None:
    """Show what workers are doing: each runner's job with its stack, and how far each partition is.

    They answer over the cluster, so it needs no access to their machines.
    """
    from ...producers.control import Control

    target = _target_of(options)
    with Control(app.pipeline, app.cluster) as control:
        receipt = control.worker_inspect(**target)
    answers = receipt.wait(timeout, lambda found: not _silent(found, target))
    if as_json:
        print_json({answer.worker: json.loads(answer.inspection) for answer in answers.answers if answer.inspection})
    else:
        _print_inspections(answers)
    if silent := _silent(answers, target):
        raise Failure(f"no answer within {timeout.total_seconds():g} s from {', '.join(silent)}", ExitCode.FINDING)


def _silent(answers: Answers, target: dict[str, str | None]) -> list[str]:
    """Those that are meant and have not answered; the target itself where no such worker lives."""
    worker, host = target["worker"], target["host"]
    meant = [found for found in answers.answers if worker in (None, found.worker) and host in (None, found.host)]
    absent = [] if meant else [worker or host or "any worker"]
    return [*absent, *(found.worker for found in meant if not found.inspection)]


def _print_inspections(answers: Answers) -> None:
    for answer in answers.answers:
        for queue in json.loads(answer.inspection or "[]"):
            for line in _inspection_lines(queue):
                echo_line(line)


def _inspection_lines(queue: dict[str, Any]) -> Iterator[str]:
    """One queue of one worker, as far as its version of Stoker tells."""
    counts = ", ".join(f"{queue.get(name, 0)} {name}" for name in ("ready", "parked", "held", "in_flight"))
    yield f"queue {queue.get('queue')} on {queue.get('worker')}: {len(queue.get('runs', ()))} running, {counts}"
    yield from (f"  ! {hint}" for hint in queue.get("hints", ()))
    for found in queue.get("partitions", ()):
        lowest = "all complete" if found.get("lowest") is None else f"lowest incomplete {found['lowest']}"
        yield f"  {found.get('topic')}/{found.get('partition')} {found.get('state')}: {lowest}"
    for run in queue.get("runs", ()):
        yield (
            f"  {run.get('runner')} {run.get('state')}: {run.get('job_type')} {run.get('job_id')}, "
            f"attempt {run.get('attempt')}, {run.get('record')}, for {run.get('ran_s', 0.0):.1f} s"
        )
        yield from (f"      {line}" for line in run.get("stack", ()))
