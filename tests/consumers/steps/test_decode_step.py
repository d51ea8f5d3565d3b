"""The steps decode and claim: what can be read runs, what cannot is dead with a reason, what others may know waits."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stoker.consumers import JobContext
from stoker.consumers.partitions.ledger import Ledger, tried_name
from stoker.consumers.records.outcomes import INTERRUPTED, SKIPPED, Cancelled, Dead, DeferReason, Deferred, Delayed
from stoker.consumers.settling.setbacks import log_setback
from stoker.consumers.settling.writes import plan_writes
from stoker.consumers.steps.steps import DEFER_LIMIT, Decoded, DecodedJob, claim, decode
from stoker.schemas.own_records.job_events import encode_event
from stoker.topology.declaration.delays import DelayClass
from stoker.topology.wire.headers import (
    ATTEMPT,
    DEFERRED_SINCE,
    DUE,
    EXPIRES,
    FIRST_FAILED,
    REASON,
    format_instant,
    parse_instant,
)
from support.scenes.deliveries import NOW, NOW_S, declare, record_of


def test_a_well_formed_record_becomes_a_job_with_its_context() -> None:
    """Arguments, attempt, limits and identity are those of the record and the job type."""
    delivery = declare()
    job = decode(delivery.record({ATTEMPT: b"3"}, key=b"k", value=delivery.payload(41)), delivery.step_context)
    assert isinstance(job, DecodedJob)
    assert (job.args, job.kwargs) in [((41,), {}), ((), {"number": 41})]
    context = JobContext(job.run)
    assert (context.job_id, context.job_type, context.queue) == ("job-1", "work", "q")
    assert (context.attempt, context.attempts, context.key) == (3, 5, "k")
    assert context.place == "unit.q/0/7"


def test_the_first_attempt_has_no_header() -> None:
    """An absent `stoker-attempt` means 1."""
    delivery = declare()
    job = decode(delivery.record(), delivery.step_context)
    assert isinstance(job, DecodedJob)
    assert job.run.attempt == 1


MALFORMED: dict[str, dict[str, bytes | None]] = {
    "no type": {"ce_type": None},
    "no id": {"ce_id": None},
    "a type that is no text": {"ce_type": b"\xff\xfe"},
    "an id that is no text": {"ce_id": b"\xff\xfe"},
    "an attempt that is no number": {ATTEMPT: b"two"},
    "an empty attempt": {ATTEMPT: b""},
    "a null attempt": {ATTEMPT: None},
    "attempt zero": {ATTEMPT: b"0"},
    "a negative attempt": {ATTEMPT: b"-5"},
    "an attempt with a sign": {ATTEMPT: b"+5"},
    "an attempt with blanks": {ATTEMPT: b" 5 "},
    "an attempt with underscores": {ATTEMPT: b"1_0"},
    "a due time of another form": {DUE: b"20130101T051700Z"},
    "a due time without seconds": {DUE: b"2013-01-01T05:17Z"},
    "an expiry at hour 24": {EXPIRES: b"2013-01-01T24:00:00Z"},
    "an attempt beyond all counting": {ATTEMPT: b"1" + b"0" * 30},
    "an attempt of thousands of digits": {ATTEMPT: b"9" * 5_000},
    "a due time that is no time": {DUE: b"soon"},
    "a due time without offset": {DUE: b"2013-01-01T12:00:00"},
    "a due time before time": {DUE: b"0001-01-01T00:00:00+10:00"},
    "a null due time": {DUE: None},
    "an expiry that is no time": {EXPIRES: b"\x00\x01"},
    "an expiry beyond time": {EXPIRES: b"9999-12-31T23:59:59-10:00"},
    "a null expiry": {EXPIRES: None},
}


@pytest.mark.parametrize("headers", [pytest.param(headers, id=name) for name, headers in MALFORMED.items()])
def test_a_malformed_header_makes_a_dead_letter_that_says_which(headers: dict[str, bytes | None]) -> None:
    """Whatever stands in the headers, the step gives an outcome and never raises."""
    delivery = declare()
    outcome = decode(delivery.record(headers), delivery.step_context)
    assert isinstance(outcome, Dead)
    assert outcome.reason == "malformed"
    assert outcome.failure.message


LONG: dict[str, dict[str, bytes | None]] = {
    "type": {"ce_type": b"t" * 90_000},
    "type that is no text": {"ce_type": b"\xff" * 90_000},
    "id": {"ce_id": b"i" * 90_000, "ce_type": b"unknown"},
    "attempt": {ATTEMPT: b"x" * 90_000},
    "attempt of digits": {ATTEMPT: b"1" * 90_000},
    "due time": {DUE: b"2013-01-01T00:00:00." + b"1" * 90_000},
    "reason and first failure": {REASON: b"r" * 90_000, FIRST_FAILED: b"f" * 90_000, "ce_type": b"unknown"},
    "first deferral": {DEFERRED_SINCE: b"d" * 90_000, "ce_type": b"unknown"},
}


@pytest.mark.parametrize("headers", [pytest.param(headers, id=name) for name, headers in LONG.items()])
def test_what_is_long_on_the_wire_is_short_wherever_it_is_shown(
    headers: dict[str, bytes | None], caplog: pytest.LogCaptureFixture
) -> None:
    """A foreign header of 90 KB makes no long log line, event or header, however often its job is put off."""
    delivery = declare()
    record = delivery.record(headers)
    outcome = decode(record, delivery.step_context)
    assert isinstance(outcome, Dead | Deferred)
    log_setback(record, outcome, delivery.step_context.queue)
    [logged] = caplog.records
    assert len(logged.getMessage()) + sum(len(str(value)) for value in vars(logged).values()) < 10_000
    writes = plan_writes(record, outcome, queue=delivery.step_context.queue, worker_id="w", now=NOW)
    assert writes.event is not None
    assert len(encode_event(writes.event)) < 3_000
    (following,) = writes.records
    own = [pair for pair in following.headers if pair[0].startswith("stoker-") and pair[0] != DUE]
    assert sum(len(value) for _, value in own) < 5_000


def test_a_first_deferral_that_is_no_past_instant_does_not_put_a_job_off_for_ever() -> None:
    """The seven days after which an unknown type is a dead letter begin anew where the header cannot be read."""
    for told in (b"never", b"9999-01-01T00:00:00Z"):
        delivery = declare()
        record = delivery.record({"ce_type": b"unknown", DEFERRED_SINCE: told})
        outcome = decode(record, delivery.step_context)
        assert isinstance(outcome, Deferred)
        writes = plan_writes(record, outcome, queue=delivery.step_context.queue, worker_id="w", now=NOW)
        (following,) = writes.records
        assert dict(following.headers)[DEFERRED_SINCE] == format_instant(NOW)


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        (b"2013-01-01t05:17:00z", "2013-01-01T05:17:00+00:00"),
        (b"2013-01-01T05:17:00.5+00:00", "2013-01-01T05:17:00.500000+00:00"),
        (b"2013-01-01 05:17:00.123456789-05:00", "2013-01-01T10:17:00.123456+00:00"),
        (b"2013-01-01T05:17:00-00:00", "2013-01-01T05:17:00+00:00"),
        (b"2016-12-31T23:59:60Z", "2017-01-01T00:00:00+00:00"),
        (b"2017-01-01T00:59:60.25+01:00", "2017-01-01T00:00:00.250000+00:00"),
    ],
)
def test_instants_are_read_as_rfc_3339_allows_them(written: bytes, meant: str) -> None:
    """Small letters, offsets, any number of digits and leap seconds, as other languages write them."""
    assert parse_instant(written).isoformat() == meant


def test_missing_headers_are_malformed_too() -> None:
    """A record from a client that sets no headers at all."""
    delivery = declare()
    outcome = decode(record_of([]), delivery.step_context)
    assert isinstance(outcome, Dead)
    assert "ce_type" in outcome.failure.message


READ_HEADERS = ["ce_id", "ce_type", ATTEMPT, DUE, EXPIRES, FIRST_FAILED, DEFERRED_SINCE]
HEADER_VALUES = st.one_of(st.none(), st.binary(max_size=40), st.text(max_size=30).map(str.encode), st.just(b"1"))


@given(
    st.dictionaries(st.sampled_from(READ_HEADERS), HEADER_VALUES),
    st.one_of(st.none(), st.binary(max_size=60)),
)
def test_no_headers_and_no_bytes_make_decoding_raise(headers: dict[str, bytes | None], value: bytes | None) -> None:
    """A step that raises stops the worker, and the record comes again: so none may."""
    delivery = declare()
    assert decode(delivery.record(headers, value=value), delivery.step_context) is not None


@pytest.mark.parametrize("value", [None, b"", b"\x00", b"\xc3\x01", b"{}", b"\xc3\x01" + b"x" * 7])
def test_bytes_in_no_framing_are_undecodable(value: bytes | None) -> None:
    """Also the null value of a tombstone, and frames cut short."""
    delivery = declare()
    outcome = decode(delivery.record(value=value), delivery.step_context)
    assert isinstance(outcome, Dead)
    assert outcome.reason == "undecodable"


def test_a_body_that_does_not_fit_its_schema_is_undecodable() -> None:
    """The right fingerprint, and then too few bytes."""
    delivery = declare()
    outcome = decode(delivery.record(value=delivery.payload()[:-1]), delivery.step_context)
    assert isinstance(outcome, Dead)
    assert outcome.reason == "undecodable"


def test_an_unknown_job_type_is_deferred_and_not_failed() -> None:
    """A newer worker may know it: it waits for as long as the longest tier within a minute."""
    delivery = declare()
    outcome = decode(delivery.record({"ce_type": b"of tomorrow"}), delivery.step_context)
    assert isinstance(outcome, Deferred)
    assert outcome.reason == "unknown-type"
    assert outcome.delay is DelayClass.SHORT
    assert outcome.due == NOW + timedelta(minutes=1)
    assert "of tomorrow" in outcome.detail


def test_an_unknown_fingerprint_is_deferred_and_not_failed() -> None:
    """Its schema may not have arrived here yet."""
    delivery = declare()
    outcome = decode(delivery.record(value=b"\xc3\x01" + b"12345678" + b"\x02"), delivery.step_context)
    assert isinstance(outcome, Deferred)
    assert outcome.reason == "unknown-schema"


UNKNOWN = get_args(DeferReason)


@pytest.mark.parametrize(
    ("waited", "kind"), [(DEFER_LIMIT - timedelta(minutes=1), Deferred), (DEFER_LIMIT + timedelta(minutes=1), Dead)]
)
@pytest.mark.parametrize("unknown", UNKNOWN)
def test_what_nobody_came_to_know_ends_in_the_dead_letters(unknown: str, waited: timedelta, kind: type) -> None:
    """A week after its first deferral somebody must see it, with the instant of that."""
    outcome = decode_unknown(unknown, {DEFERRED_SINCE: format_instant(NOW - waited)})
    assert isinstance(outcome, kind)
    if isinstance(outcome, Dead):
        assert outcome.reason == "never-known"
        assert f"deferred since {NOW - waited:%Y-%m-%d %H:%M} UTC" in outcome.failure.message


@pytest.mark.parametrize("unknown", UNKNOWN)
def test_a_job_that_failed_weeks_ago_is_deferred_as_any_other(unknown: str) -> None:
    """A failed run does not begin the 7 days: a worker had a handler, and only this one has none."""
    long_ago = format_instant(NOW - DEFER_LIMIT * 4)
    outcome = decode_unknown(unknown, {FIRST_FAILED: long_ago, ATTEMPT: b"2"})
    assert isinstance(outcome, Deferred)
    assert outcome.reason == unknown


def decode_unknown(unknown: str, headers: dict[str, bytes | None]) -> Decoded:
    """Decode a record of an unknown type, or an unknown schema, with these headers."""
    delivery = declare()
    if unknown == "unknown-type":
        return decode(delivery.record({"ce_type": b"x", **headers}), delivery.step_context)
    return decode(delivery.record(headers, value=b"\xc3\x01" + b"12345678" + b"\x02"), delivery.step_context)


@pytest.mark.parametrize(
    ("due_in_s", "delay"),
    [(0.5, DelayClass.SHORT), (900, DelayClass.SHORT), (901, DelayClass.MEDIUM), (86_400 * 30, DelayClass.LONG)],
)
def test_a_record_that_is_not_due_moves_on_to_the_delay_that_fits(due_in_s: float, delay: DelayClass) -> None:
    """However it came here early, it does not run early."""
    due, delivery = NOW + timedelta(seconds=due_in_s), declare()
    assert decode(delivery.record({DUE: format_instant(due)}), delivery.step_context) == Delayed(due=due, delay=delay)


def test_a_record_that_is_due_now_runs() -> None:
    """Due is the earliest moment, not the one before."""
    delivery = declare()
    assert isinstance(decode(delivery.record({DUE: format_instant(NOW)}), delivery.step_context), DecodedJob)


def test_a_job_that_the_ledger_has_is_skipped() -> None:
    """It was completed before."""
    delivery = declare()
    delivery.ledger.add("job-1")
    assert claim(delivery.record(), delivery.step_context) is SKIPPED


def test_a_settled_record_is_skipped_though_it_cannot_be_decoded() -> None:
    """A crash after its dead letter was confirmed must not write another one."""
    delivery = declare()
    record = delivery.record({"stoker-attempt": b"nonsense"})
    delivery.ledger.add(tried_name(record))
    assert claim(record, delivery.step_context) is SKIPPED


def test_a_replayed_job_passes_the_ledger_once_under_its_replays_name() -> None:
    """A replay re-runs what succeeded, but not twice."""
    delivery = declare()
    delivery.ledger.add("job-1")
    replayed = delivery.record({"stoker-replay": b"r1"})
    assert claim(replayed, delivery.step_context) is None
    delivery.ledger.add("r1:job-1")
    assert claim(replayed, delivery.step_context) is SKIPPED


@pytest.mark.parametrize(("expires_in_s", "runs"), [(1, True), (0, False), (-1, False)])
def test_a_job_that_could_not_start_in_time_expires(expires_in_s: int, runs: bool) -> None:
    """At its expiry it is over."""
    delivery = declare()
    record = delivery.record({EXPIRES: format_instant(NOW + timedelta(seconds=expires_in_s))})
    decoded = decode(record, delivery.step_context)
    if runs:
        assert isinstance(decoded, DecodedJob)
    else:
        assert isinstance(decoded, Cancelled)
        assert decoded.reason == "expired"


def test_a_job_of_a_partition_that_is_being_given_away_does_not_start() -> None:
    """Its next owner runs it."""
    delivery = declare()
    record = delivery.record()
    record.assignment.leave()
    assert claim(record, delivery.step_context) is INTERRUPTED


def test_a_partition_without_ledger_runs_its_jobs() -> None:
    """Only tests and races come here: partitions rest until their ledgers are restored."""
    delivery = declare()
    other = Ledger(delivery.queue.ledger, lambda: NOW_S)
    assert claim(delivery.record(), replace(delivery.step_context, ledgers={1: other})) is None


def test_a_job_knows_the_trace_that_it_was_enqueued_under() -> None:
    """The W3C header as text, and nothing where the publisher had no trace."""
    delivery = declare()
    trace = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    traced = decode(delivery.record({"traceparent": trace}), delivery.step_context)
    plain = decode(delivery.record(), delivery.step_context)
    assert isinstance(traced, DecodedJob)
    assert isinstance(plain, DecodedJob)
    assert JobContext(traced.run).trace_parent == trace.decode()
    assert JobContext(plain.run).trace_parent is None
