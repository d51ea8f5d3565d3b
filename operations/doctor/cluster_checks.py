"""The doctor's checks of the cluster as a whole: brokers, protocol, replicas, clocks, and what the groups remember."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Final

from ...producers.client import producer_config
from ...producers.errors import SettingRefused
from ...topology import ClusterSettings, Pipeline, Queue, format_duration
from ...topology.cluster.settings import ClusterUnreachable, embedded_address
from ...topology.wire.headers import TIME, parse_instant
from ..stored_jobs.stored_job import StoredJob
from .facts import Facts
from .findings import Finding, at_risk, broken, kept, unknown

CLUSTER: Final = "cluster"
SKEW: Final = timedelta(seconds=2)
"""Clocks that differ by less may be in step: the way to the broker takes its time as well."""
SLOW_SESSION: Final = timedelta(seconds=60)


_HOW_TO_FIX: Final = (
    "see that it runs (`stoker broker status` for the embedded one); fix its address, or the TLS and SASL options"
)


def unreachable(error: ClusterUnreachable) -> Finding:
    """The one finding when no broker answers."""
    return broken(
        "",
        CLUSTER,
        f"Kafka at {error.bootstrap_servers} does not answer ({error.reason})",
        error.fix or _HOW_TO_FIX,
    )


def check_cluster(facts: Facts, cluster: ClusterSettings, pipeline: Pipeline) -> Iterator[Finding]:
    """All checks of the cluster."""
    queues = list(pipeline.queues.values())
    yield _reached(facts, cluster)
    yield from _options(cluster)
    yield _protocol(facts)
    yield from _replicas(facts, queues)
    yield _offset_retention(facts, queues)
    yield _clocks(facts)


def _reached(facts: Facts, cluster: ClusterSettings) -> Finding:
    brokers = len(facts.brokers)
    kind = "this folder's embedded broker" if cluster.bootstrap_servers == embedded_address() else "a given cluster"
    return kept("", CLUSTER, f"reached {cluster.bootstrap_servers}, {kind}: {brokers} broker{'s' * (brokers > 1)}")


def _options(cluster: ClusterSettings) -> Iterator[Finding]:
    """Whether options from outside weaken what the guarantees stand on."""
    try:
        config = producer_config(cluster)
        yield kept("P1", CLUSTER, f"producers wait for all in-sync replicas (acks={config['acks']}) and are idempotent")
    except SettingRefused as refused:
        yield broken("P1", CLUSTER, str(refused), f"take {refused.option} out of --option and STOKER_KAFKA_*")
    auto_commit = cluster.options.get("enable.auto.commit", False)
    if str(auto_commit).lower() in ("true", "1"):
        yield broken(
            "P2",
            CLUSTER,
            "enable.auto.commit is set, which acknowledges jobs before they are done",
            "take enable.auto.commit out of --option and STOKER_KAFKA_*",
        )
    else:
        yield kept("P2", CLUSTER, "nothing commits offsets on its own (enable.auto.commit is not set)")


def _protocol(facts: Facts) -> Finding:
    if not facts.broker_config:
        return unknown("P8", CLUSTER, "the broker does not show its configuration", "grant DescribeConfigs on it")
    spoken = facts.broker_config.get("group.coordinator.rebalance.protocols", "classic")
    if "consumer" not in spoken:
        return at_risk(
            "P8",
            CLUSTER,
            "the brokers know the classic group protocol only: a worker joins in seconds, not in a fraction of one",
            "move to Kafka 4.0 or later, or enable the consumer protocol (group.version=1)",
        )
    return kept("P8", CLUSTER, "the brokers speak the consumer group protocol of Kafka 4")


def _replicas(facts: Facts, queues: list[Queue]) -> Iterator[Finding]:
    topics = [topic for queue in queues for topic in (*queue.job_topics, queue.dead_topic)]
    counted = {topic: facts.replicas[topic] for topic in topics if topic in facts.replicas}
    if not counted:
        return
    fewest = min(replicas for replicas, _ in counted.values())
    behind = [topic for topic, (replicas, in_sync) in counted.items() if in_sync < replicas]
    yield _fewest(fewest, facts, list(counted))
    if behind:
        yield at_risk(
            "P1",
            CLUSTER,
            f"replicas are behind or missing for {_some(behind)}",
            "look whether a broker is down, and wait until it has caught up",
        )


def _fewest(fewest: int, facts: Facts, topics: list[str]) -> Finding:
    if fewest < 2:
        fix = "fine for development; in production, have three brokers and declare replication=3"
        return at_risk("P1", CLUSTER, "each record has one replica: what was enqueued lives as long as one disk", fix)
    loose = [topic for topic in topics if facts.topic_configs.get(topic, {}).get("min.insync.replicas") == "1"]
    if loose:
        return at_risk(
            "P1",
            CLUSTER,
            f"one replica is enough to confirm a job (min.insync.replicas=1) on {_some(loose)}",
            "set min.insync.replicas=2 on these topics, or on the brokers",
        )
    return kept("P1", CLUSTER, f"each record has at least {fewest} replicas, and at least two confirm it")


def _offset_retention(facts: Facts, queues: list[Queue]) -> Finding:
    minutes = facts.broker_config.get("offsets.retention.minutes")
    if minutes is None:
        observed = "the broker does not show how long it keeps the offsets of idle groups"
        return unknown("P3", CLUSTER, observed, "grant DescribeConfigs on it")
    remembered = timedelta(minutes=int(minutes))
    longest = max((queue.retention for queue in queues), default=timedelta(0))
    if remembered < longest:
        return at_risk(
            "P3",
            CLUSTER,
            f"a group without workers is forgotten after {format_duration(remembered)}, while jobs are kept for "
            f"{format_duration(longest)}: after so long a pause, finished jobs would run again",
            f"set the brokers' offsets.retention.minutes to {int(longest / timedelta(minutes=1))} or more",
        )
    return kept("P3", CLUSTER, f"the progress of a stopped queue is remembered for {format_duration(remembered)}")


def _clocks(facts: Facts) -> Finding:
    """Compare three clocks by the waiting jobs: brokers stamp records, producers stamp jobs, and ours is now."""
    seen = [head for head in facts.heads.values() if head is not None]
    if not seen:
        return unknown("P6", CLUSTER, "clocks can be compared only while jobs wait")
    fix = "keep the clocks of brokers, producers, workers and this machine in step (NTP)"
    ahead = max(head.at for head in seen) - facts.now
    if ahead > SKEW:
        observed = f"the brokers' clock is {ahead.total_seconds():.0f} s ahead of this machine's, so due times differ"
        return broken("P6", CLUSTER, observed, fix)
    hasty = max((enqueued - head.at for head in seen if (enqueued := _enqueued(head)) is not None), default=-SKEW)
    if hasty > SKEW:
        observed = f"a producer's clock is {hasty.total_seconds():.0f} s ahead of the brokers', so due times differ"
        return broken("P6", CLUSTER, observed, fix)
    return kept("P6", CLUSTER, "no waiting job comes from the future: clocks are in step")


def _enqueued(job: StoredJob) -> datetime | None:
    """When the job was enqueued by the producer's clock; None if that cannot be read."""
    written = job.headers.get(TIME)
    try:
        return parse_instant(written) if written else None
    except ValueError:
        return None


def check_session(facts: Facts, queue: Queue) -> Finding:
    """How long a killed worker holds on to its partitions."""
    config = facts.group_configs.get(queue.group, {})
    written = config.get("consumer.session.timeout.ms")
    if written is None:
        return unknown("P8", queue.name, "the cluster does not show its session timeout")
    session = timedelta(milliseconds=int(written))
    observed = f"a killed worker's partitions move on after {format_duration(session)}"
    if session >= SLOW_SESSION:
        return at_risk(
            "P8",
            queue.name,
            observed,
            "declare a shorter `session_timeout` of the queue, and run `stoker topology apply`",
        )
    return kept("P8", queue.name, observed)


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
