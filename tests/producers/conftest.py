"""The shop that the producers' tests enqueue for."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from stoker.producers import Producer
from stoker.topology import ClusterSettings
from support.scenes.shop import Shop, create_topics, declare_shop


@pytest.fixture
def shop(cluster: ClusterSettings, namespace: str) -> Shop:
    """A declared shop whose topics are on the cluster."""
    declared = declare_shop(namespace)
    create_topics(declared, cluster)
    return declared


@pytest.fixture
def producer(shop: Shop, cluster: ClusterSettings) -> Iterator[Producer]:
    """A started producer of the shop."""
    with Producer(shop.pipeline, cluster, source="/tests") as started:
        yield started
