"""What an outcome writes: the same job under bounded headers, its entry in the ledger, its event; late, only truths."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stoker.consumers.job.failure import MESSAGE_LIMIT_BYTES, STACK_LIMIT_BYTES, describe_failure
from stoker.consumers.progress.assignment import Assignment
from stoker.consumers.records.outcomes import (
    INTERRUPTED,
    SKIPPED,
    Cancelled,
    Dead,
    Deferred,
    Delayed,
    NotDone,
    Retried,
    Snoozed,
)
from stoker.consumers.records.record import Record
from stoker.consumers.settling.next_records import FIRST_ERROR_BYTES
from stoker.consumers.settling.outgoing import OutgoingRecord
from stoker.consumers.settling.writes import Writes, plan_writes
from stoker.consumers.sources.source import Tier
from stoker.schemas.own_records.job_events import encode_event
from stoker.topology.declaration.delays import DelayClass
from stoker.topology.wire import headers as wire
from stoker.topology.wire.ledger_names import MOVED
from support.scenes.deliveries import NOW, TIERS, Delivery, declare

LATER = NOW + timedelta(seconds=10)
FAILURE = describe_failure("work", ValueError("broken"))


def retried(attempt: int = 2, failure: object = None) -> Retried:
    """A failed run with further attempts."""
    error = failure if isinstance(failure, BaseException) else ValueError("broken")
    return Retried(due=LATER, tier=TIERS[1], next_attempt=attempt, failure=describe_failure("work", error))


OUTCOMES: dict[str, NotDone] = {
    "skipped": SKIPPED,
    "retried": retried(),
    "dead": Dead(reason="permanent", failure=FAILURE),
    "snoozed": Snoozed(due=LATER, delay=DelayClass.SHORT),
    "deferred": Deferred(due=LATER, delay=DelayClass.MEDIUM, reason="unknown-type", detail="no handler"),
    "delayed": Delayed(due=LATER, delay=DelayClass.LONG),
    "cancelled": Cancelled(reason="discarded", detail="sold out"),
    "interrupted": INTERRUPTED,
}
each = pytest.mark.parametrize("name", OUTCOMES)


def written(delivery: Delivery, record: Record, outcome: NotDone) -> Writes:
    """Plan at `NOW`."""
    return plan_writes(record, outcome, queue=delivery.queue, worker_id="w1", now=NOW)


def following(delivery: Delivery, record: Record, outcome: NotDone) -> OutgoingRecord:
    """The job's next record."""
    (planned,) = written(delivery, record, outcome).records
    return planned


def delivered_again(delivery: Delivery, planned: OutgoingRecord) -> Record:
    """The next record as its tier delivers it."""
    place = Assignment(2, planned.topic, 0, source=Tier(TIERS[1]))
    record = delivery.record(dict(planned.headers), assignment=place)
    assert record.pairs == planned.headers
    return record


@pytest.mark.parametrize(
    ("name", "topic"),
    [
        ("skipped", None),
        ("interrupted", None),
        ("cancelled", None),
        ("retried", "unit.q.retry.10s"),
        ("snoozed", "unit.q.delay.short"),
        ("delayed", "unit.q.delay.long"),
        ("deferred", "unit.q.delay.medium"),
        ("dead", "unit.q.dead"),
    ],
)
def test_each_outcome_goes_where_it_belongs(name: str, topic: str | None) -> None:
    """To a tier, a delay, the dead letters, or nowhere."""
    delivery = declare()
    planned = written(delivery, delivery.record(), OUTCOMES[name])
    assert [following.topic for following in planned.records] == ([] if topic is None else [topic])


@pytest.mark.parametrize(
    ("name", "entry"),
    [
        ("cancelled", ("job-1", "cancelled")),
        ("skipped", None),
        ("interrupted", None),
    ],
)
def test_the_ledger_remembers_jobs_that_ended(name: str, entry: tuple[str, str] | None) -> None:
    """Under their own names."""
    delivery = declare()
    assert written(delivery, delivery.record(), OUTCOMES[name]).ledger == entry


