"""The example of orders: it runs as its file shows, and the trail has all that it ordered."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from stoker.topology import ClusterSettings

ROOT = Path(__file__).parents[2]
DEADLINE_S = 110.0


def run(environment: dict[str, str], *module: str) -> str:
    """Run a program to its end; what it has printed."""
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
    return done.stdout


def test_the_example_of_orders_runs(cluster: ClusterSettings, namespace: str) -> None:
    """Paused news go out later, cancelled and discarded jobs do not run, and those of others do."""
    environment = {
        **os.environ,
        "ORDERS_NAMESPACE": namespace,
        "STOKER_BOOTSTRAP_SERVERS": cluster.bootstrap_servers,
        "STOKER_APP": "examples.orders:pipeline",
    }
    run(environment, "stoker.operations.cli", "topology", "apply")
    shown = run(environment, "examples.orders")
    assert [line for line in shown.splitlines() if "go out" in line] == [
        "  news 1 of acme go out",
        "  news 4 of zeta go out",
    ]
    assert "the export of 2013 is cancelled and removes its file" in shown
    assert "taken by all: False" not in shown
    trail = shown[shown.index("the trail:") :].splitlines()[1:]
    assert [line.split()[1] for line in trail] == ["pause", "resume", "cancel", "block", "unblock"]
    assert "  ann: cancel 3 jobs ordered by mistake" in trail
