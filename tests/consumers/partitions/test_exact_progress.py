"""After a kill only what was unfinished runs again, however much was finished behind it, and without the ledger's help.

In all of these the ledger remembers next to nothing, or was emptied: it is the commits that know.
"""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from stoker.topology import ClusterSettings
from support.kafka.commits import DEADLINE_S, commit_of, delete_records, parked, wait_state
from support.scenes.worker import ends, running_worker, wait_all_committed
from support.waiting import wait_until


def check_one_stuck_job(cluster: ClusterSettings, namespace: str, folder: Path, jobs: int, within_s: float) -> None:
    """Kill a worker with one job stuck and all others done, and see what another one runs."""
    with parked(cluster, namespace, folder) as scene:
        scene.enqueue(jobs)
        killed = scene.start()
        wait_until(lambda: scene.run_count() >= jobs, within_s, f"{jobs} runs")
        state = wait_state(cluster, scene.queue, position=jobs, incomplete=1)
        assert (state.committed_offset, state.incomplete, state.is_open) == (0, ((0, 1),), True)
        assert len(commit_of(cluster, scene.queue).metadata or "") < 60
        killed.kill()
        killed.wait(10)
        delete_records(cluster, scene.queue.ledger_topic)
        scene.release.touch()
        scene.start()
        wait_all_committed(cluster, scene.queue, within_s)
        runs = scene.runs()
        assert {number for number, count in runs.items() if count > 1} == {0}
        assert (len(runs), runs[0]) == (jobs, 2)


def test_a_kill_runs_again_only_the_one_job_that_was_stuck(
    cluster: ClusterSettings, namespace: str, tmp_path: Path
) -> None:
    """One job is stuck, 100,000 others are done behind it, the worker is killed: the next one runs one job."""
    check_one_stuck_job(cluster, namespace, tmp_path, 100_000, DEADLINE_S)


def test_a_stuck_job_costs_the_others_no_throughput(cluster: ClusterSettings, namespace: str, tmp_path: Path) -> None:
    """30,000 jobs behind one that stands still take no more than twice the time of 30,000 others, in the best of three
    rounds each: the factor and the rounds are for whatever else the machine does meanwhile."""
    took_s: dict[bool, list[float]] = {False: [], True: []}
    for number, is_stuck in enumerate([False, True] * 3):
        folder = tmp_path / str(number)
        folder.mkdir()
        with parked(cluster, f"{namespace}-{number}", folder) as scene:
            scene.enqueue(30_000, stands=is_stuck)
            with running_worker(scene.pipeline, cluster) as worker:
                worker.wait_outcomes(Done=1_000)
                began_at_s = time.monotonic()
                worker.wait_outcomes(DEADLINE_S, Done=29_000)
                took_s[is_stuck].append(time.monotonic() - began_at_s)
                assert (worker.outcomes()["Done"] < 30_000) or not is_stuck
                scene.release.touch()
    assert min(took_s[True]) < 2 * min(took_s[False]), took_s


@pytest.mark.soak
@pytest.mark.timeout(1_800)
def test_a_kill_with_a_million_done_runs_again_only_the_one_that_was_stuck(
    cluster: ClusterSettings, namespace: str, tmp_path: Path
) -> None:
    """The same with a million others behind it."""
    check_one_stuck_job(cluster, namespace, tmp_path, 1_000_000, 1_200.0)


def test_progress_that_outgrows_the_commit_is_spilled_and_survives_a_kill(
    cluster: ClusterSettings, namespace: str, tmp_path: Path
) -> None:
    """Every other job of 8,000 stands behind a stuck one: the partition goes on, and none of the others runs again."""
    jobs = 8_000
    with parked(cluster, namespace, tmp_path) as scene:
        scene.enqueue(jobs, held_every=2)
        killed = scene.start()
        wait_until(lambda: scene.run_count() >= jobs // 2 + 1, DEADLINE_S, "the free half of the jobs")
        state = wait_state(cluster, scene.queue, position=jobs, incomplete=jobs // 2)
        assert (state.committed_offset, state.is_open) == (0, True)
        assert state.spilled_at is not None

        killed.kill()
        killed.wait(10)
        delete_records(cluster, scene.queue.ledger_topic)
        scene.release.touch()
        scene.start()
        wait_all_committed(cluster, scene.queue, DEADLINE_S)
        runs = scene.runs()
        assert {number for number, count in runs.items() if count > 1} == {0}
        assert len(runs) == jobs
        assert ends(cluster, scene.queue.progress_topic, 1)[0] >= 1
