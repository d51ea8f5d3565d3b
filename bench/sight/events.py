"""`events`: what the events of jobs that are done cost the worker, as a share of its throughput without them."""

from __future__ import annotations

from typing import Final, cast

from cluster import Site
from figures import Figure, Measure, Sizes, Values, at_least
from part import Part, Result
from processes import do

LEAST_SHARE: Final = 0.95
PAIRS: Final = 2


def _events(site: Site, sizes: Sizes, number: int) -> Values:
    found: dict[str, list[Result]] = {"drain": [], "drain untold": []}
    for pair in range(PAIRS):
        ways = list(found) if (number + pair) % 2 else list(reversed(found))
        for way in ways:
            found[way].append(drained(site, sizes, way))
    told, untold = mean(found["drain"], "jobs_per_s"), mean(found["drain untold"], "jobs_per_s")
    told_us, untold_us = mean(found["drain"], "cpu_us"), mean(found["drain untold"], "cpu_us")
    return {
        "told": told,
        "untold": untold,
        "share": told / untold,
        "told_cpu_us": told_us,
        "untold_cpu_us": untold_us,
        "added_cpu_us": told_us - untold_us,
    }


def drained(site: Site, sizes: Sizes, does: str) -> Result:
    """The result of one process that works through a backlog of no-op jobs."""
    with site.topics("sync") as pipeline:
        namespace, servers = pipeline.namespace, site.cluster.bootstrap_servers
        do(Part(does="bulk", namespace=namespace, kind="sync", jobs=sizes.jobs), servers)
        return do(Part(does=does, namespace=namespace, kind="sync", jobs=sizes.jobs), servers)


def mean(results: list[Result], name: str) -> float:
    """The mean of one figure over several results."""
    return sum(cast("float", result[name]) for result in results) / len(results)


EVENTS: Final = Measure(
    name="events",
    title=lambda sizes: (
        f"one worker process through {sizes.jobs:,} waiting no-op sync jobs, with the events of jobs that are done and "
        f"without, {PAIRS} times each in turn"
    ),
    figures=(
        Figure(name="told", label="jobs/s, with events", unit="/s"),
        Figure(name="untold", label="jobs/s, without", unit="/s"),
        Figure(name="share", label="share of without", unit="ratio", target=at_least(LEAST_SHARE)),
        Figure(name="told_cpu_us", label="CPU of the process per job, µs, with events", unit="µs"),
        Figure(name="untold_cpu_us", label="CPU of the process per job, µs, without", unit="µs"),
        Figure(name="added_cpu_us", label="difference, µs", unit="µs"),
    ),
    run=_events,
)
