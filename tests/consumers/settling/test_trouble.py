"""The log has each sort of trouble with outcomes as soon as it comes, also while another one lasts."""

from __future__ import annotations

from datetime import timedelta

import pytest
from confluent_kafka import KafkaError

from stoker.consumers.job.failure import describe_failure
from stoker.consumers.records.done_handful import DoneHandful
from stoker.consumers.records.outcomes import Retried
from stoker.consumers.settling.outgoing import OutgoingRecord
from stoker.consumers.settling.settlement import Refusal, Settlement, SettlementBatch
from stoker.consumers.settling.trouble import TroubleLog
from stoker.consumers.settling.writes import NOTHING
from support.scenes.deliveries import NOW, TIERS, Delivery, declare

RETRIED = Retried(
    due=NOW + timedelta(seconds=1), tier=TIERS[0], next_attempt=2, failure=describe_failure("work", ValueError("x"))
)

pytestmark = pytest.mark.expected_errors("cannot be written")


def refused(delivery: Delivery, offset: int, topic: str, code: int) -> Settlement:
    """An outcome that a topic does not take."""
    item = Settlement(delivery.record(offset=offset), RETRIED, NOTHING)
    written = OutgoingRecord(topic=topic, partition=0, key=b"", value=b"", headers=[])
    item.refusals.append(Refusal(KafkaError(code), written))
    return item


def test_another_error_or_topic_is_logged_while_the_first_trouble_lasts(caplog: pytest.LogCaptureFixture) -> None:
    """Each once in a minute: one that only a person can end must not wait behind one that ends by itself."""
    delivery = declare()
    trouble = TroubleLog(delivery.queue)
    waiting = refused(delivery, 1, "unit.q.retry.1s", KafkaError._MSG_TIMED_OUT)
    stranded = refused(delivery, 2, "unit.q.retry.1s", KafkaError.TOPIC_AUTHORIZATION_FAILED)
    elsewhere = refused(delivery, 3, "unit.q.dead", KafkaError._MSG_TIMED_OUT)
    for items in ([waiting], [waiting], [stranded], [elsewhere], [stranded]):
        trouble.note_failed(SettlementBatch(others=items))
    first, second, third = (record.getMessage() for record in caplog.records)
    assert (
        "the outcome of job job-1 (work) cannot be written to unit.q.retry.1s: Local: Message timed out; this stays "
        in first
    )
    assert "to unit.q.retry.1s: Broker: Topic authorization failed; waiting does not help" in second
    assert "to unit.q.dead: Local: Message timed out; this stays uncommitted" in third


def test_the_outcome_that_needs_a_person_is_named_before_those_that_wait(caplog: pytest.LogCaptureFixture) -> None:
    """Else the message asks to fix an error that ends by itself."""
    delivery = declare()
    waiting = refused(delivery, 1, "unit.q.retry.1s", KafkaError._MSG_TIMED_OUT)
    stranded = refused(delivery, 2, "unit.q.dead", KafkaError.TOPIC_AUTHORIZATION_FAILED)
    TroubleLog(delivery.queue).note_failed(SettlementBatch(others=[waiting, stranded]))
    job = "the outcome of job job-1 (work), and of 1 more job, cannot be written to"
    assert f"{job} unit.q.dead: Broker: Topic authorization failed; waiting does not help" in caplog.text
    done, missing = [DoneHandful([delivery.record(offset=3)])], KafkaError(KafkaError.UNKNOWN_TOPIC_OR_PART)
    TroubleLog(delivery.queue).note_failed(SettlementBatch(done, [waiting], missing))
    assert "unit.q.ledger: Broker: Unknown topic or partition; waiting does not help" in caplog.text
