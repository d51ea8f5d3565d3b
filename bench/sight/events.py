"""`events`: what the events of jobs that are done cost the worker, as a share of its throughput without them."""

from __future__ import annotations

from statistics import median
from typing import Final

import cramjam
from cluster import Site
from figures import Figure, Measure, Sizes, Values, at_least, below
from part import Result

from sight.in_turn import drained_in_turn, values
from stoker.operations.stored_jobs.topic_reader import TopicReader
from stoker.schemas.own_records.jobs_ended import decode_jobs_ended
from stoker.schemas.own_records.own import is_own
from stoker.topology import ClusterSettings, Pipeline

LEAST_RATIO: Final = 0.95
PAIRS: Final = 5
"""A short while in which the machine is busy slows one or two of them, and not their median."""
WAYS: Final = {"with": ("bulk", "drain"), "without": ("bulk", "drain without events")}


def _events(site: Site, sizes: Sizes, number: int) -> Values:
    found = drained_in_turn(site, sizes, number, WAYS, pairs=PAIRS, look=_jobs_in_events)
    with_events, without = (values(found[way], "warm_per_s") for way in WAYS)
    with_us, without_us = (values(found[way], "warm_cpu_us") for way in WAYS)
    return {
        "with": median(with_events),
        "without": median(without),
        "share": median(one / other for one, other in zip(with_events, without, strict=True)),
        "with_cpu_us": median(with_us),
        "without_cpu_us": median(without_us),
        "added_cpu_us": median(one - other for one, other in zip(with_us, without_us, strict=True)),
        "bytes": median(values(found["with"], "bytes")),
        "sent_bytes": median(values(found["with"], "sent_bytes")),
        "given_up": PAIRS * sizes.jobs - sum(values(found["with"], "in_events")),
    }


def _jobs_in_events(pipeline: Pipeline, cluster: ClusterSettings) -> Result:
    """How many jobs the events tell of, since a worker that gave some up would be faster; and their size for each."""
    with TopicReader(cluster, pipeline.events_topic) as reader:
        read = [message.value() or b"" for message in reader.read(reader.spans())]
    events = [value for value in read if is_own("JobsEnded", value)]
    jobs = sum(decode_jobs_ended(value).count for value in events)
    return {
        "in_events": float(jobs),
        "bytes": sum(map(len, events)) / max(jobs, 1),
        "sent_bytes": sum(len(cramjam.lz4.compress_block(value)) for value in events) / max(jobs, 1),
    }


EVENTS: Final = Measure(
    name="events",
    title=lambda sizes: (
        f"one worker process through {sizes.jobs:,} waiting no-op sync jobs, with the events of jobs that are done and "
        f"without, {PAIRS} times each in turn; the medians of these pairs, from a tenth of the jobs on"
    ),
    figures=(
        Figure(name="with", label="jobs/s settled, with events", unit="/s"),
        Figure(name="without", label="jobs/s settled, without", unit="/s"),
        Figure(name="share", label="share of without", unit="ratio", target=at_least(LEAST_RATIO)),
        Figure(name="with_cpu_us", label="CPU of the process per job, µs, with events", unit="µs"),
        Figure(name="without_cpu_us", label="CPU of the process per job, µs, without", unit="µs"),
        Figure(name="added_cpu_us", label="difference, µs", unit="µs"),
        Figure(name="bytes", label="bytes of an event for each job", unit="bytes"),
        Figure(name="sent_bytes", label="the same since lz4", unit="bytes"),
        Figure(name="given_up", label="jobs that no event tells of", unit="jobs", target=below(1)),
    ),
    run=_events,
)
