"""What a handler returns or raises has one meaning, alone or in a group, and no job is lost by the way it ends."""

from __future__ import annotations

import asyncio
import concurrent.futures
import itertools
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest

from stoker.consumers.inbox import AlreadyDone
from stoker.consumers.job.endings import Discard, Retry, Snooze
from stoker.consumers.records.outcomes import DONE, Cancelled, Dead, Outcome, Retried, Snoozed
from stoker.consumers.runners.async_slots import AsyncSlot, LoopState
from stoker.consumers.runners.slots import Slot
from stoker.consumers.steps.results import Raised
from stoker.consumers.steps.run_step import run_async, run_sync
from stoker.consumers.steps.steps import decide
from stoker.producers import BulkResult, Receipt
from stoker.topology import RetryPolicy
from stoker.topology.declaration.delays import DelayClass
from stoker.topology.declaration.job_type import JobCall
from support.scenes.deliveries import NOW, TIERS, declare

HOUR = timedelta(hours=1)
SOON = timedelta(seconds=12)


class Refused(Exception):
    """An error that the tests' policy calls permanent."""


class Known(Exception):
    """An error that the tests' policy ignores."""


POLICY = RetryPolicy(attempts=3, permanent=(Refused,), ignored=(Known,))


def outcome_of(act: Callable[[], Any]) -> Outcome:
    """What becomes of a job that does this: the same, be it sync or async."""

    async def act_async(number: int) -> Any:
        return act()

    def act_sync(number: int) -> Any:
        return act()

    delivery = declare(act_sync, retry=POLICY)
    job = delivery.job()
    outcome = decide(job, run_sync(job, Slot(), delivery.step_context), delivery.step_context)
    assert outcome is not None
    assert type(outcome) is type(async_outcome_of(act_async))
    return outcome


def async_outcome_of(handler: Callable[[int], Awaitable[Any]]) -> Outcome:
    """What becomes of an async job."""
    delivery = declare(handler, retry=POLICY)
    job = delivery.job()
    slot = AsyncSlot("slot", LoopState(), lambda _what: None)
    outcome = decide(job, asyncio.run(run_async(job, slot, delivery.step_context)), delivery.step_context)
    assert outcome is not None
    return outcome


def raising(error: BaseException | type[BaseException]) -> Callable[[], Any]:
    """A job that raises this."""

    def act() -> Any:
        raise error

    return act


def returning(value: object) -> Callable[[], Any]:
    """A job that returns this."""
    return lambda: value


def message_of(outcome: Outcome) -> str:
    """Of a failure."""
    assert isinstance(outcome, Retried), outcome
    return outcome.failure.message


@pytest.mark.parametrize("how", [raising, returning])
def test_each_of_the_three_may_be_returned_and_raised(how: Callable[[object], Callable[[], Any]]) -> None:
    """The one that a reader of the documents guesses must not lose the job."""
    assert outcome_of(how(Discard("sold out"))) == Cancelled(reason="discarded", detail="sold out")
    assert outcome_of(how(Snooze(SOON))) == Snoozed(due=NOW + SOON, delay=DelayClass.SHORT)
    retried = outcome_of(how(Retry("busy", after=SOON)))
    assert isinstance(retried, Retried)
    assert (retried.due, retried.next_attempt, retried.failure.message) == (NOW + SOON, 2, "busy")


@pytest.mark.parametrize("how", [raising, returning])
def test_their_classes_will_do_where_nothing_is_missing(how: Callable[[object], Callable[[], Any]]) -> None:
    """`raise Retry` and `raise Discard` are complete; of a snooze without a delay, the failure names the lack."""
    assert isinstance(outcome_of(how(Retry)), Retried)
    assert outcome_of(how(Discard)) == Cancelled(reason="discarded", detail="the job discarded itself")
    assert "Snooze(timedelta(minutes=5))" in message_of(outcome_of(how(Snooze)))


def test_a_delay_that_is_no_length_of_time_is_refused_where_it_is_asked() -> None:
    """A number of seconds is the usual guess."""
    assert "timedelta(seconds=30), not a int" in message_of(outcome_of(lambda: Snooze(30)))  # type: ignore[arg-type]
    assert "timedelta" in message_of(outcome_of(lambda: Retry(after=1.5)))  # type: ignore[arg-type]


