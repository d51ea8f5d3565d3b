"""`outbox`: how fast a relay empties the table, how soon after its commit a job is on its topic, how large it grows."""

from __future__ import annotations

import time
from typing import Final

from app import NAMESPACE_VARIABLE
from cluster import Site
from figures import Figure, Measure, Sizes, Values, at_least, below, percentile
from part import only_job, only_queue
from processes import stoker

from outboxes.server import empty_outbox
from outboxes.traffic import Arrivals, Load, commit_paced, count, fill
from stoker.producers.outbox import Outbox
from stoker.topology import Pipeline

PER_SECOND: Final = 100
WRITERS: Final = 2
ROWS: Final = 20
DEADLINE_S: Final = 120.0
SHORTEST_LOAD_S: Final = 1.5
LOAD_PART: Final = 2
"""The load lasts for one in so many of the seconds."""


def _outbox(site: Site, sizes: Sizes, number: int) -> Values:
    with empty_outbox() as url, site.topics("sync") as pipeline:
        outbox, job = Outbox(pipeline), only_job(pipeline)
        log = site.folder / f"relay-{number}.log"
        variables = {NAMESPACE_VARIABLE: pipeline.namespace, "STOKER_OUTBOX_URL": url}
        fill(url, outbox, job, 1)
        command = ("-A", "app:pipeline", "outbox", "relay")
        with stoker(*command, bootstrap_servers=site.cluster.bootstrap_servers, variables=variables, log=log) as _:
            _wait_empty(url)
            rate = _drain(url, outbox, pipeline, sizes)
            waits_ms = _latency(site, url, outbox, pipeline, sizes)
            load = Load(url, outbox, job, writers=WRITERS, rows=ROWS)
            written = load.run(max(SHORTEST_LOAD_S, sizes.seconds / LOAD_PART))
            _wait_empty(url)
    return {
        "rate": rate,
        "p50": percentile(waits_ms, 0.50),
        "p99": percentile(waits_ms, 0.99),
        "written": written,
        "peak_rows": load.peak_rows,
        "peak_mb": load.peak_bytes / 1e6,
    }


def _drain(url: str, outbox: Outbox, pipeline: Pipeline, sizes: Sizes) -> float:
    """Rows a second, from the commit of all of them to the empty table."""
    fill(url, outbox, only_job(pipeline), sizes.jobs)
    began_at_s = time.monotonic()
    _wait_empty(url)
    return sizes.jobs / (time.monotonic() - began_at_s)


def _latency(site: Site, url: str, outbox: Outbox, pipeline: Pipeline, sizes: Sizes) -> list[float]:
    arrivals = Arrivals(site.cluster, only_queue(pipeline))
    try:
        commit_paced(url, outbox, only_job(pipeline), PER_SECOND, 1.0)  # warm
        _wait_empty(url)
        arrivals.at_s.clear()
        committed = commit_paced(url, outbox, only_job(pipeline), PER_SECOND, sizes.seconds)
        give_up_at_s = time.monotonic() + DEADLINE_S
        while not committed.keys() <= arrivals.at_s.keys() and time.monotonic() < give_up_at_s:
            time.sleep(0.05)
    finally:
        arrivals.close()
    return [(arrivals.at_s[job] - at_s) * 1e3 for job, at_s in committed.items()]


def _wait_empty(url: str) -> None:
    give_up_at_s = time.monotonic() + DEADLINE_S
    while count(url):
        if time.monotonic() > give_up_at_s:
            raise TimeoutError(f"the relay left {count(url):,} rows after {DEADLINE_S:g} s")
        time.sleep(0.02)


OUTBOX: Final = Measure(
    name="outbox",
    title=lambda sizes: (
        f"`stoker outbox relay` on PostgreSQL: through {sizes.jobs:,} committed rows; then {PER_SECOND} commits/s for "
        f"{sizes.seconds:g} s, from the commit's return to a consumer; then {WRITERS} writers at full speed, {ROWS} "
        f"rows a transaction, for {sizes.seconds / LOAD_PART:g} s"
    ),
    figures=(
        Figure(name="rate", label="rows/s, published and deleted", unit="/s", target=at_least(10_000)),
        Figure(name="p50", label="commit to consumer, p50, ms", unit="ms", target=below(20)),
        Figure(name="p99", label="commit to consumer, p99, ms", unit="ms", target=below(200)),
        Figure(name="written", label="rows/s that writers commit meanwhile", unit="/s"),
        Figure(name="peak_rows", label="most rows in the table under this load", unit="jobs"),
        Figure(name="peak_mb", label="largest table under this load, with indexes, MB", unit="MB"),
    ),
    run=_outbox,
)
