"""`record_of`: takes over whatever Kafka has stored."""

from __future__ import annotations

import pytest
from confluent_kafka import Message

from stoker.operations.stored_jobs.stored_job import record_of


@pytest.mark.parametrize(("timestamp_ms", "year"), [(-1, 1970), (2**62, 9999)])
def test_a_record_of_an_impossible_time_is_shown_all_the_same(timestamp_ms: int, year: int) -> None:
    """A foreign client's mistake must not keep people from seeing the queue, and what else is there."""
    message = Message(topic="t", partition=0, offset=1, value=b"", headers=[], timestamp=(1, timestamp_ms))
    assert record_of(message).at.year == year
