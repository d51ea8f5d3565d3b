"""On a real broker: a job keeps its tenant, and the partition that follows from it, through all that becomes of it."""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from confluent_kafka import Message

from stoker.consumers import Snooze, Worker, current_job
from stoker.producers import AsyncProducer, Producer
from stoker.producers.errors import TopologyNotReady
from stoker.producers.record import partition_of
from stoker.topology import ClusterSettings, Pipeline, RetryPolicy, TopologyMismatch
from stoker.topology.wire import headers as wire
from support.programs import isolated_jobs
from support.scenes.worker import (
    TIERS,
    Journal,
    Raw,
    create,
    declare_queue,
    headers_of,
    publish_raw,
    read_topic,
    running_worker,
    wait_all_committed,
    wait_dead,
)
from support.sight.events import job_events
from support.waiting import wait_until

PARTITIONS = 4
TENANTS = tuple(f"tenant-{number}" for number in range(8))


def places_of(messages: list[Message]) -> dict[str, set[int | None]]:
    """{tenant: the partitions that have its jobs}."""
    found: dict[str, set[int | None]] = defaultdict(set)
    for message in messages:
        found[headers_of(message)[wire.TENANT].decode()].add(message.partition())
    return found


EXPECTED: dict[str, set[int | None]] = {tenant: {partition_of(tenant.encode(), PARTITIONS)} for tenant in TENANTS}


def test_the_jobs_of_a_tenant_are_in_one_partition_in_the_order_of_their_keys(
    cluster: ClusterSettings, namespace: str
) -> None:
    """Whichever way they are enqueued; each job knows its tenant."""
    pipeline, queue = declare_queue(namespace, partitions=PARTITIONS, route_by="tenant")
    journal = Journal()

    @pipeline.job(queue, tenant="customer", key=lambda customer, number: f"{customer}/{number % 2}")
    def act(customer: str, number: int) -> None:
        journal.note((current_job().tenant, customer, number))

    create(pipeline, cluster)
    with Producer(pipeline, cluster) as producer:
        for tenant in TENANTS:
            producer.enqueue(act, tenant, 0)
            producer.enqueue_future(act, tenant, 1).result(60)
        producer.enqueue_many(act.call(tenant, number) for number in range(2, 6) for tenant in TENANTS)
    asyncio.run(_enqueue_all(AsyncProducer(pipeline, cluster), [act.call(tenant, 6) for tenant in TENANTS]))
    assert places_of(read_topic(cluster, queue.topic, PARTITIONS)) == EXPECTED
    with running_worker(pipeline, cluster):
        said = journal.wait(7 * len(TENANTS))
    for tenant in TENANTS:
        assert [number for own, customer, number in said if own == customer == tenant and number % 2] == [1, 3, 5]
        assert [number for own, customer, number in said if own == customer == tenant and not number % 2] == [
            0,
            2,
            4,
            6,
        ]


async def _enqueue_all(opening: AsyncProducer, calls: list[Any]) -> None:
    async with opening as producer:
        await producer.enqueue_many(calls)


def test_what_fails_or_waits_stays_with_its_tenant(cluster: ClusterSettings, namespace: str) -> None:
    """Retries, snoozes and dead letters keep the header and the partition, and their events name the tenant."""
    pipeline, queue = declare_queue(namespace, partitions=PARTITIONS, route_by="tenant")
    journal = Journal()

    @pipeline.job(queue, tenant="customer", retry=RetryPolicy(attempts=2, tiers=TIERS[:1]))
    def act(customer: str) -> Snooze | None:
        runs = journal.times()[customer]
        journal.note(customer)
        if runs == 0:
            return Snooze(timedelta(milliseconds=100))
        raise ValueError(customer)

    create(pipeline, cluster)
    with Producer(pipeline, cluster) as producer:
        for tenant in TENANTS:
            producer.enqueue(act, tenant)
    with running_worker(pipeline, cluster):
        dead = wait_dead(cluster, queue, len(TENANTS))
        wait_all_committed(cluster, queue)
        # While the worker is there, which gives up at its end what the brokers do not take in a second.
        expected = {kind: sorted(TENANTS) for kind in ("snoozed", "retried", "dead")}
        wait_until(lambda: tenants_of_events(cluster, pipeline) == expected, what="the events")
    assert journal.times() == dict.fromkeys(TENANTS, 3)
    assert places_of(dead) == EXPECTED
    for topic in (queue.retry_topics[TIERS[0]], next(iter(queue.delay_topics.values()))):
        assert places_of(read_topic(cluster, topic, PARTITIONS)) == EXPECTED


