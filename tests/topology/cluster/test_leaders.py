"""What asks the leader of a partition asks again while there is none, and for no other reason."""

from __future__ import annotations

import pytest
from confluent_kafka import KafkaError, KafkaException

from stoker.topology import ClusterSettings, ClusterUnreachable
from stoker.topology.cluster.admin_connection import AdminConnection
from stoker.topology.cluster.kafka_errors import NO_LEADER
from stoker.topology.cluster.leaders import ask_leaders


class Partition:
    """A partition that has no leader for the first questions."""

    def __init__(self, *errors: int) -> None:
        self.errors = list(errors)
        self.asked = 0

    def end(self) -> int:
        """Where it ends."""
        self.asked += 1
        if self.errors:
            raise KafkaException(KafkaError(self.errors.pop(0)))
        return 7


def test_a_partition_that_was_just_made_is_asked_until_it_has_a_leader() -> None:
    """Else the first command after `topology apply` failed, now and then."""
    partition = Partition(KafkaError.LEADER_NOT_AVAILABLE, KafkaError.NOT_LEADER_FOR_PARTITION)
    assert (ask_leaders(partition.end, 10.0), partition.asked) == (7, 3)


@pytest.mark.parametrize("code", sorted(NO_LEADER))
def test_an_answer_that_waits_for_a_leader_is_no_answer_of_the_cluster(code: int) -> None:
    """A command then reports a cluster that does not answer, in place of the client's bare error."""
    cluster = ClusterSettings(bootstrap_servers="127.0.0.1:1")
    connection = AdminConnection(cluster, cluster.client_config(log_level=0))
    assert isinstance(connection.translated(KafkaError(code), "Describe", "topic mails"), ClusterUnreachable)


@pytest.mark.parametrize(
    ("error", "within_s"), [(KafkaError.TOPIC_AUTHORIZATION_FAILED, 10.0), (KafkaError.LEADER_NOT_AVAILABLE, 0.0)]
)
def test_any_other_error_and_one_that_lasts_reach_the_caller(error: int, within_s: float) -> None:
    """What time does not heal is raised at once, and what it should heal when the time is over."""
    partition = Partition(*[error] * 1_000)
    with pytest.raises(KafkaException) as raised:
        ask_leaders(partition.end, within_s)
    assert raised.value.args[0].code() == error
    assert partition.asked < 3
