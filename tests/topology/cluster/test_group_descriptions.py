"""Who asks for a consumer group lives on, also where answers are late and the coordinator comes back."""

from __future__ import annotations

import gc
from pathlib import Path

import pytest
from confluent_kafka import KafkaError
from confluent_kafka.admin import AdminClient

from stoker.operations.broker.embedded import EmbeddedBroker
from stoker.topology import ClusterSettings
from stoker.topology.cluster.group_descriptions import describe_groups
from stoker.topology.planning.apply import ensure_topology
from support.kafka.restarts import require_outlives_two_restarts
from support.scenes.declarations import shop

NO_NAME = ""
"""The brokers refuse it as the name of a group."""
ASKING = """
import sys
import threading
from pathlib import Path
from confluent_kafka import KafkaError
from stoker.topology import ClusterSettings
from stoker.topology.cluster.group_descriptions import describe_groups

cluster, group, over = ClusterSettings(bootstrap_servers=sys.argv[1]), sys.argv[2], Path(sys.argv[3])
print("asking", flush=True)

def ask():
    answer = None
    while isinstance(answer, KafkaError) or not over.exists():
        answer = describe_groups(cluster, [group], 30 if over.exists() else 0.4)[group]

asks = [threading.Thread(target=ask) for _ in range(12)]
for each in asks:
    each.start()
for each in asks:
    each.join()
"""


@pytest.mark.timeout(400)  # a broker starts three times, on a machine that may do much else
def test_a_process_survives_answers_that_are_late(broker: EmbeddedBroker, namespace: str, tmp_path: Path) -> None:
    """Many questions that run out of time while the only broker restarts end nothing; afterwards all are answered."""
    cluster = ClusterSettings(bootstrap_servers=broker.start())
    pipeline = shop(namespace)
    ensure_topology(pipeline, cluster)
    group = pipeline.queues["mails"].group
    assert not isinstance(describe_groups(cluster, [group], 30)[group], KafkaError)
    require_outlives_two_restarts(broker, ASKING, cluster.bootstrap_servers, group, over=tmp_path / "over")


def test_a_client_that_got_an_error_is_closed_with_the_call(cluster: ClusterSettings) -> None:
    """No garbage holds it: collected on the client's own thread, it would end the process."""
    gc.collect()
    gc.disable()
    before = count_clients()
    try:
        answer = describe_groups(cluster, [NO_NAME], 30)[NO_NAME]
        after = count_clients()
    finally:
        gc.enable()
    assert (isinstance(answer, KafkaError), after) == (True, before)


def count_clients() -> int:
    return sum(isinstance(each, AdminClient) for each in gc.get_objects())
