"""An exception whose class does anything while it is read is a failure of its job, never of the worker."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any, Never

import pytest

from stoker.consumers.job import failure as failures
from stoker.consumers.job.endings import JobCancelled, WorkerShutdown
from stoker.consumers.job.failure import MESSAGE_LIMIT_BYTES, STACK_LIMIT_BYTES, describe_failure
from stoker.consumers.job.job_errors import leaves
from stoker.consumers.records.outcomes import Dead, Failure, Outcome, Retried
from stoker.consumers.runners.async_slots import AsyncSlot, LoopState
from stoker.consumers.runners.slots import Slot
from stoker.consumers.runners.watchdog import RESISTS, Watchdog
from stoker.consumers.steps.run_step import run_async, run_sync
from stoker.consumers.steps.steps import decide
from stoker.topology import RetryPolicy
from support.programs import hostile_errors
from support.programs.hostile_errors import HOSTILE
from support.scenes.deliveries import declare
from support.scenes.isolated_runners import declare as declare_isolated
from support.scenes.isolated_runners import isolated


def sync_outcome(error: Callable[[], BaseException], policy: RetryPolicy) -> Outcome:
    """What becomes of a sync job that raises this."""

    def act(number: int) -> Never:
        raise error()

    delivery = declare(act, retry=policy)
    job = delivery.job()
    outcome = decide(job, run_sync(job, Slot(), delivery.step_context), delivery.step_context)
    assert outcome is not None
    return outcome


def async_outcome(error: Callable[[], BaseException], policy: RetryPolicy) -> Outcome:
    """The same of an async one."""

    async def act(number: int) -> Never:
        await asyncio.sleep(0)
        raise error()

    delivery = declare(act, retry=policy)
    job = delivery.job()
    slot = AsyncSlot("slot", LoopState(), lambda _what: None)
    outcome = decide(job, asyncio.run(run_async(job, slot, delivery.step_context)), delivery.step_context)
    assert outcome is not None
    return outcome


def is_bounded(failure: Failure) -> bool:
    """Whether it fits into headers, as plain text."""
    texts = (failure.error_type, failure.message, failure.stack, failure.fingerprint)
    sizes = (len(failure.message.encode()), len(failure.stack.encode()), len(failure.error_type))
    limits = (MESSAGE_LIMIT_BYTES, STACK_LIMIT_BYTES, 500)
    return {type(text) for text in texts} == {str} and all(s <= m for s, m in zip(sizes, limits, strict=True))


@pytest.mark.parametrize("outcome_of", [sync_outcome, async_outcome])
@pytest.mark.parametrize("name", HOSTILE)
def test_whatever_an_exception_does_while_it_is_read_its_job_has_failed(
    outcome_of: Callable[[Callable[[], BaseException], RetryPolicy], Outcome], name: str
) -> None:
    """Its policy goes by its real type, its text is bounded and plain, and that takes no time."""
    began_at_s = time.monotonic()
    retried = outcome_of(HOSTILE[name], RetryPolicy())
    dead = outcome_of(HOSTILE[name], RetryPolicy(permanent=(type(HOSTILE[name]()),)))
    assert isinstance(retried, Retried)
    assert isinstance(dead, Dead)
    for failure in (retried.failure, dead.failure):
        assert is_bounded(failure)
    assert time.monotonic() - began_at_s < 30


def test_in_a_child_process_they_are_failures_as_well() -> None:
    """No process dies, so nothing is quarantined and no bystander interrupted."""
    pipeline, queue, acts = declare_isolated(hostile_errors.fail, hostile_errors.fail_async)
    with isolated(pipeline, queue) as here:
        children = here.wait_idle(2)
        for name in HOSTILE:
            for act in acts:
                outcome = here.run(act, name)
                assert isinstance(outcome, Retried), name
                assert is_bounded(outcome.failure)
        assert set(here.runners.process_ids()) == set(children)
    assert here.assignment.crash_history.crashes == {}


def test_an_error_that_hangs_while_it_is_read_is_on_the_jobs_time() -> None:
    """The watchdog ends the reading; what the job has raised still decides what becomes of it."""

    class Hanging(Exception):
        def __str__(self) -> str:
            return hang()

    def act(number: int) -> Never:
        raise Hanging

    delivery = declare(act, retry=RetryPolicy(permanent=(Hanging,)))
    job = delivery.job()
    job.job_type = replace(job.job_type, own_timeout=timedelta(seconds=0.2))
    slot = Slot()
    dog = Watchdog([_Places(slot)], "q")
    dog.start()
    try:
        outcome = decide(job, run_sync(job, slot, delivery.step_context), delivery.step_context)
    finally:
        dog.stop()
    assert isinstance(outcome, Dead)
    assert (outcome.reason, slot.run) == ("permanent", None)
    assert "TimeLimitExceeded" in outcome.failure.message


@pytest.mark.parametrize("kind", [ValueError, asyncio.CancelledError, WorkerShutdown, JobCancelled])
def test_what_an_async_job_raises_is_read_while_its_run_is_in_its_slot(kind: type[BaseException]) -> None:
    """Its limits end the reading there; errors by which workers interrupt jobs may be the job's own as well."""
    read_by: list[object] = []
    slot = AsyncSlot("slot", LoopState(), lambda _what: None)

    def read(_error: BaseException) -> str:
        read_by.append(slot.run)
        return "the job's own"

    own = type("Own", (kind,), {"__str__": read})

    async def act(number: int) -> Never:
        await asyncio.sleep(0)
        raise own

    delivery = declare(act)
    job = delivery.job()
    outcome = decide(job, asyncio.run(run_async(job, slot, delivery.step_context)), delivery.step_context)
    assert isinstance(outcome, Retried)
    assert "the job's own" in outcome.failure.message
    assert {id(run) for run in read_by} == {id(job.run)}


