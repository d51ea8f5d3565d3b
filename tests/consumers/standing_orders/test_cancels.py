"""The cancels that stand: which jobs they are about, how long, and what they take."""

from __future__ import annotations

import sys
import time
import tracemalloc
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from stoker.consumers.records.cancellation import Cancellation
from stoker.consumers.records.record import Record
from stoker.consumers.standing_orders.cancel_filters import CancelFilter
from stoker.consumers.standing_orders.cancels import MOST_COUNTED, Cancels
from stoker.topology.wire import headers as wire
from support.scenes.deliveries import NOW, declare

BY_ANA = Cancellation(operator="ana", reason="wrong price")
BY_BO = Cancellation(operator="bo")


def record(job_id: str = "j1") -> Record:
    """A record of the queue `q`, enqueued now."""
    named = {wire.JOB_ID: job_id.encode(), wire.JOB_TYPE: b"work", wire.TENANT: b"acme"}
    return declare().record(key=b"k", headers={**named, wire.TIME: wire.format_instant(NOW)})


def test_a_job_is_cancelled_by_its_id_until_that_is_lifted() -> None:
    """Also before it comes; `stands` is all that others ask while there is none."""
    cancels = Cancels()
    assert (cancels.stands, len(cancels)) == (False, 0)
    cancels.begin_job("j1", BY_ANA)
    assert (cancels.stands, len(cancels)) == (True, 1)
    assert cancels.of(record(), "q") == BY_ANA
    assert cancels.of(record("j2"), "q") is None
    cancels.end_job("j2")
    assert cancels.stands
    cancels.end_job("j1")
    cancels.end_job("j1")
    assert not cancels.stands
    assert cancels.of(record(), "q") is None


@pytest.mark.parametrize(
    ("wanted", "takes"),
    [
        (CancelFilter(), True),
        (CancelFilter(queue="q"), True),
        (CancelFilter(queue="other"), False),
        (CancelFilter(job_type=b"work"), True),
        (CancelFilter(job_type=b"other"), False),
        (CancelFilter(key=b"k"), True),
        (CancelFilter(key=b"other"), False),
        (CancelFilter(tenant=b"acme"), True),
        (CancelFilter(tenant=b"other"), False),
        (CancelFilter(before=NOW), False),
        (CancelFilter(before=NOW + timedelta(microseconds=1)), True),
        (CancelFilter(job_type=b"work", tenant=b"other"), False),
    ],
)
def test_all_that_a_filter_names_must_hold(wanted: CancelFilter, takes: bool) -> None:
    """A filter of a million jobs is one entry."""
    cancels = Cancels()
    cancels.begin_filter("o1", wanted, BY_BO)
    assert cancels.of(record(), "q") == (BY_BO if takes else None)
    cancels.end_filter("o1")
    assert not cancels.stands


@pytest.mark.parametrize("written", [None, b"no instant"])
def test_a_job_whose_time_cannot_be_read_was_enqueued_when_it_was_written(written: bytes | None) -> None:
    """Other programs need not set `ce_time`."""
    without = declare().record(headers={} if written is None else {wire.TIME: written})
    at = datetime.fromtimestamp(without.timestamp_ms / 1_000, UTC)
    assert not CancelFilter(before=at).takes_time_of(without)
    assert CancelFilter(before=at + timedelta(seconds=1)).takes_time_of(without)


def test_what_is_over_is_forgotten() -> None:
    """Of jobs and filters; what has no end stays."""
    cancels = Cancels()
    cancels.begin_job("j1", BY_ANA, until_at_s=600.0)
    cancels.begin_job("j2", BY_ANA)
    cancels.begin_filter("o1", CancelFilter(tenant=b"acme"), BY_BO, until_at_s=1_200.0)
    assert cancels.forget_old(599.0) == 0
    assert cancels.forget_old(600.0) == 1
    assert cancels.of(record(), "q") == BY_BO
    assert cancels.forget_old(1_200.0) == 1
    assert cancels.of(record(), "q") is None
    assert cancels.of(record("j2"), "q") == BY_ANA


def test_a_hundred_thousand_cancels_take_little_memory() -> None:
    """Some 130 bytes each, whatever the ids are, where they are of one operator for one reason."""
    cancels = Cancels()
    tracemalloc.start()
    try:
        for _ in range(100_000):
            # as they are read from a topic, each has texts of its own
            by = Cancellation(operator="".join(["a", "na"]), reason="".join(["wrong ", "price"]))
            cancels.begin_job(f"order-of-a-customer-{uuid4()}", by, until_at_s=2_592_000.0)
        taken_bytes, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert sys.getsizeof(cancels) < 200
    assert taken_bytes < 15_000_000


def test_what_a_replay_publishes_is_as_old_as_its_record() -> None:
    """Else a correction could not be replayed after the faulty jobs were cancelled by a filter."""
    cancels = Cancels()
    cancels.begin_filter("o1", CancelFilter(job_type=b"work", before=NOW + timedelta(hours=1)), BY_BO)
    assert cancels.of(record(), "q") == BY_BO
    headers = {wire.JOB_ID: b"j1", wire.JOB_TYPE: b"work", wire.TIME: wire.format_instant(NOW), wire.REPLAY: b"r1"}
    replayed = declare().record(headers=headers)
    at = datetime.fromtimestamp(replayed.timestamp_ms / 1_000, UTC)
    assert (cancels.of(replayed, "q") is None) == (at >= NOW + timedelta(hours=1))
    cancels.begin_filter("o1", CancelFilter(job_type=b"work", before=at), BY_BO)
    assert cancels.of(replayed, "q") is None


def test_many_filters_of_one_shape_are_asked_for_at_once() -> None:
    """Ten thousand keys cost a job one look; each of them may have several orders."""
    cancels = Cancels()
    for number in range(10_000):
        cancels.begin_filter(f"o{number}", CancelFilter(key=b"%d" % number), BY_BO)
    assert cancels.of(record(), "q") is None
    cancels.begin_filter("late", CancelFilter(key=b"k"), BY_ANA)
    cancels.begin_filter("early", CancelFilter(key=b"k", before=NOW), BY_BO)
    began_at_s = time.perf_counter()
    for _ in range(1_000):
        assert cancels.of(record(), "q") == BY_ANA
    assert time.perf_counter() - began_at_s < 5
    cancels.end_filter("late")
    assert cancels.of(record(), "q") is None
    for order_id in list(cancels.filter_ids):
        cancels.end_filter(order_id)
    assert not cancels.stands


def test_jobs_that_end_are_noted_where_a_cancel_of_theirs_stands() -> None:
    """Once the control thread has taken them, nothing is left."""
    cancels = Cancels()
    cancels.begin_job("j1", BY_ANA)
    cancels.note_ended(record("j1"))
    cancels.note_ended(record("j2"))
    assert cancels.take_ended() == [("j1", BY_ANA.order_id)]
    assert cancels.take_ended() == []


def test_of_the_latest_orders_it_is_known_how_many_jobs_they_have_ended() -> None:
    """Not of all: a script may give one for each job."""
    cancels = Cancels()
    for number in range(MOST_COUNTED + 5):
        for _ in range(2):
            cancels.count_cancelled(Cancellation(operator="ana", order_id=f"o{number}"))
    assert len(cancels.ended) == MOST_COUNTED
    assert "o4" not in cancels.ended
    assert cancels.ended["o5"] == 2
