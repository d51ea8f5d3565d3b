"""The cancels that stand: which jobs they are about, how long, and what they take."""

from __future__ import annotations

import sys
import tracemalloc
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from stoker.consumers.records.cancel_filters import CancelFilter
from stoker.consumers.records.cancellation import Cancellation
from stoker.consumers.records.cancels import Cancels
from stoker.consumers.records.record import Record
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
