"""Sharing out: a partition of the main topic comes with those of the tiers that have its number."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from simulation.world import PARTITIONS, TIERS
from stoker.consumers.kafka.group_protocol import CLASSIC_PROTOCOL, CONSUMER_PROTOCOL, GroupProtocol
from support.clusters.cluster import Cluster
from support.clusters.real_cluster import RealCluster
from support.clusters.simulated_cluster import SimulatedCluster
from support.scenes.worker import declare_queue

PROTOCOLS: dict[str, GroupProtocol] = {"consumer": CONSUMER_PROTOCOL, "classic": CLASSIC_PROTOCOL}


@pytest.fixture(params=["simulated", *PROTOCOLS])
def group(request: pytest.FixtureRequest, namespace: str) -> Iterator[Cluster]:
    """A simulated group, and a real one by each protocol."""
    if request.param not in PROTOCOLS:
        yield SimulatedCluster()
        return
    real = RealCluster(request.getfixturevalue("cluster"), namespace, PROTOCOLS[request.param])
    yield real
    real.close()


def test_equal_partition_numbers_of_all_topics_belong_to_one_member(group: Cluster, namespace: str) -> None:
    """They share a ledger, and an order."""
    _, queue = declare_queue(namespace, partitions=PARTITIONS, tiers=TIERS)
    shares = group.share(queue, ["one", "two"])
    topics = queue.job_topics
    whole = [{(topic, number) for topic in topics} for number in range(PARTITIONS)]
    assert sorted(map(sorted, shares.values())) == sorted(map(sorted, whole))
