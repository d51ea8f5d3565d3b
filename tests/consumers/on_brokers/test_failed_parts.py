"""A worker of which any part fails ends as a whole, by one error whose cause is that of the part."""

from __future__ import annotations

from typing import NoReturn

import pytest

from stoker.consumers import Worker, WorkerSettings, contract_check
from stoker.consumers.contract_check import ContractCheck
from stoker.consumers.control.control_thread import ControlThread
from stoker.consumers.errors import WorkerCrashed
from stoker.consumers.poll_loop.fetching import Fetching
from stoker.consumers.schedules.schedule_thread import ScheduleThread
from stoker.operations.cli.exit_codes import ExitCode
from stoker.operations.cli.failures import as_failure
from stoker.schemas import StoreError
from stoker.topology import ClusterSettings
from support.scenes.worker import DEADLINE_S, RunningWorker, create, declare_queue
from support.waiting import wait_until


class Fault(Exception):
    """What no part of a worker raises by itself."""


def fail(*_arguments: object) -> NoReturn:
    raise Fault


def ended(cluster: ClusterSettings, namespace: str) -> BaseException:
    """Run a worker until it ends by itself, and give what it raised."""
    pipeline, _queue = declare_queue(namespace, partitions=1)
    create(pipeline, cluster)
    running = RunningWorker(Worker(pipeline, cluster, WorkerSettings()))
    wait_until(lambda: running.failure is not None, DEADLINE_S, "the worker to end")
    assert running.failure is not None
    return running.failure


@pytest.mark.expected_errors("of queue 'work' failed", "failed: ")
@pytest.mark.parametrize(
    ("part", "method", "queue"),
    [(Fetching, "turn", "work"), (ControlThread, "_turn", None), (ScheduleThread, "turn", None)],
)
def test_what_a_thread_raises_is_the_cause_of_the_error_that_ends_the_worker(
    cluster: ClusterSettings,
    namespace: str,
    monkeypatch: pytest.MonkeyPatch,
    part: type,
    method: str,
    queue: str | None,
) -> None:
    """The poll thread, that of orders and that of schedules: the command line knows their error, and shows no stack."""
    monkeypatch.setattr(part, method, fail)
    failure = ended(cluster, namespace)
    assert isinstance(failure, WorkerCrashed)
    assert isinstance(failure.__cause__, Fault)
    assert failure.queue == queue
    shown = as_failure(failure, verbose=False)
    assert shown is not None
    assert shown.code is ExitCode.FINDING


@pytest.mark.expected_errors("that compares contracts failed")
def test_a_check_of_contracts_that_fails_later_ends_the_worker(
    cluster: ClusterSettings, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or it would run with contracts that are never compared, and look alive."""
    answers: list[Exception] = [Fault(), StoreError("it does not answer")]

    def check(_self: object) -> NoReturn:
        raise answers.pop()

    monkeypatch.setattr(contract_check, "ASK_AGAIN_S", 0.1)
    monkeypatch.setattr(ContractCheck, "_check", check)
    failure = ended(cluster, namespace)
    assert isinstance(failure, WorkerCrashed)
    assert isinstance(failure.__cause__, Fault)
