"""`metrics`: what a worker's metrics cost, read every second, as a share of its throughput without them."""

from __future__ import annotations

from typing import Final

from cluster import Site
from figures import Figure, Measure, Sizes, Values, at_least

from sight.in_turn import PAIRS, drained_in_turn, mean

LEAST_SHARE: Final = 0.97
WAYS: Final = {"measured": ("bulk", "drain measured"), "plain": ("bulk", "drain")}


def _metrics(site: Site, sizes: Sizes, number: int) -> Values:
    measured, plain = drained_in_turn(site, sizes, number, WAYS).values()
    measured_us, plain_us = mean(measured, "cpu_us"), mean(plain, "cpu_us")
    return {
        "measured": mean(measured, "jobs_per_s"),
        "plain": mean(plain, "jobs_per_s"),
        "share": mean(measured, "jobs_per_s") / mean(plain, "jobs_per_s"),
        "cpu_share": plain_us / measured_us,
        "measured_cpu_us": measured_us,
        "plain_cpu_us": plain_us,
    }


METRICS: Final = Measure(
    name="metrics",
    title=lambda sizes: (
        f"one worker process through {sizes.jobs:,} waiting no-op sync jobs, with metrics that are read every second "
        f"and without, {PAIRS} times each in turn"
    ),
    figures=(
        Figure(name="measured", label="jobs/s, with metrics", unit="/s"),
        Figure(name="plain", label="jobs/s, without", unit="/s"),
        Figure(name="share", label="share of without", unit="ratio", target=at_least(LEAST_SHARE)),
        Figure(name="cpu_share", label="CPU per job without, as a share of with", unit="ratio"),
        Figure(name="measured_cpu_us", label="CPU of the process per job, µs, with metrics", unit="µs"),
        Figure(name="plain_cpu_us", label="CPU of the process per job, µs, without", unit="µs"),
    ),
    run=_metrics,
)
