"""`metrics`: what a worker's metrics cost, counted alone and read every second, as shares of what it does without."""

from __future__ import annotations

from typing import Final

from cluster import Site
from figures import Figure, Measure, Sizes, Values, at_least

from sight.in_turn import PAIRS, drained_in_turn, mean

LEAST_RATIO: Final = 0.97
WAYS: Final = {
    "measured": ("bulk", "drain measured"),
    "counted": ("bulk", "drain counted"),
    "plain": ("bulk", "drain"),
}


def _metrics(site: Site, sizes: Sizes, number: int) -> Values:
    found = drained_in_turn(site, sizes, number, WAYS)
    rates = {way: mean(results, "jobs_per_s") for way, results in found.items()}
    costs = {f"{way}_cpu_us": mean(results, "cpu_us") for way, results in found.items()}
    return {
        **rates,
        **costs,
        "share": rates["measured"] / rates["plain"],
        "counted_share": rates["counted"] / rates["plain"],
        "cpu_share": costs["plain_cpu_us"] / costs["measured_cpu_us"],
        "counted_cpu_share": costs["plain_cpu_us"] / costs["counted_cpu_us"],
    }


METRICS: Final = Measure(
    name="metrics",
    title=lambda sizes: (
        f"one worker process through {sizes.jobs:,} waiting no-op sync jobs: with metrics that another process reads "
        f"every second, with metrics that nobody reads, and without; {PAIRS} times each in turn"
    ),
    figures=(
        Figure(name="measured", label="jobs/s, with metrics that are read", unit="/s"),
        Figure(name="counted", label="jobs/s, with metrics that nobody reads", unit="/s"),
        Figure(name="plain", label="jobs/s, without", unit="/s"),
        Figure(name="share", label="share of without", unit="ratio", target=at_least(LEAST_RATIO)),
        Figure(name="counted_share", label="share of without, where nobody reads", unit="ratio"),
        Figure(name="cpu_share", label="CPU per job without, as a share of with", unit="ratio"),
        Figure(name="counted_cpu_share", label="the same, where nobody reads", unit="ratio"),
        Figure(name="measured_cpu_us", label="CPU of the process per job, µs, with metrics that are read", unit="µs"),
        Figure(name="counted_cpu_us", label="CPU, µs, with metrics that nobody reads", unit="µs"),
        Figure(name="plain_cpu_us", label="CPU, µs, without", unit="µs"),
    ),
    run=_metrics,
)
