"""The example of backpressure: it runs as its file shows."""

from __future__ import annotations

import os

from stoker.topology import ClusterSettings
from support.example import run_module


def test_the_example_of_backpressure_runs(cluster: ClusterSettings, namespace: str) -> None:
    """A full queue refuses, and has room when a worker runs; 200 jobs pass through a queue for 20."""
    environment = {
        **os.environ,
        "BACKPRESSURE_NAMESPACE": namespace,
        "STOKER_BOOTSTRAP_SERVERS": cluster.bootstrap_servers,
        "STOKER_APP": "examples.backpressure:pipeline",
    }
    run_module(environment, "stoker.operations.cli", "topology", "apply")
    shown = run_module(environment, "examples.backpressure")
    assert "  after 20 receipts: 20 wait, 20 may\n" in shown
    assert "  200 reports went through a queue for 20\n" in shown
    assert "  all of them have run\n" in shown