@pytest.mark.parametrize("value", [ValueError("lost"), ExceptionGroup("several", [ValueError("lost")]), Refused()])
def test_an_exception_that_is_returned_is_a_failure_that_says_so(value: BaseException) -> None:
    """Its own text is in the stack, as the cause."""
    outcome = outcome_of(returning(value))
    assert f"returned an exception, a {type(value).__name__}" in message_of(outcome).replace(f"{__name__}.", "")
    assert isinstance(outcome, Retried)
    assert str(value) in outcome.failure.stack


def test_the_class_of_an_exception_is_a_failure_too() -> None:
    """`return ValueError` has forgotten more than one thing."""
    assert "raise it instead" in message_of(outcome_of(returning(ValueError)))


def test_an_answer_of_the_inbox_is_done_returned_or_raised() -> None:
    """The effect is in the database, whichever way the job hands that on."""
    assert outcome_of(returning(AlreadyDone("job-1"))) is DONE
    assert outcome_of(raising(AlreadyDone("job-1"))) is DONE


def test_one_of_our_own_values_is_a_failure_that_says_so() -> None:
    """A call that is returned and not enqueued is a job that nobody ever runs."""
    delivery = declare()
    call: JobCall = delivery.work.call(1)
    for value in (call, delivery.work, delivery.work.with_options(key="k"), delivery.queue, POLICY, DONE, Raised):
        assert "nobody would do anything" in message_of(outcome_of(returning(value)))


def test_proof_that_something_was_enqueued_is_a_plain_value() -> None:
    """The work is done: to fail for it would do it twice."""
    assert outcome_of(returning(Receipt(job_id="1", topic="t", partition=0, offset=1))) is DONE
    assert outcome_of(returning(BulkResult(confirmed=2))) is DONE


def generate() -> Iterator[int]:
    """Do nothing until somebody asks."""
    yield 1


async def wait() -> None:
    """Do nothing until somebody awaits."""


async def generate_async() -> AsyncIterator[int]:
    """Do nothing until somebody asks."""
    yield 1


class Promise:
    """Work of the application's own that can be awaited."""

    def __await__(self) -> Iterator[None]:
        """Do it."""
        return iter(())


LAZY: dict[str, Callable[[], object]] = {
    "a generator": generate,
    "a coroutine": wait,
    "an async generator": generate_async,
    "a map": lambda: map(print, [1]),
    "a filter": lambda: filter(None, [1]),
    "a starmap": lambda: itertools.starmap(print, [(1,)]),
    "a future": concurrent.futures.Future[None],
    "an awaitable": Promise,
}


