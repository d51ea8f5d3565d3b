"""`drained_in_turn`: one worker process through a backlog of no-op jobs, in several ways that take turns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, cast

from cluster import Site
from figures import Sizes
from part import Part, Result
from processes import do

PAIRS: Final = 2
"""How often each way has its turn in a round; every other time they take turns in the opposite order."""
Way = tuple[str, str]
"""How the jobs are enqueued, and what the worker does."""


def drained_in_turn(site: Site, sizes: Sizes, number: int, ways: Mapping[str, Way]) -> dict[str, list[Result]]:
    """{way: its results} of round `number`."""
    found: dict[str, list[Result]] = {way: [] for way in ways}
    for pair in range(PAIRS):
        for way in ways if (number + pair) % 2 else reversed(list(ways)):
            found[way].append(_drained(site, sizes, *ways[way]))
    return found


def _drained(site: Site, sizes: Sizes, fills: str, drains: str) -> Result:
    """The worker's figures, and those of the process that enqueued, whose names begin with `fill_`."""
    with site.topics("sync") as pipeline:
        namespace, servers = pipeline.namespace, site.cluster.bootstrap_servers
        filled = do(Part(does=fills, namespace=namespace, kind="sync", jobs=sizes.jobs), servers)
        drained = do(Part(does=drains, namespace=namespace, kind="sync", jobs=sizes.jobs), servers)
    return {**{f"fill_{name}": value for name, value in filled.items()}, **drained}


def mean(results: list[Result], name: str) -> float:
    """The mean of one figure over several results."""
    return sum(cast("float", result[name]) for result in results) / len(results)
