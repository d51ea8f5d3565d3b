"""Workers killed with SIGKILL at any place have each effect in the database exactly once (P3)."""

from __future__ import annotations

import random
import sqlite3
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import psycopg
import pytest

from stoker.producers import Producer
from stoker.topology import ClusterSettings
from stoker.topology.wire.ledger_names import MOVED
from support.program import TESTS, program
from support.programs.inbox_worker import MARKED, PLACES, declare
from support.scenes.inboxes import make_postgresql, make_sqlite
from support.scenes.postgres import Postgres
from support.scenes.worker import create, remembered, wait_all_committed
from support.waiting import wait_until

DEADLINE_S = 60.0
Databases = Callable[[str], str]


class Scene:
    """A queue with jobs, a database for their effects, and worker processes to kill."""

    def __init__(self, cluster: ClusterSettings, namespace: str, url: str, driver: str, jobs: int) -> None:
        self.cluster, self.namespace, self.url, self.driver = cluster, namespace, url, driver
        self.pipeline, self.queue, act = declare(namespace, url, driver)
        self.processes: list[subprocess.Popen[bytes]] = []
        self.jobs = {str(number) for number in range(jobs)}
        create(self.pipeline, cluster)
        with Producer(self.pipeline, cluster) as producer:
            producer.enqueue_many(act.with_options(job_id=f"{n}", key=f"k{n % 20}").call(n) for n in range(jobs))

    def start(self, place: str = "never") -> subprocess.Popen[bytes]:
        """Start a worker process that dies at a place."""
        words = (self.cluster.bootstrap_servers, self.namespace, self.url, self.driver, place)
        process = subprocess.Popen([*program("inbox_worker"), *words], cwd=TESTS, stderr=subprocess.DEVNULL)
        self.processes.append(process)
        return process

    def effects(self) -> Counter[str]:
        """{job: rows that it wrote}, as a look from outside finds them."""
        query = "SELECT job FROM effects"
        if self.url.startswith("sqlite"):
            with closing(sqlite3.connect(self.url.removeprefix("sqlite:///"))) as file:
                return Counter(row[0] for row in file.execute(query))
        with psycopg.connect(self.url) as connection:
            return Counter(row[0] for row in connection.execute(query))

    def wait_settled(self) -> None:
        """Wait until the ledger has all jobs as done, and all is committed."""
        wait_all_committed(self.cluster, self.queue, DEADLINE_S)
        wait_until(lambda: self.done() >= self.jobs, DEADLINE_S, "all jobs to be done")

    def done(self) -> set[str]:
        """Jobs that the ledger has as completed."""
        return {name for name in remembered(self.cluster, self.queue) if not name.startswith(MOVED)}


@contextmanager
def scene(cluster: ClusterSettings, namespace: str, url: str, driver: str, jobs: int) -> Iterator[Scene]:
    """A scene whose processes are ended afterwards."""
    made = Scene(cluster, namespace, url, driver, jobs)
    try:
        yield made
    finally:
        for process in made.processes:
            process.kill()
            process.wait(10)


@pytest.fixture
def databases(postgres: Postgres, tmp_path: Path) -> Databases:
    """Makes a database of the test's own, of the kind that a driver needs."""
    return lambda driver: (
        make_sqlite(tmp_path / "db") if "sqlite" in driver else make_postgresql(postgres.create_database())
    )


KILLS = [
    *(("psycopg", place) for place in PLACES),
    *((driver, place) for driver in ("asyncpg", "sqlite3") for place in ("written", "committed")),
    ("sqlalchemy session", "committed"),
]


@pytest.mark.parametrize(("driver", "place"), KILLS)
def test_a_worker_killed_at_any_place_leaves_each_effect_once(
    cluster: ClusterSettings, namespace: str, databases: Databases, driver: str, place: str
) -> None:
    """Before the commit, after it, after the job's end, after the ledger: the next process makes it one effect."""
    with scene(cluster, namespace, databases(driver), driver, 10) as stage:
        assert stage.start(place).wait(DEADLINE_S) == -9
        assert stage.effects()[MARKED] == (0 if place == "written" else 1)
        stage.start()
        stage.wait_settled()
        assert stage.effects() == Counter(stage.jobs)


@pytest.mark.parametrize(("driver", "seed"), [("psycopg", 1), ("async psycopg", 2)])
def test_workers_killed_at_random_leave_each_effect_once(
    cluster: ClusterSettings, namespace: str, databases: Databases, driver: str, seed: int
) -> None:
    """600 jobs, of which a tenth fails once after its write; two processes, four kills."""
    draw = random.Random(seed)
    with scene(cluster, namespace, databases(driver), driver, 600) as stage:
        alive = [stage.start(), stage.start()]
        for kill in range(4):
            enough = kill * 110 + draw.randrange(100)
            wait_until(lambda enough=enough: stage.effects().total() > enough, DEADLINE_S, "effects before the kill")  # type: ignore[misc]  # bound at once
            alive.pop(draw.randrange(2)).kill()
            alive.append(stage.start())
        stage.wait_settled()
        assert stage.effects() == Counter(stage.jobs)
