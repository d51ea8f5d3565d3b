"""Dashboards: every panel shows data, by a real Prometheus that reads a real worker; without one, of known metrics."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
import yaml
from click.testing import CliRunner
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import Dashboard as GrafanaDashboard

from stoker.consumers import Worker, WorkerSettings
from stoker.operations.cli import main as stoker
from stoker.operations.job_index.index_metrics import IndexMetrics
from stoker.operations.job_index.topic_follower import TopicFollower
from stoker.operations.monitoring.dashboards import DASHBOARDS
from stoker.operations.monitoring.grafana import grafana_document
from stoker.operations.monitoring.panel import Dashboard
from stoker.operations.monitoring.rules import all_rules, yaml_text
from stoker.producers import Producer
from stoker.producers.metrics.all_metrics import METRICS
from stoker.producers.metrics.sample import SampleSource
from stoker.producers.metrics.server import MetricsServer
from stoker.producers.outbox import OutboxRelay
from stoker.producers.schedules import Schedules
from stoker.schemas import PayloadRefused
from stoker.topology import Breaker, ClusterSettings, Concurrency, Pipeline, RetryPolicy, every
from support.kafka.brokers import cannot_have
from support.scenes.outboxes import make_sqlite
from support.scenes.worker import RunningWorker, create
from support.sight.scraping import free_ports, get
from support.waiting import wait_until

pytestmark = [pytest.mark.timeout(180), pytest.mark.expected_errors("dead letter")]

GRACE = timedelta(seconds=5)
QUERIES = [
    (dashboard.name, panel.title, query.expr)
    for dashboard in DASHBOARDS
    for panel in dashboard.panels
    for query in panel.queries
]


def test_every_name_in_an_expression_is_a_metric() -> None:
    """A renamed metric leaves an empty panel, and nobody is told."""
    series = {metric.name for metric in METRICS} | {f"{metric.name}_bucket" for metric in METRICS if metric.bounds}
    for _, _, expr in QUERIES:
        names = set(re.findall(r"\b(?:stoker|messaging)_\w+", expr))
        assert names
        assert names <= series


def test_every_panel_shows_data(cluster: ClusterSettings, namespace: str, tmp_path: Path) -> None:
    """A worker with jobs of each outcome, a schedule, a relay, a producer and an index fill all; rules are computed."""
    pipeline = Pipeline(namespace)
    queue = pipeline.queue("work", partitions=2, tiers=(timedelta(seconds=1),))
    may_end = threading.Event()

    @pipeline.job(queue, name="act", retry=RetryPolicy(attempts=2), breaker=Breaker())
    def act(number: int) -> None:
        if number < 0:
            raise ValueError(number)

    @pipeline.job(queue, name="wait", limits=[Concurrency(1)])
    def wait() -> None:
        may_end.wait(100)

    pipeline.schedule("often", every(timedelta(seconds=1)), act.call(1))
    create(pipeline, cluster)
    with Schedules(pipeline, cluster) as schedules:
        schedules.apply_declared()
    worker = Worker(pipeline, cluster, WorkerSettings(grace=GRACE, revoke_grace=GRACE, concurrency=4))
    with (
        Producer(pipeline, cluster) as producer,
        OutboxRelay(pipeline, make_sqlite(tmp_path), cluster) as relay,
        following_index(pipeline, cluster, tmp_path) as index,
        MetricsServer(
            [
                worker.measure(),
                producer.measure(),
                *(SampleSource(namespace, one) for one in (relay.samples, index.samples)),
            ],
            0,
        ) as server,
    ):
        producer.enqueue_many(act.call(number) for number in range(-2, 30))
        producer.enqueue_many(wait.call() for _ in range(3))
        with pytest.raises(PayloadRefused):
            producer.enqueue(act, "no number")  # type: ignore[arg-type]
        running = RunningWorker(worker)
        try:
            with running_prometheus(server.port, tmp_path) as port:
                wait_until(lambda: has_data(port, "up"), 30, "the first reading")
                show_data(port, namespace)
                wait_until(lambda: rules_health(port) == {"ok"}, 30, "all rules to be computed")
        finally:
            may_end.set()
            running.stop()


@contextmanager
def following_index(pipeline: Pipeline, cluster: ClusterSettings, folder: Path) -> Iterator[IndexMetrics]:
    """Keep an index of the pipeline's jobs, as `stoker status run` does; returns what it shows."""
    path, ends = folder / "jobs.sqlite", threading.Event()
    measured = IndexMetrics(path)
    follower = TopicFollower(pipeline, cluster, path, keep=timedelta(days=1))
    thread = threading.Thread(target=follower.run, args=(ends.is_set, measured.note), daemon=True)
    thread.start()
    try:
        yield measured
    finally:
        ends.set()
        thread.join(30)


