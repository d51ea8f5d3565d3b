"""`stoker control worker`: orders to workers, by id, by host, or to all."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

import click

from ..cli.app import AppContext, command_path, pass_app
from ..cli.exit_codes import ExitCode
from ..cli.failures import CommandFailure
from ..cli.output import echo_line, print_json
from ..cli.parameters import Duration, Options, with_all
from .giving import WORKERS
from .order_commands import ABOUT_WORKERS, add_commands

if TYPE_CHECKING:
    from ...producers.control import Answers


def _target_of(options: Options) -> dict[str, str | None]:
    """Take them out of the command's options.

    Raises:
        UsageError: they name none, or several.
    """
    worker, host, everyone = options.pop("worker"), options.pop("host"), options.pop("everyone")
    if (worker is not None) + (host is not None) + everyone != 1:
        raise click.UsageError("name the workers, with one of --worker, --host and --all")
    return {"worker": worker, "host": host}


def _arguments(options: Options) -> Options:
    """The arguments of a method of `Control`, from the command's options."""
    return {**_target_of(options), **options}


@click.group(short_help="Let workers be quiet, stop, or show what they are doing.")
def worker() -> None:
    """Let workers be quiet, work on, stop, or show what they are doing."""


add_commands(worker, ABOUT_WORKERS, _arguments)


@worker.command(short_help="Show what workers are doing.")
@with_all(*WORKERS)
@click.option("--timeout", type=Duration(), default="10s", show_default=True, help="How long to wait for the answers.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@pass_app
def inspect(app: AppContext, /, *, timeout: timedelta, as_json: bool, **options: Any) -> None:
    """Show what workers are doing: each runner's job with its stack, and how far each partition is.

    They answer over the cluster, so it needs no access to their machines.
    """
    from ...producers.control import Control

    target = _target_of(options)
    with Control(app.pipeline, app.cluster, command=command_path()) as control:
        receipt = control.worker_inspect(**target)
    answers = receipt.wait(timeout, lambda found: not _who_is_silent(found, target))
    if as_json:
        print_json({answer.worker: json.loads(answer.inspection) for answer in answers.answers if answer.inspection})
    else:
        _print_inspections(answers)
    if silent := _who_is_silent(answers, target):
        raise CommandFailure(f"within {timeout.total_seconds():g} s, {silent}; {_WAY_OUT}", ExitCode.FINDING)


_COUNTS: Final = ("ready", "parked", "delayed", "in_flight")
_WAY_OUT: Final = "`stoker workers` shows which live, and --timeout is how long to wait for them"


def _who_is_silent(answers: Answers, target: dict[str, str | None]) -> str:
    """Which of the workers that are meant have not answered, as a clause; empty where all have."""
    worker, host = target["worker"], target["host"]
    meant = [found for found in answers.answers if worker in (None, found.worker) and host in (None, found.host)]
    if not meant:
        named = f" {worker}" if worker else f" on host {host}" if host else ""
        return f"no worker{named} has answered"
    silent = [found.worker for found in meant if not found.inspection]
    return f"these workers have not answered: {', '.join(silent)}" if silent else ""


def _print_inspections(answers: Answers) -> None:
    for answer in answers.answers:
        for queue in json.loads(answer.inspection or "[]"):
            for line in _inspection_lines(queue):
                echo_line(line)


def _inspection_lines(queue: dict[str, Any]) -> Iterator[str]:
    """One queue of one worker, as far as its version of Stoker reports it."""
    counts = ", ".join(f"{queue.get(name, 0)} {name.replace('_', ' ')}" for name in _COUNTS)
    yield f"queue {queue.get('queue')} on {queue.get('worker')}: {len(queue.get('runs', ()))} running, {counts}"
    yield from (f"  ! {hint}" for hint in queue.get("hints", ()))
    yield from _partition_lines(queue.get("partitions", ()))
    for run in queue.get("runs", ()):
        yield (
            f"  {run.get('runner')} {run.get('state')}: {run.get('job_type')} {run.get('job_id')}, "
            f"attempt {run.get('attempt')}, {run.get('record')}, for {run.get('ran_s', 0.0):.1f} s"
        )
        yield from (f"      {line}" for line in run.get("stack", ()))


def _partition_lines(partitions: Iterable[dict[str, Any]]) -> Iterator[str]:
    """Lines for the partitions that have something to show, and how many others there are: a queue has many topics."""
    complete = 0
    for found in partitions:
        if found.get("state") == "running" and found.get("lowest") is None:
            complete += 1
            continue
        lowest = "all complete" if found.get("lowest") is None else f"lowest incomplete {found['lowest']}"
        yield f"  {found.get('topic')}/{found.get('partition')} {found.get('state')}: {lowest}"
    if complete:
        yield f"  partitions that flow and have nothing incomplete: {complete}"
