"""The step decide: every way in which a run can end has one outcome, and no retry is ever before its tier's delay."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from stoker.consumers.job.answers import answer_of
from stoker.consumers.job.endings import (
    LONGEST_WAIT,
    Discard,
    InterruptReason,
    JobCancelled,
    Retry,
    Snooze,
    TimeLimitExceeded,
    WorkerShutdown,
)
from stoker.consumers.records.outcomes import DONE, INTERRUPTED, Cancelled, Dead, Outcome, Retried, Snoozed, is_lasting
from stoker.consumers.steps.results import Answered, Raised, Result, Returned, check_returned
from stoker.consumers.steps.steps import decide
from stoker.topology.declaration.delays import DelayClass
from stoker.topology.declaration.retries import RetryPolicy
from support.scenes.deliveries import NOW, TIERS, declare


def decided(
    result: Result | Answered,
    attempt: int = 1,
    chance: float = 0.0,
    interrupt_reason: InterruptReason | None = None,
    **policy: object,
) -> Outcome:
    """What becomes of a run under a policy."""
    delivery = declare(retry=RetryPolicy(**policy))  # type: ignore[arg-type]  # a table's keywords
    delivery.chance = chance
    if isinstance(result, Returned):
        result = check_returned(result.value, delivery.work)
    job = delivery.job(attempt)
    job.run.interrupt_reason = interrupt_reason
    return decide(job, result, delivery.step_context)


@pytest.mark.parametrize("value", [None, 0, False, "text", object(), [Snooze(timedelta(1))]])
def test_whatever_a_job_returns_is_done(value: object) -> None:
    """But for a `Snooze` itself."""
    assert decided(Returned(value)) is DONE


@pytest.mark.parametrize("error", [WorkerShutdown(), asyncio.CancelledError(), ValueError("on its way out"), Retry()])
def test_a_run_that_fails_at_the_workers_shutdown_is_interrupted(error: BaseException) -> None:
    """It costs no attempt, whatever its cleaning up has raised: the record is delivered again as it is."""
    assert decided(Raised(error), interrupt_reason="shutdown") is INTERRUPTED


def test_what_a_run_asks_for_at_the_workers_shutdown_is_kept() -> None:
    """It may snooze or discard itself, and what it has done to the end is done."""
    assert isinstance(decided(Raised(Snooze(timedelta(0))), interrupt_reason="shutdown"), Snoozed)
    assert isinstance(decided(Raised(Discard()), interrupt_reason="shutdown"), Cancelled)
    assert decided(Returned(5), interrupt_reason="shutdown") is DONE


@pytest.mark.parametrize("interrupt_reason", [None, "cancel", "shutdown"])
@pytest.mark.parametrize("error", [KeyError("fatal"), ValueError("x"), Retry(), Snooze(timedelta(1)), Discard()])
def test_what_a_child_answers_is_decided_like_the_error_itself(
    error: BaseException, interrupt_reason: InterruptReason | None
) -> None:
    """The worker has the policy, the attempt and the reason of an interrupt; the error stays in the child."""
    for attempt in (1, 5):
        answered = Answered(answer_of(error, "work", RetryPolicy(permanent=(KeyError,))))
        how: dict[str, Any] = {"interrupt_reason": interrupt_reason, "permanent": (KeyError,)}
        assert decided(answered, attempt, **how) == decided(Raised(error), attempt, **how)


ON_ITS_WAY_OUT = [JobCancelled(), asyncio.CancelledError(), ValueError("x"), Retry(), Snooze(timedelta(1))]


@pytest.mark.parametrize("error", ON_ITS_WAY_OUT, ids=lambda error: type(error).__name__)
def test_a_cancelled_run_ends_as_cancelled_whatever_it_raises(error: BaseException) -> None:
    """Nothing of it is to run again, now or later; but what it has done to the end is done."""
    wanted = Cancelled(reason="cancelled", detail="it was cancelled while it ran")
    assert decided(Raised(error), interrupt_reason="cancel") == wanted
    assert is_lasting(wanted)
    assert decided(Returned(5), interrupt_reason="cancel") is DONE


ERRORS = [
    ValueError("x"),
    SystemExit(3),
    KeyboardInterrupt(),
    asyncio.CancelledError(),
    TimeLimitExceeded(5.0),
    ExceptionGroup("several", [ValueError("a")]),
    StopIteration(),
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_any_error_is_a_failed_attempt(error: BaseException) -> None:
    """Also those that would end a program: they end in a retry, not in the worker."""
    outcome = decided(Raised(error))
    assert isinstance(outcome, Retried)
    assert outcome.next_attempt == 2
    assert outcome.failure.error_type == type(error).__qualname__ or "." in outcome.failure.error_type


@pytest.mark.parametrize(
    ("attempt", "tier"), [(1, TIERS[0]), (2, TIERS[1]), (3, TIERS[2]), (4, TIERS[2]), (8, TIERS[2])]
)
def test_attempts_climb_the_tiers_and_the_last_one_repeats(attempt: int, tier: timedelta) -> None:
    """Attempt n+1 waits in tier n."""
    outcome = decided(Raised(ValueError()), attempt, attempts=10)
    assert isinstance(outcome, Retried)
    assert (outcome.tier, outcome.due, outcome.next_attempt) == (tier, NOW + tier, attempt + 1)


def test_a_policy_may_use_some_of_the_queues_tiers() -> None:
    """Its own list counts, not the queue's."""
    outcome = decided(Raised(ValueError()), tiers=(TIERS[2],))
    assert isinstance(outcome, Retried)
    assert outcome.tier == TIERS[2]


