"""`stoker scale` sees a real backlog, what bounds it and when it is gone, and serves that as metrics."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.error import URLError

import pytest
from click.testing import CliRunner, Result

from stoker.operations.cli import main
from stoker.operations.cli.exit_codes import ExitCode
from stoker.producers import Producer
from stoker.topology import ClusterSettings
from support.scenes.worker import create, declare_queue, running_worker
from support.sight.scraping import Scrape, free_ports, health, scrape
from support.waiting import wait_until

pytestmark = pytest.mark.timeout(180)

APPLICATION = """
from stoker.topology import Pipeline
pipeline = Pipeline({namespace!r})
queue = pipeline.queue("work", partitions=2)
"""


def root_of(cluster: ClusterSettings, namespace: str) -> list[str]:
    """The first words of each command."""
    return ["-A", f"app_{namespace}:pipeline", "--bootstrap-servers", cluster.bootstrap_servers]


@pytest.fixture
def call(
    cluster: ClusterSettings, namespace: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Result]:
    """Calls `stoker scale` about the namespace, in this process."""
    (tmp_path / f"app_{namespace}.py").write_text(APPLICATION.format(namespace=namespace), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    return lambda *words: CliRunner().invoke(main, [*root_of(cluster, namespace), "scale", *words])


def test_a_backlog_calls_for_workers_and_is_served_as_a_metric(
    cluster: ClusterSettings, namespace: str, tmp_path: Path, call: Callable[..., Result]
) -> None:
    """Four runners, 20 ms a job: up to 200/s. 4,000 jobs/s would take twenty workers; there are 2 partitions."""
    pipeline, queue = declare_queue(namespace)
    may_go_on = threading.Event()

    @pipeline.job(queue)
    def act(number: int) -> None:
        may_go_on.wait(0.02)

    create(pipeline, cluster)
    [empty] = json.loads(call("--json", "--sample", "200ms").stdout)
    assert (empty["workers"], empty["wanted"], empty["eta_s"], empty["backlog"]) == (0, 1, 0.0, 0)

    with Producer(pipeline, cluster) as producer:
        producer.enqueue_many(act.call(number) for number in range(5_000))
    waiting = call("--sample", "200ms")
    assert "no worker runs: the first one shows how fast they go" in waiting.stdout

    with running_worker(pipeline, cluster, concurrency=4):
        found: dict[str, Any] = wait_until(lambda: _bounded(call), 60, "a worker's pace")
        may_go_on.set()
        assert (found["workers"], found["wanted"], found["partitions"], found["is_behind"]) == (1, 2, 2, True)
        assert "2 partitions employ no more" in found["reason"]
        assert 0 < found["per_worker_per_s"] <= 200 / 0.8
        assert found["eta_s"] == pytest.approx(found["backlog"] / found["per_worker_per_s"], rel=0.1)
        _check_served(cluster, namespace, tmp_path)


def _bounded(call: Callable[..., Result]) -> dict[str, Any] | None:
    """The answer once partitions bound it, by a sample of eight commits: of two, one more is half the pace."""
    [found] = json.loads(call("--json", "--sample", "2s", "--catch-up", "1s").stdout)
    return found if found["bound_by"] == "partitions" else None


def _check_served(cluster: ClusterSettings, namespace: str, folder: Path) -> None:
    """The process serves its metrics, none of which is missing in the list, is ready, and ends by SIGTERM with 0."""
    port = free_ports(1)
    command = [sys.executable, "-m", "stoker.operations.cli", *root_of(cluster, namespace)]
    watch = ["scale", "--watch", "--json", "--sample", "300ms", "--metrics-port", str(port)]
    with subprocess.Popen([*command, *watch], cwd=folder, stdout=subprocess.PIPE, text=True) as process:
        try:
            page = wait_until(lambda: _page(port), 60, "its metrics")
            assert 1 <= (page.value("stoker_workers_wanted", queue="work") or 0) <= 2
            assert page.unlisted() == []
            assert health(port, "/ready")[0] == 200
            process.send_signal(signal.SIGTERM)
            looks, _ = process.communicate(timeout=30)
            assert process.returncode == 0
            assert {json.loads(line)[0]["queue"] for line in looks.splitlines()} == {"work"}
        finally:
            process.kill()


def _page(port: int) -> Scrape | None:
    with suppress(URLError, ConnectionError):
        page = scrape(port)
        found = [page.value(name, queue="work") for name in ("stoker_workers_wanted", "stoker_backlog_eta_seconds")]
        return None if None in found else page
    return None


@pytest.mark.parametrize(
    ("words", "mistake"),
    [
        (("--metrics-port", "9410"), "--metrics-port needs --watch"),
        (("--sample", "1ms"), "--sample must be 200ms or more"),
        (("--min", "3", "--max", "2"), "maximum must be 3 or more"),
        (("--target-wait", "0s"), "target_wait must be longer than 0s"),
        (("letters",), "letters"),
    ],
)
def test_a_mistake_is_named(call: Callable[..., Result], words: tuple[str, ...], mistake: str) -> None:
    """Before anything is asked of the brokers."""
    refused = call(*words)
    assert (refused.exit_code, mistake in refused.output) == (ExitCode.USAGE, True), refused.output
