"""`Asking`: an order that ends many jobs shows how many it means, and asks, before it is given."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import click

from ...topology.counts import counted
from ..cli.app import AppContext
from ..cli.filter_options import stored_job_failures
from ..cli.parameters import Options
from ..cli.publishing import Printer, confirm, shown_reading
from ..control.orders_shown import described, order_document

if TYPE_CHECKING:
    from ...schemas.own_records.control_records import ControlOrder
    from ..queue_status.waiting_jobs import WaitingJobs

ASKING: Final = (
    click.option("--dry-run", is_flag=True, help="Show the count, order nothing."),
    click.option("--yes", "-y", is_flag=True, help="Do not ask."),
    click.option("--watch", is_flag=True, help="Show how many of the jobs have ended, until all have, or Ctrl+C."),
)


@dataclass(slots=True, kw_only=True)
class Asking:
    """Whether to ask, by the options of the command. Not frozen: what was counted is kept.

    Attributes:
        counted: how many jobs the order means, once that was shown.
    """

    dry_run: bool
    yes: bool
    watch: bool
    as_json: bool = False
    counted: int = 0

    def ask(self, app: AppContext, order: ControlOrder, verb: str, others: str = "") -> None:
        """Show how many jobs an order means, and go on only with a yes.

        Args:
            others: what it means besides, in the words of the question.

        Raises:
            Failure: there is no terminal to ask at.
            Abort: the answer was no.
        """
        found = count_meant(app, order)
        print_count(Printer(as_json=self.as_json), found)
        self.counted = found.total
        confirm(f"{verb} {counted(found.total, 'job')}{others}?", yes=self.yes)


def asking_of(options: Options, *, as_json: bool) -> Asking:
    """Take the options of `ASKING` out of those of the command."""
    return Asking(**{name: options.pop(name) for name in ("dry_run", "yes", "watch")}, as_json=as_json)


def show_meant(
    app: AppContext, printer: Printer, orders: Sequence[ControlOrder], job_ids: Collection[str] = ()
) -> None:
    """Show what orders would mean: one, or one for each of these jobs."""
    order, count = orders[0], len(orders)
    found = count_meant(app, order, job_ids)
    printer.print_line(f"would order: {described(order, count)}")
    print_count(printer, found)
    if job_ids and found.total < count:
        printer.print_line(f"{counted(count - found.total, 'id')} of no job that is there: it has ended, or is to come")
    printer.print_document({**order_document(order, count), "ordered": False, **count_document(found)})


def count_meant(app: AppContext, order: ControlOrder, job_ids: Collection[str] = ()) -> WaitingJobs:
    """Count the jobs that have not ended and that an order means, or those of these ids, by reading what waits."""
    from ..cluster_view import ClusterView
    from ..queue_status.waiting_jobs import count_waiting, is_meant_by

    with shown_reading("the queues") as progress, stored_job_failures():
        view = ClusterView(app.cluster)
        return count_waiting(view, app.pipeline, order, is_meant_by(order, tuple(job_ids)), progress)


def print_count(printer: Printer, found: WaitingJobs) -> None:
    """Show it to people."""
    if not found.total:
        printer.print_line("no job is there that it means")
        return
    states = ", ".join(f"{count:,} {state}" for state, count in sorted(found.states.items()))
    printer.print_line(f"{counted(found.total, 'job')} not ended: {states}")
    for (queue, job_type), count in sorted(found.types.items()):
        printer.print_line(f"  {count:>10,}  {job_type or '(no type)'} in {queue}")


def count_document(found: WaitingJobs) -> dict[str, object]:
    """The count of waiting jobs, for programs."""
    return {
        "jobs": found.total,
        "states": dict(found.states),
        "types": [
            {"queue": queue, "type": job_type, "jobs": n} for (queue, job_type), n in sorted(found.types.items())
        ],
    }
