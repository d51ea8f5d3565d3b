"""The example of unique jobs: it runs as its file shows."""

from __future__ import annotations

import os

import pytest

from stoker.topology import ClusterSettings
from support.example import run_module

pytestmark = pytest.mark.timeout(300)  # several processes, on a machine that may do much else


def test_the_example_of_unique_jobs_runs(cluster: ClusterSettings, namespace: str) -> None:
    """One import, the last reminder, the last basket, the first warning."""
    environment = {
        **os.environ,
        "UNIQUE_NAMESPACE": namespace,
        "STOKER_BOOTSTRAP_SERVERS": cluster.bootstrap_servers,
        "STOKER_APP": "examples.unique:pipeline",
    }
    run_module(environment, "stoker.operations.cli", "topology", "apply")
    shown = run_module(environment, "examples.unique").splitlines()
    assert shown.count("  the catalogue of acme is imported") == 1
    assert [line for line in shown if "reminder" in line] == ["  reminder of product 7: the last one"]
    assert [line for line in shown if "basket" in line][-1] == "  basket 1 is saved with 3 items"
    assert [line for line in shown if "warned" in line] == ["  acme is warned: the disk is nearly full"]
