"""`stoker control reschedule`: a job that waits starts at another time."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

import click

from ..cli.app import AppContext, pass_app
from ..cli.output import echo_line
from ..cli.parameters import FromNow, instant_of, with_all
from ..cli.publishing import shown_reading
from .giving import GIVING, give, giving_of, until_option

if TYPE_CHECKING:
    from ...producers.control import Control, OrderReceipt

_TIMES: Final = (
    click.option(
        "--at",
        type=FromNow(),
        callback=lambda _context, _option, value: instant_of(value),
        help="Start it then: in 2h, or at an instant (RFC 3339).",
    ),
    click.option("--now", is_flag=True, help="Start it as soon as a runner is free."),
    click.option("--queue", metavar="QUEUE", help="Where it is, so that other queues need not be searched."),
)
_UNTIL: Final = until_option("30 days later, or after the longest retention of a queue")
NOT_FOUND: Final = "it waits neither in a delay nor for a retry: it has its new time when a worker comes to it"


@click.command(short_help="Let a job that waits start at another time.")
@click.argument("job_id")
@with_all(*_TIMES, _UNTIL, *GIVING)
@pass_app
def reschedule(app: AppContext, /, job_id: str, *, at: datetime | None, now: bool, **options: Any) -> None:
    """Let a job that waits start at another time: one that is delayed, that waits for a retry, or in its queue.

    It costs no attempt, and counts for the job's next start alone: a retry after that has its own time. The order ends
    when the job has begun. Until then another `reschedule` of the same job replaces it.

    A job that is delayed or waits for a retry is looked up first, which reads the topics where such jobs wait.

    \b
    Examples:
      stoker -A shop.jobs:pipeline control reschedule 0198c1f2-... --now --wait
      stoker -A shop.jobs:pipeline control reschedule 0198c1f2-... --at 2h --reason "the bank is closed"
    """
    giving = giving_of(options)

    def order(control: Control) -> OrderReceipt:
        with shown_reading("what waits") as progress:
            receipt = control.reschedule(job_id, at=at, now=now, reason=giving.reason, progress=progress, **options)
        place = receipt.order.place
        if not giving.as_json:
            echo_line(NOT_FOUND if place is None else f"it waits in {place.topic}/{place.partition}/{place.offset}")
        return receipt

    give(app, giving, order)