def test_a_retry_has_as_much_of_the_jitter_as_chance_gives() -> None:
    """The policy adds it to the tier's delay, and the record waits in that tier all the same."""
    outcome = decided(Raised(ValueError()), chance=0.5, jitter=0.2)
    assert isinstance(outcome, Retried)
    assert (outcome.tier, outcome.due) == (TIERS[0], NOW + 1.1 * TIERS[0])


@pytest.mark.parametrize(("attempt", "kind"), [(1, Retried), (2, Retried), (3, Dead), (4, Dead)])
def test_a_job_whose_attempts_are_spent_is_dead(attempt: int, kind: type) -> None:
    """Of three attempts the third is the last."""
    outcome = decided(Raised(ValueError("broken")), attempt, attempts=3)
    assert isinstance(outcome, kind)
    if isinstance(outcome, Dead):
        assert (outcome.reason, outcome.failure.message) == ("attempts-spent", "broken")


def test_a_permanent_error_skips_the_tiers() -> None:
    """No further attempt can fix it; its subclasses count as well."""
    outcome = decided(Raised(FileNotFoundError("gone")), permanent=(OSError,))
    assert isinstance(outcome, Dead)
    assert outcome.reason == "permanent"


def test_an_ignored_error_is_done() -> None:
    """Its subclasses count as well, and it goes before the permanent ones."""
    assert decided(Raised(FileNotFoundError()), ignored=(FileNotFoundError,), permanent=(OSError,)) is DONE


def test_a_discard_is_cancelled_with_its_reason() -> None:
    """Now and later."""
    assert decided(Raised(Discard("sold out"))) == Cancelled(reason="discarded", detail="sold out")


@pytest.mark.parametrize(
    ("after", "tier"),
    [
        (timedelta(seconds=0.2), TIERS[0]),
        (timedelta(seconds=10), TIERS[1]),
        (timedelta(seconds=59), TIERS[1]),
        (timedelta(days=2), TIERS[2]),
    ],
)
def test_retry_after_is_kept_whatever_its_length(after: timedelta, tier: timedelta) -> None:
    """It waits first in the longest tier that does not overshoot; days are not cut to hours."""
    outcome = decided(Raised(Retry(after=after)), chance=0.9)
    assert isinstance(outcome, Retried)
    assert (outcome.due, outcome.tier, outcome.next_attempt) == (NOW + after, tier, 2)


def test_a_plain_retry_takes_the_tiers_own_delay() -> None:
    """As any failure does."""
    outcome = decided(Raised(Retry("later, please")))
    assert isinstance(outcome, Retried)
    assert (outcome.due, outcome.failure.message) == (NOW + TIERS[0], "later, please")


def test_retry_after_does_not_go_on_for_ever() -> None:
    """It counts as a failed attempt."""
    outcome = decided(Raised(Retry(after=timedelta(1))), attempt=5)
    assert isinstance(outcome, Dead)


def test_a_snooze_waits_without_costing_an_attempt() -> None:
    """Its outcome has no next attempt, so the header stays."""
    assert decided(Returned(Snooze(timedelta(seconds=30))), attempt=5) == Snoozed(
        due=NOW + timedelta(seconds=30), delay=DelayClass.SHORT
    )


@pytest.mark.parametrize("delay", [timedelta(microseconds=-1), timedelta.min, timedelta.max])
def test_a_delay_that_no_calendar_has_is_refused_where_it_is_asked(delay: timedelta) -> None:
    """Inside the job, where it is the job's failure and not the worker's."""
    with pytest.raises(ValueError, match="wait"):
        Snooze(delay)
    with pytest.raises(ValueError, match="wait"):
        Retry(after=delay)


def test_the_longest_delay_that_may_be_asked_is_kept() -> None:
    """Nothing overflows at the edge."""
    assert decided(Returned(Snooze(LONGEST_WAIT))) == Snoozed(due=NOW + LONGEST_WAIT, delay=DelayClass.LONG)


def test_a_job_types_own_policy_wins_over_its_queues() -> None:
    """The queue allows five attempts, the job type one."""
    delivery = declare()
    job = delivery.job(1)
    job.job_type = replace(job.job_type, own_retry=RetryPolicy(attempts=1))
    outcome = decide(job, Raised(ValueError()), delivery.step_context)
    assert isinstance(outcome, Dead)
