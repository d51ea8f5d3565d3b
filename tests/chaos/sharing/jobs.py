"""The queues and job types of the streams, and the notes that their jobs make."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Final

from chaos.notes import CUT, OK, NoteFile
from chaos.sharing.ledger import NO_KEY
from chaos.sharing.streams import (
    BOUNDED_QUEUE,
    DRAIN_RATE,
    EVEN_QUEUE,
    LIMITED_QUEUE,
    LIMITS,
    MAX_WAITING,
    PATIENT_QUEUE,
    PER,
    PRIORITIES,
    RANKED_QUEUE,
    RESOURCE_BOUND,
    SHARES,
    USUAL,
    Sizes,
)
from stoker.consumers import current_job
from stoker.topology import Concurrency, Pipeline, Queue, Rate
from stoker.topology.declaration.limits import Limit
from stoker.topology.declaration.pipeline import QueueShape

PARTITIONS: Final = 4
FEW_PARTITIONS: Final = 2


@cache
def _notes() -> NoteFile:
    """Made by the first of these jobs in a process."""
    return NoteFile(Path(os.environ["CHAOS_FOLDER"]), "turns")


def run_noted(scope: str, wait_ms: int) -> None:
    """Note the begin, take so long, and note the end."""
    job, notes = current_job(), _notes()
    name = f"{job.job_id} {job.job_type} {scope} {job.key or NO_KEY} {job.place}"
    notes.append(f"S {name} -")
    how = CUT
    try:
        if wait_ms:
            time.sleep(wait_ms / 1_000)
        how = OK
    finally:
        notes.append(f"E {name} {how}")


def declare(pipeline: Pipeline, shape: QueueShape) -> None:
    """Add all queues and job types to the application, if the run is to have them."""
    if os.environ.get(SHARES) == "0":
        return
    sizes = Sizes.parse(os.environ.get(LIMITS, str(USUAL)))
    routed: QueueShape = {**shape, "partitions": PARTITIONS, "route_by": "tenant", "ordering": "none"}
    limited = pipeline.queue(LIMITED_QUEUE, **routed)
    small: QueueShape = {**shape, "partitions": FEW_PARTITIONS}
    ranked_shape: QueueShape = {**small, "priorities": PRIORITIES}
    even_shape: QueueShape = {**small, "fair_by": "tenant"}
    bounded_shape: QueueShape = {**small, "max_waiting": MAX_WAITING}
    patient_shape: QueueShape = {**bounded_shape, "when_full": "wait"}
    kinds: dict[str, tuple[Queue, Sequence[Limit]]] = {
        "fleet_rated": (limited, [Rate(sizes.fleet_rate, per=PER)]),
        "tenant_rated": (limited, [Rate(sizes.tenant_rate, per=PER, by="tenant")]),
        "key_bound": (limited, [Concurrency(sizes.key_bound, by="key")]),
        "resource_bound": (limited, [Concurrency(RESOURCE_BOUND, resource="chaos")]),
        "ranked": (pipeline.queue(RANKED_QUEUE, **ranked_shape), []),
        "even": (pipeline.queue(EVEN_QUEUE, **even_shape), []),
        "bounded": (pipeline.queue(BOUNDED_QUEUE, **bounded_shape), [Rate(DRAIN_RATE, per=PER)]),
        "patient": (pipeline.queue(PATIENT_QUEUE, **patient_shape), [Rate(DRAIN_RATE, per=PER)]),
    }
    for name, (queue, limits) in kinds.items():
        pipeline.job(queue, name=name, limits=limits)(run_noted)
