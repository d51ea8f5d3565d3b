"""Plan and apply against a real cluster."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient

from stoker.schemas import IncompatibleSchema
from stoker.topology import (
    Allowed,
    Applied,
    ApplyFailed,
    ClusterSettings,
    ClusterUnreachable,
    Group,
    Pipeline,
    Recording,
    TopologyRefused,
    ensure_topology,
)
from stoker.topology.cluster.admin import Administration
from stoker.topology.declaration.topics import TopicSpec, declared_topics
from stoker.topology.planning.apply import apply
from stoker.topology.planning.plan import plan
from stoker.topology.planning.registration import register_contracts
from stoker.topology.planning.schema_store import schema_store
from support.kafka.configs import change_configs
from support.scenes.declarations import TIERS, shop
from support.waiting import wait_until

NOBODY_THERE = ClusterSettings(bootstrap_servers="127.0.0.1:1")
MAILS = frozenset({"mails"})


def _partitions(pipeline: Pipeline, cluster: ClusterSettings) -> dict[str, int]:
    found = Administration(cluster).topics([spec.name for spec in declared_topics(pipeline)])
    return {name: topic.partitions for name, topic in found.items()}


def _set(cluster: ClusterSettings, topic: str, **configs: str) -> None:
    wanted = {name.replace("_", "."): value for name, value in configs.items()}
    change_configs(cluster, {topic: wanted})


def _leave_a_job(cluster: ClusterSettings, topic: str) -> None:
    producer = Producer(cluster.client_config())
    producer.produce(topic, b"job", partition=0)
    assert producer.flush(30) == 0


def test_what_was_applied_is_as_declared(cluster: ClusterSettings, namespace: str) -> None:
    """After apply all topics have their partitions, and the second plan is empty."""
    pipeline = shop(namespace)
    ensure_topology(pipeline, cluster)
    expected = {spec.name: spec.partitions for spec in declared_topics(pipeline)}
    assert _partitions(pipeline, cluster) == expected
    assert plan(pipeline, cluster).findings == ()
    assert apply(plan(pipeline, cluster), cluster) == Applied(configured={})


def test_a_ledger_is_compacted_and_small(cluster: ClusterSettings, namespace: str) -> None:
    """The broker holds for the ledger what keeps it short: compaction, retention by its age, small segments."""
    pipeline = shop(namespace)
    ensure_topology(pipeline, cluster)
    topic = pipeline.find_queue("mails").ledger_topic
    held = Administration(cluster).configs([topic])[topic].values
    assert set(held["cleanup.policy"].split(",")) == {"compact", "delete"}
    assert held["retention.ms"] == str(24 * 3_600_000)
    assert held["segment.ms"] == "3600000"


def test_half_a_topology_is_completed(cluster: ClusterSettings, namespace: str) -> None:
    """Apply goes on where an earlier one stopped: missing topics are created, short ones grown, configs set."""
    pipeline = shop(namespace)
    main, retry, *_ = declared_topics(pipeline)
    administration = Administration(cluster)
    bare: TopicSpec = replace(retry, partitions=1, configs={})
    assert administration.create([main, bare]) == {}
    names = [main.name, bare.name]  # the controller has them; a broker shows them a moment later
    wait_until(lambda: len(administration.topics(names)) == len(names), what="the brokers to show what was created")
    ensure_topology(pipeline, cluster)
    assert _partitions(pipeline, cluster)[retry.name] == 2
    assert plan(pipeline, cluster).findings == ()


def test_applying_the_same_plan_at_once_is_harmless(cluster: ClusterSettings, namespace: str) -> None:
    """Two that carry out plans made before either began both succeed, for creating as for growing."""
    pipeline, larger = shop(namespace), shop(namespace, partitions=4)
    with ThreadPoolExecutor(2) as pool:
        for declared in (pipeline, larger):
            planned = plan(declared, cluster, Allowed(repartition=MAILS))
            results = [pool.submit(apply, planned, cluster) for _ in range(2)]
            assert all(result.result(60) for result in results)
            assert plan(declared, cluster).findings == ()


def test_a_config_that_somebody_changed_is_seen_and_set_back(cluster: ClusterSettings, namespace: str) -> None:
    """Drift in a declared config is a change with both values; in another config it is reported and left alone."""
    pipeline = shop(namespace)
    ensure_topology(pipeline, cluster)
    main = pipeline.find_queue("mails").topic
    _set(cluster, main, retention_ms="60000", compression_type="zstd")
    planned = plan(pipeline, cluster)
    assert [(f.setting, f.found, f.declared) for f in planned.of(Group.CHANGE)] == [("retention.ms", "1m", "7d")]
    assert [(f.setting, f.found) for f in planned.of(Group.DRIFT)] == [("compression.type", "zstd")]
    apply(planned, cluster)
    wait_until(lambda: plan(pipeline, cluster).is_empty, what="the brokers to show what was applied")
    assert [finding.setting for finding in plan(pipeline, cluster).findings] == ["compression.type"]


def test_topics_of_removed_queues_are_reported_and_left(cluster: ClusterSettings, namespace: str) -> None:
    """The topics of a queue that is declared no more are unmanaged, and apply deletes none."""
    pipeline = shop(namespace)
    pipeline.queue("files", partitions=1, tiers=TIERS)
    ensure_topology(pipeline, cluster)
    smaller = shop(namespace)
    planned = plan(smaller, cluster, Allowed(empty_tier_deletion=True))
    apply(planned, cluster)
    assert len(planned.of(Group.UNMANAGED)) == 10
    assert all(topic in _partitions(pipeline, cluster) for topic in (f.topic for f in planned.findings))


def test_more_partitions_need_permission_and_come_to_all_topics(cluster: ClusterSettings, namespace: str) -> None:
    """A repartition is refused before anything is done; allowed, all topics of the queue have the new number."""
    ensure_topology(shop(namespace), cluster)
    larger = shop(namespace, partitions=3)
    with pytest.raises(TopologyRefused, match="--allow-repartition mails"):
        ensure_topology(larger, cluster)
    queue_topics = [spec.name for spec in declared_topics(larger) if spec.owner == "mails"]
    assert {_partitions(larger, cluster)[name] for name in queue_topics} == {2}
    ensure_topology(larger, cluster, Allowed(repartition=MAILS))
    assert {_partitions(larger, cluster)[name] for name in queue_topics} == {3}


def test_the_main_topic_does_not_grow_without_its_ledger(cluster: ClusterSettings, namespace: str) -> None:
    """Keys would move to new partitions whose jobs no worker could run; the next apply does what is left."""
    ensure_topology(shop(namespace), cluster)
    larger = shop(namespace, partitions=3)
    planned = plan(larger, cluster, Allowed(repartition=MAILS))
    mails = larger.find_queue("mails")
    assert Administration(cluster).delete([mails.ledger_topic]) == {}
    with pytest.raises(ApplyFailed) as failed:
        apply(planned, cluster)
    assert set(failed.value.failures) == {mails.ledger_topic, mails.topic}
    assert _partitions(larger, cluster)[mails.topic] == 2
    ensure_topology(larger, cluster, Allowed(repartition=MAILS))
    assert plan(larger, cluster).findings == ()


def test_shorter_retention_needs_permission(cluster: ClusterSettings, namespace: str) -> None:
    """Retention goes down only for the queue that is named."""
    ensure_topology(shop(namespace), cluster)
    shorter = shop(namespace, retention=timedelta(days=2))
    with pytest.raises(TopologyRefused, match="--allow-shorter-retention mails"):
        ensure_topology(shorter, cluster)
    ensure_topology(shorter, cluster, Allowed(shorter_retention=MAILS))
    assert plan(shorter, cluster).findings == ()


def test_a_removed_tier_is_refused_while_jobs_wait_in_it(cluster: ClusterSettings, namespace: str) -> None:
    """Jobs that the group has not committed keep a tier from being removed; no flag deletes them."""
    pipeline = shop(namespace)
    ensure_topology(pipeline, cluster)
    removed = pipeline.find_queue("mails").retry_topics[TIERS[1]]
    _leave_a_job(cluster, removed)
    smaller = shop(namespace, tiers=TIERS[:1])
    (refused,) = plan(smaller, cluster, Allowed(empty_tier_deletion=True)).refused
    assert (refused.topic, refused.flag) == (removed, "--allow-tier-removal mails")
    assert "1 job waits" in refused.line()
    ensure_topology(smaller, cluster, Allowed(tier_removal=MAILS, empty_tier_deletion=True))
    assert removed in _partitions(pipeline, cluster)


def test_a_removed_priority_is_refused_while_jobs_wait_in_it(cluster: ClusterSettings, namespace: str) -> None:
    """No worker would read them; once the group has none there, nothing is refused."""
    pipeline, without = shop(namespace, priorities={"high": 5, "normal": 1}), shop(namespace)
    ensure_topology(pipeline, cluster)
    assert not plan(without, cluster).refused
    removed = pipeline.find_queue("mails").priority_topics["high"]
    _leave_a_job(cluster, removed)
    with pytest.raises(TopologyRefused, match="1 job waits in it, which no worker would read"):
        ensure_topology(without, cluster)
    ensure_topology(without, cluster, Allowed(tier_removal=MAILS))


def test_an_empty_removed_tier_is_deleted_on_demand(cluster: ClusterSettings, namespace: str) -> None:
    """Without the flag the topic stays; with it, it goes, and no broker shows it when apply returns."""
    pipeline, smaller = shop(namespace), shop(namespace, tiers=TIERS[:1])
    ensure_topology(pipeline, cluster)
    removed = pipeline.find_queue("mails").retry_topics[TIERS[1]]
    ensure_topology(smaller, cluster)
    assert removed in _partitions(pipeline, cluster)
    applied = apply(plan(smaller, cluster, Allowed(empty_tier_deletion=True)), cluster)
    assert applied.deleted == (removed,)
    assert plan(smaller, cluster).findings == ()


def test_a_job_that_came_in_the_meantime_saves_its_tier(cluster: ClusterSettings, namespace: str) -> None:
    """Between plan and apply a worker of an older release may still use the tier; then it is not deleted."""
    pipeline, smaller = shop(namespace), shop(namespace, tiers=TIERS[:1])
    ensure_topology(pipeline, cluster)
    removed = pipeline.find_queue("mails").retry_topics[TIERS[1]]
    planned = plan(smaller, cluster, Allowed(empty_tier_deletion=True))
    _leave_a_job(cluster, removed)
    assert apply(planned, cluster).kept == (removed,)
    assert removed in _partitions(pipeline, cluster)


def test_a_topic_that_is_not_whole_is_not_taken_for_empty(cluster: ClusterSettings, namespace: str) -> None:
    """A topic that goes between two questions is left out, and so is one that lacks a partition: neither is empty."""
    pipeline = shop(namespace)
    ensure_topology(pipeline, cluster)
    queue = pipeline.find_queue("mails")
    tier = queue.retry_topics[TIERS[1]]
    asked = {tier: 2, queue.retry_topics[TIERS[0]]: 3, f"{namespace}.gone": 1}
    assert Administration(cluster).waiting(asked, queue.group) == {tier: 0}


def test_committed_jobs_do_not_wait(cluster: ClusterSettings, namespace: str) -> None:
    """What the queue's group has committed is not counted, so a drained tier is empty."""
    from confluent_kafka import ConsumerGroupTopicPartitions, TopicPartition

    pipeline = shop(namespace)
    ensure_topology(pipeline, cluster)
    queue = pipeline.find_queue("mails")
    removed = queue.retry_topics[TIERS[1]]
    _leave_a_job(cluster, removed)
    _leave_a_job(cluster, removed)
    assert Administration(cluster).waiting({removed: 2}, queue.group) == {removed: 2}
    done = ConsumerGroupTopicPartitions(queue.group, [TopicPartition(removed, 0, 1)])
    client = AdminClient(cluster.client_config())
    futures = client.alter_consumer_group_offsets([done], request_timeout=30)
    futures[queue.group].result(30)
    assert Administration(cluster).waiting({removed: 2}, queue.group) == {removed: 1}


