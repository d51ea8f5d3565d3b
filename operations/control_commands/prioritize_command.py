"""`stoker control prioritize`: a job that waits for its turn gets another priority."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import click

from ..cli.app import AppContext, pass_app
from ..cli.output import echo_line
from ..cli.parameters import with_all
from ..cli.publishing import shown_reading
from .giving import GIVING, give, giving_of

if TYPE_CHECKING:
    from ...producers.control import Control, OrderReceipt

_WHICH: Final = (
    click.option("--priority", metavar="NAME", help="One of the queue's priorities.  [default: its most urgent one]"),
    click.option("--queue", metavar="QUEUE", help="Where it is, so that other queues need not be searched."),
)


@click.command(short_help="Give a job that waits another priority.")
@click.argument("job_id")
@with_all(*_WHICH, *GIVING)
@pass_app
def prioritize(app: AppContext, /, job_id: str, **options: Any) -> None:
    """Give a job another priority that waits for its turn, also behind a long backlog. It costs no attempt.

    The job is looked up first, which reads what waits. A copy of it with the same id goes to the topic of the priority,
    and workers pass over the first one. A job that waits for its time, or for a retry, is not found: `reschedule --now`
    starts it.

    \b
    Examples:
      stoker -A shop.jobs:pipeline control prioritize 0198c1f2-... --wait
      stoker -A shop.jobs:pipeline control prioritize 0198c1f2-... --queue mails --priority low
    """
    giving = giving_of(options)

    def order(control: Control) -> OrderReceipt:
        with shown_reading("what waits") as progress:
            receipt = control.prioritize(job_id, reason=giving.reason, progress=progress, **options)
        place, priority = receipt.order.place, receipt.order.detail["priority"]
        if not giving.as_json and place is not None:
            echo_line(f"it was enqueued at {place.topic}/{place.partition}/{place.offset}, and is {priority} now")
        return receipt

    give(app, giving, order)
