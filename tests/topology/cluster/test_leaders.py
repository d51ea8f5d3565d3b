"""What asks the leader of a partition asks again while there is none, and for no other reason."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Future
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, cast

import pytest
from confluent_kafka import KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # the package re-exports them without saying so
    AdminClient,
    OffsetSpec,
)

from stoker.operations.cluster_view import ClusterView
from stoker.operations.stored_jobs.topic_reader import TopicReader
from stoker.topology import ClusterSettings, ClusterUnreachable
from stoker.topology.cluster.admin import Administration
from stoker.topology.cluster.admin_connection import AdminConnection
from stoker.topology.cluster.kafka_errors import NO_LEADER
from stoker.topology.cluster.leaders import ask_leaders, ask_offsets
from stoker.topology.declaration.topics import Role, TopicSpec
from support.waiting import wait_until


class Partition:
    """A partition that has no leader for the first questions."""

    def __init__(self, *errors: int) -> None:
        self.errors = list(errors)
        self.asked = 0

    def end(self) -> int:
        """Where it ends."""
        self.asked += 1
        if self.errors:
            raise KafkaException(KafkaError(self.errors.pop(0)))
        return 7


def test_a_partition_that_was_just_made_is_asked_until_it_has_a_leader() -> None:
    """Else the first command after `topology apply` failed, now and then."""
    partition = Partition(KafkaError.LEADER_NOT_AVAILABLE, KafkaError.NOT_LEADER_FOR_PARTITION)
    assert (ask_leaders(partition.end, 10.0), partition.asked) == (7, 3)


def test_a_time_is_looked_up_in_all_partitions_or_in_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """One without a leader is no partition without records since then: a replay would leave out all that it has."""
    without_leader = KafkaError(KafkaError.LEADER_NOT_AVAILABLE)
    answers = [
        [SimpleNamespace(partition=0, offset=5, error=None), SimpleNamespace(partition=1, offset=-1, error=error)]
        for error in (without_leader, None)
    ]
    with TopicReader(ClusterSettings(bootstrap_servers="127.0.0.1:1"), "shop.mails") as reader:
        monkeypatch.setattr(reader, "partitions", lambda: [0, 1])
        client = SimpleNamespace(offsets_for_times=lambda _asked, timeout: answers.pop(0), close=reader._consumer.close)
        monkeypatch.setattr(reader, "_consumer", client)
        assert reader.offsets_at(datetime.now(UTC)) == {0: 5, 1: None}
    assert answers == []


@pytest.mark.parametrize("code", [*sorted(NO_LEADER), KafkaError._NOENT])
def test_an_answer_that_waits_for_a_leader_is_no_answer_of_the_cluster(code: int) -> None:
    """A command then reports a cluster that does not answer, in place of the client's bare error."""
    cluster = ClusterSettings(bootstrap_servers="127.0.0.1:1")
    connection = AdminConnection(cluster, cluster.client_config(log_level=0))
    assert isinstance(connection.translated(KafkaError(code), "Describe", "topic mails"), ClusterUnreachable)


@pytest.mark.parametrize(
    ("error", "within_s"), [(KafkaError.TOPIC_AUTHORIZATION_FAILED, 10.0), (KafkaError.LEADER_NOT_AVAILABLE, 0.0)]
)
def test_any_other_error_and_one_that_lasts_reach_the_caller(error: int, within_s: float) -> None:
    """What time does not heal is raised at once, and what it should heal when the time is over."""
    partition = Partition(*[error] * 1_000)
    with pytest.raises(KafkaException) as raised:
        ask_leaders(partition.end, within_s)
    assert raised.value.args[0].code() == error
    assert partition.asked < 3


class Leaders:
    """A client whose brokers know some partitions' leaders at once, and others' after some questions, or never."""

    def __init__(self, **errors: list[int]) -> None:
        self.errors = errors
        self.asked: list[list[str]] = []

    def list_offsets(self, wanted: Mapping[TopicPartition, object], **_options: Any) -> dict[TopicPartition, Any]:
        """The answers have come."""
        self.asked.append([place.topic for place in wanted])
        return {place: self._answer(place.topic) for place in wanted}

    def _answer(self, topic: str) -> Future[str]:
        answer = Future[str]()
        left = self.errors.get(topic)
        if left:
            answer.set_exception(KafkaException(KafkaError(left.pop(0))))
        else:
            answer.set_result(f"end of {topic}")
        return answer


def offsets(leaders: Leaders, within_s: float, *topics: str) -> dict[str, Any]:
    """{topic: its answer, or its error}."""
    wanted = {TopicPartition(topic, 0): OffsetSpec.latest() for topic in topics}  # type: ignore[no-untyped-call]
    found = ask_offsets(cast(AdminClient, leaders), wanted, within_s)
    return {place.topic: answer.exception() or answer.result() for place, answer in found.items()}


def test_offsets_are_asked_for_again_where_no_leader_has_come_yet() -> None:
    """Those alone, and of the others the first answer stands, be it an error."""
    leaders = Leaders(
        slow=[KafkaError.NOT_LEADER_FOR_PARTITION, KafkaError.UNKNOWN_LEADER_EPOCH],
        gone=[KafkaError.UNKNOWN_TOPIC_OR_PART] * 9,
    )
    found = offsets(leaders, 10.0, "fast", "slow", "gone")
    assert (found["fast"], found["slow"]) == ("end of fast", "end of slow")
    assert found["gone"].args[0].code() == KafkaError.UNKNOWN_TOPIC_OR_PART
    assert leaders.asked == [["fast", "slow", "gone"], ["slow"], ["slow"]]


def test_a_partition_without_a_leader_is_not_asked_for_ever() -> None:
    """Its error is the answer when the time is over."""
    found = offsets(Leaders(lost=[KafkaError.LEADER_NOT_AVAILABLE] * 1_000), 0.2, "lost")
    assert found["lost"].args[0].code() == KafkaError.LEADER_NOT_AVAILABLE


def bare(name: str, partitions: int) -> TopicSpec:
    """A topic without settings."""
    return TopicSpec(name=name, role=Role.MAIN, owner="", partitions=partitions, replication=None, configs={})


def test_topics_that_the_brokers_show_can_be_asked_for_their_offsets(cluster: ClusterSettings, namespace: str) -> None:
    """A broker shows them a moment before it leads them: a command then said that the cluster does not answer."""
    administration, view = Administration(cluster), ClusterView(cluster, timeout_s=60.0)
    for turn in range(3):
        counts = {f"{namespace}.{turn}.{number}": 4 for number in range(10)}
        assert administration.create([bare(name, count) for name, count in counts.items()]) == {}
        wait_until(lambda counts=counts: len(administration.topics(counts)) == len(counts), what="the topics")  # type: ignore[misc]  # bound at once
        if turn % 2:
            assert set(view.end_offsets([(name, 3) for name in counts]).values()) == {0}
        assert administration.waiting(counts, f"{namespace}.nobody") == dict.fromkeys(counts, 0)
