"""Questions to a cluster that change nothing, each answered or failed within a bounded time."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from confluent_kafka import ConsumerGroupState, KafkaError, KafkaException, TopicCollection, TopicPartition
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # the package re-exports them without `__all__`
    ClusterMetadata,
    ConfigResource,
    OffsetSpec,
)

from ..topology import ClusterSettings
from ..topology.cluster.admin_connection import AdminConnection
from ..topology.cluster.answers import wait_answer
from ..topology.cluster.committed_offsets import commits_of
from ..topology.cluster.group_descriptions import describe_groups
from ..topology.cluster.leaders import ask_offsets

Partition = tuple[str, int]
"""Topic and partition number."""

ANSWER_TIMEOUT_S: Final = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One member of a consumer group, that is, a worker process."""

    client_id: str
    host: str
    partitions: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsumerGroup:
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
        self._connection = AdminConnection(cluster, cluster.client_config(log_level=2))
        self._admin = self._connection.client

    def topics(self) -> dict[str, int]:
        """{topic: number of partitions} of the whole cluster.

        Raises:
            ClusterUnreachable: no broker answered.
        """
        return {name: len(topic.partitions) for name, topic in self._metadata().topics.items()}

    def topic_ids(self, topics: Collection[str]) -> dict[str, str]:
        """{topic: its id}, which no other topic has, not even one that is made anew under its name."""
        if not topics:
            return {}
        answers = self._admin.describe_topics(TopicCollection(list(topics)), request_timeout=self.timeout_s)
        return {name: str(self._answer(found, "Describe", f"topic {name}").topic_id) for name, found in answers.items()}

    def brokers(self) -> dict[int, str]:
        """{broker id: host:port}.

        Raises:
            ClusterUnreachable: no broker answered.
        """
        found = self._metadata().brokers
        return {number: f"{broker.host}:{broker.port}" for number, broker in found.items()}

    def replicas(self) -> dict[str, tuple[int, int]]:
        """{topic: (replicas of each record, replicas in sync)}, the fewest of its partitions.

        Raises:
            ClusterUnreachable: no broker answered.
        """
        return {
            name: (
                min((len(partition.replicas) for partition in topic.partitions.values()), default=0),
                min((len(partition.isrs) for partition in topic.partitions.values()), default=0),
            )
            for name, topic in self._metadata().topics.items()
        }

    def _metadata(self) -> ClusterMetadata:
        try:
            return self._admin.list_topics(timeout=self.timeout_s)
        except KafkaException as failed:
            raise self._connection.unreachable(failed.args[0].str()) from failed

    def start_offsets(self, partitions: Collection[Partition]) -> dict[Partition, int]:
        """{partition: offset of its oldest record}."""
        return self._offsets(partitions, OffsetSpec.earliest())  # type: ignore[no-untyped-call]  # the client's own is bare

    def end_offsets(self, partitions: Collection[Partition]) -> dict[Partition, int]:
        """{partition: offset of the record to come}."""
        return self._offsets(partitions, OffsetSpec.latest())  # type: ignore[no-untyped-call]  # the client's own is bare

    def offsets_since(self, partitions: Collection[Partition], since: datetime) -> dict[Partition, int]:
        """{partition: first offset with a timestamp at or after the instant}; without such a record it is left out."""
        at = OffsetSpec.for_timestamp(int(since.timestamp() * 1_000))
        return {part: offset for part, offset in self._offsets(partitions, at).items() if offset >= 0}

    def _offsets(self, partitions: Collection[Partition], spec: OffsetSpec) -> dict[Partition, int]:
        if not partitions:
            return {}
        request = {TopicPartition(topic, number): spec for topic, number in partitions}
        answers = ask_offsets(self._admin, request, self.timeout_s)
        return {
            (asked.topic, asked.partition): int(self._answer(found, "Describe", f"topic {asked.topic}").offset)
            for asked, found in answers.items()
        }

    def committed(self, group: str, partitions: Collection[Partition]) -> dict[Partition, int]:
        """{partition: first offset that is not committed}; a partition without a commit is left out."""
        return {partition: commit.offset for partition, commit in self.commits_of(group, partitions).items()}

    def commits_of(self, group: str, partitions: Collection[Partition]) -> dict[Partition, TopicPartition]:
        """{partition: its commit, with offset and metadata}; a partition without one is left out."""
        try:
            return commits_of(self.cluster, group, partitions, self.timeout_s, self._connection.note_client_error)
        except KafkaException as failed:
            raise self._connection.translated(failed.args[0], "Describe", f"group {group}") from failed

    def groups(self, names: Iterable[str]) -> dict[str, ConsumerGroup]:
        """{name: group}; a group that does not exist is given as absent."""
        wanted = list(names)
        if not wanted:
            return {}
        answers = describe_groups(
            self.cluster, wanted, self.timeout_s, on_client_error=self._connection.note_client_error
        )
        for name, answer in answers.items():
            if isinstance(answer, KafkaError):
                raise self._connection.translated(answer, "Describe", f"group {name}")
        return {name: _as_group(name, answer) for name, answer in answers.items()}

    def topic_configs(self, topics: Iterable[str]) -> dict[str, dict[str, str]]:
        """{topic: {option: value}}."""
        return self._configs(ConfigResource.Type.TOPIC, "topic", topics)

    def broker_config(self, broker: int) -> dict[str, str]:
        """{option: value} of one broker."""
        return self._configs(ConfigResource.Type.BROKER, "cluster", [str(broker)])[str(broker)]

    def group_configs(self, groups: Iterable[str]) -> dict[str, dict[str, str]]:
        """{group: {option: value}}; needs brokers from 4.0 on."""
        return self._configs(ConfigResource.Type.GROUP, "group", groups)

    def _configs(self, kind: Any, noun: str, names: Iterable[str]) -> dict[str, dict[str, str]]:
        # Brokers and groups are asked one at a time: each has a node of its own that must answer.
        found = {}
        for name in names:
            resource = ConfigResource(kind, name)
            answers = self._admin.describe_configs([resource], request_timeout=self.timeout_s)
            where = noun if kind is ConfigResource.Type.BROKER else f"{noun} {name}"
            entries = self._answer(answers[resource], "DescribeConfigs", where)
            found[name] = {option: entry.value for option, entry in entries.items() if entry.value is not None}
        return found

    def _answer(self, future: Future[Any], operation: str, resource: str) -> Any:
        """Wait for one answer, whose type the client leaves open; it takes the right of `operation` on `resource`."""
        answer = wait_answer(future, time.monotonic() + self.timeout_s + 1, f"no answer in {self.timeout_s:g} s")
        if isinstance(answer, KafkaError):
            raise self._connection.translated(answer, operation, resource)
        return answer


def _as_group(name: str, described: Any) -> ConsumerGroup:
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
    return ConsumerGroup(name=name, state=state, protocol=described.type.name.lower(), members=members)


def partitions_of(topics: Iterable[str], counts: Mapping[str, int]) -> list[Partition]:
    """Every partition of those topics that exist."""
    return [(topic, number) for topic in topics for number in range(counts.get(topic, 0))]
