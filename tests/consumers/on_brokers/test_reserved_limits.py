"""On a real broker: a limit by tenant outlives the worker that keeps it, and holds whatever is killed."""

from __future__ import annotations

import subprocess
import time
from collections import defaultdict
from datetime import timedelta
from pathlib import Path

import pytest

from stoker.producers import Producer
from stoker.topology import ClusterSettings, Rate
from support.kafka.finished_clients import fail_for_good
from support.program import TESTS, program
from support.programs.limited_worker import COUNT, PER_S, SESSION, declare
from support.scenes.worker import Journal, create, declare_queue, running_worker
from support.waiting import wait_until

BACK_S = SESSION.total_seconds() + 2.0
TENANTS = ("acme", "zeta")
SLOW_S = 12.0
"""For a busy machine; without reservations it takes a window longer."""
LATE_S = 0.3
"""A busy machine may call a handler so late after its job was counted."""


class Ground:
    """A queue with jobs of two tenants, the file of begins, and worker processes to kill."""

    def __init__(self, cluster: ClusterSettings, namespace: str, folder: Path) -> None:
        self.cluster, self.namespace, self.file = cluster, namespace, folder / "begins"
        self.file.touch()
        self.pipeline, _, self.act = declare(namespace, self.file)
        create(self.pipeline, cluster)
        self.processes: list[subprocess.Popen[bytes]] = []

    def enqueue(self, count: int) -> None:
        """So many jobs of each tenant."""
        calls = (self.act.call(tenant, number) for number in range(count) for tenant in TENANTS)
        with Producer(self.pipeline, self.cluster) as producer:
            producer.enqueue_many(calls)

    def start(self) -> subprocess.Popen[bytes]:
        """Start a worker."""
        command = [*program("limited_worker"), self.cluster.bootstrap_servers, self.namespace, str(self.file)]
        process = subprocess.Popen(command, cwd=TESTS, stderr=subprocess.DEVNULL)
        self.processes.append(process)
        return process

    @property
    def begins(self) -> dict[str, list[float]]:
        """{tenant: when its jobs began}."""
        found: defaultdict[str, list[float]] = defaultdict(list)
        for line in self.file.read_text().splitlines():
            at_s, tenant, _ = line.split()
            found[tenant].append(float(at_s))
        return found

    def count(self, since_at_s: float = 0.0) -> int:
        """How many jobs of the tenant of whom least have begun, have begun since then."""
        begins = self.begins
        return min(sum(at_s >= since_at_s for at_s in begins[tenant]) for tenant in TENANTS)

    def end(self) -> None:
        """End what runs."""
        for process in self.processes:
            process.kill()
            process.wait(10)


@pytest.mark.timeout(240)
def test_a_limit_is_used_again_within_the_session_timeout_after_a_kill(
    cluster: ClusterSettings, namespace: str, tmp_path: Path
) -> None:
    """Nine tenths of what the window had left begin within that time and 2 s; no window ever holds more than allowed.

    Of a log that is new, the first worker waits for a window. Then the limit is used up, and in the next window a half
    of it; there the worker is killed.
    """
    ground = Ground(cluster, namespace, tmp_path)
    try:
        ground.enqueue(COUNT + COUNT // 2)
        first = ground.start()
        wait_until(lambda: ground.count() == COUNT + COUNT // 2, 2 * PER_S + 30, "one window and a half to be used")
        ground.start()
        first.kill()
        killed_s, begun = time.time(), ground.count()
        ground.enqueue(3 * COUNT)
        left = 2 * COUNT - begun
        wait_until(lambda: ground.count(killed_s) >= 0.9 * left, BACK_S + SLOW_S, "the rest of the window to be used")
        wait_until(lambda: ground.count() >= 3 * COUNT, 2 * PER_S + 30, "the next window to be used")
    finally:
        ground.end()
    for begins in ground.begins.values():
        in_order = sorted(begins)
        for number, at_s in enumerate(in_order[COUNT:], COUNT):
            assert at_s - in_order[number - COUNT] >= PER_S - LATE_S


@pytest.mark.expected_errors("test_fatal_error: a test wants it")
@pytest.mark.parametrize("name", ["-reservations", "-limits"], ids=["writer", "reader"])
def test_jobs_go_on_under_a_limit_by_tenant_whose_clients_failed_for_good(
    cluster: ClusterSettings, namespace: str, name: str
) -> None:
    """The client that reserves is replaced, and the one that reads back what was reserved."""
    journal = Journal()
    limit = Rate(1_000, per=timedelta(seconds=3), by="tenant")
    pipeline, queue = declare_queue(namespace, partitions=1, limits=[limit], route_by="tenant", ordering="none")

    @pipeline.job(queue, tenant="customer")
    def act(customer: str, number: int) -> None:
        journal.note(number)

    create(pipeline, cluster)
    with Producer(pipeline, cluster) as producer, running_worker(pipeline, cluster):
        producer.enqueue(act, "acme", 0)
        journal.wait(1)
        assert fail_for_good(name) >= 1
        for number in range(1, 4):
            producer.enqueue(act, f"t{number}", number)
            journal.wait(number + 1)
