"""On a real broker: jobs of schedules and of an outbox have the priority of their type, or of their call."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from datetime import timedelta
from pathlib import Path

from stoker.consumers import current_job
from stoker.producers.outbox import Outbox, OutboxRelay
from stoker.producers.schedules import Schedules
from stoker.topology import ClusterSettings, JobType, Pipeline, every
from support.scenes.outboxes import make_sqlite
from support.scenes.worker import Journal, create, running_worker
from support.waiting import wait_until

PRIORITIES = {"high": 8, "normal": 3, "low": 1}


def declare(namespace: str, journal: Journal) -> tuple[Pipeline, JobType[[str], None]]:
    """A job type of low priority that notes under which one it runs, and of which topic."""
    pipeline = Pipeline(namespace)
    queue = pipeline.queue("ranked", partitions=2, priorities=PRIORITIES)

    @pipeline.job(queue, priority="low")
    def act(what: str) -> None:
        job = current_job()
        journal.note((what, job.priority, job.place.split("/")[0].removeprefix(f"{namespace}.")))

    return pipeline, act


def test_jobs_of_schedules_have_their_priorities(cluster: ClusterSettings, namespace: str) -> None:
    """Made by a call, by a call of another priority, by a function of the instant, and triggered by hand."""
    journal = Journal()
    pipeline, act = declare(namespace, journal)
    second, never = every(timedelta(seconds=1)), every(timedelta(days=300))
    pipeline.schedule("own", second, act.call("own"))
    pipeline.schedule("urgent", second, act.with_options(priority="high").call("urgent"))
    pipeline.schedule("made", second, lambda _at: act.with_options(priority="normal").call("made"), queue=act.queue)
    pipeline.schedule("triggered", never, act.with_options(priority="high").call("triggered"))
    create(pipeline, cluster)
    with Schedules(pipeline, cluster) as schedules:
        schedules.apply_declared()
        schedules.trigger("triggered")
        with running_worker(pipeline, cluster):
            wait_until(lambda: len({what for what, _, _ in journal.noted}) == 4)
    assert set(journal.noted) == {
        ("own", "low", "ranked.low"),
        ("urgent", "high", "ranked.high"),
        ("made", "normal", "ranked"),
        ("triggered", "high", "ranked.high"),
    }


def test_jobs_of_an_outbox_have_their_priorities(cluster: ClusterSettings, namespace: str, tmp_path: Path) -> None:
    """The relay publishes each row to the topic of its priority, and the worker runs it with that."""
    journal = Journal()
    pipeline, act = declare(namespace, journal)
    create(pipeline, cluster)
    url = make_sqlite(tmp_path)
    with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as connection:
        outbox = Outbox(pipeline)
        outbox.enqueue(connection, act, "own")
        outbox.enqueue(connection, act.with_options(priority="high"), "urgent")
        outbox.enqueue_many(connection, [act.with_options(priority="normal", key="ada").call("keyed")])
        connection.commit()
    with OutboxRelay(pipeline, url, cluster), running_worker(pipeline, cluster):
        wait_until(lambda: len(journal.noted) == 3)
    assert set(journal.noted) == {
        ("own", "low", "ranked.low"),
        ("urgent", "high", "ranked.high"),
        ("keyed", "normal", "ranked"),
    }
