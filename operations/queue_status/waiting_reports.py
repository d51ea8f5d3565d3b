"""Reports of workers about the jobs that they have taken and that wait: how many, and for what."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from ...consumers.inspection.waiting_counts import DUE, GATE, KEY, NEXT_DUE_AT


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitingSum:
    """How many jobs wait.

    Attributes:
        key: for an earlier job of their key.
        due: for their due time.
        held: by a gate; {its word, such as `paused`: jobs}.
        next_due: when the next one of `due` is due, to a second; None where none is, or no worker has reported it.
    """

    key: int
    due: int
    held: Mapping[str, int]
    next_due: datetime | None = None

    def __str__(self) -> str:
        """For people."""
        counts = {"an earlier job of their key": self.key, "their due time": self.due, **self.held}
        counted = ", ".join(f"{what} {count:,}" for what, count in counts.items() if count)
        return (
            counted if self.next_due is None else f"{counted}; the next is due at {self.next_due:%Y-%m-%d %H:%M:%S} UTC"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitingReport:
    """The report of one worker; `counts` by reason, as in the event."""

    queue: str
    worker: str
    at: datetime
    counts: Mapping[str, int]

    @property
    def about(self) -> object:
        """The subject of the report; a later report of the same one replaces it."""
        return self.queue, self.worker


def waiting_of(event: Mapping[str, Any]) -> WaitingReport:  # an Avro record: its schema has the types
    """Read an event.

    Raises:
        ValueError: a count is no number.
    """
    counts = {reason: int(count) for reason, count in event["detail"].items()}
    return WaitingReport(queue=event["queue"], worker=event["worker"], at=event["at"], counts=counts)


def sum_of(reports: Iterable[WaitingReport], queue: str, workers: Collection[str]) -> WaitingSum | None:
    """Sum up the reports of the workers in a queue's group; None where no job waits."""
    counts, due_at_s = Counter[str](), []
    for report in reports:
        if report.queue == queue and report.worker in workers:
            counts.update(report.counts)
            due_at_s += [at_s for reason, at_s in report.counts.items() if reason == NEXT_DUE_AT]
    held = {reason.removeprefix(GATE): count for reason, count in counts.items() if reason.startswith(GATE)}
    next_due = datetime.fromtimestamp(min(due_at_s), UTC) if due_at_s else None
    return WaitingSum(key=counts[KEY], due=counts[DUE], held=held, next_due=next_due) if counts else None
