"""What is settled is counted once, by whichever thread folds it, and each count is there before it is more than 0."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any, get_args
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stoker.consumers.metrics import job_figures
from stoker.consumers.metrics.job_figures import LIMITED, UNKNOWN, JobFigures
from stoker.consumers.records.ended_columns import handful_of
from stoker.consumers.records.outcomes import CancelReason, DeadReason, DeferReason, Outcome
from stoker.consumers.records.record import Record
from stoker.producers.metrics.all_metrics import RUN_SECONDS, SETTLED, WAIT_SECONDS
from stoker.producers.metrics.histogram import HistogramValue
from stoker.topology.wire import headers as wire
from support.scenes.deliveries import declare

pytestmark = pytest.mark.timeout(60)


def a_record(job_type: str) -> Record:
    """The record of a job that has run for half a second."""
    record = declare().record({wire.JOB_TYPE: job_type.encode()})
    record.ended_at_s = time.monotonic()
    record.began_at_s = record.ended_at_s - 0.5
    return record


def settled(figures: JobFigures) -> dict[tuple[str, ...], Any]:
    """{(type, outcome, reason): records}."""
    return {sample.labels[1:]: sample.value for sample in figures.samples() if sample.metric is SETTLED}


def test_each_outcome_and_reason_is_there_from_the_start() -> None:
    """Of each declared type, and of records with no known one: `increase()` does not see a count that begins at 1."""
    counts = settled(JobFigures("work", ["act", "mail"]))
    for name in ("act", "mail", UNKNOWN):
        assert {(name, "dead", reason) for reason in get_args(DeadReason)} <= counts.keys()
        assert {(name, "cancelled", reason) for reason in get_args(CancelReason)} <= counts.keys()
        assert {(name, "deferred", reason) for reason in get_args(DeferReason)} <= counts.keys()
        plain = {found.__name__.lower() for found in get_args(Outcome)} - {"done", "dead", "cancelled", "deferred"}
        assert {(name, outcome, "") for outcome in plain} | {(name, "snoozed", LIMITED)} <= counts.keys()
    assert {("act", "done", ""), ("mail", "done", "")} <= counts.keys()
    assert set(counts.values()) == {0}


@pytest.mark.parametrize("names", [["act"], ["act", "mail"]])
def test_both_threads_together_count_each_job(names: list[str]) -> None:
    """Jobs that are done by type, with their runs and waits; in queues of one type and of more."""
    figures = JobFigures("work", names)
    many, few = [a_record(name) for name in names for _ in range(30)], [a_record(name) for name in names]
    figures.fold_published(figures.durations(handful_of(many)))
    figures.fold_given_up(figures.durations(handful_of(few)))
    counts = settled(figures)
    assert {name: counts[name, "done", ""] for name in names} == dict.fromkeys(names, 31)
    for metric in (RUN_SECONDS, WAIT_SECONDS):
        values = [sample.value for sample in figures.samples() if sample.metric is metric]
        assert [sum(value.counts) for value in values if isinstance(value, HistogramValue)] == [31] * len(names)


SECONDS = st.sampled_from([0.0, 0.0004, 0.001, 0.004, 0.02, 0.7, 40.0])


@given(st.lists(st.tuples(SECONDS, SECONDS, SECONDS), min_size=1, max_size=40), st.booleans())
def test_jobs_are_counted_together_as_one_by_one(jobs: list[tuple[float, float, float]], is_first_run: bool) -> None:
    """Whether their waits and runs lie in one bucket each or in many, and whatever their headers tell."""
    headers = {wire.JOB_TYPE: b"act"} if is_first_run else {wire.JOB_TYPE: b"act", wire.ATTEMPT: b"2"}
    now_s, now_monotonic_s = time.time(), time.monotonic()
    at_s, clock_s = now_s - 1_000.0, now_monotonic_s - 1_000.0
    records = list[Record]()
    for written_s, began_s, took_s in jobs:
        record = declare().record(headers)
        record.timestamp_ms = round((at_s + written_s) * 1e3)
        record.began_at_s = clock_s + 50.0 + began_s + 0.0002  # off the bounds of buckets
        record.ended_at_s = record.began_at_s + took_s * 0.9
        records.append(record)
    together, single = JobFigures("work", ["act"]), JobFigures("work", ["act"])
    # Both look at the same two clocks: an interrupted look at the real ones moves a wait into another bucket.
    with mock.patch.object(job_figures, "time", SimpleNamespace(time=lambda: now_s, monotonic=lambda: now_monotonic_s)):
        together.fold_published(together.durations(handful_of(records)))
        for record in records:
            single._settled.fold_run(record)
    for metric in (RUN_SECONDS, WAIT_SECONDS):
        one, other = lengths(together, metric), lengths(single, metric)
        assert one.counts == other.counts
        assert one.total == pytest.approx(other.total, abs=1e-3)


def lengths(figures: JobFigures, metric: Any) -> HistogramValue:
    """The only histogram of a metric."""
    (found,) = (sample.value for sample in figures.samples() if sample.metric is metric)
    assert isinstance(found, HistogramValue)
    return found
