"""The root group: it knows each command's name and purpose, and imports a command only when that one is called."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

import click

from ..views.terminal_text import printable_lines
from .app import AppContext
from .exit_codes import ExitCode
from .failures import as_failure
from .output import drop_output, echo_line
from .process_end import end_soon

PREFIX: Final = "STOKER"
COMMANDS: Final = {
    "worker": "Run jobs: a worker, or a supervised fleet of them.",
    "enqueue": "Publish one job, or one for each line of stdin.",
    "queues": "Show how many jobs wait on each topic, how fast workers run them, and why a queue stands still.",
    "jobs": "Show what became of jobs and why one is not running; retry and cancel them.",
    "status": "Keep an index of all jobs; show how far it is.",
    "statistics": "Keep and show statistics: rates, waits, runs and failures.",
    "top": "Show queues, types, workers, slow jobs and failures on one live screen.",
    "monitoring": "Print alert rules for Prometheus and dashboards for Grafana.",
    "catalogue": "Show queues and job types with owners and promises, and how well they are kept.",
    "scale": "Show how many workers each queue needs, what bounds it, and when its backlog is gone.",
    "workers": "Show the workers, what they do, and which orders they have taken.",
    "breakers": "Show the breakers: which are open, since when and why, and what waits.",
    "limits": "Show the limits: what is declared, ordered and used, and what waits.",
    "control": "Order workers to pause, resume or stop; show who ordered what.",
    "audit-log": "Show who did what, when, why, and what was there before and after.",
    "schedules": "Show, make, change and trigger jobs that are enqueued again and again.",
    "dead": "List, show, replay and discard dead letters.",
    "replay": "Run a stretch of a queue's past again.",
    "topology": "Plan, apply and show the declared topics.",
    "schemas": "Export and check the contracts of the jobs.",
    "inbox": "Create, show and prune the table that makes database effects happen once.",
    "outbox": "Publish jobs that a database transaction has enqueued; show what waits.",
    "broker": "Start, stop and reset this folder's embedded broker.",
    "doctor": "Check from outside the guarantees that a cluster can show.",
}
"""{command: its one line}; a module of `operations/commands/`, or of its folder in `_ELSEWHERE`, has it."""
_ELSEWHERE: Final = {
    **dict.fromkeys(("jobs", "status", "catalogue", "statistics"), "index_commands"),
    **dict.fromkeys(("control", "workers", "limits", "breakers"), "control_commands"),
}
"""{command: its folder in `operations/`}, of those that are not in `commands`."""


_OF_CONTRACTS: Final = frozenset({"IncompatibleSchema", "ContractNotReady", "ContractsRefused"})
"""Errors that an older contract on the cluster is to blame for."""


class LazyRoot(click.Group):
    """A group whose commands are imported one at a time, since most pull in Kafka's client or Avro."""

    def main(self, args: Sequence[str] | None = None, *others: Any, **named: Any) -> Any:  # as click has it
        """Run a command; where the arguments are the process's own, the process ends with it."""
        try:
            return super().main(args, *others, **named)
        except SystemExit as end:
            if args is None:
                end_soon(end.code if isinstance(end.code, int) else int(end.code is not None))
            raise

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The commands, in the order in which a newcomer meets them."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the command; None when there is none of that name."""
        if cmd_name not in COMMANDS:
            return None
        folder, name = _ELSEWHERE.get(cmd_name, "commands"), cmd_name.replace("-", "_")
        module = importlib.import_module(f"..{folder}.{name}", __package__)
        command: click.Command = getattr(module, name)
        _name_environment_twins(command, f"{PREFIX}_{name.upper()}")
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands from the table, without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command named by the arguments, or offer a near one."""
        if args and args[0] not in COMMANDS and not ctx.resilient_parsing:
            near = difflib.get_close_matches(args[0], COMMANDS, n=2)
            hint = f" Did you mean {' or '.join(near)}?" if near else f" There is: {', '.join(COMMANDS)}."
            ctx.fail(f"No such command {args[0]!r}.{hint}")
        return super().resolve_command(ctx, args)

    def make_context(
        self,
        info_name: str | None,
        args: list[str],
        parent: click.Context | None = None,
        **extra: Any,  # as click has it
    ) -> click.Context:
        """Read the root's options."""
        with _harmless_usage_errors():
            return super().make_context(info_name, args, parent, **extra)

    def invoke(self, ctx: click.Context) -> object:
        """Run the command; an expected failure becomes its message and exit code."""
        with _harmless_usage_errors():
            return self._invoke(ctx)

    def _invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            echo_line("Interrupted.", err=True)
            ctx.exit(ExitCode.INTERRUPTED)
        except BrokenPipeError:
            drop_output()
            ctx.exit(ExitCode.OUTPUT_CLOSED)
        except click.NoSuchOption as unknown:
            raise _pointed_to_root(unknown, self) from unknown
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except Exception as error:  # every command's last stop: what is not expected is raised on
            failure = as_failure(error, verbose=bool(ctx.params.get("verbose")))
            if failure is None:
                raise
            if type(error).__name__ in _OF_CONTRACTS and isinstance(ctx.obj, AppContext):
                ctx.obj.hint_at_reset()
            raise failure from error


@contextmanager
def _harmless_usage_errors() -> Iterator[None]:
    """Escape what click's own errors quote, such as an argument that a script has taken from a file."""
    try:
        yield
    except click.ClickException as refusal:
        refusal.message = printable_lines(refusal.message)
        raise


def _pointed_to_root(unknown: click.NoSuchOption, root: click.Group) -> click.NoSuchOption:
    """Add where the root's options go to the error about one that came after the command."""
    roots = {name for param in root.params for name in param.opts}
    if unknown.option_name not in roots:
        return unknown
    where = f"{unknown.option_name} goes before the command: `stoker {unknown.option_name} … COMMAND`"
    return click.NoSuchOption(unknown.option_name, message=where, ctx=unknown.ctx)


def _name_environment_twins(command: click.Command, prefix: str) -> None:
    """Give each option its environment variable, named as the option is: `queues --json` is STOKER_QUEUES_JSON.

    One that several commands share, where an option has it already, comes after that. Kubernetes sets a variable that
    ends in `_PORT` for each Service, so an option has `_PORT_NUMBER` in its place.
    """
    for param in command.params:
        if isinstance(param, click.Option):
            longest = max(param.opts, key=len)
            twin = f"{prefix}_{longest.lstrip('-').replace('-', '_').upper()}"
            twin = f"{twin}_NUMBER" if twin.endswith("_PORT") else twin
            if isinstance(param.envvar, str) and param.envvar != twin:
                param.envvar = [twin, param.envvar]
            param.envvar = param.envvar or twin
            param.show_envvar = True
    if isinstance(command, click.Group):
        for name, sub_command in command.commands.items():
            _name_environment_twins(sub_command, f"{prefix}_{name.replace('-', '_').upper()}")
