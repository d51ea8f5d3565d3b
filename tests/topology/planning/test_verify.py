"""The check that workers and producers make at their start."""

from __future__ import annotations

import pytest

from stoker.topology import (
    ClusterSettings,
    ClusterUnreachable,
    Pipeline,
    TopologyMismatch,
    UnknownName,
    ensure_topology,
)
from stoker.topology.declaration.topics import declared_topics
from stoker.topology.planning.inventory import Inventory, TopicState
from stoker.topology.planning.verify import mismatches, verify
from support.scenes.declarations import as_declared, shop, with_config

MAIN = "shop.mails"


def _findings(pipeline: Pipeline, topics: dict[str, TopicState]) -> list[str]:
    return mismatches(list(pipeline.queues.values()), declared_topics(pipeline), Inventory(topics=topics))


@pytest.mark.parametrize(
    ("topic", "config", "value", "said"),
    [
        (MAIN, "max.message.bytes", "1000", "the job types need 1048588"),
        (MAIN, "max.message.bytes", "9000000", None),
        (f"{MAIN}.ledger", "max.message.bytes", "90", "its records need up to 1048588"),
        (f"{MAIN}.progress", "max.message.bytes", "90", "its records need up to 1048588"),
        ("shop.schemas", "max.message.bytes", "90", "its records need up to 1048588"),
        (MAIN, "cleanup.policy", "compact", "loses all jobs of a key but the last"),
        (f"{MAIN}.dead", "cleanup.policy", "compact,delete", "loses all jobs of a key but the last"),
        (f"{MAIN}.ledger", "cleanup.policy", "compact", None),
        ("shop.schemas", "cleanup.policy", "delete", "forgets old schemas"),
        (f"{MAIN}.progress", "cleanup.policy", "compact,delete", "forgets the progress of partitions"),
        (MAIN, "retention.ms", "60000", "keeps records for 1m, declared are 7d"),
        (MAIN, "retention.ms", "-1", None),
        (f"{MAIN}.ledger", "retention.ms", "60000", "keeps records for 1m, declared are 1d"),
        ("shop.events", "retention.ms", "60000", None),
        (MAIN, "compression.type", "zstd", None),
    ],
)
def test_only_harmful_configs_count(topic: str, config: str, value: str, said: str | None) -> None:
    """What would lose or refuse jobs is a finding; other drift is not."""
    pipeline = shop()
    topics = as_declared(pipeline)
    found = _findings(pipeline, {**topics, topic: with_config(topics[topic], config, value)})
    assert len(found) == (1 if said else 0)
    assert (said or "") in "".join(found)


@pytest.mark.parametrize("short", [f"{MAIN}.retry.5s", f"{MAIN}.dead", f"{MAIN}.ledger", f"{MAIN}.progress"])
def test_the_topics_of_a_queue_must_agree(short: str) -> None:
    """A tier, ledger or dead-letter topic with another number of partitions than the main topic is a finding."""
    pipeline = shop()
    topics = as_declared(pipeline)
    topics[short] = TopicState(partitions=1, replication=1)
    (found,) = _findings(pipeline, topics)
    assert found == f"topic {short} has 1 partition, the main topic {MAIN} has 2"


def test_topics_that_agree_on_another_number_do() -> None:
    """As long as all agree, no job is misplaced, although another number is declared."""
    assert _findings(shop(partitions=4), as_declared(shop(partitions=2))) == []


def test_disagreement_about_a_repartition_names_its_flag() -> None:
    """Where the main topic has not the declared number either, apply needs the permission that is named."""
    topics = as_declared(shop(partitions=2))
    topics[f"{MAIN}.dead"] = TopicState(partitions=4, replication=1)
    (found,) = _findings(shop(partitions=4), topics)
    assert "`stoker topology apply --allow-repartition mails` fixes it" in found


def test_an_applied_topology_is_verified(cluster: ClusterSettings, namespace: str) -> None:
    """After apply there is nothing to find, for all queues and for one."""
    pipeline = shop(namespace)
    ensure_topology(pipeline, cluster)
    verify(pipeline, cluster)
    verify(pipeline, cluster, ["mails"])


def test_missing_topics_are_all_named_with_the_command_that_mends(cluster: ClusterSettings, namespace: str) -> None:
    """Nothing is there: each topic is a finding of its own, and the message says what to run."""
    pipeline = shop(namespace)
    with pytest.raises(TopologyMismatch, match="Run `stoker topology apply`") as mismatch:
        verify(pipeline, cluster)
    assert len(mismatch.value.findings) == 11
    assert f"topic {namespace}.mails.retry.5s does not exist" in str(mismatch.value)
    assert f"topic {namespace}.mails.delay.short does not exist" in str(mismatch.value)


def test_only_the_named_queues_are_verified(cluster: ClusterSettings, namespace: str) -> None:
    """A worker of one queue starts although another queue's topics are still missing."""
    ensure_topology(shop(namespace), cluster)
    grown = shop(namespace)
    grown.queue("files")
    verify(grown, cluster, ["mails"])
    with pytest.raises(TopologyMismatch, match=r"\.files does not exist"):
        verify(grown, cluster)


def test_an_unknown_queue_is_reported(cluster: ClusterSettings) -> None:
    """A misspelt queue is an error, with the near one offered, and not an empty check."""
    with pytest.raises(UnknownName, match="did you mean mails"):
        verify(shop(), cluster, ["mail"])


def test_an_unreachable_cluster_is_reported_without_secrets() -> None:
    """The error comes in time, names the address and what to check, and no password."""
    settings = ClusterSettings(
        bootstrap_servers="127.0.0.1:1",
        options={"security.protocol": "SASL_PLAINTEXT", "sasl.mechanism": "PLAIN", "sasl.username": "u"}
        | {"sasl.password": "hunter2"},
    )
    with pytest.raises(ClusterUnreachable) as unreachable:
        verify(shop(), settings, timeout_s=0.5)
    assert "127.0.0.1:1 does not answer" in str(unreachable.value)
    assert "hunter2" not in str(unreachable.value)
