"""`Tally`: the figures of one job type of a queue, and how events are counted into them. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from itertools import repeat
from typing import Any, Final

from ...schemas.own_records.jobs_ended import JobsEnded, began_before_s_of, enqueued_ms_of, packed, took_s_of, unpacked
from ...schemas.own_records.statistics_records import FailureCount, TypeCounts
from .histograms import LengthHistogram, halves_of

DONE: Final = "done"
FAILED: Final = frozenset({"retried", "dead"})
OUTCOMES: Final = (DONE, "retried", "dead", "snoozed", "deferred", "cancelled", "expired", "discarded")
"""The kinds of events that are counted; of the others no run has ended and no job."""
MOST_FAILURES: Final = 20
"""Fingerprints in a pane of one type; what fails with others is counted together."""
MESSAGE_CHARACTERS: Final = 200
MOST_TYPES: Final = 500
"""Job types in a pane; further ones are counted together, as `OTHER_TYPES`: a publisher may make one for each job."""
OTHER_TYPES: Final = "(other types)"
NO_WAIT: Final = 0xFFFF
"""In place of a wait: a NaN, which no wait is."""

Find = Callable[[str], "Tally"]
"""Gives the tally of a job type."""


class Tally:
    """Counts by outcome, waits, runs and failures of one job type of a queue."""

    __slots__ = ("counts", "failures", "job_type", "other_failures", "run", "wait")

    def __init__(self, job_type: str) -> None:
        self.job_type = job_type
        self.counts = Counter[str]()
        self.wait, self.run = LengthHistogram(), LengthHistogram()
        self.failures: dict[str, FailureCount] = {}
        self.other_failures = 0

    def add_failure(self, failure: FailureCount, most: int = MOST_FAILURES) -> None:
        """Count failures of one cause, on their own or, beyond `most` causes, with the others."""
        known = self.failures.get(failure.fingerprint)
        if known is None and len(self.failures) >= most:
            self.other_failures += failure.count
            return
        first = known or failure
        self.failures[failure.fingerprint] = FailureCount(
            fingerprint=first.fingerprint,
            error_type=first.error_type,
            message=first.message,
            count=failure.count + (known.count if known else 0),
        )

    def add_counts(self, found: TypeCounts, most: int = MOST_FAILURES) -> None:
        """Add what a pane has of a job type."""
        for kind, count in found.counts.items():
            self.counts[kind] += count
        self.wait.add_columns(found.wait_buckets, found.wait_counts)
        self.run.add_columns(found.run_buckets, found.run_counts)
        for failure in found.failures:
            self.add_failure(failure, most)
        self.other_failures += found.other_failures

    def merge(self, other: Tally, most: int = MOST_FAILURES) -> None:
        """Add what another tally has."""
        self.add_counts(other.as_counts(), most)

    def as_counts(self) -> TypeCounts:
        """The figures as a pane has them."""
        wait_buckets, wait_counts = self.wait.columns()
        run_buckets, run_counts = self.run.columns()
        return TypeCounts(
            job_type=self.job_type,
            counts=dict(self.counts),
            wait_buckets=wait_buckets,
            wait_counts=wait_counts,
            run_buckets=run_buckets,
            run_counts=run_counts,
            failures=tuple(self.failures.values()),
            other_failures=self.other_failures,
        )


def without_causes(counts: TypeCounts) -> TypeCounts:
    """The figures with all failures counted together."""
    others = counts.other_failures + sum(failure.count for failure in counts.failures)
    return replace(counts, failures=(), other_failures=others)


def in_fewer_types(types: Sequence[TypeCounts], most: int) -> tuple[TypeCounts, ...]:
    """The figures of the types with the most events, and of all others together, without the causes of failures."""
    known = [without_causes(one) for one in types]
    by_events = sorted(known, key=lambda one: (one.job_type == OTHER_TYPES, -sum(one.counts.values())))
    others = Tally(OTHER_TYPES)
    for one in by_events[most:]:
        others.add_counts(one)
    return *by_events[:most], others.as_counts()


def tally_ended(event: JobsEnded, find: Find) -> None:
    """Count the jobs of an event that are done: all of a type together."""
    tallies = [find(job_type) for job_type in event.types]
    runs, waits = halves_of(packed("f", took_s_of(event))), _waits(event)
    if len(tallies) == 1:
        tallies[0].counts[DONE] += event.count
        tallies[0].run.add(runs)
        tallies[0].wait.add(waits)
        tallies[0].wait.drop(NO_WAIT)
        return
    indexes: Sequence[int] = unpacked("H", event.type_indexes)
    for at, count in Counter(indexes).items():
        tallies[at].counts[DONE] += count
    for (at, half), count in Counter(zip(indexes, runs, strict=True)).items():
        tallies[at].run.add_times(half, count)
    for (at, half), count in Counter(zip(indexes, waits, strict=True)).items():
        if half != NO_WAIT:
            tallies[at].wait.add_times(half, count)


def _waits(event: JobsEnded) -> Sequence[int]:
    """How long each job waited from being enqueued to its first run; `NO_WAIT` where this was not that run."""
    at_s = event.at.timestamp()
    enqueued = enqueued_ms_of(event)
    befores = began_before_s_of(event)
    waits = halves_of(packed("f", [at_s - before - ms * 1e-3 for before, ms in zip(befores, enqueued, strict=True)]))
    if not (event.attempts or event.replays or event.enqueued_ms):
        return waits
    are_first = _first_runs(event, enqueued)
    return [half if is_first else NO_WAIT for half, is_first in zip(waits, are_first, strict=True)]


def _first_runs(event: JobsEnded, enqueued_ms: Sequence[int]) -> Iterator[bool]:
    """Whether each job was run for the first time, and is known when it was enqueued."""
    attempts = unpacked("I", event.attempts) if event.attempts else repeat(1, event.count)
    replays = event.replays or repeat("", event.count)
    for attempt, replay, enqueued in zip(attempts, replays, enqueued_ms, strict=True):
        yield attempt == 1 and not replay and enqueued > 0


def tally_event(event: Mapping[str, Any], find: Find) -> None:
    """Count an event of one job, of a kind that is one of `OUTCOMES`."""
    kind = event["event"]
    tally = find(event["job_type"])
    tally.counts[kind] += 1
    _tally_run(event, tally)
    if kind in FAILED:
        tally.add_failure(
            FailureCount(
                fingerprint=event["fingerprint"],
                error_type=event["error_type"],
                message=event["message"][:MESSAGE_CHARACTERS],
                count=1,
            )
        )


def _tally_run(event: Mapping[str, Any], tally: Tally) -> None:
    began: datetime | None = event["began"]
    if began is None:
        return
    enqueued: datetime | None = event["enqueued"]
    tally.run.add(_halves((event["at"] - began).total_seconds()))
    if event["attempt"] == 1 and not event["replay"] and enqueued is not None:
        tally.wait.add(_halves((began - enqueued).total_seconds()))


def _halves(length_s: float) -> Sequence[int]:
    return halves_of(packed("f", [length_s]))
