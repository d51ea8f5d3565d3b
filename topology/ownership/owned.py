"""`Owned`: what queues and job types declare alike of their owner, what is wrong with it, and when a job is late."""

from __future__ import annotations

from datetime import timedelta
from typing import Protocol

from .slo import Slo, owner_faults
from .story import Follower, follower_faults, lateness_faults, promised_wait


class Owned(Protocol):
    """A queue or a job type."""

    @property
    def owner(self) -> str:
        """The team or person that answers for its jobs."""

    @property
    def runbook(self) -> str:
        """The way to fix them when they fail: an URL or a line of text."""

    @property
    def escalation(self) -> str:
        """The one to call when the owner does not answer."""

    @property
    def slo(self) -> Slo | None:
        """The promise of the owner about its jobs."""

    @property
    def on_dead(self) -> Follower | None:
        """The job type that is enqueued for each of its dead letters."""

    @property
    def on_late(self) -> Follower | None:
        """The job type that is enqueued for each of its jobs that is late."""

    @property
    def late_after(self) -> timedelta | None:
        """The wait after which a job is late; None takes `slo.wait`."""


def ownership_faults(declared: Owned) -> list[str]:
    """List what is wrong with all that a queue or job type declares of its owner; empty when all is well."""
    found = owner_faults(
        owner=declared.owner, runbook=declared.runbook, escalation=declared.escalation, slo=declared.slo
    )
    found += follower_faults("on_dead", declared.on_dead) + follower_faults("on_late", declared.on_late)
    return found + lateness_faults(declared.on_late, declared.late_after, promised_wait(declared.slo))


def late_after_s(declared: Owned) -> float | None:
    """After how many seconds of waiting a job is late; None where nothing follows that."""
    wait = declared.late_after or promised_wait(declared.slo)
    return None if declared.on_late is None or wait is None else wait.total_seconds()
