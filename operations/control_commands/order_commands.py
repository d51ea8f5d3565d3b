"""The commands that give an order each: one table of verbs, of which each becomes a command with its options."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final, Literal

import click

from ..cli.app import AppContext, pass_app
from ..cli.parameters import Option, Options, with_options
from .giving import (
    BLOCKED,
    BREAKERS,
    CHANGES,
    GIVING,
    LIMIT_NAME,
    TARGETS,
    UNTIL,
    WORKERS,
    give,
    giving_of,
    lift,
    until_option,
)

Method = Literal[
    "pause",
    "resume",
    "unblock",
    "open_breaker",
    "close_breaker",
    "limit",
    "unlimit",
    "worker_quiet",
    "worker_work",
    "worker_stop",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderCommand:
    """A command that gives one order.

    Attributes:
        method: of `Control`, which takes the command's options by their names.
        options: its own, before those of all orders.
        lifts: whether the order lifts another one.
    """

    name: str
    method: Method
    short_help: str
    text: str
    options: tuple[Option, ...]
    lifts: bool = False


ABOUT_JOBS: Final = (
    OrderCommand(
        name="pause",
        method="pause",
        short_help="Let jobs wait.",
        text="""Let jobs wait: those of a queue, a job type, a tenant, a key or a partition.

        They cost no attempt, and run in their order after `resume`. Running jobs end. Jobs that wait are counted as
        before.

        \b
        Examples:
          stoker -A shop.jobs:pipeline control pause --queue mails --until 2h --reason "mail server is repaired"
          stoker -A shop.jobs:pipeline control pause --type charge --wait
          stoker -A shop.jobs:pipeline control pause --queue mails --key customer-7
        """,
        options=(*TARGETS, UNTIL),
    ),
    OrderCommand(
        name="resume",
        method="resume",
        short_help="End a pause.",
        text="""End the pause that was ordered with the same target.

        Resuming a queue does not end the pauses of its types and keys: `stoker control list` shows what stands.
        """,
        options=TARGETS,
        lifts=True,
    ),
    OrderCommand(
        name="unblock",
        method="unblock",
        short_help="End a block.",
        text="End the block that was ordered with the same target.",
        options=BLOCKED,
        lifts=True,
    ),
    OrderCommand(
        name="open",
        method="open_breaker",
        short_help="Open a breaker.",
        text="""Open a breaker by hand: the jobs that need it wait, at no attempt's cost.

        Without --until no job probes, until `close`. With it, one job of the fleet probes then, and the breaker closes
        by itself when that ends well. `stoker breakers` shows them all.

        \b
        Examples:
          stoker -A shop.jobs:pipeline control open --dependency stripe --until 30m --reason "their maintenance"
          stoker -A shop.jobs:pipeline control open --type charge --wait
        """,
        options=(*BREAKERS, until_option("until it is closed")),
    ),
    OrderCommand(
        name="close",
        method="close_breaker",
        short_help="Close a breaker.",
        text="""Close a breaker, whoever has opened it: its jobs go on at once, all of them.

        It opens again where they fail.
        """,
        options=BREAKERS,
        lifts=True,
    ),
    OrderCommand(
        name="limit",
        method="limit",
        short_help="Change or lift a limit.",
        text="""Change a declared limit, or lift it: for each tenant, key or value alike that it counts apart.

        What is not named is as declared; an earlier order about this limit is replaced. Jobs that have begun count on.
        `stoker limits` shows the names, and what is used and waits.

        \b
        Examples:
          stoker -A shop.jobs:pipeline control limit stripe.rate --count 5 --until 2h --reason "they are slow today"
          stoker -A shop.jobs:pipeline control limit imports.rate.tenant --count 100 --per 1m --wait
          stoker -A shop.jobs:pipeline control limit imports.rate.tenant --lift --until 30m
        """,
        options=(LIMIT_NAME, *CHANGES, until_option("until `unlimit`")),
    ),
    OrderCommand(
        name="unlimit",
        method="unlimit",
        short_help="Let a limit be as declared.",
        text="""Let a limit be as it is declared: ends what `limit` has ordered for it.""",
        options=(LIMIT_NAME,),
        lifts=True,
    ),
)

ABOUT_WORKERS: Final = (
    OrderCommand(
        name="quiet",
        method="worker_quiet",
        short_help="Let workers start no job.",
        text="""Let workers start no job, until `work`. Running jobs end.

        Their partitions stay with them, and the jobs in these wait: to give them to other workers, stop the worker.
        """,
        options=(*WORKERS, UNTIL),
    ),
    OrderCommand(
        name="work",
        method="worker_work",
        short_help="Let quiet workers start jobs again.",
        text="Let workers start jobs again: ends `quiet` that was ordered with the same target.",
        options=WORKERS,
        lifts=True,
    ),
    OrderCommand(
        name="stop",
        method="worker_stop",
        short_help="Let workers shut down.",
        text="""Let workers shut down gracefully, as at SIGTERM: those that run now.

        What supervises them (`--processes`, systemd, Kubernetes) starts others in their place, as after any end. These
        are not meant.
        """,
        options=WORKERS,
    ),
)


def add_commands(
    group: click.Group, commands: Iterable[OrderCommand], target_of: Callable[[Options], Options] = dict
) -> None:
    """Add commands to a group.

    Args:
        target_of: makes the arguments of the method of the options of the command, but for those of all orders.
    """
    for row in commands:
        group.add_command(_command(row, target_of))


def _command(row: OrderCommand, target_of: Callable[[Options], Options]) -> click.Command:
    @pass_app
    def call(app: AppContext, /, **options: Any) -> None:
        giving = giving_of(options)
        target = target_of(options)
        (lift if row.lifts else give)(
            app, giving, lambda control: getattr(control, row.method)(**target, reason=giving.reason)
        )

    call.__doc__ = row.text
    return click.command(row.name, short_help=row.short_help)(with_options(call, (*row.options, *GIVING)))
