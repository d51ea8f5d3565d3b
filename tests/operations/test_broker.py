"""The embedded broker: one per folder, the same address and data after a restart, no stranger hit, clear ways out."""

from __future__ import annotations

from confluent_kafka.admin import AdminClient

from stoker.topology.cluster import ClusterSettings


def test_the_shared_cluster_answers(cluster: ClusterSettings) -> None:
    """The fixture of all other tests gives a Kafka that answers."""
    assert AdminClient(cluster.client_config()).list_topics(timeout=10).brokers
