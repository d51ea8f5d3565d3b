"""`commands`: how long people wait for `stoker jobs`, `top` and `audit-log`, with an index and a trail of some size."""

from __future__ import annotations

import random
import sqlite3
import statistics
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from app import NAMESPACE_VARIABLE
from cluster import Site
from confluent_kafka import Producer
from figures import Figure, Measure, Sizes, Values, below, percentile
from processes import stoker_took_s

from sight.index import TYPES, build
from stoker.operations.job_index.database import throw_away
from stoker.operations.job_index.entries import shown_id
from stoker.operations.job_index.states import State
from stoker.schemas.own_records.control_records import ControlOrder, encode_order
from stoker.topology import Pipeline

TURNS: Final = 20
"""How often each command is run; fewer where `--seconds` is shorter."""
LEAST_TURNS: Final = 3
TRAIL_PART: Final = 10
"""The trail has an order for one in so many jobs."""
TOP_INTERVAL_S: Final = 0.5
FLUSH_S: Final = 120.0

Words = Callable[[random.Random], tuple[str, ...]]


def commands(path: Path) -> dict[str, Words]:
    """{name: the words of a command}; `start` loads the application, and asks nothing."""
    ids = _ended_ids(path)
    index = ("--index", str(path))
    return {
        "start": lambda _: ("topology", "show"),
        "show": lambda chance: ("jobs", "show", chance.choice(ids), *index),
        "list": lambda chance: ("jobs", "list", "--state", "dead", "--type", f"type-{chance.randrange(TYPES)}", *index),
        "counts": lambda _: ("jobs", "list", "--group-by", "queue", "--group-by", "state", *index),
        "audit": lambda _: ("audit-log",),
        "top": lambda _: ("top", "--once", "--interval", f"{TOP_INTERVAL_S * 1e3:.0f}ms", *index),
    }


def _ended_ids(path: Path) -> list[str]:
    """Jobs all over the index; of one that has ended, the brokers are not asked why it waits."""
    connection = sqlite3.connect(path)
    newest = connection.execute("SELECT max(n) FROM jobs").fetchone()[0]
    spread = ",".join(str(1 + at * newest // 500) for at in range(500))
    asked = f"SELECT id FROM jobs WHERE n IN ({spread}) AND state = {State.DONE:d}"
    ids = [shown_id(key) for (key,) in connection.execute(asked)]
    connection.close()
    return ids


def fill_trail(site: Site, pipeline: Pipeline, orders: int) -> None:
    """Write so many orders to the audit topic, each about another key."""
    producer = Producer({**site.cluster.client_config(), "queue.buffering.max.messages": orders + 1})
    for number in range(orders):
        order = ControlOrder(
            order_id=str(uuid.uuid4()),
            verb="pause",
            operator=f"operator-{number % 7}",
            host="bench",
            at=datetime.now(UTC),
            queue="jobs",
            key=f"customer-{number}".encode(),
            reason="a measure",
        )
        producer.produce(pipeline.audit_topic, encode_order(order), key=order.key, partition=0)
    if left := producer.flush(FLUSH_S):
        raise TimeoutError(f"{left:,} of {orders:,} orders were not confirmed in {FLUSH_S:g} s")


def _commands(site: Site, sizes: Sizes, number: int) -> Values:
    path = site.folder / f"asked-{number}.sqlite"
    _, writer = build(path, sizes.jobs, int(time.time() * 1e3) - 86_400_000)
    writer.close()
    turns = max(LEAST_TURNS, min(TURNS, round(sizes.seconds)))
    with site.topics("slow") as pipeline:
        fill_trail(site, pipeline, sizes.jobs // TRAIL_PART)
        took_s = _ask(site, pipeline, commands(path), turns)
    throw_away(path)
    return _values(took_s)


def _ask(site: Site, pipeline: Pipeline, asked: Mapping[str, Words], turns: int) -> dict[str, list[float]]:
    """{command: seconds of each run}; one after the other, and all of them again in each turn."""
    chance, took_s = random.Random(5), dict[str, list[float]]()
    variables = {NAMESPACE_VARIABLE: pipeline.namespace}
    for _ in range(turns):
        for name, words in asked.items():
            given = ("-A", "app:pipeline", *words(chance))
            seconds = stoker_took_s(*given, bootstrap_servers=site.cluster.bootstrap_servers, variables=variables)
            took_s.setdefault(name, []).append(seconds)
    return took_s


def _values(took_s: Mapping[str, list[float]]) -> Values:
    """95th percentiles in ms; and by how much a command takes longer than the start in the same turn, as the median.

    Of `top`, that is beyond its interval as well.
    """
    p95_ms = {name: percentile(seconds, 0.95) * 1e3 for name, seconds in took_s.items()}
    beyond = {f"{name}_beyond": _beyond_ms(seconds, took_s["start"]) for name, seconds in took_s.items()}
    beyond["top_beyond"] -= TOP_INTERVAL_S * 1e3
    return {**p95_ms, **beyond}


def _beyond_ms(seconds: Sequence[float], starts: Sequence[float]) -> float:
    return statistics.median(took_s - start_s for took_s, start_s in zip(seconds, starts, strict=True)) * 1e3


COMMANDS: Final = Measure(
    name="commands",
    title=lambda sizes: (
        f"commands as processes, with an index of {sizes.jobs:,} jobs and a trail of {sizes.jobs // TRAIL_PART:,} "
        "orders: p95; and the median of what is beyond a process that only loads the application, in the same turn"
    ),
    figures=(
        Figure(name="start", label="start of a process, ms", unit="ms"),
        Figure(name="show", label="jobs show, ms", unit="ms"),
        Figure(name="show_beyond", label="jobs show beyond the start, ms", unit="ms", target=below(300)),
        Figure(name="list", label="jobs list, dead of a type, ms", unit="ms"),
        Figure(name="list_beyond", label="jobs list beyond the start, ms", unit="ms", target=below(300)),
        Figure(name="counts", label="jobs list, by queue and state, ms", unit="ms"),
        Figure(name="counts_beyond", label="counts beyond the start, ms", unit="ms", target=below(200)),
        Figure(name="audit", label="audit-log, ms", unit="ms"),
        Figure(name="audit_beyond", label="audit-log beyond the start, ms", unit="ms"),
        Figure(name="top", label=f"top, one frame after {TOP_INTERVAL_S:g} s, ms", unit="ms"),
        Figure(name="top_beyond", label="top beyond the start and that, ms", unit="ms"),
    ),
    run=_commands,
)
