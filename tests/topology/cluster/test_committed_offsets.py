"""What a group has committed can be asked at any time, also while brokers come and go."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka import TopicPartition

from stoker.operations.broker.embedded import EmbeddedBroker
from stoker.topology import ClusterSettings
from stoker.topology.cluster.committed_offsets import committed_offsets
from stoker.topology.planning.apply import ensure_topology
from support.kafka.commits import commit_as_one_who_left
from support.kafka.restarts import require_outlives_two_restarts
from support.scenes.declarations import shop

ROOT = Path(__file__).parents[3]
ASKING = """
import sys
from pathlib import Path
from stoker.operations.cluster_view import ClusterView
from stoker.operations.queue_status.offset_reading import read_offsets
from stoker.operations.queue_status.queues import inspect_queues
from stoker.topology import ClusterSettings
from stoker.topology.cluster.admin import Administration
from stoker.topology.cluster.settings import ClusterUnreachable
from support.scenes.declarations import shop

cluster = ClusterSettings(bootstrap_servers=sys.argv[1])
queue = shop(sys.argv[2]).queues["mails"]
print("asking", flush=True)
answered = False
while not (answered and Path(sys.argv[3]).exists()):
    answered = False
    try:
        view = ClusterView(cluster, timeout_s=1)
        reading = read_offsets(view, [queue])
        assert reading.committed == {(queue.topic, 0): 5}, reading.committed
        inspect_queues(view, [queue], reading, None)
        Administration(cluster, timeout_s=1).waiting({queue.topic: queue.partitions}, queue.group)
        answered = True
    except ClusterUnreachable:
        pass
"""


@pytest.mark.timeout(400)  # a broker starts three times, on a machine that may do much else
def test_who_asks_while_brokers_restart_gets_an_answer_or_an_error(
    broker: EmbeddedBroker, namespace: str, tmp_path: Path
) -> None:
    """A process that looks at queues over two restarts of the broker lives on, and sees the commit before and after."""
    cluster = ClusterSettings(bootstrap_servers=broker.start())
    pipeline = shop(namespace)
    queue = pipeline.queues["mails"]
    ensure_topology(pipeline, cluster)
    commit_as_one_who_left(cluster, queue.group, TopicPartition(queue.topic, 0, 5))
    require_outlives_two_restarts(broker, ASKING, cluster.bootstrap_servers, namespace, over=tmp_path / "over")


def test_only_commits_are_given(cluster: ClusterSettings, namespace: str) -> None:
    """A partition without a commit, a topic that is gone, and a group that never was, are no error and no entry."""
    pipeline = shop(namespace)
    queue = pipeline.queues["mails"]
    ensure_topology(pipeline, cluster)
    commit_as_one_who_left(cluster, queue.group, TopicPartition(queue.topic, 1, 7))
    places = [(queue.topic, 0), (queue.topic, 1), (f"{namespace}.gone", 0)]
    assert committed_offsets(cluster, queue.group, places, 60) == {(queue.topic, 1): 7}
    assert committed_offsets(cluster, f"{namespace}.never", places, 60) == {}
    assert committed_offsets(cluster, queue.group, [], 10) == {}


@pytest.mark.parametrize(
    ("call", "instead"),
    [
        ("list_consumer_group_offsets", "topology/cluster/committed_offsets.py"),
        ("describe_consumer_groups", "topology/cluster/group_descriptions.py"),
    ],
)
def test_nothing_calls_what_ends_the_process(call: str, instead: str) -> None:
    """Two calls can end the process at a restart of a broker, so only one module knows how to ask."""
    files = [path for layer in (*LAYERS, "examples", "bench") for path in (ROOT / layer).rglob("*.py")]
    callers = {str(path.relative_to(ROOT)) for path in files for _ in _uses(path, call)}
    assert callers <= {instead}


LAYERS = ("schemas", "topology", "databases", "producers", "consumers", "operations")


def _uses(path: Path, name: str) -> Iterator[int]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Attribute) and node.attr == name:
            yield node.lineno
