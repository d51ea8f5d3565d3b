"""A worker in a process of its own whose failed and late jobs are followed, and that may kill itself amid that.

Arguments: bootstrap servers, namespace, file of stories, and `never` or the place at which to die: `dead` (the dead
letter is confirmed, its follower is not written), `followed` (both are confirmed, the ledger is not written), `late` (a
job is found late, its follower is not written), or `late-followed` (that is confirmed, the job has not ended).
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

from stoker.consumers import Worker, WorkerSettings
from stoker.consumers.followers import late_jobs
from stoker.consumers.followers.late_jobs import LateJobs
from stoker.consumers.settling.batch_writer import BatchWriter
from stoker.consumers.settling.outgoing import OutgoingRecord, Relation
from stoker.consumers.settling.settlement import Settlement
from stoker.topology import ClusterSettings, JobStory, JobType, Pipeline, Queue, RetryPolicy

LATE_AFTER = timedelta(milliseconds=1)


def declare(namespace: str, stories: Path, place: str = "never") -> tuple[Pipeline, Queue, JobType[[int], None]]:
    """Jobs that always fail, or are late, and a follower that notes each story as a line.

    Late jobs end, unless the process is to kill itself before.
    """
    pipeline = Pipeline(namespace)
    oncall = pipeline.queue("oncall", partitions=2)
    queue = pipeline.queue("work", partitions=2, tiers=(timedelta(milliseconds=100),), retry=RetryPolicy(attempts=1))

    @pipeline.job(oncall)
    def page(story: JobStory) -> None:
        with stories.open("a") as file:
            file.write(f"{story.job_id} {story.reason}\n")

    @pipeline.job(queue, on_dead=page)
    def charge(number: int) -> None:
        raise ValueError(number)

    @pipeline.job(queue, on_late=page, late_after=LATE_AFTER)
    def greet(number: int) -> None:
        if place != "never":
            threading.Event().wait()

    return pipeline, queue, charge


def die_at(place: str) -> None:
    """Make this process kill itself at the first dead letter that comes to that place."""
    publish = BatchWriter._publish_record

    def die(*_: object) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def publish_or_die(writer: BatchWriter, item: Settlement, written: OutgoingRecord) -> None:
        if written.relation is Relation.FOLLOWING:
            writer.producer.flush(10)
            die()
        publish(writer, item, written)

    if place == "dead":
        _replace(BatchWriter, "_publish_record", publish_or_die)
    elif place == "followed":
        _replace(BatchWriter, "_publish_entries", die)
    elif place == "late":
        _replace(late_jobs, "produce", die)
    elif place == "late-followed":
        _replace(LateJobs, "_note_answer", die)


def _replace(owner: object, name: str, function: Callable[..., None]) -> None:
    setattr(owner, name, function)


def main() -> None:
    """Work until killed."""
    servers, namespace, stories, place = sys.argv[1:]
    die_at(place)
    pipeline, _, _ = declare(namespace, Path(stories), place)
    queues = () if place == "never" else ("work",)  # a follower that is killed as it runs would run again
    Worker(pipeline, ClusterSettings(bootstrap_servers=servers), WorkerSettings(concurrency=2, queues=queues)).run()


if __name__ == "__main__":
    main()
