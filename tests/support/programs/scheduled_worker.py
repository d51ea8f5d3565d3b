"""A worker of a queue with schedules, for tests that kill and freeze it. Each run adds the job's id to a file.

Arguments: bootstrap servers, namespace, file of runs, number of schedules.
"""

from __future__ import annotations

import os
import sys
from datetime import timedelta
from pathlib import Path

from stoker.consumers import Worker, WorkerSettings, current_job
from stoker.topology import ClusterSettings, Pipeline, Queue, every


def declare(namespace: str, file: Path, count: int) -> tuple[Pipeline, Queue]:
    """A queue, and schedules that fire every second, every two seconds and so on."""
    pipeline = Pipeline(namespace)
    queue = pipeline.queue("work", partitions=2)

    @pipeline.job(queue)
    def act(number: int) -> None:
        with file.open("a") as runs:
            runs.write(f"{current_job().job_id}\n")

    for number in range(count):
        pipeline.schedule(f"s{number}", every(timedelta(seconds=1 + number % 3)), act.call(number))
    return pipeline, queue


def main() -> None:
    """Work until killed."""
    address, namespace, file, count = sys.argv[1:]
    pipeline, _ = declare(namespace, Path(file), int(count))
    settings = WorkerSettings(worker_id=f"w{os.getpid()}")
    Worker(pipeline, ClusterSettings(bootstrap_servers=address), settings).run()


if __name__ == "__main__":
    main()