@pytest.mark.parametrize("name", ["retried", "dead", "snoozed", "deferred", "delayed"])
def test_the_ledger_remembers_records_that_moved_and_not_their_jobs(name: str) -> None:
    """By their place, since the job itself is not done."""
    delivery = declare()
    entry = written(delivery, delivery.record(), OUTCOMES[name]).ledger
    assert entry is not None
    assert entry[0].startswith(f"{MOVED}job-1@unit.q/0/7")
    assert entry[1] == "moved"


def test_an_expired_job_leaves_its_name_free() -> None:
    """It never ran, so the same id or idempotency key may be enqueued again; only this record of it is settled."""
    delivery = declare()
    planned = written(delivery, delivery.record(), Cancelled(reason="expired", detail="too late"))
    assert planned.ledger == (f"{MOVED}job-1@unit.q/0/7", "cancelled")


def test_the_result_of_a_revoked_partition_writes_only_what_is_true_whoever_owns_it() -> None:
    """That it discarded itself is remembered; everything else is the present owner's to say."""
    delivery = declare()
    record = delivery.record()
    record.assignment.leave()
    record.assignment.end()
    for name, outcome in OUTCOMES.items():
        planned = written(delivery, record, outcome)
        assert planned.records == ()
        assert (planned.ledger is not None) == (name == "cancelled")


@each
def test_every_event_fits_its_schema(name: str) -> None:
    """An event that cannot be encoded would stop the settling."""
    delivery = declare()
    for headers in ({}, {"ce_id": b"\xff", "ce_type": b"\xff", wire.ATTEMPT: b"9" * 30}, {wire.ATTEMPT: b"-1"}):
        event = written(delivery, delivery.record(headers), OUTCOMES[name]).event
        assert event is None or encode_event(event)


def test_a_retry_says_all_that_the_next_run_and_a_reader_need() -> None:
    """Attempt, due time, error, and where and when it began."""
    delivery = declare()
    headers = dict(following(delivery, delivery.record(), retried()).headers)
    assert headers[wire.ATTEMPT] == b"2"
    assert headers[wire.DUE] == wire.format_instant(LATER)
    assert headers[wire.FIRST_FAILED] == wire.format_instant(NOW)
    assert headers[wire.ORIGIN] == b"unit.q/0/7"
    assert headers[wire.ERROR_TYPE] == b"ValueError"
    assert headers[wire.ERROR_MESSAGE] == b"broken"
    assert b"ValueError: broken" in headers[wire.ERROR_STACK]
    assert len(headers[wire.ERROR_FINGERPRINT]) == 16
    assert headers[wire.WORKER] == b"w1"
    assert headers[wire.REASON] == b"failed"


def test_the_callers_own_headers_travel_along_in_their_order() -> None:
    """Unknown names, repeated names and null values too."""
    delivery = declare()
    record = delivery.record({"tenant": b"t1", "traceparent": b"00-x", "stoker-idempotency-key": b"i", "odd": b""})
    for outcome in (retried(), OUTCOMES["dead"], OUTCOMES["snoozed"]):
        kept = [pair for pair in following(delivery, record, outcome).headers if pair in record.pairs]
        assert kept == record.pairs


def test_headers_do_not_grow_with_the_attempts() -> None:
    """After a hundred retries they are as many, and as long, as after two; the first failure stays the first."""
    delivery = declare()
    record, sizes = delivery.record({"tenant": b"t1"}), []
    for _ in range(100):
        planned = following(delivery, record, retried(2))
        sizes.append(sum(len(name) + len(value or b"") for name, value in planned.headers))
        assert len({name for name, _ in planned.headers}) == len(planned.headers)
        record = delivered_again(delivery, planned)
    assert len(set(sizes[1:])) == 1
    assert record.headers[wire.FIRST_ERROR_TYPE] == b"ValueError"
    assert record.headers[wire.ORIGIN] == b"unit.q/0/7"


