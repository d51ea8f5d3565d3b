"""`stoker control`: orders to the workers, which outlast restarts and are answered, and who gave which."""

from __future__ import annotations

import time
from collections import deque
from datetime import UTC, datetime
from typing import Final

import click

from ..cli.app import AppContext, pass_app
from ..cli.output import echo_line, print_fitting_table, print_json_line, print_table
from ..cli.parameters import INSTANT
from .block_command import block
from .cancel_commands import cancel, uncancel
from .order_commands import ABOUT_JOBS, add_commands
from .prioritize_command import prioritize
from .reschedule_command import reschedule
from .worker_commands import worker

RECENT_S: Final = 3_600.0
SHOWN_ORDERS: Final = 50
"""Orders that are shown to people unless they ask for more."""


@click.group()
def control() -> None:
    """Order the workers to pause jobs, cancel them or stop, and show who ordered what.

    An order is a record: it holds for all workers, those that start later included, until it is lifted or its time is
    over. Each worker answers; --wait waits for that. The audit trail keeps who ordered what, from which host, and why.

    Exit codes: 0, the order stands (with --wait: all living workers have taken it); 1, with --wait: some have not,
    and are named; 2 for an order that makes no sense; 3 when Kafka cannot be reached.
    """


add_commands(control, ABOUT_JOBS)
control.add_command(block)
control.add_command(cancel)
control.add_command(uncancel)
control.add_command(prioritize)
control.add_command(reschedule)
control.add_command(worker)


@control.command("list", short_help="Show the orders that stand.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON lines.")
@pass_app
def list_orders(app: AppContext, *, as_json: bool) -> None:
    """Show the orders that stand, the oldest first."""
    from ...producers.control.standing import read_standing_orders
    from ..control.order_log import STANDING_TITLES, as_ordered, standing_document, standing_row

    now = datetime.now(UTC)
    orders = read_standing_orders(app.pipeline, app.cluster)
    if as_json:
        for order in orders:
            print_json_line(standing_document(order, now))
        return
    standing = [order for order in orders if not order.is_over(now)]
    if standing:
        print_table(STANDING_TITLES, [standing_row(order, count, now) for order, count in as_ordered(standing)])
    else:
        echo_line(f"no order stands for {app.pipeline.namespace}: nothing is paused, blocked or cancelled")


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

    ENDED is how many jobs an order to cancel has ended in the workers of the last hour, since they started. The trail
    is kept for 400 days. With --json, an order that names many jobs has a line for each.
    """
    from ...producers.control.standing import as_given, read_given_orders, read_workers
    from ..control.order_log import LOG_TITLES, log_document, log_row

    workers = read_workers(app.pipeline, app.cluster, time.time() - RECENT_S)
    given = read_given_orders(app.pipeline, app.cluster, None if since is None else since.timestamp())
    shown = deque(given if as_json else as_given(given), maxlen=limit or (None if as_json else SHOWN_ORDERS))
    if as_json:
        for one in shown:
            print_json_line(log_document(one, workers))
    elif shown:
        print_fitting_table(LOG_TITLES, [log_row(one, workers) for one in shown])
    else:
        echo_line(f"no order was given for {app.pipeline.namespace}{' since then' if since else ''}")
