"""The example of schedules runs as its file shows."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from stoker.topology import ClusterSettings

ROOT = Path(__file__).parents[2]
DEADLINE_S = 110.0

pytestmark = pytest.mark.timeout(300)  # several processes, on a machine that may do much else


def test_the_example_of_schedules_runs(cluster: ClusterSettings, namespace: str) -> None:
    """Declared, made, triggered and removed schedules, each seen by its jobs."""
    environment = {
        **os.environ,
        "REPORTS_NAMESPACE": namespace,
        "STOKER_BOOTSTRAP_SERVERS": cluster.bootstrap_servers,
        "STOKER_APP": "examples.reports:pipeline",
    }
    shown = ""
    for module in (["stoker.operations.cli", "topology", "apply"], ["examples.reports"]):
        done = subprocess.run(
            [sys.executable, "-m", *module],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            timeout=DEADLINE_S,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        shown += done.stdout
    assert "added schedule nightly" in shown
    for line in ("stock report, by stock", "nightly report, by nightly", "report, by shops, on time: True"):
        assert line in shown
    assert "schedules: ['nightly', 'shops']" in shown
