"""Statistics agree with what jobs did, through kills and stalls of the processes that count them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from types import ModuleType
from typing import Any

import psutil
import pytest
from click.testing import CliRunner, Result

from stoker.operations.cli import main
from stoker.operations.statistics.reading import Freshness, read_statistics
from stoker.operations.statistics.text import stale_line
from stoker.producers import Producer
from stoker.topology import ClusterSettings, RetryPolicy
from support.scenes.worker import create, declare_queue, running_worker
from support.sight.statistics import Counting, counting, counts, publish_ended, publishing
from support.waiting import wait_until

pytestmark = [pytest.mark.timeout(180), pytest.mark.expected_errors("dead letter")]

APPLICATION = """
from stoker.topology import Pipeline
pipeline = Pipeline({namespace!r})
queue = pipeline.queue("work")
"""


@contextmanager
def statistics_run(cluster: ClusterSettings, namespace: str, folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """`stoker statistics run` as people run it; killed in the end, if it runs."""
    command = [sys.executable, "-m", "stoker.operations.cli", "-A", f"app_{namespace}:pipeline"]
    root = [*command, "--bootstrap-servers", cluster.bootstrap_servers]
    with subprocess.Popen([*root, "statistics", "run", "--json"], cwd=folder, stdout=subprocess.DEVNULL) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.fixture
def ask(
    cluster: ClusterSettings, namespace: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Result]:
    """Calls the command line about the namespace, in this process."""
    (tmp_path / f"app_{namespace}.py").write_text(APPLICATION.format(namespace=namespace), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    root = ["-A", f"app_{namespace}:pipeline", "--bootstrap-servers", cluster.bootstrap_servers]
    return lambda *words: CliRunner().invoke(main, [*root, *words])


def test_statistics_agree_with_the_jobs_that_ran(
    cluster: ClusterSettings, namespace: str, tmp_path: Path, ask: Callable[..., Result]
) -> None:
    """Counts are exact, and waits, runs and causes those of the jobs; the supervisor's end is its Faust process's."""
    pipeline, queue = declare_queue(namespace)

    @pipeline.job(queue, retry=RetryPolicy(attempts=2))
    def act(number: int) -> None:
        time.sleep(0.05)
        if number % 10 == 0:
            raise ValueError("card declined")

    create(pipeline, cluster)
    none = ask("statistics", "show")
    assert (none.exit_code, "there are no statistics: `stoker statistics run`" in none.stdout) == (1, True)
    assert "no statistics are kept" in ask("queues", "--sample", "0s").stdout
    with statistics_run(cluster, namespace, tmp_path) as supervisor:
        with Producer(pipeline, cluster) as producer, running_worker(pipeline, cluster) as running:
            for number in range(40):
                producer.enqueue(act, number)
            running.wait_outcomes(Done=36, Dead=4)
        wait_until(lambda: counts(cluster, pipeline) == {"done": 36, "retried": 4, "dead": 4}, 60)
        document: dict[str, Any] = json.loads(ask("statistics", "show", "--json").stdout)
        (one,) = document["types"]
        assert (one["queue"], one["type"], one["run_s"]["count"], one["wait_s"]["count"]) == (queue.name, "act", 44, 40)
        assert 0.048 <= one["run_s"]["p50"] <= 1
        (cause,) = one["failures"]
        assert (cause["count"], cause["message"]) == (8, "card declined")
        shown = ask("statistics", "show", "--queue", queue.name)
        assert (shown.exit_code, "card declined" in shown.stdout, "1 process" in shown.stdout) == (0, True, True)
        queues = ask("queues", "--sample", "0s").stdout
        assert ("  last minute: " in queues, "no statistics" in queues) == (True, False)
        (told,) = json.loads(ask("queues", "--sample", "0s", "--json").stdout)
        assert (told["statistics"]["freshness"], told["statistics"]["run_s"]["count"]) == ("fresh", 44)
        (faust,) = psutil.Process(supervisor.pid).children()
        os.kill(supervisor.pid, signal.SIGKILL)
        faust.wait(20)
    late = read_statistics(pipeline, cluster, timedelta(minutes=5), clock=lambda: time.time() + 60)
    assert (late.freshness, late.types[0].tally.counts["done"]) == (Freshness.STALE, 36)
    assert late.at is not None
    assert stale_line(late).startswith(f"statistics are stale since {late.at:%Y-%m-%d %H:%M:%S} UTC: ")


@pytest.mark.expected_errors("was stopped for")
def test_faust_is_found_where_it_was_imported_before(
    ask: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It puts a module without a spec in its own place: who looks for it by its spec meets an error."""
    monkeypatch.setitem(sys.modules, "faust", ModuleType("faust"))
    ended = ask("statistics", "run", "--once")
    assert (ended.exit_code, "stoker topology apply" in ended.output) == (1, True), ended.output


@pytest.mark.parametrize("last", ["5s", "61m"])
def test_figures_of_less_than_a_pane_or_more_than_an_hour_are_refused(ask: Callable[..., Result], last: str) -> None:
    """Of five seconds there was a pane or none, by chance: it showed that no job had ended."""
    refused = ask("statistics", "show", "--last", last)
    assert (refused.exit_code, "from 10s to 1h" in refused.output) == (2, True), refused.output


def test_two_processes_share_the_partitions_and_replace_what_stalls_or_dies(
    cluster: ClusterSettings, namespace: str, caplog: pytest.LogCaptureFixture
) -> None:
    """What one of them had counted and not written when it was stopped or killed is counted once."""
    pipeline, _ = declare_queue(namespace)
    create(pipeline, cluster)
    with counting(cluster, pipeline, "a", 3.0) as first, counting(cluster, pipeline, "b", 3.0) as second:
        both = (first, second)
        wait_until(lambda: sorted(len(one.course.partitions) for one in both) == [2, 2], 60)
        publish_ended(cluster, pipeline, [100] * 40)
        os.kill(first.process_id(), signal.SIGSTOP)
        publish_ended(cluster, pipeline, [10] * 40)
        wait_until(lambda: counts(cluster, pipeline) == {"done": 4_400}, 60)
        assert (first.course.restarts, second.course.restarts) == (1, 0)
        assert "restart 1): it has stalled: " in caplog.text
        with publishing(cluster, pipeline) as published:
            for one in (second, first, second):
                _wait_counting(one)
                os.kill(one.process_id(), signal.SIGKILL)
        assert "it has ended by itself (signal SIGKILL)" in caplog.text
        wait_until(lambda: counts(cluster, pipeline) == {"done": 4_400 + sum(published)}, 60)
    assert counts(cluster, pipeline) == {"done": 4_400 + sum(published)}


def _wait_counting(one: Counting) -> None:
    """Wait until it runs and has written a snapshot with more events: some of them are not committed yet."""
    wait_until(lambda: one.supervisor.process_id is not None, 60)
    before = one.course.events
    wait_until(lambda: one.course.events > before, 60)
