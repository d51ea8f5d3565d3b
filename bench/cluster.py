"""The Kafka that is measured with: a given cluster, else an embedded broker of its own, gone in the end."""

from __future__ import annotations

import os
import tempfile
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient
from jobs import Kind, declare

from stoker.operations.broker.embedded import EmbeddedBroker
from stoker.operations.broker.java import KAFKA_VERSION
from stoker.topology import ClusterSettings, Pipeline, ensure_topology
from stoker.topology.cluster.settings import BOOTSTRAP_VARIABLE

ADMIN_TIMEOUT_S: Final = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """Where measurements run.

    Attributes:
        said: the Kafka in words.
        folder: for logs; removed in the end.
        progress: takes a line for people who wait.
    """

    cluster: ClusterSettings
    said: str
    folder: Path
    progress: Callable[[str], None]

    def topics(self, kind: Kind) -> AbstractContextManager[Pipeline]:
        """A namespace with fresh topics for one kind of job, deleted afterwards."""
        return self.topics_of(lambda namespace: declare(namespace, kind))

    @contextmanager
    def topics_of(self, declare_in: Callable[[str], Pipeline]) -> Iterator[Pipeline]:
        """The same for a pipeline that is declared in the namespace it gets."""
        pipeline = declare_in(f"bench-{uuid.uuid4().hex[:8]}")
        ensure_topology(pipeline, self.cluster)
        try:
            yield pipeline
        finally:
            _delete(pipeline, self.cluster)


@contextmanager
def open_site(progress: Callable[[str], None]) -> Iterator[Site]:
    """Find or start a Kafka."""
    with tempfile.TemporaryDirectory(prefix="stoker-bench-") as name:
        folder = Path(name)
        if os.environ.get(BOOTSTRAP_VARIABLE):
            cluster = ClusterSettings.from_environment()
            said = f"the given cluster ({cluster.bootstrap_servers})"
            yield Site(cluster=cluster, said=said, folder=folder, progress=progress)
            return
        broker = EmbeddedBroker(folder / "broker", progress)
        try:
            cluster = ClusterSettings(bootstrap_servers=broker.start())
            said = f"embedded Kafka {KAFKA_VERSION}, one node"
            yield Site(cluster=cluster, said=said, folder=folder, progress=progress)
        finally:
            broker.kill()


def _delete(pipeline: Pipeline, cluster: ClusterSettings) -> None:
    admin = AdminClient(cluster.client_config(log_level=3))
    known = admin.list_topics(timeout=ADMIN_TIMEOUT_S).topics
    topics = [topic for topic in known if topic.startswith(f"{pipeline.namespace}.")]
    groups = [queue.group for queue in pipeline.queues.values()]
    for future in (*admin.delete_topics(topics).values(), *admin.delete_consumer_groups(groups).values()):
        with suppress(KafkaException):  # a group that nobody joined, or that has not noticed a killed member yet
            future.result(ADMIN_TIMEOUT_S)