def tenants_of_events(cluster: ClusterSettings, pipeline: Pipeline) -> dict[str, list[str]]:
    """{kind of event: the tenants that such events name, sorted}, of what happens to jobs."""
    found: dict[str, list[str]] = defaultdict(list)
    for event in job_events(cluster, pipeline):
        found[event["event"]].append(event["tenant"])
    return {kind: sorted(found[kind]) for kind in ("snoozed", "retried", "dead")}


@pytest.mark.parametrize("kind", ["sync", "async", "isolated"])
def test_a_job_knows_its_tenant_and_logs_it(
    cluster: ClusterSettings, namespace: str, caplog: pytest.LogCaptureFixture, kind: str
) -> None:
    """Wherever it runs; without one it logs no such field, and so does the worker."""
    pipeline, queue = declare_queue(namespace)
    act = pipeline.job(queue, retry=RetryPolicy(attempts=1), isolation="process" if kind == "isolated" else None)(
        HANDLERS[kind]
    )
    create(pipeline, cluster)
    with caplog.at_level(logging.INFO), running_worker(pipeline, cluster) as running:
        with Producer(pipeline, cluster) as producer:
            producer.enqueue(act.with_options(tenant="Zoë & Söhne", job_id="with"))
            producer.enqueue(act.with_options(job_id="without"))
        running.wait_outcomes(Dead=2)
    logged: dict[str, list[object]] = defaultdict(list)
    for record in caplog.records:
        if getattr(record, "job_id", None) in ("with", "without"):
            logged[record.__dict__["job_id"]].append(record.__dict__.get("tenant"))
    assert set(logged["with"]) == {"Zoë & Söhne"}
    assert set(logged["without"]) == {None}
    assert min(len(found) for found in logged.values()) >= 2
    errors = {headers_of(message)[wire.ERROR_MESSAGE].decode() for message in wait_dead(cluster, queue, 2)}
    assert errors == {"Zoë & Söhne", "None"}


async def fail_with_tenant_async() -> None:
    """As the sync one."""
    isolated_jobs.fail_with_tenant()


HANDLERS: dict[str, Callable[[], Any]] = {
    "sync": isolated_jobs.fail_with_tenant,
    "async": fail_with_tenant_async,
    "isolated": isolated_jobs.fail_with_tenant,
}


def test_records_without_the_header_or_with_an_empty_one_have_no_tenant(
    cluster: ClusterSettings, namespace: str
) -> None:
    """Jobs of before, and of other programs, run as ever, also in a queue that routes by tenant."""
    pipeline, queue = declare_queue(namespace, route_by="tenant")
    journal = Journal()

    @pipeline.job(queue)
    def act(number: int) -> None:
        journal.note((number, current_job().tenant))

    create(pipeline, cluster)
    with Producer(pipeline, cluster) as producer:
        producer.enqueue(act, 0)
    plain: list[tuple[str, bytes | None]] = [(wire.JOB_TYPE, b"act")]
    value = act.contract.header + act.contract.encode(act.contract.payload((1,), {}))
    publish_raw(
        cluster,
        queue.topic,
        [
            Raw(value=value, headers=[*plain, (wire.JOB_ID, b"old")], partition=1),
            Raw(value=value, headers=[*plain, (wire.JOB_ID, b"empty"), (wire.TENANT, b"")]),
            Raw(value=value, headers=[*plain, (wire.JOB_ID, b"null"), (wire.TENANT, None)]),
        ],
    )
    with running_worker(pipeline, cluster):
        assert sorted(journal.wait(4)) == [(0, None), (1, None), (1, None), (1, None)]


def test_programs_that_route_otherwise_do_not_start(cluster: ClusterSettings, namespace: str) -> None:
    """A release with another routing publishes no job, and runs none, until the topology allows it."""
    create(declare_queue(namespace)[0], cluster)
    pipeline, queue = declare_queue(namespace, route_by="tenant")

    @pipeline.job(queue)
    def act(number: int) -> None: ...

    with pytest.raises(TopologyNotReady, match="are routed by key, declared is by tenant"):
        Producer(pipeline, cluster).start()
    with pytest.raises(TopologyMismatch, match="are routed by key, declared is by tenant"):
        Worker(pipeline, cluster).run()
