"""A fleet runs until it is closed, also one of a single process, which nobody supervises."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from chaos.fleet.processes import Fleet
from support.waiting import wait_until


def test_a_fleet_that_ends_with_success_is_started_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One process alone ends so on an order to stop; were it the last of a run, all its jobs would wait for ever."""
    monkeypatch.setattr(sys, "executable", "true")
    fleet = Fleet("fleet0", 1, tmp_path, "127.0.0.1:1", [])
    try:
        wait_until(lambda: len(fleet.deaths) >= 2, what="the second end of the fleet")
    finally:
        fleet.close()
    assert [death.code for death in fleet.deaths[:2]] == [0, 0]


def test_one_process_alone_is_the_worker_that_faults_hit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it has started are no workers."""
    monkeypatch.setattr(sys, "executable", "yes")
    fleet = Fleet("fleet0", 1, tmp_path, "127.0.0.1:1", [])
    try:
        assert fleet.workers() == [fleet.pid]
    finally:
        fleet.close()
