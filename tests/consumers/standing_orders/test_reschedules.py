"""Reschedules give a job another time for its next start, and for none after that."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta

from stoker.consumers.progress.assignment import Assignment
from stoker.consumers.records.outcomes import DONE, INTERRUPTED, SKIPPED, Deferred, Delayed, Outcome, Snoozed
from stoker.consumers.standing_orders.reschedules import Reschedules
from stoker.consumers.steps.steps import DecodedJob, decode
from stoker.topology.declaration.delays import DelayClass
from stoker.topology.wire.headers import DUE, EXPIRES, JOB_TYPE, format_instant
from support.scenes.deliveries import NOW, NOW_S, declare

LATER = Delayed(due=NOW + timedelta(minutes=5), delay=DelayClass.SHORT)
HOUR = {DUE: format_instant(NOW + timedelta(hours=1))}


def decoded(reschedules: Reschedules, headers: Mapping[str, bytes | None] | None = None, offset: int = 7) -> object:
    """What decoding makes of a record of `job-1`."""
    delivery = declare()
    return decode(delivery.record(headers, offset=offset), replace(delivery.step_context, reschedules=reschedules))


def test_a_job_that_is_to_start_later_waits_on() -> None:
    """Also one that has no time of its own, or an earlier one; another job does not."""
    reschedules = Reschedules()
    reschedules.begin("job-1", NOW_S + 300, NOW_S + 900)
    assert decoded(reschedules) == LATER
    assert decoded(reschedules, {DUE: format_instant(NOW - timedelta(hours=1))}) == LATER
    assert isinstance(decoded(reschedules, {"ce_id": b"job-2"}), DecodedJob)


def test_a_job_that_is_to_start_now_does_not_wait_for_its_own_time() -> None:
    """Nor does the same record if it comes again; the next one of the job, such as its retry, does."""
    reschedules = Reschedules()
    reschedules.begin("job-1", NOW_S, NOW_S + 900)
    assert isinstance(decoded(reschedules, HOUR), DecodedJob)
    assert isinstance(decoded(reschedules, HOUR), DecodedJob)
    assert isinstance(decoded(reschedules, HOUR, offset=8), Delayed)
    reschedules.begin("job-1", NOW_S, NOW_S + 900)
    assert isinstance(decoded(reschedules, HOUR, offset=8), DecodedJob)


def test_a_job_that_is_deferred_has_not_begun() -> None:
    """Of a type that no worker knows yet, it comes again, and still needs the other time."""
    reschedules = Reschedules()
    reschedules.begin("job-1", NOW_S, NOW_S + 900)
    outcome = decoded(reschedules, {**HOUR, JOB_TYPE: b"nobody"})
    assert isinstance(outcome, Deferred)
    assert ended(reschedules, outcome) == []


def test_an_expired_job_does_not_start_at_another_time() -> None:
    """Its expiry counts."""
    reschedules = Reschedules()
    reschedules.begin("job-1", NOW_S, NOW_S + 900)
    assert type(decoded(reschedules, {EXPIRES: format_instant(NOW)})).__name__ == "Cancelled"


def ended(reschedules: Reschedules, outcome: Outcome, assignment: Assignment | None = None) -> list[str]:
    """The orders that have nothing left to do after this outcome is durable."""
    reschedules.note_settled([(declare().record(assignment=assignment), outcome)])
    return [job_id for job_id, _ in reschedules.take_ended()]


def test_an_order_has_nothing_left_to_do_once_its_job_has_begun_for_good() -> None:
    """Not while the job comes again, nor by the word of a former owner, nor where it has a newer time."""
    reschedules, gone = Reschedules(), Assignment(1, "unit.q", 0)
    gone.leave()
    gone.end()
    reschedules.begin("job-1", NOW_S, NOW_S + 900)
    for outcome in (LATER, INTERRUPTED, SKIPPED):
        assert ended(reschedules, outcome) == []
    assert ended(reschedules, DONE, gone) == []
    assert ended(reschedules, DONE) == ["job-1"]
    reschedules.note_settled([(declare().record(), DONE)])
    reschedules.begin("job-1", NOW_S, NOW_S + 900)
    assert reschedules.take_ended() == []


def test_a_job_that_ran_already_needs_its_other_time_for_the_retry() -> None:
    """Once it has begun by the order, a retry ends that."""
    reschedules = Reschedules()
    retried = Snoozed(due=NOW, delay=DelayClass.SHORT)
    reschedules.begin("job-1", NOW_S, NOW_S + 900)
    assert ended(reschedules, retried) == []
    decoded(reschedules)
    assert ended(reschedules, retried) == ["job-1"]


def test_what_is_over_or_lifted_is_forgotten() -> None:
    """And costs a job nothing more."""
    reschedules = Reschedules()
    reschedules.begin("job-1", NOW_S, NOW_S + 900)
    reschedules.begin("job-2", NOW_S, NOW_S + 100)
    reschedules.forget_old(NOW_S + 500)
    assert (len(reschedules), reschedules.stands) == (1, True)
    reschedules.end("job-1")
    reschedules.end("job-3")
    assert (len(reschedules), reschedules.stands) == (0, False)
