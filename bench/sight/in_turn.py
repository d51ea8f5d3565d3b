"""`drained_in_turn`: one worker process through a backlog of no-op jobs, in several ways that take turns."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping
from typing import Final, cast

from cluster import Site
from figures import Sizes
from jobs import Kind
from part import Part, Result
from processes import do

from stoker.topology import ClusterSettings, Pipeline

PAIRS: Final = 2
"""How often each way has its turn in a round; every other time they take turns in the opposite order."""
Way = tuple[str, str] | tuple[str, str, Kind]
"""How the jobs are enqueued, what the worker does, and the kind of the jobs: sync, unless given."""
Look = Callable[[Pipeline, ClusterSettings], Result]
"""Finds further figures on the topics, before these are deleted."""


def drained_in_turn(
    site: Site,
    sizes: Sizes,
    number: int,
    ways: Mapping[str, Way],
    *,
    pairs: int = PAIRS,
    look: Look = lambda _pipeline, _cluster: {},
) -> dict[str, list[Result]]:
    """{way: its results} of round `number`; the n-th results of all ways are of the same time."""
    found: dict[str, list[Result]] = {way: [] for way in ways}
    for pair in range(pairs):
        for way in ways if (number + pair) % 2 else reversed(list(ways)):
            found[way].append(_drained(site, sizes, ways[way], look))
    return found


def _drained(site: Site, sizes: Sizes, way: Way, look: Look) -> Result:
    """The worker's figures, and those of the process that enqueued, whose names begin with `fill_`."""
    fills, drains, *kinds = way
    kind: Kind = kinds[0] if kinds else "sync"
    with site.topics(kind) as pipeline:
        namespace, servers = pipeline.namespace, site.cluster.bootstrap_servers
        filled = do(Part(does=fills, namespace=namespace, kind=kind, jobs=sizes.jobs), servers)
        drained = do(Part(does=drains, namespace=namespace, kind=kind, jobs=sizes.jobs), servers)
        looked = look(pipeline, site.cluster)
    return {**{f"fill_{name}": value for name, value in filled.items()}, **drained, **looked}


def values(results: list[Result], name: str) -> list[float]:
    """One figure of several results."""
    return [cast("float", result[name]) for result in results]


def mean(results: list[Result], name: str) -> float:
    """The mean of one figure over several results."""
    return statistics.fmean(values(results, name))
