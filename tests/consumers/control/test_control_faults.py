"""On a real broker, with processes that are killed and frozen: orders hold from the answers on, nothing is lost."""

from __future__ import annotations

import signal
import time
from datetime import timedelta
from pathlib import Path

import pytest

from stoker.producers.control import Control
from stoker.producers.control.standing import read_workers
from stoker.schemas.own_records.control_records import WorkerState
from stoker.topology import ClusterSettings, Pipeline
from support.scenes.ordered_workers import DEADLINE_S, WAIT, enqueue, scene_of, workers_of
from support.scenes.worker import wait_all_committed
from support.waiting import wait_until

MANY = 300

pytestmark = pytest.mark.timeout(300)  # each worker is a process, on a machine that may do much else


def test_pauses_hold_from_their_answers_on_while_workers_are_killed(
    cluster: ClusterSettings, namespace: str, tmp_path: Path
) -> None:
    """No job begins between the answer of all and the order to resume, whoever dies; in the end all have run."""
    with (
        scene_of(cluster, namespace, tmp_path) as (scene, pipeline, queue),
        Control(pipeline, cluster, operator="ann") as control,
    ):
        scene.start("w0")
        scene.start("w1")
        scene.wait_states(pipeline, w0="running", w1="running")
        for turn in range(2):
            jobs = range(turn * 2 * MANY, (turn * 2 + 1) * MANY)
            enqueue(pipeline, cluster, jobs)
            scene.wait_some(jobs)
            answers = control.pause(queue="work", reason=f"turn {turn}").wait(WAIT, lambda found: bool(found.taken))
            taken, answered_s = workers_of(answers), time.time()
            enqueue(pipeline, cluster, range(jobs.stop, jobs.stop + MANY))
            scene.processes[f"w{turn}"].kill()
            scene.processes[f"w{turn}"].wait()
            scene.start(f"w{turn}")
            scene.wait_states(pipeline, **{f"w{turn}": "running"})
            resumed_s = time.time()
            control.resume(queue="work")
            assert not [run for run in scene.ran_between(answered_s, resumed_s) if run[1] in taken]
            scene.wait_done(range(jobs.stop + MANY))
        wait_all_committed(cluster, queue, DEADLINE_S)


def test_a_worker_that_starts_takes_the_orders_before_its_first_job(
    cluster: ClusterSettings, namespace: str, tmp_path: Path
) -> None:
    """However often it is killed as it starts."""
    with (
        scene_of(cluster, namespace, tmp_path) as (scene, pipeline, queue),
        Control(pipeline, cluster) as control,
    ):
        control.pause(queue="work")
        enqueue(pipeline, cluster, range(100))
        for _ in range(2):
            process = scene.start("w1")
            scene.wait_states(pipeline, w1="running")
            process.kill()
            process.wait()
        scene.start("w1")
        scene.start("w2")
        wait_until(lambda: _partitions(pipeline, cluster) == 4, DEADLINE_S, "the partitions")
        assert scene.begun() == []
        control.resume(queue="work").wait(WAIT, lambda found: {"w1", "w2"} <= workers_of(found))
        scene.wait_done(range(100))
        wait_all_committed(cluster, queue, DEADLINE_S)


def _partitions(pipeline: Pipeline, cluster: ClusterSettings) -> int:
    """How many partitions the living workers have."""
    statuses = [one for one in read_workers(pipeline, cluster).statuses if one.is_living(time.time())]
    return len({number for one in statuses for share in one.status.queues for number in share.partitions})


def test_a_frozen_worker_is_named_and_takes_the_order_when_it_goes_on(
    cluster: ClusterSettings, namespace: str, tmp_path: Path
) -> None:
    """The wait does not pass over it, and ends with how long it has been silent."""
    with (
        scene_of(cluster, namespace, tmp_path) as (scene, pipeline, _),
        Control(pipeline, cluster) as control,
    ):
        frozen = scene.start("frozen")
        scene.start("awake")
        scene.wait_states(pipeline, frozen="running", awake="running")
        frozen.send_signal(signal.SIGSTOP)
        try:
            receipt = control.pause(queue="work")
            answers = receipt.wait(timedelta(seconds=60), lambda found: "awake" in workers_of(found))
            (missing,) = receipt.wait(timedelta(seconds=2)).missing
            assert not answers.is_taken_by_all
            assert (missing.worker, missing.is_taken, missing.is_understood) == ("frozen", False, True)
            assert missing.silent_s >= 2
        finally:
            frozen.send_signal(signal.SIGCONT)
        assert workers_of(receipt.wait(WAIT)) == {"frozen", "awake"}


def test_workers_are_quiet_and_stop_by_order(cluster: ClusterSettings, namespace: str, tmp_path: Path) -> None:
    """One by its id; a worker that starts after the order to stop works."""
    with (
        scene_of(cluster, namespace, tmp_path) as (scene, pipeline, queue),
        Control(pipeline, cluster) as control,
    ):
        one, two = scene.start("one"), scene.start("two")
        scene.wait_states(pipeline, one="running", two="running")
        control.worker_quiet(worker="one", reason="deploy").wait(WAIT)
        control.worker_stop(worker="two")
        assert two.wait(DEADLINE_S) == 0
        scene.wait_states(pipeline, one="quiet", two=WorkerState.GONE)
        enqueue(pipeline, cluster, range(20))
        answers = control.worker_inspect(worker="one").wait(WAIT, lambda found: bool(found.answers[0].inspection))
        assert '"queue": "work"' in answers.answers[0].inspection
        assert scene.begun() == []
        scene.start("two")
        scene.wait_states(pipeline, one="quiet", two="running")
        control.worker_work(worker="one").wait(WAIT)
        scene.wait_done(range(20))
        wait_all_committed(cluster, queue, DEADLINE_S)
        control.worker_stop()
        assert [process.wait(DEADLINE_S) for process in (one, scene.processes["two"])] == [0, 0]


@pytest.mark.parametrize("turns", [3])
def test_a_pause_holds_through_a_storm_of_rebalances(
    cluster: ClusterSettings, namespace: str, tmp_path: Path, turns: int
) -> None:
    """Workers come and go: none of their jobs begins, and all run after the order is lifted."""
    with (
        scene_of(cluster, namespace, tmp_path) as (scene, pipeline, queue),
        Control(pipeline, cluster) as control,
    ):
        scene.start("w0")
        scene.wait_states(pipeline, w0="running")
        control.pause(job_type="mail").wait(WAIT)
        enqueue(pipeline, cluster, range(500))
        for turn in range(1, turns + 1):
            scene.start(f"w{turn}")
            scene.wait_states(pipeline, **{f"w{turn}": "running"})
            scene.processes[f"w{turn - 1}"].send_signal(signal.SIGTERM)
        assert scene.begun() == []
        control.resume(job_type="mail")
        scene.wait_done(range(500))
        wait_all_committed(cluster, queue, DEADLINE_S)
        assert len(scene.begun()) == 500
