"""A short run of the harness in the ordinary suite: a fleet, a few faults of each sort, and nothing is broken."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
KINDS = ("kill_workers", "kill_producer", "pause_worker", "storm_rebalances", "cut_network", "jump_clock")
DEADLINE_S = 400.0


@pytest.mark.timeout(DEADLINE_S + 30)
def test_a_fleet_under_fire_keeps_every_guarantee(tmp_path: Path) -> None:
    """8,000 jobs on one node, every sort of fault once: none lost, none out of order, each run again explained."""
    command = [
        *(sys.executable, "-m", "chaos", "--seed", "4", "--jobs", "8000", "--faults", str(len(KINDS))),
        *(
            "--nodes",
            "1",
            "--processes",
            "1",
            "--per-s",
            "300",
            "--no-shares",
            "--folder",
            str(tmp_path / "run"),
            "--kinds",
            *KINDS,
        ),
    ]
    plain = {name: value for name, value in os.environ.items() if not name.startswith("STOKER_")}
    done = subprocess.run(
        command, cwd=TESTS, env=plain, capture_output=True, text=True, timeout=DEADLINE_S, check=False
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
