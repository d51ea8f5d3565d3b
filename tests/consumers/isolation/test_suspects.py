"""A job that kills whole workers is found and quarantined; nobody else is blamed, and no attempt is lost (P8)."""

from __future__ import annotations

import os
import subprocess
import threading
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from stoker.consumers.commits.commit_content import present_state
from stoker.consumers.isolation.suspects import Suspects, crashes_before
from stoker.consumers.partitions.start_positions import taken_over
from stoker.consumers.progress.assignment import Assignment
from stoker.producers import Producer
from stoker.topology import ClusterSettings
from stoker.topology.planning.apply import ensure_topology
from stoker.topology.wire.commit_metadata import CommitMetadata
from support.program import TESTS, program
from support.programs.deadly_worker import RUNS, declare
from support.scenes.deliveries import declare as declare_delivery
from support.scenes.worker import headers_of, wait_all_committed, wait_dead

JOBS = 400
DEADLY = 150
DEADLINE_S = 120.0


class Restarted:
    """A worker process that is started again whenever it dies."""

    def __init__(self, cluster: ClusterSettings, namespace: str, runs: Path) -> None:
        self.deaths: list[int] = []
        self._command = [*program("deadly_worker"), cluster.bootstrap_servers, namespace]
        self._environment = {**os.environ, RUNS: str(runs)}
        self._stopping = threading.Event()
        self._process = self._start()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()

    def _start(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(self._command, cwd=TESTS, env=self._environment, stderr=subprocess.DEVNULL)

    def _watch(self) -> None:
        while True:
            code = self._process.wait()
            if self._stopping.is_set():
                return
            self.deaths.append(code)
            self._process = self._start()

    def stop(self) -> None:
        """End it for good."""
        self._stopping.set()
        self._process.kill()
        self._thread.join(10)


@pytest.mark.timeout(180)
def test_a_job_that_kills_whole_workers_is_quarantined(
    cluster: ClusterSettings, namespace: str, tmp_path: Path
) -> None:
    """400 jobs, of which one kills its process each time: after two workers it kills children only, and is put away
    with the evidence; all others are done, at their first attempt."""
    runs = tmp_path / "runs"
    runs.touch()
    pipeline, queue, act = declare(namespace)
    ensure_topology(pipeline, cluster)
    with Producer(pipeline, cluster) as producer:
        producer.enqueue_many(
            act.with_options(key=f"k{number % 40}", job_id=f"{number}").call(number, number == DEADLY)
            for number in range(JOBS)
        )
    worker = Restarted(cluster, namespace, runs)
    try:
        (dead_letter,) = wait_dead(cluster, queue, 1, DEADLINE_S)
        wait_all_committed(cluster, queue, DEADLINE_S)
    finally:
        worker.stop()
    headers = headers_of(dead_letter)
    assert headers["ce_id"] == b"%d" % DEADLY
    assert headers["stoker-reason"] == b"quarantined"
    assert headers["stoker-crashes"] == b"3"
    assert headers["stoker-attempt"] == b"1"
    assert b"SIGSEGV" in headers["stoker-error-message"]
    assert len(worker.deaths) == 2
    noted = [line.split() for line in runs.read_text().splitlines()]
    assert {int(number) for number, _, _ in noted} == set(range(JOBS))
    assert {attempt for _, attempt, _ in noted} == {"1"}
    assert Counter(int(number) for number, _, _ in noted)[DEADLY] == 4, "two workers and two children"


def test_what_was_possibly_running_is_suspected_from_the_second_death_on() -> None:
    """One death happens; nothing is suspected that comes after the window, nor what no child could run."""
    delivery = declare_delivery()
    suspects = Suspects(delivery.queue, [b"work"])
    ours = Assignment(1, "unit.q", 0)
    ours.crash_history.deaths, ours.crash_history.window_end = 1, 10
    suspects.begin(ours)
    assert not suspects
    ours.crash_history.deaths = 2
    suspects.begin(ours)
    inside, beyond = (delivery.record(offset=offset, assignment=ours) for offset in (9, 10))
    stranger = delivery.record({"ce_type": b"stranger"}, offset=9, assignment=ours)
    assert [suspects.includes(record) for record in (inside, beyond, stranger)] == [True, False, False]
    ours.crash_history.deaths = 0
    suspects.forget_cleared()
    assert not suspects


def test_a_job_far_beyond_the_committed_position_is_suspected_after_some_more_deaths() -> None:
    """Owners that die before their next commit leave the same position; yet no job kills them for ever."""
    guilty, high = 100_000, 1_000_000
    state, ends = CommitMetadata(committed_offset=0, position=0), []
    while state.window_end <= guilty:
        assert state.deaths < 10, "never suspected"
        state = taken_over(state, high)
        ends.append(state.window_end)
    assert ends == [1_000, 1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 64_000, 128_000]
    assert taken_over(replace(state, deaths=10_000), high).window_end == high


@pytest.mark.parametrize(("deaths", "limit", "counted"), [(2, 3, 1), (5, 3, 1), (2, 1, 0), (4, 10, 4)])
def test_deaths_of_whole_workers_alone_convict_nobody(deaths: int, limit: int, counted: int) -> None:
    """They were near: two children of its own must have died as well, unless fewer crashes are borne at all."""
    delivery = declare_delivery()
    ours = Assignment(1, "unit.q", 0)
    ours.crash_history.deaths, ours.crash_history.window_end = deaths, 10
    record = delivery.record(offset=5, assignment=ours)
    assert crashes_before(record, limit) == counted
    ours.crash_history.crashes[5] = 2
    assert crashes_before(record, limit) == 2


def test_partitions_may_leave_while_runners_look_for_suspects() -> None:
    """Runners ask at any moment, and must not stumble over what the poll thread changes."""
    suspects = Suspects(declare_delivery().queue, [b"work"])

    class Watched(Assignment):
        def __getattribute__(self, name: str) -> Any:
            if name == "deaths":
                suspects.end([other])
            return super().__getattribute__(name)

    ours, other = Watched(1, "unit.q", 0), Assignment(2, "unit.q", 1)
    for assignment in (ours, other):
        assignment.crash_history.crashes[1] = 1
        suspects.begin(assignment)
    suspects.forget_cleared()
    assert suspects


def test_crashes_of_jobs_that_have_ended_are_forgotten() -> None:
    """Else a worker that lives for long would remember all that ever crashed."""
    ours = Assignment(1, "unit.q", 0)
    for offset in (0, 1):
        ours.progress.note_delivered(offset)
        ours.crash_history.crashes[offset] = 1
    ours.progress.complete(0)
    ours.crash_history.forget_past(ours.progress)
    state = present_state(ours)
    assert state is not None
    assert state.crashes == ours.crash_history.crashes == {1: 1}
