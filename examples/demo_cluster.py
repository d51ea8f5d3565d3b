"""The demo's Kafka: the given cluster, or this folder's embedded broker; and what the demo does to it and undoes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

import click
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from stoker.operations.broker.embedded import EmbeddedBroker, project_folder
from stoker.topology import ClusterSettings
from stoker.topology.cluster.settings import BOOTSTRAP_VARIABLE

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
    broker = EmbeddedBroker(project_folder(), report=lambda line: click.echo(f"  {line}"))
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
