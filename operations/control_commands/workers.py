"""`stoker workers`: the workers, what they do, and which orders they have taken."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import Final

import click

from ..cli.app import AppContext, pass_app
from ..cli.output import echo_line, print_fitting_table, print_json

RECENT: Final = timedelta(hours=1)


@click.command()
@click.option(
    "--all", "gone_too", is_flag=True, help="Also those that are gone, or were silent for an hour, of 7 days."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@pass_app
def workers(app: AppContext, *, gone_too: bool, as_json: bool) -> None:
    """Show the workers, what they do, and which orders they have taken.

    Each worker process writes its status every 5 s, at once when it has taken an order, and when it is gone. One that
    was silent for 60 s is shown as silent: it was killed, hangs, or is cut off from the brokers.

    QUEUES has the partitions of each queue that the worker has, RUNNERS how many of its runners have a job and how many
    there are, STATUS AGE how old its last status is. ORDERS shows whether the worker knows all orders: how old its
    knowledge is, if it cannot read them, or how many it does not understand, since its Stoker is older than that of the
    operator.

    \b
    Examples:
      stoker -A shop.jobs:pipeline workers
      stoker -A shop.jobs:pipeline workers --json | jq -r '.[] | select(.state == "silent") | .id'

    Exit codes: 0, also without any worker; 3 when Kafka cannot be reached.
    """
    from ...producers.control.standing import read_workers
    from ...topology.planning.access import require_rights
    from ...topology.planning.rights import Duty
    from ..control.worker_list import TITLES, worker_document, worker_row

    require_rights(Duty.WORKERS_LIST, app.pipeline, app.cluster)  # a topic that may not be read seems not to exist
    now_s = time.time()
    since_at_s = None if gone_too else now_s - RECENT.total_seconds()
    statuses = read_workers(app.pipeline, app.cluster, since_at_s).statuses
    shown = sorted((one for one in statuses if gone_too or one.status.state != "gone"), key=lambda one: one.status.id)
    if as_json:
        print_json([worker_document(one, now_s) for one in shown])
    elif shown:
        print_fitting_table(TITLES, [worker_row(one, now_s) for one in shown])
    else:
        gone = "" if gone_too else ", --all shows those that are gone"
        echo_line(f"no worker of {app.pipeline.namespace} runs: `stoker worker` starts one{gone}")
