"""Orders to open a breaker that another program has written: no number in them ends a worker."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from stoker.consumers.breakers.breakers import BreakerOpen, Breakers
from stoker.consumers.breakers.opening import Target, opening_of
from stoker.schemas.own_records.control_records import ControlOrder
from stoker.topology import Breaker, Pipeline

AT = datetime(2013, 1, 1, tzinfo=UTC)
STRIPE = Target("dependency", "stripe")


@pytest.mark.parametrize(
    ("since", "expected"),
    [
        ("1356912000", "2012-12-31"),
        ("1356998000000", "2013-01-"),  # in milliseconds: the year 44971, which Python's calendar has not
        ("1e300", "2013-01-"),
        ("-1e300", "1970-01-"),
        ("soon", "2013-01-"),
    ],
)
def test_why_a_job_waits_is_shown_whatever_an_order_names(since: str, expected: str) -> None:
    """The poll thread tells it of a job that waits for long; an error there would end each worker of the fleet."""
    pipeline = Pipeline("unit")
    pipeline.dependency("stripe", Breaker(failures=2))
    breaker = Breakers.of_pipeline(pipeline, "w", AT.timestamp).states[STRIPE]
    detail = {"dependency": "stripe", "since": since, "trips": "1e300"}
    order = ControlOrder(order_id="1", verb="open", operator="ann", host="web-1", at=AT, detail=detail)
    breaker.adopt(opening_of(order), is_new=True)
    assert BreakerOpen(STRIPE, breaker).detail["since"].startswith(expected)
