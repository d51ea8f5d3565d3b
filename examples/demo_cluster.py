"""The demo's Kafka: the given cluster, or this folder's embedded broker; and what the demo does to it and undoes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

import click
from confluent_kafka import KafkaException
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # the package re-exports them without saying so
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    ResourceType,
)

from stoker.operations.broker import EmbeddedBroker, project_folder
from stoker.topology import ClusterSettings
from stoker.topology.cluster import BOOTSTRAP_VARIABLE

SESSION_TIMEOUT_S: Final = 5.0
"""How soon the group notices a killed worker; Kafka's own default is 45 s, a long time to watch."""
ADMIN_TIMEOUT_S: Final = 15.0


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoCluster:
    """Where the demo runs.

    Attributes:
        said: in words.
        ours: the embedded broker, if the demo started it and so has to stop it.
    """

    settings: ClusterSettings
    said: str
    ours: EmbeddedBroker | None = None


@contextmanager
def demo_cluster(*, keep: bool) -> Iterator[DemoCluster]:
    """Find or start a Kafka, and stop it in the end if it was started here, unless it is to be kept."""
    if os.environ.get(BOOTSTRAP_VARIABLE):
        settings = ClusterSettings.from_environment()
        yield DemoCluster(settings=settings, said=f"the given cluster, {settings.bootstrap_servers}")
        return
    broker = EmbeddedBroker(project_folder(), progress=lambda said: click.echo(f"  {said}"))
    was_running = broker.status() is not None
    try:
        broker.start()
        settings = ClusterSettings.from_environment()
        how = "which was running already" if was_running else "started by this demo"
        said = f"the embedded Apache Kafka on {settings.bootstrap_servers}, {how}"
        yield DemoCluster(settings=settings, said=said, ours=None if was_running else broker)
    finally:
        if not was_running and not keep:
            broker.stop()


def shorten_session(cluster: ClusterSettings, group: str) -> str:
    """Let the group notice a killed worker soon, where the cluster allows it; says in words what holds."""
    setting = ConfigEntry(
        "consumer.session.timeout.ms",
        str(round(SESSION_TIMEOUT_S * 1_000)),
        incremental_operation=AlterConfigOpType.SET,
    )
    resource = ConfigResource(ResourceType.GROUP, group, incremental_configs=[setting])
    admin = AdminClient(cluster.client_config(log_level=2))  # held by name: its futures fail when it is gone
    try:
        for future in admin.incremental_alter_configs([resource], request_timeout=ADMIN_TIMEOUT_S).values():
            future.result(ADMIN_TIMEOUT_S)
    except KafkaException as refused:
        return f"the cluster's own session timeout (45 s by default) holds: {refused.args[0].str()}"
    return f"a killed worker is noticed after {SESSION_TIMEOUT_S:g} s (consumer.session.timeout.ms of the group)"


def delete_traces(cluster: ClusterSettings, namespace: str, group: str) -> None:
    """Delete the run's topics and its group."""
    admin = AdminClient(cluster.client_config(log_level=2))
    topics = [name for name in admin.list_topics(timeout=ADMIN_TIMEOUT_S).topics if name.startswith(f"{namespace}.")]
    futures = {
        **admin.delete_topics(topics, request_timeout=ADMIN_TIMEOUT_S),
        **admin.delete_consumer_groups([group], request_timeout=ADMIN_TIMEOUT_S),
    }
    for name, future in futures.items():
        try:
            future.result(ADMIN_TIMEOUT_S)
        except KafkaException as refused:
            click.echo(f"  {name} could not be deleted: {refused.args[0].str()}", err=True)