def test_a_retry_replaces_what_the_retry_before_it_said() -> None:
    """Error and attempt are the last ones, the first failure and origin the first."""
    delivery = declare()
    record = delivered_again(delivery, following(delivery, delivery.record(), retried(2)))
    later = plan_writes(
        record, retried(3, KeyError("other")), queue=delivery.queue, worker_id="w2", now=NOW + timedelta(hours=1)
    )
    (following_later,) = later.records
    headers = dict(following_later.headers)
    assert (headers[wire.ATTEMPT], headers[wire.ERROR_TYPE], headers[wire.WORKER]) == (b"3", b"KeyError", b"w2")
    assert headers[wire.FIRST_FAILED] == wire.format_instant(NOW)
    assert headers[wire.ORIGIN] == b"unit.q/0/7"


def test_a_dead_letter_keeps_the_attempt_that_was_its_last() -> None:
    """And says its reason; it has no due time any more."""
    delivery = declare()
    record = delivery.record({wire.ATTEMPT: b"5", wire.DUE: b"x"})
    headers = dict(following(delivery, record, Dead(reason="attempts-spent", failure=FAILURE)).headers)
    assert headers[wire.ATTEMPT] == b"5"
    assert headers[wire.REASON] == b"attempts-spent"
    assert wire.DUE not in headers


def test_only_headers_that_the_wire_contract_notes_have_other_characters_than_ascii() -> None:
    """Error, its class and its place, and the name of the worker's host may have any."""
    delivery = declare()
    error = type("É", (Exception,), {})("é")
    record = delivered_again(delivery, following(delivery, delivery.record(), retried(2, error)))
    planned = plan_writes(record, retried(3, error), queue=delivery.queue, worker_id="höst-1", now=NOW)
    names = {name for name, value in planned.records[0].headers if not (value or b"").isascii()}
    assert {wire.WORKER, wire.ERROR_TYPE, wire.FIRST_ERROR_TYPE, wire.FIRST_ERROR_MESSAGE} <= names <= wire.UTF_8


@pytest.mark.parametrize("before", ["", "a"])
def test_a_cut_first_error_is_still_utf_8(before: str) -> None:
    """Its bound falls between two characters or into one, and the header is cut before that one."""
    delivery = declare()
    error = type("É" * 200, (Exception,), {})(before + "é" * 200)
    failed = delivered_again(delivery, following(delivery, delivery.record(), retried(2, error)))
    again = delivered_again(delivery, following(delivery, failed, retried(3)))
    for first, name in ((wire.FIRST_ERROR_TYPE, wire.ERROR_TYPE), (wire.FIRST_ERROR_MESSAGE, wire.ERROR_MESSAGE)):
        assert failed.headers[name].decode().startswith(again.headers[first].decode())
        assert FIRST_ERROR_BYTES - 1 <= len(again.headers[first]) <= FIRST_ERROR_BYTES


@pytest.mark.parametrize("name", ["snoozed", "deferred", "delayed"])
def test_waiting_costs_no_attempt_and_keeps_the_last_error(name: str) -> None:
    """Whatever a record waits for without having failed."""
    delivery = declare()
    failed = delivered_again(delivery, following(delivery, delivery.record(), retried(3)))
    headers = dict(following(delivery, failed, OUTCOMES[name]).headers)
    assert headers[wire.ATTEMPT] == b"3"
    assert headers[wire.ERROR_MESSAGE] == b"broken"
    assert headers[wire.DUE] == wire.format_instant(LATER)


EARLIER = NOW - timedelta(days=3)
SINCE_EARLIER = wire.format_instant(EARLIER)
NEVER_KNOWN = Dead(reason="never-known", failure=FAILURE)


