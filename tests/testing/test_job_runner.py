"""A job that is run by a test meets what a worker would give it, and the test sees what a worker would make of it."""

from __future__ import annotations

import asyncio
import decimal
from datetime import UTC, datetime, timedelta

import pytest

from stoker.consumers import Discard, JobContext, Retry, Snooze, current_job, current_job_or_none
from stoker.producers.errors import OptionRefused, PayloadRefused
from stoker.testing import Cancelled, Dead, Delayed, Done, JobRunner, Retried, Snoozed
from stoker.topology import JobType, Pipeline, RetryPolicy
from stoker.topology.declaration.delays import DelayClass

NOW = datetime(2013, 1, 1, 12, 0, tzinfo=UTC)
TIERS = (timedelta(seconds=5), timedelta(minutes=1))
pipeline = Pipeline("unit")
queue = pipeline.queue("q", partitions=1, tiers=TIERS)
seen: list[JobContext] = []


class Refused(Exception):
    """Of a card."""


@pipeline.job(queue, key="number", retry=RetryPolicy(attempts=3, permanent=(Refused,), jitter=0.5))
def act(number: int, how: str = "well") -> object:
    """End in one of the ways that jobs have."""
    seen.append(current_job())
    match how:
        case "fail":
            raise ValueError("odd")
        case "refuse":
            raise Refused
        case "snooze":
            return Snooze(timedelta(minutes=2))
        case "discard":
            raise Discard("sold out")
        case "retry":
            raise Retry(after=timedelta(hours=1))
        case "lose":
            return (n for n in range(3))
    return number + 1


@pipeline.job(queue)
async def act_async(number: int) -> int:
    """Do so on an event loop."""
    await asyncio.sleep(0)
    seen.append(current_job())
    return number + 1


@pipeline.job(queue)
def take(amount: decimal.Decimal, names: tuple[str, ...]) -> tuple[object, ...]:
    """Give back what came."""
    return amount, names


def test_each_way_to_end_has_its_outcome() -> None:
    """As a worker decides, by the policy of the job type and at a time of the test's choosing."""
    runner = JobRunner(now=NOW)
    assert isinstance(runner.run(act, 1).outcome, Done)
    assert runner.run(act, 1).returned == 2
    failed = runner.run(act, 1, "fail")
    assert isinstance(failed.outcome, Retried)
    assert (failed.outcome.due, failed.outcome.next_attempt) == (NOW + TIERS[0], 2)
    assert isinstance(failed.raised, ValueError)
    refused = runner.run(act, 1, "refuse").outcome
    assert isinstance(refused, Dead)
    assert refused.reason == "permanent"
    assert runner.run(act, 1, "snooze").outcome == Snoozed(due=NOW + timedelta(minutes=2), delay=DelayClass.SHORT)
    assert runner.run(act, 1, "discard").outcome == Cancelled(reason="discarded", detail="sold out")
    later = runner.run(act, 1, "retry").outcome
    assert isinstance(later, Retried)
    assert later.due == NOW + timedelta(hours=1)
    lost = runner.run(act, 1, "lose").outcome
    assert isinstance(lost, Retried)
    assert "generator" in lost.failure.message


def test_attempt_and_jitter_are_the_tests_to_choose() -> None:
    """The last attempt is a dead letter; the second waits in the second tier, with the share of jitter asked for."""
    assert isinstance(JobRunner(attempt=3).run(act, 1, "fail").outcome, Dead)
    second = JobRunner(attempt=2, now=NOW, jitter=1.0).run(act, 1, "fail").outcome
    assert isinstance(second, Retried)
    assert second.due == NOW + TIERS[1] * 1.5


@pytest.mark.parametrize("job", [act, act_async])
def test_the_job_knows_itself(job: JobType[[int], object]) -> None:
    """Id, key, attempt and headers of the call; and outside of the run there is no job."""
    seen.clear()
    called = job.with_options(job_id="order-5", key="k", headers={"tenant": "t1"})
    assert isinstance(JobRunner(attempt=2).run(called, 7).outcome, Done)
    (context,) = seen
    assert (context.job_id, context.key, context.attempt, context.headers["tenant"]) == ("order-5", "k", 2, b"t1")
    assert (context.job_type, context.queue) == (job.name, "q")
    assert current_job_or_none() is None


def test_a_job_with_a_delay_does_not_run_yet() -> None:
    """The outcome has its due time."""
    outcome = JobRunner().run(act.with_options(delay=timedelta(days=1)), 7).outcome
    assert isinstance(outcome, Delayed)
    assert outcome.due > datetime.now(UTC) + timedelta(hours=23)


def test_a_test_that_is_async_awaits_it() -> None:
    """Sync and async jobs alike, on the loop of the test."""

    async def test() -> None:
        assert (await JobRunner().run_async(act_async, 1)).returned == 2
        assert (await JobRunner().run_async(act, 1)).returned == 2

    asyncio.run(test())


def test_what_a_producer_refuses_is_refused() -> None:
    """By the same error, before anything runs."""
    with pytest.raises(PayloadRefused, match="number"):
        JobRunner().run(act, "one")  # type: ignore[arg-type]  # the test's point
    with pytest.raises(OptionRefused):
        JobRunner().run(act.with_options(headers={"ce_id": "mine"}), 1)


def test_a_job_that_has_expired_does_not_run() -> None:
    """As on a worker that comes too late."""
    seen.clear()
    expiring = act.with_options(expires=timedelta(minutes=5))
    outcome = JobRunner(waited=timedelta(minutes=6)).run(expiring, 1).outcome
    assert isinstance(JobRunner(waited=timedelta(minutes=4)).run(expiring, 1).outcome, Done)
    seen.pop()
    assert isinstance(outcome, Cancelled)
    assert not seen


def test_values_are_those_that_a_worker_would_read() -> None:
    """They have been written and read."""
    assert JobRunner().run(take, decimal.Decimal("1.50"), ("a", "b")).returned == (decimal.Decimal("1.50"), ("a", "b"))
