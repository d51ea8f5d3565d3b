"""Questions to a cluster that change nothing, each answered or failed within a bounded time."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

from confluent_kafka import ConsumerGroupState, ConsumerGroupTopicPartitions, KafkaException, TopicPartition
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # the package re-exports them without saying so
    AdminClient,
    ClusterMetadata,
    ConfigResource,
    OffsetSpec,
)

from ..topology import ClusterSettings

Partition = tuple[str, int]
"""Topic and partition number."""

ANSWER_TIMEOUT_S = 5.0
_NONE_COMMITTED = -1


class ClusterUnreachable(Exception):
    """Kafka did not answer within the time that was given to it."""

    def __init__(self, cluster: ClusterSettings, asked_for: str, timeout_s: float) -> None:
        super().__init__(
            f"Kafka at {cluster.bootstrap_servers} gave no answer in {timeout_s:g} s when asked for {asked_for}: check "
            "that it runs and that this address can be reached (`stoker broker status` for the embedded one), and the "
            "TLS and SASL options if it wants any"
        )
        self.cluster, self.asked_for = cluster, asked_for


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One member of a consumer group, that is, a worker process."""

    client_id: str
    host: str
    partitions: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """A consumer group as its coordinator sees it.

    Attributes:
        state: Kafka's word in small letters, such as `stable` or `empty`; `absent` when there is no such group.
        protocol: `consumer` or `classic`.
        members: who shares the partitions at this moment.
    """

    name: str
    state: str
    protocol: str
    members: tuple[Member, ...]


class ClusterView:
    """Reads a cluster's metadata through one admin client."""

    def __init__(self, cluster: ClusterSettings, timeout_s: float = ANSWER_TIMEOUT_S) -> None:
        self.cluster, self.timeout_s = cluster, timeout_s
        self._admin = AdminClient(cluster.client_config(log_level=2))

    def topics(self) -> dict[str, int]:
        """{topic: number of partitions} of the whole cluster.

        Raises:
            ClusterUnreachable: no broker answered.
        """
        return {name: len(topic.partitions) for name, topic in self._metadata("its topics").topics.items()}

    def brokers(self) -> dict[int, str]:
        """{broker id: host:port}.

        Raises:
            ClusterUnreachable: no broker answered.
        """
        found = self._metadata("its brokers").brokers
        return {number: f"{broker.host}:{broker.port}" for number, broker in found.items()}

    def copies(self) -> dict[str, tuple[int, int]]:
        """{topic: (copies of each record, copies in sync)}, the fewest of its partitions.

        Raises:
            ClusterUnreachable: no broker answered.
        """
        return {
            name: (
                min((len(partition.replicas) for partition in topic.partitions.values()), default=0),
                min((len(partition.isrs) for partition in topic.partitions.values()), default=0),
            )
            for name, topic in self._metadata("its replicas").topics.items()
        }

    def _metadata(self, asked_for: str) -> ClusterMetadata:
        try:
            return self._admin.list_topics(timeout=self.timeout_s)
        except KafkaException as failed:
            raise ClusterUnreachable(self.cluster, asked_for, self.timeout_s) from failed

    def start_offsets(self, partitions: Collection[Partition]) -> dict[Partition, int]:
        """{partition: offset of its oldest record}."""
        return self._offsets(partitions, OffsetSpec.earliest())  # type: ignore[no-untyped-call]  # the client's own is bare

    def end_offsets(self, partitions: Collection[Partition]) -> dict[Partition, int]:
        """{partition: offset of the record to come}."""
        return self._offsets(partitions, OffsetSpec.latest())  # type: ignore[no-untyped-call]  # the client's own is bare

    def _offsets(self, partitions: Collection[Partition], spec: OffsetSpec) -> dict[Partition, int]:
        if not partitions:
            return {}
        request = {TopicPartition(topic, number): spec for topic, number in partitions}
        answers = self._admin.list_offsets(request, request_timeout=self.timeout_s)
        return {
            (asked.topic, asked.partition): int(self._answer(found, "offsets").offset)
            for asked, found in answers.items()
        }

    def committed(self, group: str) -> dict[Partition, int]:
        """{partition: first offset that is not committed}; a partition without a commit is left out."""
        request = [ConsumerGroupTopicPartitions(group)]
        answers = self._admin.list_consumer_group_offsets(request, request_timeout=self.timeout_s)
        found = self._answer(answers[group], f"the offsets of group {group}").topic_partitions or []
        return {(at.topic, at.partition): at.offset for at in found if at.offset > _NONE_COMMITTED}

    def groups(self, names: Iterable[str]) -> dict[str, Group]:
        """{name: group}; a group that does not exist is given as absent."""
        wanted = list(names)
        if not wanted:
            return {}
        answers = self._admin.describe_consumer_groups(wanted, request_timeout=self.timeout_s)
        return {name: _as_group(name, self._answer(found, f"group {name}")) for name, found in answers.items()}

    def topic_configs(self, topics: Iterable[str]) -> dict[str, dict[str, str]]:
        """{topic: {option: value}}."""
        return self._configs(ConfigResource.Type.TOPIC, topics)

    def broker_config(self, broker: int) -> dict[str, str]:
        """{option: value} of one broker."""
        return self._configs(ConfigResource.Type.BROKER, [str(broker)])[str(broker)]

    def group_configs(self, groups: Iterable[str]) -> dict[str, dict[str, str]]:
        """{group: {option: value}}; needs brokers from 4.0 on."""
        return self._configs(ConfigResource.Type.GROUP, groups)

    def _configs(self, kind: Any, names: Iterable[str]) -> dict[str, dict[str, str]]:
        # Brokers and groups are asked one at a time: each has a node of its own that must answer.
        found = {}
        for name in names:
            resource = ConfigResource(kind, name)
            answers = self._admin.describe_configs([resource], request_timeout=self.timeout_s)
            entries = self._answer(answers[resource], f"the configuration of {name}")
            found[name] = {option: entry.value for option, entry in entries.items() if entry.value is not None}
        return found

    def _answer(self, future: Future[Any], asked_for: str) -> Any:
        """Wait for one answer; the client's own types are loose here."""
        try:
            return future.result(timeout=self.timeout_s + 1)
        except TimeoutError as late:
            raise ClusterUnreachable(self.cluster, asked_for, self.timeout_s) from late


def _as_group(name: str, described: Any) -> Group:
    members = tuple(
        Member(
            client_id=member.client_id,
            host=member.host.lstrip("/"),
            partitions=len(member.assignment.topic_partitions) if member.assignment else 0,
        )
        for member in described.members
    )
    absent = described.state == ConsumerGroupState.DEAD
    state = "absent" if absent else described.state.name.lower()
    return Group(name=name, state=state, protocol=described.type.name.lower(), members=members)


def partitions_of(topics: Iterable[str], counts: Mapping[str, int]) -> list[Partition]:
    """Every partition of those topics that exist."""
    return [(topic, number) for topic in topics for number in range(counts.get(topic, 0))]
