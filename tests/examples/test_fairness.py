"""The example of fairness: it runs as its file shows."""

from __future__ import annotations

import os

from stoker.topology import ClusterSettings
from support.example import run_module


def test_the_example_of_fairness_runs(cluster: ClusterSettings, namespace: str) -> None:
    """The others are done long before the flood that stands ahead of them."""
    environment = {
        **os.environ,
        "FAIRNESS_NAMESPACE": namespace,
        "STOKER_BOOTSTRAP_SERVERS": cluster.bootstrap_servers,
        "STOKER_APP": "examples.fairness:pipeline",
    }
    run_module(environment, "stoker.operations.cli", "topology", "apply")
    shown = run_module(environment, "examples.fairness")
    assert "acme, beta, zeta are done, and of the flood " in shown
    assert "of the flood 3,000 of" not in shown
