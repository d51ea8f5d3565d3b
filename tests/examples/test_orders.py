"""The example of orders: it runs as its file shows, and the trail has all that it ordered."""

from __future__ import annotations

import os

import pytest

from stoker.topology import ClusterSettings
from support.example import run_module

pytestmark = pytest.mark.timeout(300)  # several processes, on a machine that may do much else


def test_the_example_of_orders_runs(cluster: ClusterSettings, namespace: str) -> None:
    """Paused news go out later, cancelled and discarded jobs do not run, and those of others do."""
    environment = {
        **os.environ,
        "ORDERS_NAMESPACE": namespace,
        "STOKER_BOOTSTRAP_SERVERS": cluster.bootstrap_servers,
        "STOKER_APP": "examples.orders:pipeline",
    }
    run_module(environment, "stoker.operations.cli", "topology", "apply")
    shown = run_module(environment, "examples.orders")
    assert [line for line in shown.splitlines() if "go out" in line] == [
        "  news 1 of acme go out",
        "  news 4 of zeta go out",
        "  news 5 of acme go out",
    ]
    assert "the export of 2013 is cancelled and removes its file" in shown
    assert "taken by all: False" not in shown
    trail = shown[shown.index("the trail:") :].splitlines()[1:]
    assert [line.split()[1] for line in trail] == ["pause", "resume", "cancel", "block", "unblock", "reschedule"]
    assert "  ann: cancel 3 jobs ordered by mistake" in trail
