"""Bounded calls to a cluster's administration, whose failures are errors with the way to fix them."""

from __future__ import annotations

import logging
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from enum import Enum
from typing import Final, TypeVar

from confluent_kafka import (
    KafkaError,
    KafkaException,
    TopicCollection,
    TopicPartition,
)
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # the package re-exports them without `__all__`
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    ConfigSource,
    NewPartitions,
    NewTopic,
    OffsetSpec,
    ResourceType,
)

from ..declaration.topics import TopicSpec
from .admin_connection import NO_CONNECTION, AdminConnection
from .answers import wait_answer
from .committed_offsets import committed_offsets
from .group_descriptions import describe_groups
from .kafka_errors import FORBIDDEN
from .leaders import ask_offsets
from .settings import ClusterSettings, NotAuthorized

K = TypeVar("K")
V = TypeVar("V")

ADMIN_TIMEOUT_S: Final = 10.0
_GRACE_S: Final = 2.0  # librdkafka answers at its own timeout; the future's is only there in case that it does not
_PARTLESS: Final = frozenset({KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_PARTITION})
"""No such partition, as a broker or as the client reports it."""
_GROUPLESS: Final = frozenset(
    {KafkaError.INVALID_REQUEST, KafkaError.UNSUPPORTED_VERSION, KafkaError._UNSUPPORTED_FEATURE}
)
"""The answers of brokers before 4.0 to a question about a group's settings."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundTopic:
    """A topic in the cluster's metadata.

    Attributes:
        replication: the fewest replicas that one of its partitions has.
        leaderless: partitions that no broker leads at this moment.
    """

    partitions: int
    replication: int
    leaderless: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundConfigs:
    """A topic's configs: what holds, and which of it was set on the topic itself."""

    values: Mapping[str, str]
    overrides: frozenset[str]


