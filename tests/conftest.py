"""Fixtures for every test: the cluster and a namespace on it, a broker to break, and no unexpected error in the log.

`cluster` is shared by all tests of a run, so a test keeps to topics and groups under its `namespace`. A test that stops
or kills a broker takes `broker`, which is its own and not started yet.
"""

from __future__ import annotations

import gc
import logging
import os
import shutil
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import hypothesis
import pytest

from stoker.operations.broker.embedded import EmbeddedBroker
from support.kafka.brokers import SHARED, provide_broker, withdraw_broker
from support.kafka.guarded_broker import Guarded, provide_guarded, withdraw_guarded
from support.kafka.linked_classes import use_linked_classes
from support.kafka.registry import provide_registry, withdraw_registry
from support.long_tests import spread_long
from support.scenes.postgres import Postgres, provide_postgres, withdraw_postgres

if TYPE_CHECKING:
    from stoker.topology.cluster.settings import ClusterSettings

_OURS = pytest.StashKey[Path]()
BYTECODE = Path(sys.prefix) / "bytecode"
"""Where modules are kept compiled, from run to run, if nothing may be written beside the sources."""

WITHOUT_EXPLAIN = tuple(phase for phase in hypothesis.Phase if phase is not hypothesis.Phase.explain)
"""That phase traces each line, which is slow, and by which CPython 3.11 has once come to hang for ever."""
# On a busy machine one slow example says nothing, and neither do ten that were slow to draw.
hypothesis.settings.register_profile(
    "shared", deadline=None, phases=WITHOUT_EXPLAIN, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("shared")


def pytest_configure(config: pytest.Config) -> None:
    """Make the folder this run's processes share; xdist's workers find it made."""
    if SHARED not in os.environ:
        config.stash[_OURS] = Path(tempfile.mkdtemp(prefix="stoker-tests-"))
        os.environ[SHARED] = str(config.stash[_OURS])
        _keep_bytecode()
        if config.getoption("numprocesses", None):  # else a single test would wait for what it may not need
            use_linked_classes()


def _keep_bytecode() -> None:
    """Have a module compiled once, by whichever process comes first, also if none is written beside its source."""
    if os.environ.pop("PYTHONDONTWRITEBYTECODE", ""):
        os.environ["PYTHONPYCACHEPREFIX"] = str(BYTECODE)


REMOVED_WITHIN_S = 10.0
OWN_BROKER_S = 300
"""The time limit of a test with a broker of its own, each start of which takes up to a minute on a busy machine."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give tests with brokers of their own more time; order those that several processes share."""
    for item in items:
        if "broker" in getattr(item, "fixturenames", ()) and item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(OWN_BROKER_S))
    if "PYTEST_XDIST_WORKER" in os.environ:
        spread_long(items)


def pytest_collection_finish() -> None:
    """Keep the collector of garbage from passing over the modules and tests themselves: all of them live to the end."""
    gc.collect()
    gc.freeze()


def pytest_unconfigure(config: pytest.Config) -> None:
    """End the run's broker, however the run went: the process that made the folder is the last to leave."""
    shared = config.stash.get(_OURS, None)
    if shared is not None:
        withdraw_broker(shared)
        withdraw_guarded(shared)
        withdraw_postgres(shared)
        withdraw_registry(shared)
        _remove(shared)
        _remove(BYTECODE / Path(tempfile.gettempdir()).relative_to("/"))  # of modules that tests have written
        del os.environ[SHARED]


def _remove(folder: Path) -> None:
    """Remove it; the children of a worker that a test has killed end by themselves, and compile modules until then."""
    give_up_at_s = time.monotonic() + REMOVED_WITHIN_S
    while folder.exists():
        shutil.rmtree(folder, ignore_errors=time.monotonic() < give_up_at_s)


@pytest.fixture(scope="session")
def cluster() -> ClusterSettings:
    """A running Kafka, shared by the run: STOKER_BOOTSTRAP_SERVERS, else a container, else the embedded broker."""
    from stoker.topology.cluster.settings import BOOTSTRAP_VARIABLE, ClusterSettings

    if os.environ.get(BOOTSTRAP_VARIABLE):
        return ClusterSettings.from_environment()
    return ClusterSettings(bootstrap_servers=provide_broker(Path(os.environ[SHARED])))


@pytest.fixture(scope="session")
def guarded() -> Guarded:
    """A running Kafka with TLS, passwords and access rights, shared by the run: a test grants what it needs."""
    return provide_guarded(Path(os.environ[SHARED]))


@pytest.fixture(scope="session")
def postgres() -> Postgres:
    """A running PostgreSQL, shared by the run: a test takes a database of its own, `postgres.create_database()`."""
    return provide_postgres(Path(os.environ[SHARED]))


@pytest.fixture(scope="session")
def schema_registry() -> str:
    """The address of a real Schema Registry, shared by the run; a test keeps to subjects under its `namespace`."""
    return provide_registry(Path(os.environ[SHARED]))


@pytest.fixture
def namespace() -> str:
    """A short namespace no other test has, for names of topics and groups."""
    return f"t{uuid.uuid4().hex[:10]}"


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[EmbeddedBroker]:
    """An embedded broker of the test's own, not started: for tests that stop, kill and restart it."""
    own = EmbeddedBroker(tmp_path / "broker")
    yield own
    own.kill()


class _ErrorRecords(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(f"{record.name}: {record.getMessage()}")


@pytest.fixture(autouse=True)
def _no_unexpected_errors(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail a test in which Stoker logged an error, unless `expected_errors` names a part of its message."""
    expected = [part for mark in request.node.iter_markers("expected_errors") for part in mark.args]
    records, logger = _ErrorRecords(), logging.getLogger("stoker")
    logger.addHandler(records)
    yield
    logger.removeHandler(records)
    surprises = [said for said in records.messages if not any(part in said for part in expected)]
    if surprises:
        pytest.fail("unexpected errors in the log:\n" + "\n".join(surprises), pytrace=False)
