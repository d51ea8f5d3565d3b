"""The example of breakers: it runs as its file shows."""

from __future__ import annotations

import os

from stoker.topology import ClusterSettings
from support.example import run_module


def test_the_example_of_breakers_runs(cluster: ClusterSettings, namespace: str) -> None:
    """Jobs wait during the outage, and none is lost."""
    environment = {
        **os.environ,
        "BREAKERS_NAMESPACE": namespace,
        "STOKER_BOOTSTRAP_SERVERS": cluster.bootstrap_servers,
        "STOKER_APP": "examples.breakers:pipeline",
    }
    run_module(environment, "stoker.operations.cli", "topology", "apply")
    shown = run_module(environment, "examples.breakers").splitlines()
    assert "  during the outage, few calls were refused, and the other jobs wait" in shown
    assert "  220 jobs are done, 0 are dead letters" in shown
