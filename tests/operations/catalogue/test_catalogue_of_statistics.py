"""`stoker catalogue` on a real broker: what `stoker statistics run` keeps stands beside promises while it is fresh."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from stoker.operations.application import load_pipeline
from stoker.operations.cli import main
from stoker.operations.statistics import reading
from stoker.topology import ClusterSettings
from support.scenes.worker import create
from support.sight.statistics import counting, publish_ended, read
from support.waiting import wait_until

pytestmark = pytest.mark.timeout(120)

APPLICATION = """
from datetime import timedelta
from stoker.topology import Pipeline, Slo
pipeline = Pipeline({namespace!r})
mails = pipeline.queue("mails", slo=Slo(wait=timedelta(milliseconds=500), run=timedelta(seconds=1)))

@pipeline.job(mails)
def send(number: int) -> None:
    pass

@pipeline.job(mails)
def rest(number: int) -> None:
    pass
"""


@pytest.fixture
def ask(
    cluster: ClusterSettings, namespace: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Result]:
    """Calls the command line of an application without index, and with a cluster."""
    (tmp_path / f"app_{namespace}.py").write_text(APPLICATION.format(namespace=namespace), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    root = ["-A", f"app_{namespace}:pipeline", "--bootstrap-servers", cluster.bootstrap_servers, "catalogue"]
    return lambda *words: CliRunner().invoke(main, [*root, *words])


def data(ask: Callable[..., Result], *words: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The whole document, and what it has of `send`."""
    document: dict[str, Any] = json.loads(ask("--json", *words).stdout)
    (queue,) = document["queues"]
    return document, queue["job_types"][0]


def test_statistics_stand_in_the_catalogue_while_they_are_fresh(
    cluster: ClusterSettings, namespace: str, ask: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the table, in Markdown and as data; of stale ones it shows since when they are, and no figures."""
    pipeline = load_pipeline(f"app_{namespace}:pipeline")
    create(pipeline, cluster)
    assert "No statistics are kept; `stoker statistics run` adds" in ask().stdout
    with counting(cluster, pipeline):
        publish_ended(cluster, pipeline, [100] * 4)
        wait_until(lambda: any(one.tally.counts["done"] == 400 for one in read(cluster, pipeline).types), 60)
        document, send = data(ask)
        assert (document["measured_by"], document["statistics"]["freshness"]) == ("statistics", "fresh")
        assert (send["measured"]["done"], send["measured"]["missed"]) == (400, ["wait"])
        assert send["measured"]["run_p99_s"] == pytest.approx(0.02, rel=0.05)
        assert (send["last_hour"]["wait_s"]["count"], send["last_hour"]["done_per_s"] > 0) == (400, True)
        table = ask().stdout
        assert all(part in table for part in ("! 1.03s of 500ms", "100% of 99.9%", "DONE/S", "by the statistics"))
        assert "? of 500ms" in table  # of the other type
        assert "counted by 1 process." in table
        page = ask("--markdown").stdout
        assert all(part in page for part in ("- measured: success 100% of 400 jobs", "- last hour: ", "| ! 1.03s of"))
        offline, alone = data(ask, "--offline")
        assert (offline["measured_by"], alone["last_hour"]["wait_s"]) == (None, None)
    monkeypatch.setattr(reading, "FRESH_S", -1.0)
    document, send = data(ask)
    assert (document["measured_by"], document["statistics"]["freshness"]) == (None, "stale")
    assert (send["measured"]["success"], send["last_hour"]["done_per_s"]) == (None, None)
    assert "Statistics are stale since " in ask().stdout
