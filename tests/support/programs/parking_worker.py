"""A worker in a process of its own whose jobs note their runs in a file, and of which some stand still.

Arguments: bootstrap servers, namespace, file of runs, file that lets go whoever stands still once it exists.
"""

from __future__ import annotations

import sys
import threading
from datetime import timedelta
from pathlib import Path

from stoker.consumers import Worker, WorkerSettings
from stoker.topology import ClusterSettings, JobType, Pipeline, Queue
from stoker.topology.declaration.queue import LedgerWindow
from support.programs.crashing_worker import note_run

HELD_KEY = "held"
"""All jobs of this key stand behind the first of them."""


def declare(namespace: str, runs: Path, release: Path) -> tuple[Pipeline, Queue, JobType[[int, bool], None]]:
    """One partition, and a ledger that remembers next to nothing: what is not run again is owed to the commits."""
    pipeline = Pipeline(namespace)
    queue = pipeline.queue("work", partitions=1, tiers=(timedelta(seconds=1),), ledger=LedgerWindow(jobs=1))

    @pipeline.job(queue)
    def act(number: int, stands: bool) -> None:
        note_run(runs, f"{number}")
        while stands and not release.exists():
            threading.Event().wait(0.02)

    return pipeline, queue, act


def main() -> None:
    """Work until killed."""
    servers, namespace, runs, release = sys.argv[1:]
    pipeline, _, _ = declare(namespace, Path(runs), Path(release))
    Worker(pipeline, ClusterSettings(bootstrap_servers=servers), WorkerSettings(concurrency=4)).run()


if __name__ == "__main__":
    main()
