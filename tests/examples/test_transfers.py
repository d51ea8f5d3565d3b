"""The example of transfers: it runs as its file shows, and both books balance."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from stoker.topology import ClusterSettings
from support.example import run_module

pytestmark = pytest.mark.timeout(300)  # several processes, on a machine that may do much else


def test_the_example_of_transfers_runs(cluster: ClusterSettings, namespace: str, tmp_path: Path) -> None:
    """Transfers beyond what an account has leave no job."""
    environment = {
        **os.environ,
        "TRANSFERS_NAMESPACE": namespace,
        "TRANSFERS_FOLDER": str(tmp_path),
        "STOKER_BOOTSTRAP_SERVERS": cluster.bootstrap_servers,
        "STOKER_APP": "examples.transfers:pipeline",
    }
    run_module(environment, "stoker.operations.cli", "topology", "apply")
    shown = run_module(environment, "examples.transfers").splitlines()
    assert len([line for line in shown if "has not got" in line]) > 0
    assert len([line for line in shown if "on their way" in line]) > 0
    assert shown[-1].endswith("30000 cents as in the beginning")
