"""On a real broker: workers that fire schedules are killed and frozen, and each instant has exactly one job (P15)."""

from __future__ import annotations

import random
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import takewhile
from pathlib import Path

import pytest

from stoker.producers.schedules import ScheduleRecord, Schedules
from stoker.producers.schedules.instants import instants_after
from stoker.topology import ClusterSettings
from stoker.topology.wire.headers import JOB_ID
from stoker.topology.wire.schedules import scheduled_job_id
from support.program import TESTS, program
from support.programs.scheduled_worker import declare
from support.scenes.worker import create, headers_of, read_topic, wait_all_committed
from support.waiting import wait_until


class Ground:
    """Schedules on a cluster, and worker processes to kill."""

    def __init__(self, cluster: ClusterSettings, namespace: str, folder: Path, count: int) -> None:
        self.cluster, self.file = cluster, folder / "runs"
        self.file.touch()
        self._arguments = [cluster.bootstrap_servers, namespace, str(self.file), str(count)]
        self.pipeline, self.queue = declare(namespace, self.file, count)
        self.processes: list[subprocess.Popen[bytes]] = []
        create(self.pipeline, cluster)
        with Schedules(self.pipeline, cluster) as schedules:
            schedules.apply_declared()
            self.records: list[ScheduleRecord] = [view.schedule for view in schedules.all()]

    def start(self) -> None:
        """Start one more worker."""
        command = [*program("scheduled_worker"), *self._arguments]
        self.processes.append(subprocess.Popen(command, cwd=TESTS, stderr=subprocess.DEVNULL))

    def kill(self, process: subprocess.Popen[bytes]) -> None:
        """Kill -9."""
        process.kill()
        process.wait()
        self.processes.remove(process)

    def enqueued(self) -> Counter[str]:
        """{job id: how often it was enqueued}, from outside."""
        found = read_topic(self.cluster, self.queue.topic, self.queue.partitions)
        return Counter(headers_of(record)[JOB_ID].decode() for record in found)

    def expected(self, up_to: datetime) -> set[str]:
        """The ids of the jobs of all instants so far."""
        return {
            scheduled_job_id(one.name, at)
            for one in self.records
            for at in takewhile(lambda at: at <= up_to, instants_after(one, one.since))
        }


@contextmanager
def ground(cluster: ClusterSettings, namespace: str, folder: Path, count: int) -> Iterator[Ground]:
    """A ground whose processes end with the test."""
    made = Ground(cluster, namespace, folder, count)
    try:
        yield made
    finally:
        for process in made.processes:
            process.send_signal(signal.SIGCONT)
            process.kill()
            process.wait()


def assert_each_once(made: Ground, up_to: datetime) -> None:
    """Wait for the jobs of all instants; then each was enqueued once, and has run."""
    wait_until(lambda: made.expected(up_to) <= set(made.enqueued()), 60, "the jobs of all instants")
    wait_until(lambda: made.expected(up_to) <= set(made.file.read_text().split()), 60, "all of them to have run")
    found = made.enqueued()
    assert [job_id for job_id, times in found.items() if times > 1] == []
    assert set(found) <= made.expected(datetime.now(UTC))


def test_killed_and_frozen_workers_fire_each_instant_once(
    cluster: ClusterSettings, namespace: str, tmp_path: Path
) -> None:
    """One owner after the other is killed; one is frozen until another has taken over, and goes on then."""
    with ground(cluster, namespace, tmp_path, 6) as made:
        for _ in range(2):
            made.start()
        wait_until(lambda: len(made.enqueued()) > 6, 60, "the first jobs")
        for _ in range(3):
            before = len(made.enqueued())
            made.kill(made.processes[0])
            made.start()
            wait_until(lambda before=before: len(made.enqueued()) > before + 6, 60, "another owner")  # type: ignore[misc]  # bound at once
        frozen = list(made.processes)
        for process in frozen:
            process.send_signal(signal.SIGSTOP)
        before = len(made.enqueued())
        made.start()
        wait_until(lambda: len(made.enqueued()) > before + 6, 60, "an owner beside the frozen ones")
        for process in frozen:
            process.send_signal(signal.SIGCONT)
        time.sleep(2)
        assert_each_once(made, datetime.now(UTC))


@pytest.mark.soak
def test_fifty_schedules_under_kills_every_few_seconds(
    cluster: ClusterSettings, namespace: str, tmp_path: Path
) -> None:
    """For ten minutes, with a worker killed every five seconds: no instant twice, none never."""
    chance = random.Random(15)
    with ground(cluster, namespace, tmp_path, 50) as made:
        for _ in range(3):
            made.start()
        end_s = time.monotonic() + 600
        while time.monotonic() < end_s:
            time.sleep(5)
            made.kill(chance.choice(made.processes))
            made.start()
        assert_each_once(made, datetime.now(UTC))
        wait_all_committed(cluster, made.queue)
