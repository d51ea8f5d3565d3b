"""The example of priorities: it runs as its file shows."""

from __future__ import annotations

import os
import re

from stoker.topology import ClusterSettings
from support.example import run_module


def test_the_example_of_priorities_runs(cluster: ClusterSettings, namespace: str) -> None:
    """The urgent one passes the backlog, and the least urgent ones get their share of it."""
    environment = {
        **os.environ,
        "PRIORITIES_NAMESPACE": namespace,
        "STOKER_BOOTSTRAP_SERVERS": cluster.bootstrap_servers,
        "STOKER_APP": "examples.priorities:pipeline",
    }
    run_module(environment, "stoker.operations.cli", "topology", "apply")
    shown = run_module(environment, "examples.priorities")
    urgent, newsletters = re.findall(r"number (\d+) of|jobs, (\d+) were", shown)
    assert int(urgent[0]) < 600, shown
    assert int(newsletters[1]) > 0, shown