@pytest.mark.parametrize(
    ("outcome", "since"),
    [
        pytest.param(OUTCOMES["deferred"], SINCE_EARLIER, id="deferred again"),
        pytest.param(OUTCOMES["delayed"], SINCE_EARLIER, id="woken before it is due"),
        pytest.param(Delayed(due=LATER + timedelta(days=10), delay=DelayClass.LONG), None, id="rescheduled"),
        pytest.param(NEVER_KNOWN, SINCE_EARLIER, id="dead for it"),
        pytest.param(retried(), None, id="run, and failed"),
        pytest.param(OUTCOMES["snoozed"], None, id="run, and snoozed"),
        pytest.param(OUTCOMES["dead"], None, id="run, and dead"),
    ],
)
def test_deferrals_are_one_row_until_a_handler_has_run(outcome: NotDone, since: bytes | None) -> None:
    """The first deferral of a row stays the first; a run of the job, or an order to wait longer, ends the row."""
    delivery = declare()
    deferred = delivery.record({wire.DEFERRED_SINCE: SINCE_EARLIER, wire.DUE: wire.format_instant(LATER)})
    assert dict(following(delivery, deferred, outcome).headers).get(wire.DEFERRED_SINCE) == since


def test_a_first_deferral_is_no_failure() -> None:
    """It has an instant of its own; that of an earlier failure stays, and none is made up."""
    delivery = declare()
    headers = dict(following(delivery, delivery.record(), OUTCOMES["deferred"]).headers)
    assert headers[wire.DEFERRED_SINCE] == wire.format_instant(NOW)
    assert wire.FIRST_FAILED not in headers
    failed = delivery.record({wire.FIRST_FAILED: SINCE_EARLIER})
    headers = dict(following(delivery, failed, OUTCOMES["deferred"]).headers)
    assert (headers[wire.DEFERRED_SINCE], headers[wire.FIRST_FAILED]) == (wire.format_instant(NOW), SINCE_EARLIER)


@pytest.mark.parametrize("told", [b"never", b"9999-01-01T00:00:00Z"])
def test_a_first_failure_that_is_no_past_instant_begins_anew(told: bytes) -> None:
    """What cannot be read, or lies ahead, is replaced at the next failure, and left out where none is."""
    delivery = declare()
    record = delivery.record({wire.FIRST_FAILED: told})
    assert dict(following(delivery, record, retried()).headers)[wire.FIRST_FAILED] == wire.format_instant(NOW)
    assert wire.FIRST_FAILED not in dict(following(delivery, record, OUTCOMES["snoozed"]).headers)


@given(st.text(max_size=3_000), st.integers(0, 300))
def test_an_errors_text_and_stack_are_bounded(text: str, depth: int) -> None:
    """Whatever the error says and however deep it came from, its headers stay small and are UTF-8."""

    def fail(further: int) -> None:
        if further:
            fail(further - 1)
        raise ValueError(text * 3)

    try:
        fail(depth)
    except ValueError as error:
        outcome = retried(2, error)
    delivery = declare()
    headers = dict(following(delivery, delivery.record(), outcome).headers)
    assert len(headers[wire.ERROR_MESSAGE]) <= MESSAGE_LIMIT_BYTES
    assert len(headers[wire.ERROR_STACK]) <= STACK_LIMIT_BYTES
    assert headers[wire.ERROR_STACK].decode() is not None
    assert headers[wire.ERROR_MESSAGE].decode() is not None


def test_an_event_is_bounded_whatever_a_foreign_publisher_wrote() -> None:
    """It repeats type and id, which nothing else limits but the record's size, and is written with each attempt."""
    delivery = declare()
    record = delivery.record({"ce_id": b"x" * 90_000, "ce_type": b"\xff" * 90_000})
    event = written(delivery, record, OUTCOMES["retried"]).event
    assert event is not None
    assert len(encode_event(event)) < 20_000
