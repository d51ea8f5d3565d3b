"""The example of limits: it runs as its file shows."""

from __future__ import annotations

import os

from stoker.topology import ClusterSettings
from support.example import run_module


def test_the_example_of_limits_runs(cluster: ClusterSettings, namespace: str) -> None:
    """All calls are made, and the limits hold."""
    environment = {
        **os.environ,
        "LIMITS_NAMESPACE": namespace,
        "STOKER_BOOTSTRAP_SERVERS": cluster.bootstrap_servers,
        "STOKER_APP": "examples.limits:pipeline",
    }
    run_module(environment, "stoker.operations.cli", "topology", "apply")
    shown = run_module(environment, "examples.limits").splitlines()
    assert [line.strip() for line in shown][-4:] == [
        "acme: 12 calls",
        "zeta: 1 calls",
        "in no second more than 5 began: True",
        "never more than 2 ran at once: True",
    ]
