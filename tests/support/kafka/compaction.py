"""The log cleaner of the tests' brokers, which usually looks every 15 s."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from confluent_kafka.admin import (  # type: ignore[attr-defined]  # the package re-exports them without saying so
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    ResourceType,
)


@contextmanager
def busy_cleaner(admin: AdminClient) -> Iterator[None]:
    """Have it look ten times a second. It leaves alone the segment that is written, so another is to be opened."""
    (broker,) = list(admin.list_topics(timeout=30).brokers)[:1]
    _set_pause(admin, broker, "100", AlterConfigOpType.SET)
    try:
        yield
    finally:
        _set_pause(admin, broker, "100", AlterConfigOpType.DELETE)


def _set_pause(admin: AdminClient, broker: int, pause_ms: str, operation: AlterConfigOpType) -> None:
    entry = ConfigEntry("log.cleaner.backoff.ms", pause_ms, incremental_operation=operation)
    _alter(admin, ConfigResource(ResourceType.BROKER, str(broker), incremental_configs=[entry]))


def set_topic_configs(admin: AdminClient, topic: str, configs: Mapping[str, str]) -> None:
    """Change a topic's configs."""
    entries = [ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET) for name, value in configs.items()]
    _alter(admin, ConfigResource(ResourceType.TOPIC, topic, incremental_configs=entries))


def _alter(admin: AdminClient, resource: ConfigResource) -> None:
    (done,) = admin.incremental_alter_configs([resource]).values()
    done.result(30)