def test_what_fails_is_reported_together_and_the_rest_is_done(cluster: ClusterSettings, namespace: str) -> None:
    """A topic that cannot be had, here for want of brokers, does not keep the others from being created."""
    pipeline = shop(namespace)
    pipeline.queue("vital", partitions=1, tiers=TIERS, replication=9)
    with pytest.raises(ApplyFailed) as failed:
        ensure_topology(pipeline, cluster, recording=Recording(is_audited=False))
    vital = pipeline.find_queue("vital")
    assert {vital.topic, vital.dead_topic, vital.ledger_topic} <= set(failed.value.failures)
    assert "replication" in failed.value.failures[vital.topic].lower()
    assert pipeline.find_queue("mails").topic in _partitions(pipeline, cluster)


def test_apply_registers_the_contracts(cluster: ClusterSettings, namespace: str) -> None:
    """A reader that has seen no job yet finds the contract of each job type in the store."""
    pipeline = shop(namespace)
    ensure_topology(pipeline, cluster)
    store = schema_store(pipeline, cluster)
    store.refresh(10)
    contract = pipeline.find_job_type("send_receipt").contract
    assert [version.frame_id for version in store.versions("send_receipt")] == [contract.fingerprint]


def test_a_contract_that_breaks_its_rule_is_refused_with_its_field(cluster: ClusterSettings, namespace: str) -> None:
    """A new field without default breaks BACKWARD; the refusal names both, and other contracts are registered."""
    ensure_topology(shop(namespace), cluster)
    changed = Pipeline(namespace)
    mails = changed.queue("mails", partitions=2, tiers=TIERS)

    @changed.job(mails)
    def send_receipt(order_id: int, language: str) -> None: ...

    @changed.job(mails)
    def send_thanks(order_id: int) -> None: ...

    (refused,) = register_contracts(changed, cluster)
    assert (refused.job_type, refused.field) == ("send_receipt", "language")
    assert refused.rule.startswith("BACKWARD")
    store = schema_store(changed, cluster)
    store.refresh(10)
    assert store.versions("send_thanks")
    with pytest.raises(IncompatibleSchema):
        ensure_topology(changed, cluster)


def test_an_unreachable_cluster_is_reported_in_time() -> None:
    """No broker: the error names the address and what to check, after the given time, and changes nothing."""
    with pytest.raises(ClusterUnreachable, match=r"127\.0\.0\.1:1 does not answer .*stoker broker status"):
        Administration(NOBODY_THERE, timeout_s=0.5).all_topics()
    with pytest.raises(ClusterUnreachable):
        Administration(NOBODY_THERE, timeout_s=0.5).topics(["shop.mails"])