@contextmanager
def running_prometheus(target: int, folder: Path) -> Iterator[int]:
    """Start a Prometheus that reads one process each second and computes the rules; returns its port."""
    binary = shutil.which("prometheus")
    if binary is None:
        cannot_have("prometheus: install Debian's package of that name")
    assert binary is not None
    (folder / "stoker.rules.yml").write_text(yaml_text(all_rules()), encoding="utf-8")
    settings = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": ["stoker.rules.yml"],
        "scrape_configs": [{"job_name": "stoker", "static_configs": [{"targets": [f"127.0.0.1:{target}"]}]}],
    }
    (folder / "prometheus.yml").write_text(yaml.safe_dump(settings), encoding="utf-8")
    port = free_ports(1)
    command = [
        *(binary, f"--config.file={folder / 'prometheus.yml'}", f"--storage.tsdb.path={folder / 'data'}"),
        *(f"--web.listen-address=127.0.0.1:{port}", "--log.level=error"),
    ]
    process = subprocess.Popen(command)
    try:
        yield port
    finally:
        process.terminate()
        process.wait(20)


def show_data(port: int, namespace: str) -> None:
    """Wait until no panel is empty."""
    for dashboard, title, expr in QUERIES:
        chosen = expr.replace("$pipeline", namespace)
        wait_until(lambda chosen=chosen: has_data(port, chosen), 30, f"data of {dashboard}: {title}: {expr}")  # type: ignore[misc]


def has_data(port: int, expr: str) -> bool:
    """Whether an expression gives a series, with all queues chosen."""
    shown = expr.replace("$queue", ".*").replace("$__rate_interval", "1m")
    try:
        status, body = get(port, f"/api/v1/query?{urlencode({'query': shown})}")
    except OSError:  # it is not up yet
        return False
    assert status in (200, 503), (shown, body)
    return status == 200 and bool(json.loads(body)["data"]["result"])


def rules_health(port: int) -> set[str]:
    """The states of all rules: `ok` once each has been computed."""
    groups = json.loads(get(port, "/api/v1/rules")[1])["data"]["groups"]
    return {rule["health"] for group in groups for rule in group["rules"]}


@pytest.mark.parametrize("dashboard", DASHBOARDS, ids=lambda dashboard: dashboard.name)
def test_a_dashboard_fits_any_grafana(dashboard: Dashboard) -> None:
    """Its uid stays, its data source is chosen, its panels do not overlap, and each has a unit."""
    shown = CliRunner().invoke(stoker, ["monitoring", "dashboard", dashboard.name])
    assert shown.exit_code == 0
    document = json.loads(shown.stdout)
    assert document["uid"] == f"stoker-{dashboard.name}"
    assert document["templating"]["list"][0]["type"] == "datasource"
    cells: set[tuple[int, int]] = set()
    for panel in document["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        own = {(x, place["y"]) for x in range(place["x"], place["x"] + place["w"])}
        assert not own & cells
        cells |= own
        assert panel["fieldConfig"]["defaults"]["unit"]
        assert all(target["datasource"]["uid"] == "${datasource}" for target in panel["targets"])
    assert len({panel["id"] for panel in document["panels"]}) == len(document["panels"])


@pytest.mark.parametrize("dashboard", DASHBOARDS, ids=lambda dashboard: dashboard.name)
def test_grafana_knows_each_key_of_a_dashboard(dashboard: Dashboard) -> None:
    """Read into the types of Grafana's own kit and written again, nothing is lost: it drops what it does not know."""
    document = grafana_document(dashboard)
    kept = json.loads(JSONEncoder().encode(GrafanaDashboard.from_json(document)))
    assert lost(document, kept) == []
    misspelt = json.loads(json.dumps(document).replace('"gridPos"', '"gridpos"'))
    assert lost(misspelt, json.loads(JSONEncoder().encode(GrafanaDashboard.from_json(misspelt))))


def lost(given: Any, kept: Any, place: str = "") -> list[str]:
    """Where a document differs from one that may have more keys."""
    if isinstance(given, dict) and isinstance(kept, dict):
        missing = [f"{place}/{key}" for key in given.keys() - kept.keys()]
        return missing + [
            found for key in given.keys() & kept.keys() for found in lost(given[key], kept[key], f"{place}/{key}")
        ]
    if isinstance(given, list) and isinstance(kept, list) and len(given) == len(kept):
        return [found for at, one in enumerate(given) for found in lost(one, kept[at], f"{place}/{at}")]
    return [] if given == kept else [place]
