"""`events`: what the events of jobs that are done cost the worker, as a share of its throughput without them."""

from __future__ import annotations

from typing import Final

from cluster import Site
from figures import Figure, Measure, Sizes, Values, at_least

from sight.in_turn import PAIRS, drained_in_turn, mean

LEAST_SHARE: Final = 0.95
WAYS: Final = {"told": ("bulk", "drain"), "untold": ("bulk", "drain untold")}


def _events(site: Site, sizes: Sizes, number: int) -> Values:
    found = drained_in_turn(site, sizes, number, WAYS)
    told, untold = mean(found["told"], "jobs_per_s"), mean(found["untold"], "jobs_per_s")
    told_us, untold_us = mean(found["told"], "cpu_us"), mean(found["untold"], "cpu_us")
    return {
        "told": told,
        "untold": untold,
        "share": told / untold,
        "told_cpu_us": told_us,
        "untold_cpu_us": untold_us,
        "added_cpu_us": told_us - untold_us,
    }


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
