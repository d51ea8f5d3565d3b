"""A worker whose poll thread hangs ends as well once it is to stop, in a bounded time, and no job is lost by that."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from datetime import timedelta

import pytest

from stoker.consumers import Worker, WorkerSettings
from stoker.consumers.errors import PollThreadHangs, WorkerCrashed
from stoker.consumers.poll_loop import poll_thread_watch
from stoker.consumers.poll_loop.housekeeping import Housekeeping
from stoker.consumers.poll_loop.worker_threads import WorkerThreads
from stoker.operations.cli.exit_codes import ExitCode
from stoker.operations.cli.failures import as_failure
from stoker.producers import Producer
from stoker.topology import ClusterSettings, Pipeline
from support.scenes.worker import DEADLINE_S, Gate, Journal, RunningWorker, create, declare_queue, running_worker
from support.waiting import wait_until

GRACE = timedelta(seconds=0.2)
NEVER_S = 1000.0
BOUND_S = 0.5


class Hang:
    """Has the poll thread of the queue `work` hang once it owns partitions, until the test ends."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.gate = Gate()
        monkeypatch.setattr(Housekeeping, "turn", self._wrapped(Housekeeping.turn))

    def _wrapped(self, turn: Callable[[Housekeeping], None]) -> Callable[[Housekeeping], None]:
        def hang(housekeeping: Housekeeping) -> None:
            partitions = housekeeping._partitions
            if partitions.queue_name == "work" and partitions._assignments.main_partitions:
                self.gate.wait()
            turn(housekeeping)

        return hang

    def wait(self) -> None:
        """Wait until it hangs."""
        wait_until(lambda: self.gate.waiting, DEADLINE_S, "the hang")


@pytest.fixture
def hang(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hang]:
    """Only in a stop is it found to hang."""
    monkeypatch.setattr(poll_thread_watch, "POLL_THREAD_AFTER_GRACE_S", BOUND_S)
    monkeypatch.setattr(poll_thread_watch, "POLL_THREAD_AT_ONCE_S", NEVER_S)
    hang = Hang(monkeypatch)
    yield hang
    hang.gate.open()


def failure_of(running: RunningWorker) -> BaseException:
    """What ends it; it would hang for longer than that by far."""
    wait_until(lambda: running.failure, 30, "the worker to end")
    assert running.failure is not None
    return running.failure


def let_go(running: RunningWorker, hang: Hang) -> None:
    """Have its thread end, as it would with its process."""
    hang.gate.open()
    wait_until(lambda: not running.worker._threads.are_alive, DEADLINE_S, "the end of its thread")


def stop_by_signal(worker: Worker) -> None:
    worker._signals.note(signal.SIGTERM)


def stop_by_two_signals(worker: Worker) -> None:
    stop_by_signal(worker)
    stop_by_signal(worker)


