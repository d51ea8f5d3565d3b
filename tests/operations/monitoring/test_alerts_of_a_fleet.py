"""A real fleet under faults: each alert fires for its cause and for nothing else.

The workers' own pages are scraped each second and given to promtool, which evaluates the rules as they are printed.
Nobody waits for hours: a second of the fleet stands for half a minute of the rules, so ages and delays are multiplied.
"""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from stoker.operations.application import load_pipeline
from stoker.operations.monitoring.rules import all_rules, yaml_text
from stoker.producers import Producer
from stoker.producers.metrics.all_metrics import METRICS
from stoker.producers.schedules import Schedules
from stoker.topology import ClusterSettings, Pipeline
from stoker.topology.planning.apply import ensure_topology
from support.sight.scraping import free_ports, get
from support.waiting import wait_until

SOURCE = """
import time
from datetime import timedelta
from pathlib import Path

from stoker.topology import Breaker, Pipeline, RetryPolicy, Slo, every

pipeline = Pipeline("{namespace}")
well = pipeline.queue("well", partitions=2, tiers=(timedelta(seconds=1),), owner="shop", slo=Slo())
failing = pipeline.queue("failing", partitions=1, owner="shop", slo=Slo(success=0.99))
guarded = pipeline.queue("guarded", partitions=1, owner="bank")
nightly = pipeline.queue("nightly", partitions=1)
slow = pipeline.queue("slow", partitions=1)
lonely = pipeline.queue("lonely", partitions=1)
paused = pipeline.queue("paused", partitions=1)


@pipeline.job(well, retry=RetryPolicy(attempts=3))
def work(number: int) -> None:
    if number < 0 and not Path(f"failed{{number}}").exists():
        Path(f"failed{{number}}").touch()
        raise ValueError("once")


@pipeline.job(failing, retry=RetryPolicy(attempts=1))
def fail(number: int) -> None:
    raise ValueError("always")


@pipeline.job(guarded, breaker=Breaker(failures=3), retry=RetryPolicy(attempts=9))
def pay(number: int) -> None:
    raise ConnectionError("the bank is away")


@pipeline.job(slow, timeout=timedelta(seconds=1))
def hang() -> None:
    time.sleep(3_600)


@pipeline.job(lonely)
def act(number: int) -> None:
    pass


@pipeline.job(paused)
def wait(number: int) -> None:
    pass


@pipeline.job(nightly)
def report() -> None:
    pass


def reports(at):
    if Path("held").exists():
        raise ValueError("no data")
    return report.call()


pipeline.schedule("report", every(timedelta(seconds=1)), reports, queue=nightly)
"""
SHARED = ("well", "failing", "guarded", "nightly", "slow", "paused")
WELL_S = 10
DEADLINE_S = 90.0
AT_ONCE = frozenset(
    {
        ("StokerMostRunsFail", "failing", ""),
        ("StokerDeadLetters", "failing", ""),
        ("StokerSloBurns", "failing", ""),
        ("StokerBreakerOpen", "", "job type 'pay'"),
        ("StokerScheduleMissed", "nightly", ""),
        ("StokerJobsStuck", "slow", ""),
        ("StokerNoWorker", "lonely", ""),
    }
)
LATER = frozenset(
    {
        ("StokerQueueStandsStill", "slow", ""),
        ("StokerOldestJobWaits", "slow", ""),
        ("StokerOldestJobWaits", "guarded", ""),
        ("StokerOldestJobWaits", "paused", ""),
    }
)
AGES = {metric.name for metric in METRICS if metric.kind == "gauge" and metric.unit == "s"}


