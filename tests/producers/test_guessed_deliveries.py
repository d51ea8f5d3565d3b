"""A receipt is the brokers' word and never the client's guess."""

from __future__ import annotations

import pytest
from confluent_kafka import KafkaError, Message

from stoker.producers.delivery import why_unconfirmed

REFUSED = KafkaError(KafkaError._MSG_TIMED_OUT)


@pytest.mark.parametrize(
    ("error", "offset", "is_confirmed"),
    [(None, 0, True), (None, 7, True), (None, None, False), (REFUSED, None, False), (REFUSED, 7, False)],
)
def test_a_report_confirms_what_it_gives_an_offset_of(
    error: KafkaError | None, offset: int | None, is_confirmed: bool
) -> None:
    """No error is not enough: what was only guessed to be stored has no offset."""
    message = Message(topic="t", partition=0, offset=offset) if offset is not None else Message(topic="t", partition=0)
    assert (why_unconfirmed(error, message) is None) == is_confirmed
