"""On a real broker, with processes that are killed and frozen: what is cancelled does not run, all else does."""

from __future__ import annotations

import math
import signal
import subprocess
import time
from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest

from stoker.producers.control import Answers, Control
from stoker.producers.control.standing import read_given_orders, read_standing_orders
from stoker.topology import ClusterSettings, Pipeline
from support.program import TESTS, program
from support.programs.killed_sender import STEPS
from support.scenes.ordered_workers import DEADLINE_S, WAIT, enqueue, job_id, scene_of, workers_of
from support.scenes.worker import wait_all_committed
from support.waiting import wait_until

MANY = 500

pytestmark = pytest.mark.timeout(300)  # each worker is a process, on a machine that may do much else


@pytest.mark.parametrize("step", STEPS)
def test_an_order_for_many_jobs_stands_with_its_trace_or_not_at_all(
    cluster: ClusterSettings, namespace: str, tmp_path: Path, step: str
) -> None:
    """Whenever its sender is killed; another sender goes on."""
    with scene_of(cluster, namespace, tmp_path) as (scene, pipeline, _):
        arguments = [cluster.bootstrap_servers, namespace, str(scene.runs), str(MANY), step]
        killed = subprocess.run([*program("killed_sender"), *arguments], cwd=TESTS, check=False, timeout=DEADLINE_S)
        assert killed.returncode == -signal.SIGKILL
        expected = MANY if step == "commit" else 0
        with Control(pipeline, cluster) as control:
            control.pause(queue="work")
        wait_until(lambda: len(read_standing_orders(pipeline, cluster)) == expected + 1, DEADLINE_S, "what stands")
        assert len(list(read_given_orders(pipeline, cluster))) == expected + 1


def test_a_worker_that_dies_before_it_forgets_an_order_has_ended_the_job(
    cluster: ClusterSettings, namespace: str, tmp_path: Path
) -> None:
    """The next one does not run it, and takes what stands before its first job."""
    with scene_of(cluster, namespace, tmp_path) as (scene, pipeline, queue), Control(pipeline, cluster) as control:
        control.cancel(*map(job_id, range(50)))
        enqueue(pipeline, cluster, range(60))
        dying = scene.start("dying", dies="forgetting")
        assert dying.wait(DEADLINE_S) == -signal.SIGKILL
        scene.start("next")
        scene.wait_begun(set(range(50, 60)))
        wait_all_committed(cluster, queue, DEADLINE_S)
        assert scene.done() == set(range(50, 60))


@pytest.mark.parametrize("moment", ["removing", "removed"])
def test_a_worker_that_dies_about_a_removal_takes_no_newer_order_along(
    cluster: ClusterSettings, namespace: str, tmp_path: Path, moment: str
) -> None:
    """Compaction keeps the last record of a key, which is what the orders that stand are found by here."""
    with scene_of(cluster, namespace, tmp_path) as (scene, pipeline, _), Control(pipeline, cluster) as control:
        first = control.cancel(job_id(1))
        enqueue(pipeline, cluster, range(2))
        assert scene.start("dying", dies=moment).wait(DEADLINE_S) == -signal.SIGKILL
        control.pause(queue="work")
        wait_until(lambda: "pause" in standing(pipeline, cluster), DEADLINE_S, "the end of what the worker left open")
        assert standing(pipeline, cluster)["cancel"] not in ("", first.order_id)


def standing(pipeline: Pipeline, cluster: ClusterSettings) -> dict[str, str]:
    """{verb: id of the order that stands}."""
    return {order.verb: order.order_id for order in read_standing_orders(pipeline, cluster)}


def test_what_is_cancelled_does_not_begin_after_the_answers_while_workers_come_and_die(
    cluster: ClusterSettings, namespace: str, tmp_path: Path
) -> None:
    """By ids and by a filter, during rebalances; each job ends once, cancelled or done."""
    with scene_of(cluster, namespace, tmp_path) as (scene, pipeline, queue), Control(pipeline, cluster) as control:
        scene.start("w0")
        scene.wait_states(pipeline, w0="running")
        cancelled: set[int] = set()
        for turn in range(3):
            numbers, starting = range(turn * 2 * MANY, (turn + 1) * 2 * MANY), f"w{turn + 1}"
            wanted = set(list(numbers)[1::2])
            enqueue(pipeline, cluster, numbers)
            scene.wait_some(numbers)
            scene.start(starting)
            receipt = control.cancel(*map(job_id, wanted))
            scene.processes[f"w{turn}"].kill()
            scene.wait_states(pipeline, **{starting: "running"})
            answers = receipt.wait(WAIT, partial(_has_taken, starting))
            answered_s, taken = time.time(), workers_of(answers)
            cancelled |= wanted
            scene.wait_begun(set(numbers) - wanted)
            assert not [run for run in scene.ran_between(answered_s, math.inf) if run[1] in taken and run[2] in wanted]
        wait_all_committed(cluster, queue, DEADLINE_S)
        assert len(scene.done() & cancelled) < len(cancelled)


def _has_taken(worker: str, answers: Answers) -> bool:
    return worker in workers_of(answers)


def test_a_frozen_worker_is_named_and_ends_its_job_when_it_goes_on(
    cluster: ClusterSettings, namespace: str, tmp_path: Path
) -> None:
    """The wait ends with its name."""
    with scene_of(cluster, namespace, tmp_path) as (scene, pipeline, queue), Control(pipeline, cluster) as control:
        frozen = scene.start("frozen")
        scene.wait_states(pipeline, frozen="running")
        frozen.send_signal(signal.SIGSTOP)
        try:
            receipt = control.cancel(job_id(1))
            (missing,) = receipt.wait(timedelta(seconds=2)).missing
            assert (missing.worker, missing.is_taken) == ("frozen", False)
        finally:
            frozen.send_signal(signal.SIGCONT)
        assert workers_of(receipt.wait(WAIT)) == {"frozen"}
        enqueue(pipeline, cluster, range(3))
        scene.wait_begun({0, 2})
        wait_all_committed(cluster, queue, DEADLINE_S)
        assert scene.done() == {0, 2}
