"""The suite's one fixture: each test runs on the simulated cluster and on the real one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from support.clusters.cluster import Cluster
from support.clusters.real_cluster import RealCluster
from support.clusters.simulated_cluster import SimulatedCluster


@pytest.fixture(params=["simulated", "real"])
def kafka(request: pytest.FixtureRequest, namespace: str) -> Iterator[Cluster]:
    """Kafka as the worker's simulation has it, then as it is: what holds of one must hold of the other."""
    if request.param == "simulated":
        yield SimulatedCluster()
        return
    real = RealCluster(request.getfixturevalue("cluster"), namespace)
    yield real
    real.close()
