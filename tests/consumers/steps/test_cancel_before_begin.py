"""A job that is cancelled between its claim and its begin does not begin: who cancels runs could not see it yet."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from stoker.consumers.isolation.child_slot import ChildSlot
from stoker.consumers.records.cancellation import Cancellation
from stoker.consumers.records.outcomes import DONE, INTERRUPTED, SKIPPED, Cancelled, Outcome
from stoker.consumers.records.record import Record
from stoker.consumers.runners.async_slots import AsyncSlot, LoopState
from stoker.consumers.runners.slots import Slot
from stoker.consumers.settling.excuse import Excuse
from stoker.consumers.standing_orders.cancel_filters import CancelFilter
from stoker.consumers.standing_orders.cancels import Cancels
from stoker.consumers.steps.pipe import Pipe
from stoker.consumers.steps.results import Ran
from stoker.consumers.steps.run_step import run_async, run_sync
from stoker.consumers.steps.steps import DecodedJob, StepContext, claim, decide, decode
from support.programs import isolated_jobs
from support.scenes.deliveries import Delivery, declare
from support.scenes.isolated_runners import declare as declare_isolated
from support.scenes.isolated_runners import isolated

BY_ANA = Cancellation(operator="ana")
BEFORE_IT_RAN = Cancelled(reason="cancelled", detail="it was cancelled before it ran, by ana", by=BY_ANA)


def decoded(delivery: Delivery, context: StepContext) -> DecodedJob:
    """A job that has passed claim and decode."""
    record = delivery.record()
    assert claim(record, context) is None
    job = decode(record, context)
    assert isinstance(job, DecodedJob)
    return job


def of_thread(job: DecodedJob, context: StepContext) -> Outcome:
    """Run it in this thread."""
    slot = Slot()
    outcome = decide(job, run_sync(job, slot, context), context)
    assert outcome is not None
    assert slot.run is None
    return outcome


def of_task(job: DecodedJob, context: StepContext) -> Outcome:
    """Run it on an event loop."""
    slot = AsyncSlot("test", LoopState(), lambda _what: None)
    outcome = decide(job, asyncio.run(run_async(job, slot, context)), context)
    assert outcome is not None
    assert slot.run is None
    return outcome


@pytest.mark.parametrize("run", [of_thread, of_task], ids=lambda run: run.__name__)
@pytest.mark.parametrize("is_cancelled", [True, False])
def test_a_job_that_was_cancelled_before_its_begin_does_not_begin(
    run: Callable[[DecodedJob, StepContext], Outcome], is_cancelled: bool
) -> None:
    """Its handler is not called, and its slot is free."""
    called: list[int] = []

    async def work_async(number: int) -> None:
        called.append(number)

    def work(number: int) -> None:
        called.append(number)

    delivery, cancels = declare(work_async if run is of_task else work), Cancels()
    context = replace(delivery.step_context, cancels=cancels)
    job = decoded(delivery, context)
    cancels.begin_job("job-1" if is_cancelled else "job-2", BY_ANA)
    assert run(job, context) == (BEFORE_IT_RAN if is_cancelled else DONE)
    assert called == ([] if is_cancelled else [1])


def test_an_isolated_job_that_was_cancelled_before_its_begin_does_not_begin(tmp_path: Path) -> None:
    """Its child runs the next one."""
    pipeline, queue, (act,) = declare_isolated(isolated_jobs.note_run)
    file, cancels = tmp_path / "notes", Cancels()
    with isolated(pipeline, queue) as here:
        assert here.run(act, str(file), "before") is DONE
        delivery = Delivery(pipeline=pipeline, queue=queue, work=act)
        value = act.contract.header + act.contract.encode(act.contract.payload((str(file), "it"), {}))
        context = replace(here.step_context, cancels=cancels)
        record = delivery.record({"ce_type": b"note_run"}, value=value, assignment=here.assignment)
        job = decode(record, context)
        assert isinstance(job, DecodedJob)
        cancels.begin_filter("o1", CancelFilter(job_type=b"note_run"), BY_ANA)
        assert decide(job, here.runners.run(job, ChildSlot("test"), context), context) == BEFORE_IT_RAN
        assert here.run(act, str(file), "next") is DONE
    assert [noted.split()[0] for noted in isolated_jobs.notes(file)] == ["before", "next"]


def test_a_job_that_was_cancelled_before_its_begin_has_no_times() -> None:
    """Its event tells of no run, as that of a job which is cancelled at its claim."""
    delivery, outcomes = declare(), list[Outcome]()
    cancels = Cancels()

    def cancel_and_run(job: DecodedJob, slot: Slot, step_context: StepContext) -> Ran:
        cancels.begin_job("job-1", BY_ANA)
        return run_sync(job, slot, step_context)

    def fail(record: Record, error: BaseException) -> None:
        raise AssertionError(record) from error

    record = delivery.record()
    Pipe(
        replace(delivery.step_context, cancels=cancels),
        settle=lambda _record, outcome: outcomes.append(outcome),
        settle_done=list.clear,
        fail=fail,
        excuse=Excuse(delivery.queue),
    ).pass_through(record, Slot(), cancel_and_run)
    assert outcomes == [BEFORE_IT_RAN]
    assert (record.began_at_s, record.ended_at_s) == (0.0, 0.0)


def claimed(delivery: Delivery, cancels: Cancels, **how: Any) -> Outcome | None:
    """What the claim of a job says."""
    return claim(delivery.record(**how), replace(delivery.step_context, cancels=cancels))


def test_a_claim_asks_for_cancels_last() -> None:
    """What is not ours any more is another worker's, and what was settled is skipped, cancelled or not."""
    delivery, cancels = declare(), Cancels()
    cancels.begin_job("job-1", BY_ANA)
    assert claimed(delivery, cancels) == BEFORE_IT_RAN
    delivery.ledger.add_job("job-1")
    assert claimed(delivery, cancels) is SKIPPED
    record = delivery.record()
    record.assignment.leave()
    assert claim(record, replace(delivery.step_context, cancels=cancels)) is INTERRUPTED
