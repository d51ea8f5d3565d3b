"""Failures after Ctrl+C are excused, and those that only look like it hold nobody up."""

from __future__ import annotations

import threading
import time
from datetime import timedelta

from stoker.consumers.job.failure import make_failure
from stoker.consumers.records.outcomes import Retried
from stoker.consumers.settling.excuse import ENDED_BY_SIGINT, SIGNAL_WITHIN_S, Excuse
from support.scenes.deliveries import NOW, declare

FAILED = Retried(
    due=NOW,
    tier=timedelta(seconds=1),
    next_attempt=2,
    failure=make_failure("work", error_type="E", message="", stack=ENDED_BY_SIGINT),
)


def test_failures_by_a_signal_that_never_comes_here_wait_once() -> None:
    """A hundred of them would hold an event loop for half a minute; later ones are still excused where it has come."""
    excuse = Excuse(declare().queue)
    began_at_s = time.monotonic()
    assert not any(excuse.is_about_to_come(FAILED) for _ in range(100))
    assert time.monotonic() - began_at_s < 50 * SIGNAL_WITHIN_S
    excuse.give()
    assert excuse.is_about_to_come(FAILED)


def test_a_failure_that_is_noticed_before_the_signal_is_excused() -> None:
    """The program's end may come first."""
    excuse = Excuse(declare().queue)

    def come() -> None:
        excuse.give()

    timer = threading.Timer(SIGNAL_WITHIN_S / 10, come)
    timer.start()
    assert excuse.is_about_to_come(FAILED)
    timer.join()