class Fleet:
    """Two processes for most queues, one more for `lonely`, and a producer that gives work to them."""

    def __init__(self, folder: Path, module: str, cluster: ClusterSettings) -> None:
        self._folder, self._module, self._cluster = folder, module, cluster
        self.pipeline: Pipeline = load_pipeline(f"{module}:pipeline")
        self.ports = range(first := free_ports(3), first + 3)
        self._started: list[subprocess.Popen[bytes]] = []
        self._is_failing = threading.Event()
        self._ends = threading.Event()

    @contextmanager
    def running(self) -> Iterator[Fleet]:
        """Start all, and kill all at the end."""
        first = self.ports[0]
        with ExitStack() as stack:
            stack.callback(self._kill)
            shared = [word for queue in SHARED for word in ("--queue", queue)]
            self._start("worker", "--processes", "2", "--metrics-port", str(first), *shared)
            self._start("worker", "--metrics-port", str(first + 2), "--queue", "lonely")
            wait_until(lambda: all(map(is_ready, self.ports)), DEADLINE_S, "all processes to be ready")
            feeding = threading.Thread(target=self._feed, daemon=True)
            feeding.start()
            stack.callback(feeding.join, 20)
            stack.callback(self._ends.set)
            yield self

    def _start(self, *words: str) -> None:
        command = [sys.executable, "-m", "stoker.operations.cli", "-A", f"{self._module}:pipeline", *words]
        variables = {**os.environ, "STOKER_BOOTSTRAP_SERVERS": self._cluster.bootstrap_servers}
        with (self._folder / f"log{len(self._started)}").open("wb") as log:
            self._started.append(
                subprocess.Popen(
                    command, cwd=self._folder, env=variables, stdout=log, stderr=log, start_new_session=True
                )
            )

    def _feed(self) -> None:
        """Ten jobs a second that are done, five that fail from some moment on."""
        types = self.pipeline.job_types
        with Producer(self.pipeline, self._cluster) as producer:
            number = 0
            while not self._ends.wait(0.2):
                number += 1
                producer.enqueue_many(types["work"].call(number) for _ in range(2))
                producer.enqueue(types["act"], number)
                if self._is_failing.is_set():
                    producer.enqueue(types["fail"], number)

    def raise_hiccups(self) -> None:
        """A burst of jobs, of which some fail once."""
        with Producer(self.pipeline, self._cluster) as producer:
            producer.enqueue_many(self.pipeline.job_types["work"].call(number) for number in range(-2, 300))

    def cause_faults(self) -> None:
        """A type fails, a dependency is away, jobs are stuck, a worker dies, a schedule is held up."""
        types = self.pipeline.job_types
        self._is_failing.set()
        with Producer(self.pipeline, self._cluster) as producer:
            producer.enqueue_many(types["pay"].call(number) for number in range(20))
            producer.enqueue_many(types["hang"].call() for _ in range(3))
        (self._folder / "held").touch()
        os.killpg(self._started[1].pid, signal.SIGKILL)

    def pause(self) -> None:
        """Pause a queue, and give it work."""
        words = ("control", "pause", "--queue", "paused", "--reason", "test")
        command = [sys.executable, "-m", "stoker.operations.cli", "-A", f"{self._module}:pipeline", *words]
        variables = {**os.environ, "STOKER_BOOTSTRAP_SERVERS": self._cluster.bootstrap_servers}
        subprocess.run(command, check=True, cwd=self._folder, env=variables, capture_output=True, timeout=60)
        with Producer(self.pipeline, self._cluster) as producer:
            producer.enqueue_many(self.pipeline.job_types["wait"].call(number) for number in range(3))

    def _kill(self) -> None:
        for process in self._started:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.wait(20)


def is_ready(port: int) -> bool:
    """Whether a process is ready for work."""
    try:
        return get(port, "/ready")[0] == 200
    except OSError:
        return False


class Recording:
    """What a Prometheus would have read: one value of each series for each second.

    Attributes:
        scale: how many seconds of the rules a second of the fleet stands for.
    """

    def __init__(self, ports: Sequence[int], scale: int) -> None:
        self._ports, self.scale = ports, scale
        self._values: dict[str, dict[int, float]] = {}
        self._gone: dict[str, int] = {}
        self._began_s = time.monotonic()
        self.steps = 0

    def record(self, seconds: int) -> None:
        """Read all pages each second, for so long; a machine that is busy leaves a gap."""
        until_s = time.monotonic() + seconds
        while time.monotonic() < until_s:
            self.steps = round(time.monotonic() - self._began_s)
            for port in self._ports:
                self._read(port)
            next_s = self._began_s + self.steps + 1
            threading.Event().wait(max(0.0, next_s - time.monotonic()))

    def _read(self, port: int) -> None:
        try:
            page = get(port, "/metrics")[1]
        except OSError:
            page = ""
        found = dict(series_of(page, port, self.scale))
        for name in found.keys() | {name for name in self._values if f'instance="{port}"' in name}:
            if name in found:
                self._values.setdefault(name, {})[self.steps] = found[name]
            elif self.steps - 1 in self._values[name]:
                self._values[name][self.steps] = math.nan

    def input_series(self) -> list[dict[str, str]]:
        """As promtool takes it; a series that a page has no more is stale."""
        return [
            {"series": name, "values": " ".join(_word(values.get(step)) for step in range(self.steps + 1))}
            for name, values in self._values.items()
        ]


