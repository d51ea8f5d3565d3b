"""A worker in a process of its own that notes each run in a file, and may kill itself at a given place.

Arguments: bootstrap servers, namespace, file of runs, the queue's ordering, and `never` or the place at which to die:
`ran` (the job ran, nothing is written), `moved` (its retry record is confirmed, its ledger entry is not written), or
`remembered` (both are durable, nothing is committed).
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterable
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

from stoker.consumers import Worker, WorkerSettings, current_job
from stoker.consumers.records.outcomes import Retried
from stoker.consumers.settling.batch_writer import BatchWriter
from stoker.consumers.settling.settle import Settler
from stoker.consumers.settling.settlement import Settlement, SettlementBatch
from stoker.topology import ClusterSettings, JobType, Pipeline, Queue
from stoker.topology.declaration.queue import Ordering
from stoker.topology.declaration.retries import RetryPolicy

TIERS = (timedelta(milliseconds=300),)


def declare(namespace: str, runs: Path, ordering: Ordering = "key") -> tuple[Pipeline, Queue, JobType[[int], None]]:
    """Jobs that note their run; of ten, one fails at first and one always."""
    pipeline = Pipeline(namespace)
    queue = pipeline.queue("work", partitions=4, tiers=TIERS, retry=RetryPolicy(attempts=2), ordering=ordering)

    @pipeline.job(queue)
    def act(number: int) -> None:
        job = current_job()
        note_run(runs, f"{job.job_id} {job.attempt} {os.getpid()}")
        if number % 10 == 9 or (number % 10 == 5 and job.attempt == 1):
            raise ValueError(number)

    return pipeline, queue, act


def note_run(runs: Path, line: str) -> None:
    """Append a line in one write, which no kill can part."""
    file = os.open(runs, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        os.write(file, f"{line}\n".encode())
    finally:
        os.close(file)


def die() -> None:
    """End as a power cut would."""
    os.kill(os.getpid(), signal.SIGKILL)


def die_at(place: str) -> None:
    """Make this process kill itself at the first failed job that comes to that place."""
    if place == "ran":
        _before(Settler, "hand_in", lambda _settler, _record, outcome: isinstance(outcome, Retried))
    elif place == "moved":
        _before(BatchWriter, "_publish_entries", lambda _writer, items: _has_retried(items))
    elif place == "remembered":
        make = Settler.__init__

        def make_dying(self: Settler, *arguments: Any, **options: Any) -> None:
            make(self, *arguments, **{**options, "on_settled": lambda batch: die() if _any_retried(batch) else None})

        Settler.__init__ = make_dying  # type: ignore[method-assign]  # the place of the kill


def _any_retried(batch: SettlementBatch) -> bool:
    return _has_retried(batch.others)


def _has_retried(items: Iterable[Settlement]) -> bool:
    return any(isinstance(item.outcome, Retried) for item in items)


def _before(owner: type, name: str, is_the_place: Callable[..., bool]) -> None:
    original = getattr(owner, name)

    def dying(*arguments: Any) -> Any:
        return die() if is_the_place(*arguments) else original(*arguments)

    setattr(owner, name, dying)


def main() -> None:
    """Work until killed."""
    servers, namespace, runs, ordering, place = sys.argv[1:]
    die_at(place)
    pipeline, _, _ = declare(namespace, Path(runs), cast(Ordering, ordering))
    Worker(pipeline, ClusterSettings(bootstrap_servers=servers), WorkerSettings(concurrency=4)).run()


if __name__ == "__main__":
    main()