@pytest.mark.parametrize("what", LAZY)
def test_work_that_nobody_would_do_is_a_failure_that_says_so(what: str) -> None:
    """It names the kind, and the interpreter has nothing left to warn of."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert f"the handler returned {what}" in message_of(outcome_of(LAZY[what]))


@pytest.mark.parametrize("value", [0, "", [], iter([1]), range(3), {"a": 1}, object(), reversed([1]), int])
def test_a_plain_value_is_done(value: object) -> None:
    """Also one that could be iterated, such as a cursor whose statement has run."""
    assert outcome_of(returning(value)) is DONE


def groups_of(*errors: Exception) -> list[Exception]:
    """The errors in a group, in a nested one, and with one that counts as done."""
    return [
        ExceptionGroup("several", errors),
        ExceptionGroup("outer", [ExceptionGroup("inner", errors)]),
        ExceptionGroup("with known", [Known(), *errors]),
    ]


def kinds_of(*errors: Exception) -> set[type]:
    """What becomes of jobs that raise these together."""
    return {type(outcome_of(raising(group))) for group in groups_of(*errors)}


def make_secret() -> Any:
    """A class that raises when it is looked at; not in the module, whose names pytest looks at."""

    class Secretive(type):
        """Raises for each name."""

        def __getattribute__(cls, name: str) -> Any:
            raise SystemExit(name)

    class Secret(metaclass=Secretive):
        """Of such a class."""

    return Secret


def test_what_cannot_be_looked_at_is_a_plain_value() -> None:
    """A class, and an instance of it, are told by what they are, without asking the metaclass."""
    secret = make_secret()
    assert outcome_of(returning(secret)) is DONE
    assert outcome_of(returning(type.__call__(secret))) is DONE


def test_a_permanent_error_in_a_group_skips_the_tiers() -> None:
    """No further attempt can fix that part, whatever else is in the group."""
    assert kinds_of(Refused()) == {Dead}
    assert kinds_of(ValueError(), Refused(), Discard("no")) == {Dead}
    assert kinds_of(Snooze(SOON), Refused()) == {Dead}


def test_a_discard_in_a_group_discards_and_what_was_beside_it_is_reported() -> None:
    """The job has said that all of it is pointless; an error of another task must not be lost without a word."""
    for group in groups_of(Discard("sold out")):
        outcome = outcome_of(raising(group))
        assert outcome == Cancelled(reason="discarded", detail="sold out")
    both = outcome_of(raising(ExceptionGroup("several", [Discard("sold out"), ValueError("odd")])))
    assert isinstance(both, Cancelled)
    assert "sold out" in both.detail
    assert "ValueError: odd" in both.detail


def test_the_longest_delay_asked_for_in_a_group_is_kept() -> None:
    """Of several retries the one that waits for longest, since the others wait as well."""
    for group in groups_of(Retry(after=SOON), Retry(after=HOUR), ValueError()):
        outcome = outcome_of(raising(group))
        assert isinstance(outcome, Retried)
        assert outcome.due == NOW + HOUR


def test_a_group_of_snoozes_is_a_snooze_and_beside_a_failure_it_is_none() -> None:
    """A snooze costs no attempt, so a job that fails as well could go on failing for ever."""
    for group in groups_of(Snooze(SOON), Snooze(HOUR)):
        assert outcome_of(raising(group)) == Snoozed(due=NOW + HOUR, delay=DelayClass.MEDIUM)
    assert kinds_of(Snooze(SOON), ValueError()) == {Retried}


def test_a_group_of_nothing_but_ignored_errors_is_done() -> None:
    """And one unknown error among them makes it a failure."""
    assert kinds_of(Known(), AlreadyDone("job-1")) == {type(DONE)}
    assert kinds_of(Known(), ValueError()) == {Retried}
    assert kinds_of(AlreadyDone("job-1", "effect")) == {Retried}


def test_the_groups_own_class_counts_as_well() -> None:
    """A policy may name it."""

    class Batch(ExceptionGroup[Exception]):
        """A group of the application's own."""

    delivery = declare(retry=RetryPolicy(permanent=(Batch,)))
    job = delivery.job()
    assert isinstance(decide(job, Raised(Batch("b", [ValueError()])), delivery.step_context), Dead)


def test_a_failed_group_names_what_is_in_it() -> None:
    """`unhandled errors in a TaskGroup (1 sub-exception)` alone helps nobody."""
    assert "ValueError: odd" in message_of(outcome_of(raising(ExceptionGroup("several", [ValueError("odd")]))))


def test_a_job_that_asks_is_answered_whatever_its_policy_lists() -> None:
    """`permanent=(Exception,)` means errors, not what the job says of itself."""
    for kinds in ({"permanent": (Exception,)}, {"ignored": (Exception,)}):
        delivery = declare(retry=RetryPolicy(**kinds))  # type: ignore[arg-type]  # a table's keywords
        for error, kind in ((Retry(), Retried), (Discard("no"), Cancelled), (Snooze(SOON), Snoozed)):
            assert isinstance(decide(delivery.job(), Raised(error), delivery.step_context), kind)


def test_what_the_tasks_of_a_task_group_raise_is_seen() -> None:
    """The usual way to several things at once."""

    async def refuse() -> None:
        raise Refused

    async def act(number: int) -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(refuse())
            tasks.create_task(asyncio.sleep(60))

    assert isinstance(async_outcome_of(act), Dead)


def test_a_task_that_an_async_job_returns_is_a_failure() -> None:
    """It may never end, and what it raises is nobody's."""

    async def act(number: int) -> Any:
        return asyncio.ensure_future(asyncio.sleep(0))

    assert "a future or task" in message_of(async_outcome_of(act))


class Unset(Snooze):
    """A snooze that forgets its delay."""

    def __init__(self) -> None:
        """Call nobody."""


class Eager(Retry):
    """A retry whose delay cannot be read."""

    @property
    def after(self) -> timedelta:
        """Raise."""
        raise RuntimeError("not yet")

    @after.setter
    def after(self, value: object) -> None:
        """Take nothing."""


@pytest.mark.parametrize("error", [Unset(), Eager()])
def test_a_class_derived_from_ours_without_its_delay_is_a_plain_failure(error: Exception) -> None:
    """It takes the policy's delay."""
    outcome = outcome_of(raising(error))
    assert isinstance(outcome, Retried)
    assert outcome.tier == TIERS[0]
