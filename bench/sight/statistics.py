"""`statistics`: how many jobs a second one Faust process counts, by the events in which workers tell of done jobs."""

from __future__ import annotations

import random
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Final

import psutil
from cluster import Site
from confluent_kafka import Producer
from figures import Figure, Measure, Sizes, Values, at_least

from stoker.operations.statistics.messages import ProcessSettings
from stoker.operations.statistics.supervising import Supervisor
from stoker.schemas.own_records.jobs_ended import JobsEnded, encode_jobs_ended, packed
from stoker.topology import Pipeline

AN_EVENT: Final = 100
"""Jobs of an event: a worker publishes ten times a second, so this is one of a thousand jobs a second."""
TIMES_JOBS: Final = 20
"""So many times `--jobs` are counted: counting takes much less time than running."""
TYPES: Final = ("send_receipt", "charge", "remind")
LEAST_PER_S: Final = 100_000
STALL_S: Final = 60.0
LOOK_S: Final = 0.05
DIFFERENT: Final = 64
"""Events that differ; they are published again and again."""


def _event(chance: random.Random) -> bytes:
    now = datetime.now(UTC)
    ms = int(now.timestamp() * 1e3) - 200
    ids = [((ms - chance.randrange(1_000)) << 80 | 7 << 76 | 2 << 62 | chance.getrandbits(62)) for _ in range(AN_EVENT)]
    began_s = [-chance.uniform(0.0, 0.1) for _ in ids]
    return encode_jobs_ended(
        JobsEnded(
            queue="mails",
            worker=str(uuid.UUID(int=chance.getrandbits(128))),
            release="v1",
            at=now,
            clock_s=0.0,
            count=AN_EVENT,
            binary_ids=b"".join(one.to_bytes(16, "big") for one in ids),
            types=TYPES,
            type_indexes=packed("H", [chance.randrange(len(TYPES)) for _ in ids]),
            topic="bench.mails",
            partitions=packed("i", [0] * AN_EVENT),
            offsets=packed("q", range(AN_EVENT)),
            began_s=packed("d", began_s),
            ended_s=packed("d", [began + chance.expovariate(20) for began in began_s]),
        )
    )


def _publish(site: Site, pipeline: Pipeline, events: int) -> None:
    chance = random.Random(events)
    values = [_event(chance) for _ in range(DIFFERENT)]
    config = site.cluster.client_config(compression_type="lz4", queue_buffering_max_messages=2_000_000)
    producer = Producer(config)
    for number in range(events):
        producer.produce(pipeline.events_topic, values[number % DIFFERENT], partition=number % 4)
        producer.poll(0)
    producer.flush()


@contextmanager
def _supervisor(site: Site, pipeline: Pipeline) -> Iterator[Supervisor]:
    settings = ProcessSettings(
        bootstrap_servers=site.cluster.bootstrap_servers,
        options=site.cluster.options,
        events=pipeline.events_topic,
        stats=pipeline.stats_topic,
        stats_partitions=4,
        group=pipeline.stats_topic,
        member="bench",
    )
    made = Supervisor(settings, stall_s=STALL_S)
    try:
        yield made
    finally:
        made.close()


def _count(site: Site, sizes: Sizes, _number: int) -> Values:
    """Publish first, so that the publishing takes nothing from the counting, which is timed between its snapshots."""
    events = sizes.jobs * TIMES_JOBS // AN_EVENT
    with site.topics("sync") as pipeline:
        _publish(site, pipeline, events)
        with _supervisor(site, pipeline) as supervisor:
            begun, began_at_s = 0, time.monotonic()
            spent_s = 0.0
            if (first := _wait_events(supervisor, 1)) < events:  # fewer are counted before the first snapshot
                begun, began_at_s, spent_s = first, time.monotonic(), _cpu_s(supervisor)
            _wait_events(supervisor, events)
            took_s, spent_s = time.monotonic() - began_at_s, _cpu_s(supervisor) - spent_s
            resident_mb = psutil.Process(supervisor.process_id).memory_info().rss / 1e6
    counted, each_us = events - begun, spent_s * 1e6 / (events - begun)
    return {
        "rate": counted * AN_EVENT / took_s,
        "cpu_us": each_us / AN_EVENT,
        "event_us": each_us,
        "mb": resident_mb,
    }


def _wait_events(supervisor: Supervisor, events: int) -> int:
    """Turn until so many events are counted and written; how many are."""
    while supervisor.course.events < events:
        time.sleep(LOOK_S)
        supervisor.turn(time.monotonic())
    return supervisor.course.events


def _cpu_s(supervisor: Supervisor) -> float:
    spent = psutil.Process(supervisor.process_id).cpu_times()
    return spent.user + spent.system


STATISTICS: Final = Measure(
    name="statistics",
    title=lambda sizes: (
        f"one Faust process through the events of {sizes.jobs * TIMES_JOBS:,} done jobs of {len(TYPES)} types, "
        f"{AN_EVENT} in each"
    ),
    figures=(
        Figure(name="rate", label="jobs/s, counted and written", unit="/s", target=at_least(LEAST_PER_S)),
        Figure(name="cpu_us", label="CPU of the process per job, µs", unit="µs"),
        Figure(name="event_us", label="CPU per event, µs", unit="µs"),
        Figure(name="mb", label="resident memory, MB", unit="MB"),
    ),
    run=_count,
)
