"""`stoker broker`: start, stop, look at and empty this project's embedded broker."""

from __future__ import annotations

from dataclasses import asdict

import click

from ..broker.embedded import START_TIMEOUT_S, STOP_TIMEOUT_S, EmbeddedBroker, RunningBroker, project_folder
from ..cli.exit_codes import ExitCode
from ..cli.output import echo_line, print_json_line
from ..views.terminal_text import printable

_as_json = click.option("--json", "as_json", is_flag=True, help="Print data instead of sentences.")


@click.group()
def broker() -> None:
    """Run a Kafka of this project's own, with nothing but pip.

    It is the real Apache Kafka, one node, listening on this machine alone. Its data lives in .stoker/broker
    under the working directory (STOKER_HOME names another place for .stoker) and survives restarts. All
    stoker commands in this folder find it by themselves, unless STOKER_BOOTSTRAP_SERVERS names a cluster.

    \b
    Exit codes: 0 done; 1 status: it is not running; 2 wrong usage; 3 it cannot be started, stopped or reset.
    """


@broker.command()
@click.option(
    "--timeout",
    "timeout_s",
    metavar="SECONDS",
    default=START_TIMEOUT_S,
    show_default=True,
    help="How long to wait until it answers.",
)
@_as_json
def start(timeout_s: float, as_json: bool) -> None:
    """Start it, or find it running, and print its address.

    The first start downloads Kafka's jars, once per user. It keeps running after this command ends.
    """
    embedded = _embedded()
    address = embedded.start(timeout_s)
    if as_json:
        _print_json(embedded.status())
        return
    echo_line(f"Kafka answers on {address}")
    echo_line("Stoker's commands in this folder use it. To point other programs to it:")
    echo_line(f"    export STOKER_BOOTSTRAP_SERVERS={address}")


@broker.command()
@click.option(
    "--timeout",
    "timeout_s",
    metavar="SECONDS",
    default=STOP_TIMEOUT_S,
    show_default=True,
    help="How long to wait for an orderly end before it is killed.",
)
def stop(timeout_s: float) -> None:
    """Stop it and keep its data. To stop what does not run is no error."""
    embedded = _embedded()
    was_running = embedded.status() is not None
    embedded.stop(timeout_s)
    echo_line("The embedded broker is stopped; its data is kept." if was_running else "No embedded broker runs here.")


@broker.command()
@_as_json
@click.pass_context
def status(context: click.Context, as_json: bool) -> None:
    """Show whether it runs, where, and what it holds. Exit code 1 when it does not run."""
    embedded = _embedded()
    running, resident_bytes = embedded.status(), embedded.resident_bytes()
    if as_json:
        _print_json(running)
    elif running is None:
        echo_line(f"No embedded broker runs on {embedded.folder}. Start it with `stoker broker start`.")
    else:
        echo_line(f"Kafka {running.version} runs on {running.bootstrap_servers}")
        echo_line(f"    process {running.pid}, {resident_bytes / 1e6:.0f} MB resident")
        echo_line(f"    data and log in {embedded.folder}")
    context.exit(ExitCode.OK if running else ExitCode.FINDING)


@broker.command(short_help="Stop it and delete its data.")
@click.option("--yes", is_flag=True, help="Do not ask.")
def reset(yes: bool) -> None:
    """Stop it and delete its data: topics, jobs, dead letters and offsets."""
    embedded = _embedded()
    if not yes:
        click.confirm(printable(f"Delete all topics and jobs in {embedded.folder}?"), abort=True)
    embedded.reset()
    echo_line(f"The embedded broker in {embedded.folder} is empty and stopped.")


def _embedded() -> EmbeddedBroker:
    return EmbeddedBroker(project_folder(), report=lambda line: echo_line(line, err=True))


def _print_json(running: RunningBroker | None) -> None:
    print_json_line({"running": running is not None, **(asdict(running) if running else {})})
