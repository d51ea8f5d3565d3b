"""`stoker breakers`: the breakers, which of them are open, since when and why, and how many jobs wait for each."""

from __future__ import annotations

import time
from typing import Final

import click

from ..cli.app import AppContext, pass_app
from ..cli.output import echo_line, print_fitting_table, print_json

SEEN_S: Final = 60.0


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@pass_app
def breakers(app: AppContext, *, as_json: bool) -> None:
    """Show the breakers and dead guards: which are open, since when and why, and what waits.

    A breaker is closed, open, or half-open: then one job of the fleet probes. NEXT is when a job may probe, or until
    when a worker has the probe. HELD is how many jobs wait for it in the workers that run; of a key, and of jobs that
    wait beyond the workers' memory, the first one counts. It is ? where no worker runs. `stoker control open` and
    `close` change a breaker by hand.

    A dead guard pauses its job type when too many of its jobs become dead letters. `stoker control resume` ends that.

    \b
    Examples:
      stoker -A shop.jobs:pipeline breakers
      stoker -A shop.jobs:pipeline breakers --json | jq -r '.breakers[] | select(.state != "closed") | .name'
      stoker -A shop.jobs:pipeline control close --dependency stripe

    Exit codes: 0, also where breakers are open; 3 when Kafka cannot be reached.
    """
    from ...producers.control.standing import read_standing_orders, read_workers
    from ...topology.planning.access import require_rights
    from ...topology.planning.rights import Duty
    from ...topology.wire.orders import Verb
    from ..control.breaker_list import (
        BREAKER_TITLES,
        GUARD_TITLES,
        breaker_document,
        breaker_row,
        guard_document,
        guard_row,
        seen_breakers,
        seen_guards,
    )

    require_rights(Duty.CONTROL_LIST, app.pipeline, app.cluster)  # a topic that may not be read seems not to exist
    now_s = time.time()
    orders = read_standing_orders(app.pipeline, app.cluster, (Verb.OPEN, Verb.PAUSE), with_jobs=False)
    statuses = [one for one in read_workers(app.pipeline, app.cluster, now_s - SEEN_S).statuses if one.is_living(now_s)]
    seen = seen_breakers(app.pipeline, orders, [one.status for one in statuses], now_s)
    guards = seen_guards(app.pipeline, orders, now_s)
    if as_json:
        print_json({"breakers": [*map(breaker_document, seen)], "guards": [*map(guard_document, guards)]})
        return
    if seen:
        print_fitting_table(BREAKER_TITLES, [breaker_row(one, now_s) for one in seen])
    else:
        echo_line(f"{app.pipeline.namespace} declares no breaker: breaker= or needs= of a job type does")
    if guards:
        echo_line("")
        print_fitting_table(GUARD_TITLES, [guard_row(one) for one in guards])
