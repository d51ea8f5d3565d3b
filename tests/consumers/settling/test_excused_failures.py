"""Failures after Ctrl+C are excused, and those that only look like it hold nobody up."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import threading
from datetime import timedelta

from stoker.consumers.job.failure import make_failure
from stoker.consumers.records.outcomes import INTERRUPTED, Outcome, Retried
from stoker.consumers.settling.excuse import ENDED_BY_SIGINT, SIGNAL_WITHIN_S, Excuse
from stoker.consumers.steps.pipe import Pipe
from stoker.consumers.steps.results import Raised, Ran
from stoker.consumers.steps.steps import DecodedJob, StepContext
from support.scenes.deliveries import NOW, declare

FAILED = Retried(
    due=NOW,
    tier=timedelta(seconds=1),
    next_attempt=2,
    failure=make_failure("work", error_type="E", message="", stack=ENDED_BY_SIGINT),
)


def test_failures_by_a_signal_that_never_comes_here_wait_once() -> None:
    """A hundred of them would hold a runner for half a minute; later ones are still excused where it has come."""
    delivery = declare()
    excuse, record = Excuse(delivery.queue), delivery.record()
    assert excuse.may_follow(FAILED)
    excuse.wait_for_signal()
    assert (excuse.may_follow(FAILED), excuse.applied(record, FAILED)) == (False, FAILED)
    excuse.give()
    assert (excuse.may_follow(FAILED), excuse.applied(record, FAILED)) == (False, INTERRUPTED)


def test_a_failure_that_is_noticed_before_the_signal_is_excused() -> None:
    """The program's end may come first."""
    delivery = declare()
    excuse = Excuse(delivery.queue)
    timer = threading.Timer(SIGNAL_WITHIN_S / 10, excuse.give)
    timer.start()
    assert excuse.may_follow(FAILED)
    excuse.wait_for_signal()
    assert excuse.applied(delivery.record(), FAILED) == INTERRUPTED
    timer.join()


class Waiting:
    """An async job whose program SIGINT has ended, and what the pipe makes of it."""

    def __init__(self) -> None:
        self.delivery, self.outcomes = declare(), list[Outcome]()
        self.excuse = Excuse(self.delivery.queue)
        self.pipe = Pipe(
            self.delivery.step_context,
            settle=lambda record, outcome: self.outcomes.append(self.excuse.applied(record, outcome)),
            settle_done=fail_over,
            fail=fail_over,
            excuse=self.excuse,
        )

    async def pass_through(self) -> None:
        """Take it through the steps."""
        await self.pipe.pass_through_async(self.delivery.record(), None, end_by_sigint)


async def end_by_sigint(_job: DecodedJob, _slot: None, _step_context: StepContext) -> Ran:
    """Fail at once, without a suspension."""
    return Raised(subprocess.CalledProcessError(-signal.SIGINT, "make"))


def fail_over(*faults: object) -> None:
    """The worker must not fail."""
    raise AssertionError(faults)


def test_an_async_job_that_waits_for_the_signal_holds_up_no_other_job_of_its_event_loop() -> None:
    """The second task has its turn while the first waits."""
    scene = Waiting()

    async def give() -> None:
        scene.excuse.give()

    async def both() -> None:
        await asyncio.gather(scene.pass_through(), give())

    asyncio.run(both())
    assert scene.outcomes == [INTERRUPTED]


def test_an_async_job_that_waits_for_the_signal_is_settled_though_its_task_is_cancelled() -> None:
    """The worker's shutdown cancels it, or a task that the job has left behind."""
    scene = Waiting()

    async def cancelled() -> None:
        task = asyncio.create_task(scene.pass_through())
        await asyncio.sleep(0)
        task.cancel()
        await task

    asyncio.run(cancelled())
    assert [type(outcome) for outcome in scene.outcomes] == [Retried]