def _word(value: float | None) -> str:
    if value is None:
        return "_"
    return "stale" if math.isnan(value) else f"{value:.6f}"


def series_of(page: str, port: int, scale: int) -> Iterator[tuple[str, float]]:
    """Each series of a page with its value, times as the rules shall see them."""
    for family in text_string_to_metric_families(page):
        for sample in family.samples:
            labels = ",".join(f'{key}="{value}"' for key, value in [*sample.labels.items(), ("instance", str(port))])
            factor = scale if sample.name in AGES else 1
            yield f"{sample.name}{{{labels}}}", sample.value * factor


@dataclass(frozen=True)
class Scene:
    """A fleet that is well for some seconds, and then has faults.

    Attributes:
        scale: how many seconds of the rules a second of the fleet stands for.
        faulty_s: for how long it has them.
        expected: {(alert, queue, breaker)}, with empty texts where an alert has no such label.
    """

    scale: int
    faulty_s: int
    expected: frozenset[tuple[str, str, str]]


SHORT = Scene(scale=30, faulty_s=26, expected=AT_ONCE)
LONG = Scene(scale=10, faulty_s=150, expected=AT_ONCE | LATER)


@pytest.mark.parametrize(
    "scene",
    [
        pytest.param(SHORT, id="short", marks=pytest.mark.timeout(300)),
        pytest.param(LONG, id="long", marks=[pytest.mark.soak, pytest.mark.timeout(600)]),
    ],
)
def test_each_alert_fires_for_its_cause_and_for_nothing_else(
    scene: Scene,
    cluster: ClusterSettings,
    namespace: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    promtool: str,
) -> None:
    """None while the fleet is well, with a burst and some retries; then those of its faults, each on its own queue."""
    module = f"fleet_{namespace}"
    (tmp_path / f"{module}.py").write_text(SOURCE.format(namespace=namespace), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    fleet = Fleet(tmp_path, module, cluster)
    ensure_topology(fleet.pipeline, cluster)
    with Schedules(fleet.pipeline, cluster) as schedules:
        schedules.apply_declared()
    with fleet.running():
        recording = Recording(fleet.ports, scene.scale)
        recording.record(WELL_S // 2)
        fleet.raise_hiccups()
        recording.record(WELL_S // 2)
        well_until = recording.steps
        fleet.cause_faults()
        if scene is LONG:
            fleet.pause()
        recording.record(scene.faulty_s)
    (tmp_path / "rules.yml").write_text(yaml_text(all_rules(fleet.pipeline)), encoding="utf-8")
    assert objections(promtool, tmp_path, recording, well_until, frozenset()) == ""
    assert objections(promtool, tmp_path, recording, recording.steps, scene.expected) == ""


def objections(
    promtool: str, folder: Path, recording: Recording, step: int, expected: frozenset[tuple[str, str, str]]
) -> str:
    """Ask promtool; empty where exactly the expected alerts have fired up to a step."""
    asked = {
        "expr": 'group by (alertname, queue, breaker) (last_over_time(ALERTS{alertstate="firing"}[1d]))',
        "eval_time": f"{step * recording.scale}s",
        "exp_samples": [{"labels": labels_of(*one), "value": 1} for one in sorted(expected)],
    }
    length = f"{recording.scale}s"
    test = {"interval": length, "input_series": recording.input_series(), "promql_expr_test": [asked]}
    document = {"rule_files": ["rules.yml"], "evaluation_interval": length, "tests": [test]}
    (folder / "tests.yml").write_text(yaml.safe_dump(document), encoding="utf-8")
    command = [promtool, "test", "rules", str(folder / "tests.yml")]
    done = subprocess.run(command, text=True, capture_output=True, check=False)
    return done.stdout + done.stderr if done.returncode else ""


def labels_of(alert: str, queue: str, breaker: str) -> str:
    """As promtool takes them, without those that are empty."""
    labels = {"alertname": alert, "queue": queue, "breaker": breaker}
    return "{" + ",".join(f'{name}="{value}"' for name, value in labels.items() if value) + "}"
