"""The example of owners: it runs as its file shows."""

from __future__ import annotations

import os

import pytest

from stoker.topology import ClusterSettings
from support.example import run_module

pytestmark = pytest.mark.timeout(120)


def test_the_example_of_owners_runs(cluster: ClusterSettings, namespace: str) -> None:
    """One charge is dead, and its owner is paged once."""
    environment = {
        **os.environ,
        "OWNERSHIP_NAMESPACE": namespace,
        "STOKER_BOOTSTRAP_SERVERS": cluster.bootstrap_servers,
        "STOKER_APP": "examples.ownership:pipeline",
    }
    run_module(environment, "stoker.operations.cli", "topology", "apply")
    shown = run_module(environment, "examples.ownership").splitlines()
    assert [line for line in shown if line.startswith("  ")] == [
        "  payments: charge for bob is dead after 1 run: Ask the customer for another card."
    ]
    assert "page_owner" in run_module(environment, "stoker.operations.cli", "catalogue", "charge")
