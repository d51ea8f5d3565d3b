"""`stoker control block`: switches jobs off; those that it lets end are counted first."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from ..cli.app import AppContext, pass_app
from ..cli.parameters import Options, with_all
from ..cli.publishing import Printer
from .confirmation import ASKING, Asking, asking_of, show_meant
from .ended_watch import watch_ended
from .giving import BLOCKED, DISCARD, GIVING, UNTIL, Giving, give, giving_of, without_reason

if TYPE_CHECKING:
    from ...producers.control import Control, OrderReceipt
    from ...schemas.own_records.control_records import ControlOrder


@click.command(short_help="Switch a job type, tenant or key off.")
@with_all(*BLOCKED, DISCARD, UNTIL, *ASKING, *GIVING)
@pass_app
def block(app: AppContext, /, **options: Any) -> None:
    """Switch jobs off: a kill switch for a job type, a tenant or a key. It needs a --reason.

    Blocked jobs wait as paused ones do; with --discard they end as cancelled. Then the command reads what waits, shows
    how many jobs will end, and asks. A block stands apart from all pauses, so that `resume` does not lift it by
    accident.

    \b
    Examples:
      stoker -A shop.jobs:pipeline control block --type charge --wait --reason "charges twice, see the incident"
      stoker -A shop.jobs:pipeline control block --tenant acme --discard --reason "has left us"
    """
    giving = giving_of(options)
    asking = asking_of(options, as_json=giving.as_json)
    if asking.dry_run:
        _show(app, without_reason(giving), options)
        return
    receipt = give(app, giving, lambda control: _block(app, control, _order(app, control, giving, options), asking))
    if asking.watch and receipt.order.discard:
        watch_ended(receipt, asking.counted)


def _order(app: AppContext, control: Control, giving: Giving, options: Options) -> ControlOrder:
    """The order, which is not given yet.

    Raises:
        OrderRefused, UnknownName: it makes no sense.
    """
    from ...producers.control.targets import check_block
    from ...topology.wire.orders import Verb

    key = options["key"]
    target = {**options, "key": None if key is None else key.encode()}
    order = replace(control.order(Verb.BLOCK), **target, reason=giving.reason)
    check_block(order, app.pipeline)
    return order


def _block(app: AppContext, control: Control, order: ControlOrder, asking: Asking) -> OrderReceipt:
    if order.discard:
        asking.ask(app, order, "End", ", and all that come")
    return control.give(order)


def _show(app: AppContext, giving: Giving, options: Options) -> None:
    """Show what the order would mean, and give none."""
    from ...producers.control import Control

    with Control(app.pipeline, app.cluster, operator=giving.operator) as control:
        order = _order(app, control, giving, options)
    show_meant(app, Printer(as_json=giving.as_json), [order])
