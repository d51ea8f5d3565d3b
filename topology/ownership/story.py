"""`JobStory`: what is known of a job that is dead or late, as the argument of the job type that follows it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, Protocol

from ...schemas import Contract, PayloadRefused
from ...schemas.json_data import JsonObject
from .slo import Slo


@dataclass(frozen=True, slots=True, kw_only=True)
class JobStory:
    """The story of a job that became a dead letter, or that is late.

    Attributes:
        reason: why it is dead, as `attempts-spent`, `permanent` or `undecodable`; `late` for a job that is late.
        job_id: empty where its record has none.
        origin: where it was first enqueued, as `topic/partition/offset`.
        attempt: the number of the run that failed, or that is late.
        enqueued: when its producer enqueued it; None where that is not known.
        at: when it died, or was found late.
        waited_s: seconds from the enqueueing, or from the due time if that is later, until `at`.
        first_error_type, first_error_message: of its first failed run; empty where none has failed.
        error_type, error_message: of its last failed run, in the same way.
        owner, runbook, escalation: as its job type declares them, or its queue.
        arguments_json: its arguments as JSON text, of 64 KiB at the most; None where they are larger, cannot be read,
            or its job type declares `story_arguments=False`.
    """

    reason: str
    job_id: str
    job_type: str
    queue: str
    key: str | None
    tenant: str | None
    attempt: int
    origin: str
    enqueued: datetime | None
    at: datetime
    waited_s: float
    first_failed: datetime | None = None
    first_error_type: str = ""
    first_error_message: str = ""
    error_type: str = ""
    error_message: str = ""
    owner: str = ""
    runbook: str = ""
    escalation: str = ""
    arguments_json: str | None = None

    @property
    def arguments(self) -> JsonObject:
        """The arguments by name, as JSON data; empty where the story does not have them.

        `JobType.call_from_json` makes them what the handler was given.
        """
        found: JsonObject = {} if self.arguments_json is None else json.loads(self.arguments_json)
        return found


class Follower(Protocol):
    """A job type whose handler takes a `JobStory`: what `on_dead` and `on_late` name."""

    @property
    def name(self) -> str:
        """The name on the wire."""

    @property
    def contract(self) -> Contract:
        """The payload."""

    def __call__(self, story: JobStory, /) -> object:
        """Run its handler."""


_EXAMPLE: Final = JobStory(
    reason="late",
    job_id="1",
    job_type="job",
    queue="queue",
    key=None,
    tenant=None,
    attempt=1,
    origin="topic/0/0",
    enqueued=None,
    at=datetime(2013, 1, 1, tzinfo=UTC),
    waited_s=0.0,
)


def follower_faults(option: str, follower: object) -> list[str]:
    """List why a job type cannot follow others.

    Args:
        option: its name, `on_dead` or `on_late`.
        follower: as it was declared; None for none.
    """
    if follower is None:
        return []
    contract = getattr(follower, "contract", None)
    if not isinstance(contract, Contract):
        return [
            f"{option} takes a job type that is declared before this one, such as {option}=page_owner; it is "
            f"{follower!r}"
        ]
    try:
        contract.payload((_EXAMPLE,), {})
    except PayloadRefused as refused:
        return [
            f"{option} names {contract.job_type!r}, whose function must take one argument, story: JobStory ({refused})"
        ]
    return []


def late_after_of(own: timedelta | None, slo: object, inherited: timedelta | None) -> timedelta | None:
    """After which wait a job of a type is late, as far as `late_after=` sets it: its own, or else the queue's.

    What the type itself promises of the wait comes before what the queue sets.

    Args:
        slo: the job type's own.
    """
    return own if own is not None or promised_wait(slo) is not None else inherited


def promised_wait(slo: object) -> timedelta | None:
    """The wait that is promised; None also where the declaration is none."""
    return slo.wait if isinstance(slo, Slo) else None


def lateness_faults(on_late: object, late_after: object, slo_wait: timedelta | None) -> list[str]:
    """List what is wrong with when a job is late."""
    if late_after is not None and not (isinstance(late_after, timedelta) and late_after > timedelta(0)):
        return [f"late_after must be a timedelta above zero; it is {late_after!r}"]
    if on_late is not None and late_after is None and slo_wait is None:
        return ["on_late needs to know when a job is late: give late_after=timedelta(…), or slo=Slo(wait=…)"]
    if on_late is None and late_after is not None:
        return ["late_after goes with on_late=, which names the job type to be enqueued"]
    return []
