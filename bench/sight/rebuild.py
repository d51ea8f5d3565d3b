"""`rebuild`: how long an index takes from nothing, of jobs that a worker has done, with topics, events and ledger."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import Final

from cluster import Site
from figures import Figure, Measure, Sizes, Values, at_least
from part import Part
from processes import do

from stoker.operations.job_index.bulk_fill import collect_rarely
from stoker.operations.job_index.database import throw_away
from stoker.operations.job_index.index_reader import IndexReader
from stoker.operations.job_index.job_filter import JobFilter
from stoker.operations.job_index.topic_follower import TopicFollower

GIVE_UP_S: Final = 900.0
LEAST_PER_S: Final = 10_000_000 / 300
"""Ten million jobs in five minutes."""


def _rebuild(site: Site, sizes: Sizes, number: int) -> Values:
    path = site.folder / f"rebuilt-{number}.sqlite"
    with site.topics("sync") as pipeline:
        for does in ("bulk", "drain"):
            part = Part(does=does, namespace=pipeline.namespace, kind="sync", jobs=sizes.jobs)
            do(part, site.cluster.bootstrap_servers)
        collect_rarely()
        began_at_s, cpu_s = time.monotonic(), time.process_time()
        ready_s = _follow(TopicFollower(pipeline, site.cluster, path, keep=timedelta(days=7)), began_at_s)
    took_s, cpu_s = time.monotonic() - began_at_s, time.process_time() - cpu_s
    with IndexReader(path) as reader:
        states = dict(reader.counts(("state",), JobFilter()))
    throw_away(path)
    return {
        "ready_s": ready_s,
        "settled_s": took_s,
        "per_s": sizes.jobs / ready_s,
        "job_us": cpu_s / sizes.jobs * 1e6,
        "done_share": states.get(("done",), 0) / sizes.jobs,
    }


def _follow(follower: TopicFollower, began_at_s: float) -> float:
    """Build the index; after how many seconds it could be asked."""
    ready_s = 0.0
    try:
        while not follower.progress.is_settled and time.monotonic() - began_at_s < GIVE_UP_S:
            follower.turn()
            if follower.progress.is_caught_up and not ready_s:
                ready_s = time.monotonic() - began_at_s
    finally:
        follower.close()
    return ready_s


REBUILD: Final = Measure(
    name="rebuild",
    title=lambda sizes: f"an index of {sizes.jobs:,} jobs that a worker has done, from the topics",
    figures=(
        Figure(name="ready_s", label="until it can be asked, s", unit="s"),
        Figure(name="settled_s", label="until the ledger is gone through, s", unit="s"),
        Figure(name="per_s", label="jobs/s until it can be asked", unit="/s", target=at_least(LEAST_PER_S)),
        Figure(name="job_us", label="CPU per job, µs", unit="µs"),
        Figure(name="done_share", label="share of the jobs that it has as done", unit="ratio", target=at_least(1.0)),
    ),
    run=_rebuild,
)