def hang() -> str:
    """Compute for ever."""
    while True:
        pass


class _Places:
    stuck_words = RESISTS
    ends_within_s = 0.0

    def __init__(self, slot: Slot) -> None:
        self.slots = [slot]

    def check(self, now_s: float) -> None:
        """There is nothing else."""

    def replace(self, slot: Slot) -> bool:
        """Nothing is stuck for so long."""
        return True


def test_a_type_that_pretends_is_what_it_is() -> None:
    """Neither `__class__` nor a metaclass is asked, which would run the application's code."""
    outcome = sync_outcome(hostile_errors.Pretender, RetryPolicy(permanent=(KeyError,)))
    assert isinstance(outcome, Retried)


def test_a_cycle_of_causes_comes_to_an_end() -> None:
    """Each is reported once."""
    first, second = ValueError("first"), KeyError("second")
    first.__cause__, second.__cause__ = second, first
    stack = describe_failure("work", first).stack
    assert (stack.count("ValueError: first"), stack.count("KeyError: 'second'")) == (1, 1)


def test_a_large_group_is_reported_by_its_first_members() -> None:
    """And by how many there are beside them."""
    failure = describe_failure("work", ExceptionGroup("all", [ValueError(str(number)) for number in range(20_000)]))
    assert "ValueError: 0; ValueError: 1; ValueError: 2; and 19,997 more" in failure.message
    assert "--- and 19,989 more" in failure.stack


def test_a_group_that_holds_itself_many_times_over_is_read_once() -> None:
    """Thirty floors of two of the same would be a thousand million leaves."""
    group: BaseExceptionGroup[Any] = ExceptionGroup("leaf", [ValueError("x")])
    for _ in range(30):
        group = ExceptionGroup("floor", [group, group])
    assert [str(leaf) for leaf in leaves(group)] == ["x"]
    assert describe_failure("work", group).message.endswith("ValueError: x")


def test_notes_are_in_the_stack() -> None:
    """They are what a job adds to an error of somebody else's."""
    error = ValueError("x")
    error.add_note("for order 42")
    assert "for order 42" in describe_failure("work", error).stack


def test_an_error_for_which_memory_does_not_suffice_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """The name of its type needs none."""

    def fail(error: BaseException) -> str:
        raise MemoryError

    monkeypatch.setattr(failures, "report_of", fail)
    failure = describe_failure("work", ValueError("x"))
    assert (failure.error_type, failure.message) == ("ValueError", "(it could not be described: MemoryError)")
