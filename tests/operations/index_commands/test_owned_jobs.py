"""Commands that show jobs show their owners, and the catalogue what the index has measured of them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from stoker.topology import ClusterSettings
from support.sight.job_desk import Desk

pytestmark = [pytest.mark.timeout(180), pytest.mark.expected_errors("dead letter")]


def test_owners_and_measured_values_stand_where_jobs_are_looked_at(
    cluster: ClusterSettings, namespace: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A dead letter has the owner of the time when it died, other jobs that of now; only the index has measured."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    desk = Desk(cluster, namespace, tmp_path)
    (row,) = (json.loads(line) for line in desk.bare("dead", "list", "work", "--json").stdout.splitlines())
    assert (row["owner"], row["runbook"], row["escalation"]) == ("billing", "call the bank", "page")
    assert "OWNER" in desk.bare("dead", "list").stdout
    shown = desk.bare("dead", "show", "work", desk.dead).stdout
    assert all(word in shown for word in ("billing", "stoker-runbook: call the bank", "escalation"))
    assert "Its owner is payments. Escalation: page." in desk.run("jobs", "why", desk.waiting).stdout
    assert desk.data("jobs", "show", desk.waiting)["owner"] == "payments"
    (queue,) = desk.data("catalogue")["queues"]
    assert (queue["job_types"][0]["measured"]["success"], queue["job_types"][0]["owner"]) == (None, "payments")
    assert desk.run("status", "run", "--once").exit_code == 0
    (queue,) = desk.data("catalogue", "act")["queues"]
    measured = queue["job_types"][0]["measured"]
    assert (measured["done"], measured["dead"], measured["success"]) == (1, 1, 0.5)
    assert measured["missed"] == ["success"]
    assert measured["run_p99_s"] > 0
    shown = desk.run("catalogue").stdout
    assert "! 50% of 90%" in shown
    assert "by the index (up to date" in shown
