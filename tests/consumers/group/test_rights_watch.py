"""The watch over a worker's rights comes to an end, whatever the question for them ends with."""

from __future__ import annotations

import threading

import pytest

from stoker.consumers.group import rights_watch
from stoker.consumers.group.rights_watch import RightsWatch
from support.scenes.deliveries import declare
from support.waiting import wait_until


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_question_that_fails_oddly_is_asked_again_at_the_next_alarm(monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that cannot be made, for want of descriptors, must not keep the worker out of its group for good."""
    monkeypatch.setattr(rights_watch, "CALM_S", 0.0)
    asked: list[None] = []

    def ask() -> None:
        asked.append(None)
        if len(asked) == 1:
            raise OSError("too many open files")

    watch = RightsWatch(declare().queue, ask)
    watch.alarm()
    wait_until(lambda: not watch.is_asking)
    watch.alarm()
    wait_until(lambda: len(asked) == 2 and not watch.is_asking)
    for thread in threading.enumerate():
        if thread.name.startswith("stoker-rights-"):
            thread.join(60)  # its failure would be told to the next test
