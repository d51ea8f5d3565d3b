"""Fixtures of the worker's tests: an old Kafka, the simulation's clock, and databases with an inbox and effects."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from simulation.virtual_time import virtual_time
from stoker.topology import ClusterSettings
from support.kafka.brokers import provide_old_broker, shared_folder
from support.scenes.inboxes import make_postgresql, make_sqlite
from support.scenes.postgres import Postgres
from support.small_chunks import few_shards, one_chunk_at_a_time, small_chunks


@pytest.fixture(scope="session")
def inbox_database(postgres: Postgres) -> str:
    """The URL of a database on PostgreSQL; several tests use it, each under ids of its own."""
    return make_postgresql(postgres.create_database())


@pytest.fixture
def inbox_url(request: pytest.FixtureRequest, driver: str, tmp_path: Path) -> str:
    """The URL of an empty database, of the kind that the driver needs."""
    if "sqlite" in driver:
        return make_sqlite(tmp_path / "effects.sqlite")
    url = str(request.getfixturevalue("inbox_database"))
    with psycopg.connect(url) as emptied:
        emptied.execute("TRUNCATE effects, stoker_inbox")
    return url


@pytest.fixture(scope="session")
def old_cluster() -> ClusterSettings:
    """A real broker of the release line before Kafka 4, shared by the run."""
    return ClusterSettings(bootstrap_servers=provide_old_broker(shared_folder()))


@pytest.fixture
def simulated_time() -> Iterator[None]:
    """The worker asks the simulation's clock."""
    with virtual_time():
        yield


@pytest.fixture
def small_parts() -> Iterator[None]:
    """The few offsets of a play fill chunks of progress, several commits, and shards of what waits."""
    with small_chunks(), one_chunk_at_a_time(), few_shards():
        yield
