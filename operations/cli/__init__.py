"""The command line `stoker`: the root with its options, and what all commands share."""

from __future__ import annotations

import os
import sys

import click

from .app import AppContext
from .exit_codes import exit_code_epilog
from .logs import log_to_stderr
from .output import echo_line
from .root import PREFIX, LazyRoot

__all__ = ["AppContext", "main"]

LOG_LEVELS = ("debug", "info", "warning", "error")


def _parse_options(_ctx: click.Context, _param: click.Parameter, given: tuple[str, ...]) -> dict[str, str]:
    parsed = {}
    for pair in given:
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise click.BadParameter("write it as key=value, such as security.protocol=SSL")
        parsed[name] = value
    return parsed


def _print_version(ctx: click.Context, _param: click.Parameter, asked: bool) -> None:
    if asked and not ctx.resilient_parsing:
        from importlib.metadata import version

        echo_line(f"stoker {version('stoker')}")
        ctx.exit()


@click.group(
    cls=LazyRoot,
    epilog=exit_code_epilog(),
    context_settings={"auto_envvar_prefix": PREFIX, "help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.option(
    "-A", "--app", metavar="MODULE:PIPELINE", show_envvar=True, help="The application: where its Pipeline is found."
)
@click.option(
    "--bootstrap-servers",
    metavar="HOST:PORT,…",
    show_envvar=True,
    help="The Kafka cluster. Without it, this folder's embedded broker; `topology apply`, `worker`, `outbox relay`, "
    "`status run` and `statistics run` start it.",
)
@click.option(
    "--schema-registry-url",
    metavar="URL",
    show_envvar=True,
    help="Keep schemas in a Schema Registry. Without it, in the <namespace>.schemas topic.",
)
@click.option(
    "--option",
    "options",
    multiple=True,
    metavar="KEY=VALUE",
    envvar="STOKER_OPTION",
    show_envvar=True,
    callback=_parse_options,
    help="Any librdkafka option, such as security.protocol=SSL; repeatable. Secrets are better kept in the "
    "environment, as STOKER_KAFKA_SASL_PASSWORD for sasl.password.",
)
@click.option("-v", "--verbose", is_flag=True, show_envvar=True, help="Show tracebacks of failures, and log in detail.")
@click.option(
    "--log-level", type=click.Choice(LOG_LEVELS), show_envvar=True, help="What to log; each command has its default."
)
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    allow_from_autoenv=False,
    callback=_print_version,
    help="Print the version and exit.",
)
@click.pass_context
def main(
    ctx: click.Context,
    *,
    app: str | None,
    bootstrap_servers: str | None,
    schema_registry_url: str | None,
    options: dict[str, str],
    verbose: bool,
    log_level: str | None,
) -> None:
    """Background jobs on Apache Kafka: typed, retried, accounted for, and replayable.

    Name the application and call a command:

    \b
      stoker -A shop.jobs:pipeline topology apply
      stoker -A shop.jobs:pipeline worker
      stoker -A shop.jobs:pipeline enqueue send_receipt order_id=42
      stoker -A shop.jobs:pipeline queues

    Every option can be given by the environment: the variable is named beside it in each command's --help.
    """
    if os.environ.get("NO_COLOR"):  # the convention of no-color.org; click knows nothing of it
        ctx.color = False
    if None in (sys.stdin, sys.stdout, sys.stderr):
        from ...consumers.standard_streams import fill_streams

        fill_streams()
    level = log_level or ("debug" if verbose else "warning")
    log_to_stderr(level)
    ctx.obj = AppContext(
        application=app,
        bootstrap_servers=bootstrap_servers,
        schema_registry_url=schema_registry_url,
        options=options,
        verbose=verbose,
        log_level="debug" if verbose else log_level,
    )
    if ctx.invoked_subcommand != "worker":  # which has yet to set up a log of its own
        from .variables import warn_of_misspelt

        warn_of_misspelt(ctx)
