"""`traces`: what spans cost the worker, as a share of its throughput where nobody traces."""

from __future__ import annotations

from typing import Final

from cluster import Site
from figures import Figure, Measure, Sizes, Values, at_least

from sight.in_turn import PAIRS, drained_in_turn, mean

LEAST_RATIO: Final = 0.95
WAYS: Final = {
    "none": ("each", "drain"),
    "api": ("each in a trace", "drain"),
    "sampled": ("each sampled", "drain sampled"),
    "exported": ("each sampled", "drain exported"),
    "untraced": ("each", "drain sampled"),
}
"""{name: how the jobs were enqueued, and what the worker does}. All are enqueued one by one, in full batches."""
ENQUEUED: Final = ("none", "api", "sampled")


def _traces(site: Site, sizes: Sizes, number: int) -> Values:
    found = drained_in_turn(site, sizes, number, WAYS)
    rates = {way: mean(results, "settled_per_s") for way, results in found.items()}
    shares = {f"{way}_share": rate / rates["none"] for way, rate in rates.items() if way != "none"}
    costs = {f"{way}_cpu_us": mean(results, "cpu_us") for way, results in found.items()}
    enqueued = {f"{way}_enqueue_us": mean(found[way], "fill_cpu_us") for way in ENQUEUED}
    beside_api = {"sdk_share": rates["sampled"] / rates["api"], "otlp_share": rates["exported"] / rates["api"]}
    return {**rates, **shares, **beside_api, **costs, **enqueued}


TRACES: Final = Measure(
    name="traces",
    title=lambda sizes: (
        f"one worker process through {sizes.jobs:,} waiting no-op sync jobs: none is traced; all carry a trace, and "
        f"there is no SDK; an SDK samples 1 % of the enqueues, whose spans go nowhere, or to another process by "
        f"OTLP, or 1 % of jobs without a trace; {PAIRS} times each in turn"
    ),
    figures=(
        Figure(name="none", label="jobs/s, not traced", unit="/s"),
        Figure(name="api", label="jobs/s, API only", unit="/s"),
        Figure(name="sampled", label="jobs/s, 1 % sampled", unit="/s"),
        Figure(name="exported", label="jobs/s, 1 % sampled and exported", unit="/s"),
        Figure(name="untraced", label="jobs/s, 1 % of jobs without a trace", unit="/s"),
        Figure(name="api_share", label="share of not traced, API only", unit="ratio", target=at_least(LEAST_RATIO)),
        Figure(name="sampled_share", label="share, 1 % sampled", unit="ratio", target=at_least(LEAST_RATIO)),
        Figure(name="untraced_share", label="share, jobs without a trace", unit="ratio", target=at_least(LEAST_RATIO)),
        Figure(name="sdk_share", label="share of API only, 1 % sampled", unit="ratio", target=at_least(LEAST_RATIO)),
        Figure(name="otlp_share", label="share of API only, 1 % exported", unit="ratio"),
        Figure(name="none_cpu_us", label="CPU of the worker per job, µs, not traced", unit="µs"),
        Figure(name="api_cpu_us", label="CPU, µs, API only", unit="µs"),
        Figure(name="sampled_cpu_us", label="CPU, µs, 1 % sampled", unit="µs"),
        Figure(name="exported_cpu_us", label="CPU, µs, 1 % sampled and exported", unit="µs"),
        Figure(name="untraced_cpu_us", label="CPU, µs, jobs without a trace", unit="µs"),
        Figure(name="none_enqueue_us", label="CPU of the producer per job, µs, not traced", unit="µs"),
        Figure(name="api_enqueue_us", label="CPU, µs, under a span that nobody records", unit="µs"),
        Figure(name="sampled_enqueue_us", label="CPU, µs, each begins a trace, 1 % sampled", unit="µs"),
    ),
    run=_traces,
)
