"""`stoker control`: orders to the workers, which outlast restarts and are answered, and who gave which."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Final, TypeVar

import click

from ..cli.app import AppContext, pass_app
from ..cli.filter_options import INSTANT
from ..cli.output import echo_line, print_json_line, print_table
from ..control.giving import (
    ending_options,
    give,
    giving_of,
    giving_options,
    instant_of,
    lift,
    target_options,
    with_options,
)
from ..control.worker_commands import worker

Command = TypeVar("Command", bound=Callable[..., object])

SHOWN_ORDERS: Final = 50
"""So many are shown to people unless they ask for more."""


@click.group()
def control() -> None:
    """Order the workers to pause, resume or stop, and show who ordered what.

    An order is a record: it holds for all workers, those that start later included, until it is lifted or its time is
    over. Each worker answers; --wait waits for that. The audit trail keeps who ordered what, from which host, and why.

    Exit codes: 0, the order stands (with --wait: all living workers have taken it); 1, with --wait: some have not,
    and are named; 2 for an order that makes no sense; 3 when Kafka cannot be reached.
    """


@control.command(short_help="Let jobs wait.")
@target_options
@ending_options
@giving_options
@pass_app
def pause(app: AppContext, /, *, until: datetime | timedelta | None, **options: Any) -> None:
    """Let jobs wait: those of a queue, a job type, a tenant, a key or a partition.

    They cost no attempt, and run in their order after `resume`. Running jobs end. Jobs that wait are counted as before.

    \b
    Examples:
      stoker -A shop.jobs:pipeline control pause --queue mails --until 2h --reason "mail server is repaired"
      stoker -A shop.jobs:pipeline control pause --type charge --wait
      stoker -A shop.jobs:pipeline control pause --queue mails --key customer-7
    """
    giving, over_at = giving_of(options), instant_of(until)
    give(app, giving, lambda control: control.pause(**options, until=over_at, reason=giving.reason))


@control.command(short_help="End a pause.")
@target_options
@giving_options
@pass_app
def resume(app: AppContext, /, **options: Any) -> None:
    """End the pause that was ordered with the same target.

    Resuming a queue does not end the pauses of its types and keys: `stoker control list` shows what stands.
    """
    giving = giving_of(options)
    lift(app, giving, lambda control: control.resume(**options, reason=giving.reason))


_BLOCKED: Final = (
    click.option("--type", "job_type", metavar="NAME", help="All jobs of this type."),
    click.option("--tenant", metavar="NAME", help="All jobs of this tenant."),
    click.option("--queue", metavar="QUEUE", help="With --key."),
    click.option("--key", metavar="KEY", help="With --queue: its jobs with this ordering key."),
)


def _blocked_options(command: Command) -> Command:
    return with_options(command, _BLOCKED)


@control.command(short_help="Switch a job type, tenant or key off.")
@_blocked_options
@ending_options
@giving_options
@pass_app
def block(app: AppContext, /, *, until: datetime | timedelta | None, **options: Any) -> None:
    """Switch jobs off: a kill switch for a job type, a tenant or a key. It needs a --reason.

    Blocked jobs wait as paused ones do. A block stands apart from all pauses, so that `resume` does not lift it by
    accident.

    \b
    Example:
      stoker -A shop.jobs:pipeline control block --type charge --wait --reason "charges twice, see the incident"
    """
    giving, over_at = giving_of(options), instant_of(until)
    give(app, giving, lambda control: control.block(**options, until=over_at, reason=giving.reason))


@control.command(short_help="End a block.")
@_blocked_options
@giving_options
@pass_app
def unblock(app: AppContext, /, **options: Any) -> None:
    """End the block that was ordered with the same target."""
    giving = giving_of(options)
    lift(app, giving, lambda control: control.unblock(**options, reason=giving.reason))


control.add_command(worker)


@control.command("list", short_help="Show the orders that stand.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON lines.")
@pass_app
def list_orders(app: AppContext, *, as_json: bool) -> None:
    """Show the orders that stand, the oldest first."""
    from ...producers.control.standing import read_standing_orders
    from ..control.order_log import STANDING_TITLES, standing_document, standing_row

    now = datetime.now(UTC)
    orders = read_standing_orders(app.pipeline, app.cluster)
    if as_json:
        for order in orders:
            print_json_line(standing_document(order, now))
        return
    standing = [order for order in orders if not order.is_over(now)]
    if standing:
        print_table(STANDING_TITLES, [standing_row(order, now) for order in standing])
    else:
        echo_line(f"no order stands for {app.pipeline.namespace}: nothing is paused or blocked")


@control.command(short_help="Show who ordered what, and the answers.")
@click.option(
    "--since", type=INSTANT, help="Only orders given at or after this time: RFC 3339, a date, -2h, '30m ago'."
)
@click.option(
    "--limit",
    type=click.IntRange(1),
    metavar="N",
    help=f"Show the latest N.  [default: {SHOWN_ORDERS}; all with --json]",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON lines.")
@pass_app
def log(app: AppContext, *, since: datetime | None, limit: int | None, as_json: bool) -> None:
    """Show who ordered what, the latest last, and how many of the living workers have taken it.

    The trail is kept for 400 days.
    """
    from ...producers.control.answers import LIVING_S
    from ...producers.control.standing import read_given_orders, read_workers
    from ..control.order_log import LOG_TITLES, log_document, log_row

    workers = read_workers(app.pipeline, app.cluster, time.time() - LIVING_S)
    given = read_given_orders(app.pipeline, app.cluster, None if since is None else since.timestamp())
    shown = deque(given, maxlen=limit or (None if as_json else SHOWN_ORDERS))
    if as_json:
        for one in shown:
            print_json_line(log_document(one, workers))
    elif shown:
        print_table(LOG_TITLES, [log_row(one, workers) for one in shown])
    else:
        echo_line(f"no order was given for {app.pipeline.namespace}{' since then' if since else ''}")