class Administration:
    """One connection for administration.

    Every method is bounded by `timeout_s`, and raises ClusterUnreachable or NotAuthorized when that is the matter.
    """

    def __init__(self, cluster: ClusterSettings, timeout_s: float = ADMIN_TIMEOUT_S) -> None:
        self._cluster, self._timeout_s = cluster, timeout_s
        config: dict[str, object] = {
            **cluster.client_config(log_level=2, client_id="stoker-admin"),
            "logger": logging.getLogger("stoker.kafka"),
        }
        self._connection = AdminConnection(cluster, config)
        self._admin = self._connection.client

    def all_topics(self) -> dict[str, FoundTopic]:
        """{topic: its shape} of all topics that this client may see."""
        try:
            topics = self._admin.list_topics(timeout=self._timeout_s).topics
        except KafkaException as failed:
            raise self._connection.translated(failed.args[0], "Describe", "the cluster") from failed
        return {
            name: FoundTopic(
                partitions=len(topic.partitions),
                replication=min((len(found.replicas) for found in topic.partitions.values()), default=0),
                leaderless=sum(found.leader < 0 for found in topic.partitions.values()),
            )
            for name, topic in topics.items()
        }

    def topics(self, names: Collection[str]) -> dict[str, FoundTopic]:
        """{topic: its shape} of those named topics that exist."""
        if not names:
            return {}
        wanted = TopicCollection(list(names))
        answers, errors = self._gather(self._admin.describe_topics(wanted, request_timeout=self._timeout_s))
        self._raise_unless(errors, {KafkaError.UNKNOWN_TOPIC_OR_PART}, "Describe")
        return {
            name: FoundTopic(
                partitions=len(topic.partitions),
                replication=min((len(found.replicas) for found in topic.partitions), default=0),
                leaderless=sum(found.leader is None for found in topic.partitions),
            )
            for name, topic in answers.items()
        }

    def allowed(self, names: Collection[str]) -> dict[str, frozenset[str] | None]:
        """{topic: operations that this client may do to it, as Kafka names them}, of those named topics that exist.

        Nothing is allowed on a topic that may not even be asked for, whether it exists or not. None where the brokers
        do not report it.
        """
        if not names:
            return {}
        asked = self._admin.describe_topics(
            TopicCollection(list(names)), include_authorized_operations=True, request_timeout=self._timeout_s
        )
        answers, errors = self._gather(asked)
        self._raise_unless(
            {name: error for name, error in errors.items() if error.code() not in FORBIDDEN},
            {KafkaError.UNKNOWN_TOPIC_OR_PART},
            "Describe",
        )
        refused = {name: frozenset[str]() for name, error in errors.items() if error.code() in FORBIDDEN}
        return refused | {name: _operations(topic.authorized_operations) for name, topic in answers.items()}

    def allowed_on_group(self, group: str) -> frozenset[str] | None:
        """The operations that this client may do with a consumer group; None if the brokers do not report them."""
        answer = describe_groups(
            self._cluster,
            [group],
            self._timeout_s,
            with_operations=True,
            on_client_error=self._connection.note_client_error,
        )[group]
        if not isinstance(answer, KafkaError):
            return _operations(answer.authorized_operations)
        self._raise_if_unreachable([answer])
        return frozenset() if answer.code() in FORBIDDEN else None

    def configs(self, names: Collection[str]) -> dict[str, FoundConfigs]:
        """{topic: its configs} of those named topics that exist."""
        if not names:
            return {}
        resources = [ConfigResource(ResourceType.TOPIC, name) for name in names]
        futures = self._admin.describe_configs(resources, request_timeout=self._timeout_s)
        answers, errors = self._gather({resource.name: future for resource, future in futures.items()})
        self._raise_unless(errors, {KafkaError.UNKNOWN_TOPIC_OR_PART}, "DescribeConfigs")
        return {name: _found_configs(entries.values()) for name, entries in answers.items()}

    def group_configs(self, groups: Collection[str]) -> dict[str, dict[str, str]]:
        """{consumer group: {setting: value}}; without those of which the brokers know no settings."""
        found = {}
        for group in groups:  # one at a time: each has a broker of its own that must answer
            resource = ConfigResource(ResourceType.GROUP, group)
            futures = self._admin.describe_configs([resource], request_timeout=self._timeout_s)
            answers, errors = self._gather(dict(zip([group], futures.values(), strict=True)))
            self._raise_unless(errors, _GROUPLESS, "DescribeConfigs", "group")
            for name, entries in answers.items():
                found[name] = dict(_found_configs(entries.values()).values)
        return found

    def set_group_configs(self, configs: Mapping[str, Mapping[str, str]]) -> dict[str, str]:
        """Set settings of consumer groups, {group: {name: value}}, and leave all others alone; {group: why not}."""
        failures: dict[str, str] = {}
        for group, values in configs.items():
            resource = ConfigResource(ResourceType.GROUP, group, incremental_configs=_settings(values))
            futures = self._admin.incremental_alter_configs([resource], request_timeout=self._timeout_s)
            _, errors = self._gather(dict(zip([group], futures.values(), strict=True)))
            failures |= self._failures(errors, set(), "AlterConfigs", "group")
        return failures

    def waiting(self, topics: Mapping[str, int], group: str) -> dict[str, int]:
        """{topic: records that the group has not committed}; topics are given with their partitions.

        A topic that is being deleted is left out: a partition of it that brokers do not know is not taken for empty.
        A commit beyond the end of its partition, as after a loss of records, makes up for nothing of another one.
        """
        wanted = [TopicPartition(topic, number) for topic, count in topics.items() for number in range(count)]
        if not wanted:
            return {}
        starts = self._offsets(wanted, OffsetSpec.earliest())  # type: ignore[no-untyped-call]  # the package has no types for it
        ends = self._offsets(wanted, OffsetSpec.latest())  # type: ignore[no-untyped-call]  # as above
        committed = self._committed(wanted, group)
        known = starts.keys() & ends.keys()
        going = {at.topic for at in wanted if (at.topic, at.partition) not in known}
        held = dict.fromkeys(topics.keys() - going, 0)
        for at, end in ends.items():
            if at[0] in held:
                held[at[0]] += max(0, end - max(committed.get(at, 0), starts[at]))
        return held

    def _offsets(self, wanted: Iterable[TopicPartition], which: OffsetSpec) -> dict[tuple[str, int], int]:
        """{(topic, partition): offset} of those that exist."""
        futures = ask_offsets(self._admin, dict.fromkeys(wanted, which), self._timeout_s)
        answers, errors = self._gather({(at.topic, at.partition): future for at, future in futures.items()})
        for error in errors.values():
            if error.code() == KafkaError._NOENT:  # while brokers restart: no leader of any partition is known
                raise self._connection.unreachable(error.str())
        self._raise_unless({topic: error for (topic, _), error in errors.items()}, _PARTLESS, "Describe")
        return {at: found.offset for at, found in answers.items()}

    def _committed(self, wanted: list[TopicPartition], group: str) -> dict[tuple[str, int], int]:
        places = [(at.topic, at.partition) for at in wanted]
        try:
            return committed_offsets(self._cluster, group, places, self._timeout_s, self._connection.note_client_error)
        except KafkaException as failed:
            raise self._connection.translated(failed.args[0], "Describe", f"group {group}") from failed

    def create(self, specs: Collection[TopicSpec]) -> dict[str, str]:
        """Create topics. One that exists by now is left as it is.

        Returns:
            {topic: why it could not be created}; empty when all is well.
        """
        if not specs:
            return {}
        wanted = [
            NewTopic(
                spec.name,
                num_partitions=spec.partitions,
                replication_factor=spec.replication or -1,
                config=dict(spec.configs),
            )
            for spec in specs
        ]
        _, errors = self._gather(self._admin.create_topics(wanted, request_timeout=self._timeout_s))
        return self._failures(errors, {KafkaError.TOPIC_ALREADY_EXISTS}, "Create")

    def grow(self, partitions: Mapping[str, int]) -> dict[str, str]:
        """Give topics more partitions, {topic: number}; returns {topic: why not}.

        A topic that has them by now is no failure, nor is one that has more: its partitions are there.
        """
        if not partitions:
            return {}
        wanted = [NewPartitions(name, count) for name, count in partitions.items()]
        _, errors = self._gather(self._admin.create_partitions(wanted, request_timeout=self._timeout_s))
        return self._failures(errors, {KafkaError.INVALID_PARTITIONS}, "Alter")

    def set_configs(self, configs: Mapping[str, Mapping[str, str]]) -> dict[str, str]:
        """Set topic configs, {topic: {name: value}}, and leave all others alone; returns {topic: why not}."""
        if not configs:
            return {}
        resources = [
            ConfigResource(
                ResourceType.TOPIC,
                topic,
                incremental_configs=_settings(values),
            )
            for topic, values in configs.items()
        ]
        futures = self._admin.incremental_alter_configs(resources, request_timeout=self._timeout_s)
        _, errors = self._gather({resource.name: future for resource, future in futures.items()})
        return self._failures(errors, set(), "AlterConfigs")

    def delete(self, names: Collection[str]) -> dict[str, str]:
        """Delete topics with all they hold; returns {topic: why not}."""
        if not names:
            return {}
        _, errors = self._gather(self._admin.delete_topics(list(names), request_timeout=self._timeout_s))
        return self._failures(errors, {KafkaError.UNKNOWN_TOPIC_OR_PART}, "Delete")

    def _gather(self, futures: Mapping[K, Future[V]]) -> tuple[dict[K, V], dict[K, KafkaError]]:
        answers: dict[K, V] = {}
        errors: dict[K, KafkaError] = {}
        give_up_at_s = time.monotonic() + self._timeout_s + _GRACE_S
        for key, future in futures.items():
            answer = wait_answer(future, give_up_at_s)
            if isinstance(answer, KafkaError):
                errors[key] = answer
            else:
                answers[key] = answer
        self._raise_if_unreachable(errors.values())
        return answers, errors

    def _raise_if_unreachable(self, errors: Iterable[KafkaError]) -> None:
        for error in errors:
            if error.code() in NO_CONNECTION:
                raise self._connection.unreachable(error.str())

    def _raise_unless(
        self, errors: Mapping[str, KafkaError], expected: Collection[int], operation: str, kind: str = "topic"
    ) -> None:
        forbidden = [name for name, error in errors.items() if error.code() in FORBIDDEN]
        if forbidden:
            raise self._forbidden([(operation, f"{kind} {name}") for name in forbidden])
        for name, error in errors.items():
            if error.code() not in expected:
                raise self._connection.translated(error, operation, f"{kind} {name}")

    def _forbidden(self, missing: Sequence[tuple[str, str]]) -> NotAuthorized:
        return NotAuthorized(self._cluster.principal, missing)

    def _failures(
        self, errors: Mapping[str, KafkaError], fine: Collection[int], operation: str, kind: str = "topic"
    ) -> dict[str, str]:
        return {
            name: str(self._forbidden([(operation, f"{kind} {name}")])) if error.code() in FORBIDDEN else error.str()
            for name, error in errors.items()
            if error.code() not in fine
        }


def _operations(found: Iterable[Enum] | None) -> frozenset[str] | None:
    """Kafka's names of operations, in the form in which they are granted, such as `DescribeConfigs`."""
    if found is None:
        return None
    return frozenset("".join(word.capitalize() for word in operation.name.split("_")) for operation in found)


def _settings(values: Mapping[str, str]) -> list[ConfigEntry]:
    return [ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET) for name, value in values.items()]


def _found_configs(entries: Iterable[ConfigEntry]) -> FoundConfigs:
    known = [entry for entry in entries if entry.value is not None]
    return FoundConfigs(
        values={entry.name: str(entry.value) for entry in known},
        # The client returns the source as a bare number, against its annotation.
        overrides=frozenset(
            entry.name for entry in known if ConfigSource(entry.source) is ConfigSource.DYNAMIC_TOPIC_CONFIG
        ),
    )
