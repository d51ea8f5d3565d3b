"""The example of schedules runs as its file shows."""

from __future__ import annotations

import os

import pytest

from stoker.topology import ClusterSettings
from support.example import run_module

pytestmark = pytest.mark.timeout(300)  # several processes, on a machine that may do much else


def test_the_example_of_schedules_runs(cluster: ClusterSettings, namespace: str) -> None:
    """Declared, made, triggered and removed schedules, each seen by its jobs."""
    environment = {
        **os.environ,
        "REPORTS_NAMESPACE": namespace,
        "STOKER_BOOTSTRAP_SERVERS": cluster.bootstrap_servers,
        "STOKER_APP": "examples.reports:pipeline",
    }
    shown = run_module(environment, "stoker.operations.cli", "topology", "apply")
    shown += run_module(environment, "examples.reports")
    assert "added schedule nightly" in shown
    for line in ("stock report, by stock", "nightly report, by nightly", "report, by shops, on time: True"):
        assert line in shown
    assert "schedules: ['nightly', 'shops']" in shown
