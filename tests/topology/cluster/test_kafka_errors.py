"""The table of remedies knows each error of the client that is installed, once."""

from __future__ import annotations

from collections import Counter

import pytest
from confluent_kafka import KafkaError

from stoker.topology.cluster import kafka_errors
from stoker.topology.cluster.kafka_errors import REMEDIES, UNLISTED, Remedy, codes_of, needs_a_person, remedy_of

KNOWN = {
    name: value for name in dir(KafkaError) if name.isupper() and isinstance(value := getattr(KafkaError, name), int)
}


def test_each_code_of_the_client_is_classified_once() -> None:
    """A new version of librdkafka brings codes that nobody has thought about: this test names them."""
    assert {name for name, code in KNOWN.items() if code not in REMEDIES} == set()
    counts = Counter(code for codes in kafka_errors._ROWS.values() for code in codes)
    assert {code for code, count in counts.items() if count > 1} == set()


def test_an_unlisted_code_is_repeated() -> None:
    """What is repeated in vain is seen, what is given up is lost."""
    unlisted = KafkaError(29_999)
    assert remedy_of(unlisted) is UNLISTED is Remedy.WAIT
    assert not needs_a_person(unlisted)


def test_what_the_client_calls_fatal_needs_another_client() -> None:
    """Whatever its code says, this client writes nothing any more."""
    assert remedy_of(KafkaError(KafkaError._MSG_TIMED_OUT, "gone", True)) is Remedy.NEW_CLIENT


@pytest.mark.parametrize(
    ("name", "remedy"),
    [
        ("MSG_SIZE_TOO_LARGE", Remedy.SHRINK),
        ("RECORD_LIST_TOO_LARGE", Remedy.SHRINK),
        ("INVALID_RECORD", Remedy.ALONE),
        ("_INVALID_DIFFERENT_RECORD", Remedy.ALONE),
        ("INVALID_MSG", Remedy.WAIT),
        ("INVALID_TIMESTAMP", Remedy.REPAIR),
        ("UNSUPPORTED_COMPRESSION_TYPE", Remedy.REPAIR),
        ("POLICY_VIOLATION", Remedy.REPAIR),
        ("UNKNOWN_TOPIC_OR_PART", Remedy.REPAIR),
        ("TOPIC_AUTHORIZATION_FAILED", Remedy.GRANT),
        ("NOT_ENOUGH_REPLICAS", Remedy.WAIT),
        ("_MSG_TIMED_OUT", Remedy.WAIT),
        ("_FATAL", Remedy.NEW_CLIENT),
        ("PRODUCER_FENCED", Remedy.NEW_CLIENT),
    ],
)
def test_what_helps_against_the_errors_of_writing(name: str, remedy: Remedy) -> None:
    """Those that decide about a job's record, one by one."""
    assert remedy_of(KafkaError(KNOWN[name])) is remedy
    assert KNOWN[name] in codes_of(remedy)
