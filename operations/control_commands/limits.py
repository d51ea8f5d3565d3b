"""`stoker limits`: what is declared, what is ordered, what is used of each limit, and how many jobs it holds back."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

import click

from ..cli.app import AppContext, pass_app
from ..cli.output import echo_line, print_json, print_json_line

if TYPE_CHECKING:
    from ..control.limit_list import SeenLimit

SEEN_S: Final = 120.0
PAUSE_S: Final = 1.0


@click.command()
@click.option("--queue", metavar="QUEUE", help="Only limits that count jobs of this queue.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON; with --watch, one line for each reading.")
@click.option("--watch", is_flag=True, help="Look again every second until interrupted.")
@pass_app
def limits(app: AppContext, *, queue: str | None, as_json: bool, watch: bool) -> None:
    """Show the limits: what is declared and ordered, what is used, and what they hold back.

    ORDERED is the limit that an operator has ordered in place of the declared one, with `stoker control limit`. USED is
    what has begun in the window until now, or runs, of how much. HELD is how many jobs the limit holds back in the
    workers that run; of a key, and of jobs that wait beyond the workers' memory, the first one counts. NEXT is when the
    next one may begin. If workers do not report the instant, NEXT shows a bound: `within 1s`. Below a limit by key,
    tenant or function stand up to ten of those that it counts apart: those that hold back most, then the fullest.

    Workers report this every 5 s. It is ? where no worker runs that could report it, and what is older is marked.

    \b
    Examples:
      stoker -A shop.jobs:pipeline limits
      stoker -A shop.jobs:pipeline limits --queue imports --watch
      stoker -A shop.jobs:pipeline limits --json | jq -r '.limits[] | select(.held > 100) | .name'

    Exit codes: 0, also where jobs wait; 2 for an unknown queue; 3 when Kafka cannot be reached.
    """
    from ...topology.planning.access import require_rights
    from ...topology.planning.rights import Duty

    if queue is not None:
        app.pipeline.find_queue(queue)
    require_rights(Duty.CONTROL_LIST, app.pipeline, app.cluster)  # a topic that may not be read seems not to exist
    for seen, workers in _watch(app, queue) if watch else [_look(app, queue)]:
        _show(app, seen, workers, as_json=as_json, watch=watch)


def _look(app: AppContext, queue: str | None) -> tuple[list[SeenLimit], int]:
    """The limits, and how many workers live."""
    from ...producers.control.standing import read_standing_orders, read_workers
    from ...topology.wire.orders import Verb
    from ..control.limit_list import seen_limits

    now_s = time.time()
    orders = read_standing_orders(app.pipeline, app.cluster, (Verb.LIMIT,), with_jobs=False)
    statuses = [one for one in read_workers(app.pipeline, app.cluster, now_s - SEEN_S).statuses if one.is_living(now_s)]
    seen = seen_limits(app.pipeline, orders, statuses, now_s)
    return [one for one in seen if queue is None or queue in one.queues], len(statuses)


def _watch(app: AppContext, queue: str | None) -> Iterator[tuple[list[SeenLimit], int]]:
    """Look for ever, also over a restart of the brokers; only the first look must succeed."""
    from confluent_kafka import KafkaException

    from ...topology.cluster.settings import ClusterUnreachable

    yield _look(app, queue)
    last_error = ""
    while True:
        time.sleep(PAUSE_S)
        try:
            found = _look(app, queue)
        except (ClusterUnreachable, KafkaException) as error:
            if str(error) != last_error:
                echo_line(f"{error}; looking again", err=True)
            last_error = str(error)
        else:
            last_error = ""
            yield found


def _show(app: AppContext, seen: list[SeenLimit], workers: int, *, as_json: bool, watch: bool) -> None:
    from ..control.limit_list import limit_document, limit_lines

    if as_json:
        data = {"workers": workers, "limits": [limit_document(one) for one in seen]}
        return print_json_line(data) if watch else print_json(data)
    if watch:
        click.clear()
        echo_line(f"{datetime.now(UTC):%H:%M:%S} UTC · Ctrl+C ends")
        echo_line()
    if not seen:
        return echo_line(f"{app.pipeline.namespace} declares no such limit: limits= of a queue or a job type does")
    for line in limit_lines(seen):
        echo_line(line)
    if not workers:
        echo_line("no worker runs, so what is used and what waits is not known: `stoker worker` starts one")
    return None
