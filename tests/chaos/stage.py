"""Sets a stage up and takes it down: cluster, proxy, topology, fleets, producers."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from chaos.clock import write_offset
from chaos.cluster.nodes import Nodes, start_nodes
from chaos.cluster.proxy import Proxy
from chaos.faults import Stage
from chaos.fleet.effects import DATABASE, prepare
from chaos.fleet.operating import Duty
from chaos.fleet.processes import ASKING, OPERATORS, Fleet, start_operator, start_producer
from chaos.fleet.producing import Part
from chaos.plan import UNIQUE, queue_of
from chaos.sharing.processors import watched_processors
from chaos.sharing.streams import LIMITED_QUEUE, LIMITS, SHARES, USUAL, Sizes
from chaos.timetable import CLOCK_QUEUE
from stoker.topology import ClusterSettings, Queue
from stoker.topology.planning.apply import ensure_topology
from support.scenes.postgres import running_postgres

MAX_IN_FLIGHT: Final = 500
MAX_UNSETTLED: Final = 2 * MAX_IN_FLIGHT  # as many may park in memory beside
"""What a worker may have taken and not settled, for each queue."""
WORKER_OPTIONS: Final = (
    *(
        "--concurrency",
        "16",
        "--isolated-concurrency",
        "1",
        "--async-concurrency",
        "20",
        "--max-in-flight",
        str(MAX_IN_FLIGHT),
    ),
    *("--grace", "8s", "--revoke-grace", "3s"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """What a run is asked for.

    Attributes:
        nodes: one or three.
        fleets, processes: so many fleets of so many worker processes each.
        producers: processes that enqueue; the last one in bulk.
        per_s: jobs enqueued a second, by all of them together.
        shares: whether there are queues with limits, priorities, tenants and a bound, and who enqueues for them.
        limits: what these limits allow.
    """

    seed: int
    jobs: int
    faults: int
    nodes: int = 3
    fleets: int = 2
    processes: int = 2
    producers: int = 3
    per_s: float = 900.0
    kinds: tuple[str, ...] = ()
    shares: bool = True
    limits: Sizes = USUAL


@contextmanager
def set_stage(wishes: Wishes, folder: Path) -> Iterator[Stage]:
    """A stage on which jobs run; everything on it is ended afterwards."""
    os.environ["CHAOS_FOLDER"] = str(folder)
    os.environ[SHARES] = str(int(wishes.shares))
    os.environ[LIMITS] = str(wishes.limits)
    write_offset(folder / "clock", 0)
    with ExitStack() as stack:
        nodes = start_nodes(folder / "kafka", wishes.nodes, random.Random())
        stack.callback(nodes.kill)
        log = stack.enter_context((folder / "proxy.log").open("wb"))
        proxy = Proxy({node.doors.advertised: node.doors.clients for node in nodes.nodes}, log)
        stack.callback(proxy.close)
        database = stack.enter_context(running_postgres()).url()
        os.environ[DATABASE] = database  # of this process and so of all that it starts
        prepare(database)
        queues = _declare(nodes)
        nodes.wait_whole()
        fleets = [
            Fleet(f"fleet{number}", wishes.processes, folder, nodes.advertised, list(WORKER_OPTIONS))
            for number in range(wishes.fleets)
        ]
        for fleet in fleets:
            stack.callback(fleet.close)
        producers = [start_producer(part) for part in _parts(wishes, folder, nodes.advertised)]
        for producer in producers:
            stack.callback(producer.close)
        duty = Duty(folder=str(folder), servers=nodes.advertised, seed=wishes.seed, jobs=wishes.jobs)
        operators = [start_operator(name, duty) for name in (*OPERATORS, *([ASKING] if wishes.shares else []))]
        for operator in operators:
            stack.callback(operator.close)
        stack.enter_context(watched_processors(folder))
        yield Stage(
            folder=folder,
            nodes=nodes,
            proxy=proxy,
            fleets=fleets,
            producers=producers,
            operators=operators,
            queues=queues,
            clock=next(queue for queue in queues if queue.name == CLOCK_QUEUE),
            alone=next(queue for queue in queues if queue.name == queue_of(UNIQUE)),
            limited=next((queue for queue in queues if queue.name == LIMITED_QUEUE), None),
            database=database,
        )


def _declare(nodes: Nodes) -> list[Queue]:
    """Put the application's topics on the cluster."""
    from chaos.fleet.app import pipeline  # once its folder is known

    ensure_topology(pipeline, ClusterSettings(bootstrap_servers=nodes.advertised))
    return list(pipeline.queues.values())


def _parts(wishes: Wishes, folder: Path, servers: str) -> Iterator[Part]:
    for residue in range(wishes.producers):
        yield Part(
            folder=str(folder),
            servers=servers,
            seed=wishes.seed,
            jobs=wishes.jobs,
            producers=wishes.producers,
            residue=residue,
            how="bulk" if residue and residue == wishes.producers - 1 else "stream",
            per_s=wishes.per_s / wishes.producers,
        )
