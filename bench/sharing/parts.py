"""The processes of these measures: senders of urgent jobs, and of those that they pass; workers that share a limit."""

from __future__ import annotations

import random
import threading
import time
from typing import Final

from backlog import Backlog
from jobs import FILLS, SMALL_TENANTS
from part import Part, Result, Say, only_job, only_queue
from sending import PACE_S, WARM_UP
from working import LANES, run_watched

from stoker.consumers import Worker, WorkerSettings
from stoker.producers import Producer

WARM_S: Final = 3.0
"""After the first urgent jobs, until the worker has read ahead in the backlog."""
_LOOK_S: Final = 0.2


def fill(part: Part, _say: Say) -> Result:
    """Enqueue what urgent jobs pass."""
    pipeline = part.pipeline()
    job = only_job(pipeline)
    with Producer(pipeline, part.cluster) as producer:
        producer.enqueue_many(job.call(FILLS) for _ in range(part.jobs))
    return {}


def paced_urgent(part: Part, _say: Say) -> Result:
    """Enqueue urgent jobs, about 20 a second; the stamp is taken when `enqueue` is called."""
    pipeline, draw = part.pipeline(), random.Random(part.namespace)
    job = only_job(pipeline)
    with Producer(pipeline, part.cluster) as producer:
        for number in range(part.jobs):
            if number == WARM_UP:
                time.sleep(WARM_S)
            time.sleep(draw.uniform(*PACE_S))
            producer.send(job.with_options(priority="high").call(time.time()))
    return {}


def small_tenants(part: Part, _say: Say) -> Result:
    """Enqueue a job of each small tenant a second; the stamp is taken when `enqueue` is called."""
    pipeline = part.pipeline()
    job = only_job(pipeline)
    with Producer(pipeline, part.cluster) as producer:
        began_at_s = time.monotonic()
        for number in range(part.jobs):
            time.sleep(max(0.0, began_at_s + number / SMALL_TENANTS - time.monotonic()))
            producer.enqueue(job, time.time())
    return {}


def note_begins(part: Part, _say: Say) -> Result:
    """Run the jobs of a backlog, with others, until none is left, and give when those of this process began."""
    noted: list[float] = []
    pipeline = part.pipeline(noted.append)
    worker, pause = Worker(pipeline, part.cluster, WorkerSettings(concurrency=LANES)), threading.Event()

    def until_none_is_left() -> Result:
        backlog = Backlog(part.cluster, only_queue(pipeline))
        while backlog.uncommitted():
            pause.wait(_LOOK_S)
        backlog.close()
        return {"seconds": noted}

    return run_watched(worker, until_none_is_left)
