"""`owners`: what declared owners cost jobs that keep all promises; and how long it takes to show very many queues."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import Final

from cluster import Site
from figures import Figure, Measure, Sizes, Target, Values, at_least
from jobs import TIER

from sight.in_turn import PAIRS, Way, drained_in_turn, mean
from stoker.operations.catalogue.forms import Sources, entries, row
from stoker.operations.catalogue.last_hour import Recent
from stoker.operations.scaling.load_reader import LoadReader
from stoker.topology import JobStory, Pipeline, Slo
from stoker.topology.declaration.catalogue import catalogue

LEAST_RATIO: Final = 0.97
QUEUES: Final = 100
UNMEASURED: Final = Sources(measured={}, measured_by=None, note="", recent=Recent(note=""))
WAYS: Final[dict[str, Way]] = {"owned": ("bulk", "drain", "owned"), "plain": ("bulk", "drain", "sync")}


def _owners(site: Site, sizes: Sizes, number: int) -> Values:
    owned, plain = drained_in_turn(site, sizes, number, WAYS).values()
    owned_us, plain_us = mean(owned, "cpu_us"), mean(plain, "cpu_us")
    return {
        "owned": mean(owned, "jobs_per_s"),
        "plain": mean(plain, "jobs_per_s"),
        "share": mean(owned, "jobs_per_s") / mean(plain, "jobs_per_s"),
        "cpu_share": plain_us / owned_us,
        "owned_cpu_us": owned_us,
        "plain_cpu_us": plain_us,
        **_shown(site),
    }


def _shown(site: Site) -> Values:
    """How long the catalogue takes, and one look of `stoker scale`, at very many queues."""
    with site.topics_of(_many) as pipeline:
        began_at_s = time.monotonic()
        assert len([row(entry) for entry in entries(catalogue(pipeline), UNMEASURED)]) == QUEUES + 1
        shown_at_s = time.monotonic()
        reader = LoadReader(pipeline, site.cluster, list(pipeline.queues.values()))
        reader.begin()
        assert len(reader.read()) == QUEUES + 1
        return {"catalogue_ms": (shown_at_s - began_at_s) * 1e3, "scale_ms": (time.monotonic() - shown_at_s) * 1e3}


def _many(namespace: str) -> Pipeline:
    pipeline = Pipeline(namespace)

    @pipeline.job(pipeline.queue("oncall", partitions=1, tiers=(TIER,)))
    def page(story: JobStory) -> None:
        """Page the owner."""

    def act(number: int) -> None:
        """Do nothing."""

    promised = Slo(wait=timedelta(seconds=30), run=timedelta(seconds=5))
    for number in range(QUEUES):
        queue = pipeline.queue(
            f"queue-{number}", partitions=1, tiers=(TIER,), owner="shop", slo=promised, on_dead=page, on_late=page
        )
        pipeline.job(queue, name=f"act_{number}")(act)
    return pipeline


OWNERS: Final = Measure(
    name="owners",
    title=lambda sizes: (
        f"one worker process through {sizes.jobs:,} waiting no-op sync jobs, of a queue with owner, `slo=`, `on_dead=` "
        f"and `on_late=` and of one without, {PAIRS} times each in turn; and {QUEUES} queues shown"
    ),
    figures=(
        Figure(name="owned", label="jobs/s, with owner and followers", unit="/s"),
        Figure(name="plain", label="jobs/s, without", unit="/s"),
        Figure(name="share", label="share of without", unit="ratio", target=at_least(LEAST_RATIO)),
        Figure(name="cpu_share", label="CPU per job without, as a share of with", unit="ratio"),
        Figure(name="owned_cpu_us", label="CPU of the process per job, µs, with", unit="µs"),
        Figure(name="plain_cpu_us", label="CPU of the process per job, µs, without", unit="µs"),
        Figure(name="catalogue_ms", label=f"the catalogue of {QUEUES} queues, ms", unit="ms"),
        Figure(
            name="scale_ms",
            label=f"two readings of {QUEUES} queues for `stoker scale`, ms",
            unit="ms",
            target=Target(sense="below", bound=10_000),
        ),
    ),
    run=_owners,
)
