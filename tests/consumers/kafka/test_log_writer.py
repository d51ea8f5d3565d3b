"""Each record of a log is answered once, whatever becomes of the client that was to write it."""

from __future__ import annotations

from typing import Any, cast

import pytest
from confluent_kafka import KafkaError, KafkaException, Message, Producer

from stoker.consumers.kafka.log_writer import LogWriter

FATAL = KafkaError(KafkaError._FATAL, "fenced", fatal=True)


class Client:
    """Takes records, and answers as it is told."""

    def __init__(self) -> None:
        self.taken: list[Any] = []
        self.refusal: Exception | None = None
        self.failure: Exception | None = None

    def produce(self, *_: object, on_delivery: Any = None, **__: object) -> None:
        """Take a record."""
        if self.refusal is not None:
            raise self.refusal
        self.taken.append(on_delivery)

    def poll(self, _timeout_s: float) -> int:
        """Fail, if it is told so."""
        if self.failure is not None:
            raise self.failure
        return 0


class Writing:
    """A writer with the clients that were made for it, and the answers that came."""

    def __init__(self) -> None:
        self.made: list[Client] = []
        self.answers: list[tuple[int, KafkaError | None]] = []
        self.writer = LogWriter(self.make, "log")

    def make(self) -> Producer:
        """Another one."""
        self.made.append(Client())
        return cast(Producer, self.made[-1])

    def write(self, number: int) -> None:
        """Write a record whose answer is noted."""
        self.writer.write(b"", lambda error, _message: self.answers.append((number, error)))


@pytest.mark.parametrize("way", ["answer", "refusal", "poll"])
def test_a_client_that_failed_for_good_is_replaced_and_what_it_owed_has_failed(way: str) -> None:
    """However it says so: by an answer, by refusing the next record, or when it is asked for answers."""
    scene = Writing()
    for number in range(3):
        scene.write(number)
    (client,) = scene.made
    if way == "answer":
        client.taken[0](FATAL, None)
    elif way == "refusal":
        client.refusal = KafkaException(FATAL)
        scene.writer.write(b"", None)
    else:
        client.failure = KafkaException(FATAL)
    with pytest.raises(KafkaException):
        scene.writer.poll()
    assert scene.answers == [(0, FATAL), (1, FATAL), (2, FATAL)]
    client.taken[1](None, None)
    scene.write(3)
    scene.writer.poll()
    assert [len(made.taken) for made in scene.made] == [3, 1]
    assert len(scene.answers) == 3, "the late answer of a finished client counts no more"


@pytest.mark.parametrize("refusal", [BufferError(), KafkaException(KafkaError(KafkaError._UNKNOWN_TOPIC))])
def test_a_record_that_is_not_taken_is_answered_and_the_client_stays(refusal: Exception) -> None:
    """The brokers may be away, or the topic; both come back."""
    scene = Writing()
    scene.write(0)
    scene.made[0].refusal = refusal
    scene.write(1)
    scene.writer.write(b"", None)
    scene.writer.poll()
    ((number, error),) = scene.answers
    assert (number, error is None, len(scene.made)) == (1, False, 1)


def test_an_answer_has_the_record_as_the_brokers_have_it() -> None:
    """Its offset is the number of a coordinator's term."""
    scene, offsets = Writing(), list[int | None]()
    scene.writer.write(b"", lambda error, message: offsets.append(None if message is None else message.offset()))
    scene.made[0].taken[0](None, Message(topic="log", partition=0, offset=7))
    assert offsets == [7]