@pytest.mark.expected_errors("the thread stoker-poll-work of queue 'work' hangs")
@pytest.mark.parametrize("stop", [stop_by_signal, stop_by_two_signals, Worker.stop, Worker.stop_now])
def test_a_stop_ends_a_worker_whose_poll_thread_hangs(
    stop: Callable[[Worker], None],
    cluster: ClusterSettings,
    namespace: str,
    hang: Hang,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its error names the thread, and has its stack; another worker runs what this one has not committed."""
    if stop in (stop_by_two_signals, Worker.stop_now):
        monkeypatch.setattr(poll_thread_watch, "POLL_THREAD_AFTER_GRACE_S", NEVER_S)
        monkeypatch.setattr(poll_thread_watch, "POLL_THREAD_AT_ONCE_S", BOUND_S)
    pipeline, queue = declare_queue(namespace)
    journal = Journal()

    @pipeline.job(queue)
    def act(number: int) -> None:
        journal.note(number)

    create(pipeline, cluster)
    running = RunningWorker(Worker(pipeline, cluster, WorkerSettings(grace=GRACE)))
    hang.wait()
    with Producer(pipeline, cluster) as producer:
        producer.enqueue(act, 1)
    stop(running.worker)
    failure = failure_of(running)
    assert isinstance(failure, PollThreadHangs)
    assert isinstance(failure, WorkerCrashed)
    assert (failure.queue, failure.thread) == ("work", "stoker-poll-work")
    assert "in hang" in failure.stack
    shown = as_failure(failure, verbose=False)
    assert shown is not None
    assert shown.code is ExitCode.FINDING
    assert running.worker.failure is failure
    assert journal.noted == []
    let_go(running, hang)
    with running_worker(pipeline, cluster):
        journal.wait_for(1)


class Fault(Exception):
    """What no part of a worker raises by itself."""


@pytest.mark.expected_errors("the thread stoker-poll-work of queue 'work' hangs", "the worker of queue 'other' failed")
def test_a_hang_does_not_keep_a_worker_up_that_another_queue_ends(
    cluster: ClusterSettings, namespace: str, hang: Hang, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its error is that of the queue that has failed first."""
    pipeline = Pipeline(namespace)
    pipeline.queue("work", partitions=1)
    pipeline.queue("other", partitions=1)
    turn = Housekeeping.turn

    def fail(housekeeping: Housekeeping) -> None:
        if housekeeping._partitions.queue_name == "other" and hang.gate.waiting:
            raise Fault
        turn(housekeeping)

    monkeypatch.setattr(Housekeeping, "turn", fail)
    create(pipeline, cluster)
    running = RunningWorker(Worker(pipeline, cluster, WorkerSettings(grace=GRACE)))
    failure = failure_of(running)
    assert isinstance(failure, WorkerCrashed)
    assert failure.queue == "other"
    assert isinstance(failure.__cause__, Fault)
    let_go(running, hang)


@pytest.mark.expected_errors("the thread stoker-poll-work of queue 'work' hangs")
def test_a_hang_in_the_shutdown_itself_ends_as_well(
    cluster: ClusterSettings, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was well when it was asked to stop."""
    monkeypatch.setattr(poll_thread_watch, "POLL_THREAD_AFTER_GRACE_S", BOUND_S)
    gate, stop_jobs = Gate(), WorkerThreads.stop_jobs

    def hang(self: WorkerThreads, within: timedelta) -> object:
        gate.wait()
        return stop_jobs(self, within)

    monkeypatch.setattr(WorkerThreads, "stop_jobs", hang)
    pipeline, _queue = declare_queue(namespace)
    create(pipeline, cluster)
    running = RunningWorker(Worker(pipeline, cluster, WorkerSettings(grace=GRACE)))
    running.wait_partitions(2)
    running.worker.stop()
    assert isinstance(failure_of(running), PollThreadHangs)
    gate.open()
    wait_until(lambda: not running.worker._threads.are_alive, DEADLINE_S, "the end of its thread")


def test_a_job_that_runs_until_the_grace_ends_is_settled(cluster: ClusterSettings, namespace: str) -> None:
    """The poll thread turns while it waits for the job, so a long shutdown is live, and the worker ends well."""
    pipeline, queue = declare_queue(namespace)
    started, let_end = Gate(), Gate()

    @pipeline.job(queue)
    def act() -> None:
        started.open()
        let_end.wait()

    create(pipeline, cluster)
    with Producer(pipeline, cluster) as producer:
        producer.enqueue(act)
    with running_worker(pipeline, cluster, grace=timedelta(seconds=60)) as running:
        assert started.opened.wait(DEADLINE_S)
        health, state = running.worker.health, running.worker._parts[0].poll_thread.poll_state
        health.stuck_after_s, began_at_s = 2.0, state.last_turn_at_s
        running.worker.stop()
        wait_until(lambda: state.last_turn_at_s > began_at_s + 3.0, 60, "turns for 3 s more")
        wait_until(lambda: health.live().is_well, 10, "that it is live")
        assert health.ready().why == ("the worker shuts down",)
        let_end.open()
        running.wait_outcomes(Done=1)
