"""`stoker control cancel` and `uncancel`: by ids, or by a filter of which the count is shown first."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, TextIO

import click

from ..cli.app import AppContext, pass_app
from ..cli.output import echo_line
from ..cli.parameters import FromNow, with_all
from ..cli.publishing import Printer
from .confirmation import ASKING, Asking, asking_of, show_meant
from .ended_watch import watch_ended
from .giving import GIVING, NOTHING_LIFTED, Giving, give, giving_of, until_option, without_reason

if TYPE_CHECKING:
    from ...producers.control import Control, OrderReceipt
    from ...schemas.own_records.control_records import ControlOrder

_IDS: Final = click.option(
    "--ids-from", type=click.File("r"), metavar="FILE", help="Read ids from this file too, one a line; - reads stdin."
)
_FILTERS: Final = (
    click.option("--type", "job_type", metavar="NAME", help="Jobs of this type."),
    click.option("--key", metavar="KEY", help="Jobs with this ordering key."),
    click.option("--tenant", metavar="NAME", help="Jobs of this tenant."),
    click.option("--queue", metavar="QUEUE", help="Jobs of this queue."),
    click.option(
        "--older-than",
        type=FromNow(),
        help="Jobs that were enqueued so long ago, or before this instant.  [default: before now]",
    ),
)
_UNTIL: Final = until_option("in 30 days, or after the longest retention of a queue")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Wanted:
    """The jobs to be cancelled, and the options of the order."""

    job_ids: tuple[str, ...]
    target: dict[str, Any]  # by the names of `ControlOrder`, as click gives them
    older_than: timedelta | datetime | None
    giving: Giving

    def orders(self, app: AppContext, control: Control) -> list[ControlOrder]:
        """The orders, which are not given yet."""
        from ...producers.control.cancelling import cancels
        from ...topology.wire.orders import Verb

        key = self.target["key"]
        target = {**self.target, "key": None if key is None else key.encode()}
        order = replace(control.order(Verb.CANCEL), **target, reason=self.giving.reason)
        return cancels(order, app.pipeline, self.job_ids, self.older_than)

    @property
    def printer(self) -> Printer:
        """Where lines for people go."""
        return Printer(as_json=self.giving.as_json)


@click.command(short_help="Let jobs end without running.")
@click.argument("job_ids", nargs=-1, metavar="[JOB_ID]...")
@with_all(_IDS, *_FILTERS, _UNTIL, *ASKING, *GIVING)
@pass_app
def cancel(
    app: AppContext,
    /,
    *,
    job_ids: tuple[str, ...],
    ids_from: TextIO | None,
    older_than: timedelta | datetime | None,
    **options: Any,
) -> None:
    """Let jobs end as cancelled: those of these ids, or those that a filter takes. By a filter it needs a --reason.

    A job that waits, is delayed or is to be retried does not run (again). One that runs is interrupted, and may clean
    up. None costs an attempt. An id is cancelled also before its job is enqueued. A filter takes what was enqueued
    before the order, and all that it names must hold; `block --discard` is for jobs that are still to come.

    By a filter the command reads what waits, shows how many jobs the order means, and asks. With --watch it shows how
    many of them have ended, until all have.

    \b
    Examples:
      stoker -A shop.jobs:pipeline control cancel 018f3a9e-7c1d --reason "ordered twice" --wait
      stoker -A shop.jobs:pipeline control cancel --ids-from ids.txt --wait
      stoker -A shop.jobs:pipeline control cancel --type send_mail --older-than 2h --dry-run
      stoker -A shop.jobs:pipeline control cancel --tenant acme --reason "has left us" --yes --watch
    """
    giving = giving_of(options)
    asking = asking_of(options, as_json=giving.as_json)
    named = (*job_ids, *_lines(ids_from))
    wanted = _Wanted(job_ids=named, target=options, older_than=older_than, giving=giving)
    if asking.dry_run:
        _show(app, replace(wanted, giving=without_reason(giving)))
        return
    receipt = give(app, giving, lambda control: _cancel(app, control, wanted, asking))
    if asking.watch:
        watch_ended(receipt, asking.counted or len(named))


@click.command(short_help="Lift cancels.")
@click.argument("job_ids", nargs=-1, metavar="[JOB_ID]...")
@click.option("--order", "order_id", metavar="ID", help="The order that has cancelled jobs by a filter.")
@with_all(*GIVING)
@pass_app
def uncancel(app: AppContext, /, *, job_ids: tuple[str, ...], order_id: str | None, **options: Any) -> None:
    """Lift cancels of these jobs, or a cancel by filter: what has not ended runs.

    `stoker control list` shows the cancels that stand, with their ids.
    """
    giving = giving_of(options)
    standing = _standing_keys(app)

    def uncancelled(control: Control) -> OrderReceipt:
        receipt = control.uncancel(*job_ids, order_id=order_id, reason=giving.reason)
        _warn_of_absent(standing, job_ids, order_id)
        return receipt

    give(app, giving, uncancelled)


def _standing_keys(app: AppContext) -> set[str]:
    """The keys of all cancels that stand."""
    from ...producers.control.standing import read_standing_orders
    from ...topology.wire.orders import Verb, order_key

    return {order_key(order) for order in read_standing_orders(app.pipeline, app.cluster, (Verb.CANCEL,))}


def _warn_of_absent(standing: set[str], job_ids: tuple[str, ...], order_id: str | None) -> None:
    from ...topology.wire.orders import cancel_key, filter_key

    wanted = [cancel_key(job_id) for job_id in job_ids] or [filter_key(order_id or "")]
    absent = sum(key.decode() not in standing for key in wanted)
    if absent == len(wanted):
        echo_line(NOTHING_LIFTED, err=True)
    elif absent:
        echo_line(f"no cancel stands for {absent:,} of these ids, so for them nothing is lifted", err=True)


def _lines(file: TextIO | None) -> list[str]:
    return [] if file is None else [word for line in file if (word := line.strip())]


def _cancel(app: AppContext, control: Control, wanted: _Wanted, asking: Asking) -> OrderReceipt:
    orders = wanted.orders(app, control)
    if not wanted.job_ids:
        asking.ask(app, orders[0], "Cancel")
    return control.give_as_one(orders)


def _show(app: AppContext, wanted: _Wanted) -> None:
    """Show what the order would mean, and give none."""
    from ...producers.control import Control

    with Control(app.pipeline, app.cluster, operator=wanted.giving.operator) as control:
        orders = wanted.orders(app, control)
    show_meant(app, wanted.printer, orders, wanted.job_ids)
