"""`control`: how soon all workers have taken an order, and what a great many paused keys cost a worker in memory."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from datetime import timedelta
from typing import Final

from app import NAMESPACE_VARIABLE
from cluster import Site
from figures import Figure, Measure, Sizes, Values, below, percentile
from part import only_queue
from processes import stoker
from resident import ResidentPeak

from stoker.producers.control import Control, OrderReceipt
from stoker.producers.control.standing import read_workers
from stoker.topology import ClusterUnreachable, Pipeline
from stoker.topology.wire.orders import Verb

WORKERS: Final = 3
KEYS_PART: Final = 2
"""One key is paused for so many of the jobs of a backlog."""
AT_ONCE: Final = 10_000
"""Orders of one transaction."""
WAIT: Final = timedelta(seconds=300)
START_TIMEOUT_S: Final = 60.0
SETTLE_S: Final = 1.0
_LOOK_S: Final = 0.2


def _control(site: Site, sizes: Sizes, number: int) -> Values:
    with (
        site.topics("sync") as pipeline,
        _workers(site, pipeline, number) as process_ids,
        Control(pipeline, site.cluster, operator="bench") as control,
    ):
        waits_ms = list(_waits_ms(control, only_queue(pipeline).name, sizes.seconds))
        with ResidentPeak(process_ids[0]) as before:
            before.wait(SETTLE_S)
        keys = max(1, sizes.jobs // KEYS_PART)
        began_at_s = time.monotonic()
        _pause_keys(control, only_queue(pipeline).name, keys).wait(WAIT)
        took_s = time.monotonic() - began_at_s
        with ResidentPeak(process_ids[0]) as after:
            after.wait(SETTLE_S)
    change_mb = after.peak_mb - before.peak_mb
    return {
        "p50": percentile(waits_ms, 0.50),
        "p99": percentile(waits_ms, 0.99),
        "orders": len(waits_ms),
        "keys_s": took_s,
        "keys_mb": change_mb,
        "key_kb": change_mb * 1e3 / keys,
    }


def _waits_ms(control: Control, queue: str, seconds: float) -> Iterator[float]:
    """From the call until all workers are known to have taken the order, one order after the other."""
    gives: list[Callable[[], OrderReceipt]] = [lambda: control.pause(queue=queue), lambda: control.resume(queue=queue)]
    control.resume(queue=queue).wait(WAIT)  # connects
    end_at_s = time.monotonic() + seconds
    while time.monotonic() < end_at_s:
        for give in gives:
            began_at_s = time.monotonic()
            answers = give().wait(WAIT)
            yield (time.monotonic() - began_at_s) * 1e3
            assert answers.is_taken_by_all
            assert len(answers.answers) == WORKERS


def _pause_keys(control: Control, queue: str, count: int) -> OrderReceipt:
    for first in range(0, count, AT_ONCE):
        orders = [
            replace(control.order(Verb.PAUSE), queue=queue, key=b"customer-%d" % number)
            for number in range(first, min(count, first + AT_ONCE))
        ]
        receipt = control.give_all(orders)[-1]
    return receipt


@contextmanager
def _workers(site: Site, pipeline: Pipeline, number: int) -> Iterator[list[int]]:
    command = ("-A", "app:pipeline", "worker", "--log-format", "json")
    variables = {NAMESPACE_VARIABLE: pipeline.namespace}
    servers = site.cluster.bootstrap_servers
    with ExitStack() as stack:
        logs = [site.folder / f"ordered-{number}-{worker}.log" for worker in range(WORKERS)]
        process_ids = [
            stack.enter_context(stoker(*command, bootstrap_servers=servers, variables=variables, log=log))
            for log in logs
        ]
        _wait_running(site, pipeline)
        yield process_ids


def _wait_running(site: Site, pipeline: Pipeline) -> None:
    give_up_at_s = time.monotonic() + START_TIMEOUT_S
    while _running(site, pipeline) < WORKERS:
        if time.monotonic() > give_up_at_s:
            raise TimeoutError(f"not all of {WORKERS} workers run after {START_TIMEOUT_S:g} s")
        time.sleep(_LOOK_S)


def _running(site: Site, pipeline: Pipeline) -> int:
    try:
        return sum(seen.status.state == "running" for seen in read_workers(pipeline, site.cluster).statuses)
    except ClusterUnreachable:  # the topic is new, and has no leader yet
        return 0


CONTROL: Final = Measure(
    name="control",
    title=lambda sizes: (
        f"orders to {WORKERS} idle workers, one after the other for {sizes.seconds:g} s: from the call until all have "
        f"answered; then {max(1, sizes.jobs // KEYS_PART):,} paused keys"
    ),
    figures=(
        Figure(name="p50", label="taken by all, p50, ms", unit="ms"),
        Figure(name="p99", label="taken by all, p99, ms", unit="ms", target=below(1_000)),
        Figure(name="orders", label="orders", unit="jobs"),
        Figure(name="keys_s", label="the paused keys: ordered and taken by all, s", unit="s"),
        Figure(name="keys_mb", label="the paused keys: more memory of a worker, MB", unit="MB"),
        Figure(name="key_kb", label="the paused keys: memory of each, kB", unit="kB"),
    ),
    run=_control,
)
