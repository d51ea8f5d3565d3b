"""On a real cluster, with a Schema Registry that goes away: its jobs wait at no cost, and the others go on."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from stoker.consumers import Worker, WorkerSettings
from stoker.producers import Producer
from stoker.schemas import Contract
from stoker.topology import ClusterSettings, JobType, Pipeline, Queue
from stoker.topology.planning.contracts import ContractsRefused
from stoker.topology.wire.headers import DEFERRED_SINCE, FIRST_FAILED, format_instant
from support.kafka.registry_server import Registry, serving
from support.scenes.worker import (
    Journal,
    Raw,
    RunningWorker,
    create,
    dead_letters,
    declare_queue,
    headers_of,
    publish_raw,
    read_topic,
    running_worker,
    wait_all_committed,
)
from support.waiting import wait_until


def newer(number: int, colour: str = "red") -> None:
    """What a newer producer sends: a field more, with a default."""


@dataclass
class Stand:
    """A queue whose schemas are in a registry, with a sync and an async job type that note their number."""

    registry: Registry
    cluster: ClusterSettings
    pipeline: Pipeline
    queue: Queue
    journal: Journal
    jobs: dict[str, JobType[Any, Any]]

    def publish_newer(self, name: str, number: int, key: bytes, **headers: bytes) -> None:
        """Publish a job as a newer producer does, whose schema the worker has not met."""
        contract = Contract.of_function(newer, job_type=name, namespace=self.pipeline.namespace)
        schema_id = self.registry.add(json.dumps(contract.schema), f"{self.pipeline.namespace}.{name}")
        value = b"\x00" + schema_id.to_bytes(4, "big") + contract.encode({"number": number, "colour": "blue"})
        named = {"ce_type": name.encode(), "ce_id": f"newer-{number}".encode(), **headers}
        publish_raw(self.cluster, self.queue.topic, [Raw(value=value, key=key, headers=list(named.items()))])

    def publish(self, name: str, *numbers: int, key: str) -> None:
        """Publish jobs whose schema the worker knows; the test's registry need not be well for it."""
        job = self.jobs[name]
        value = b"\x00" + (1 + list(self.jobs).index(name)).to_bytes(4, "big")
        records = [
            Raw(
                value=value + job.contract.encode({"number": number}),
                key=key.encode(),
                headers=[("ce_type", name.encode()), ("ce_id", f"{name}-{number}".encode())],
            )
            for number in numbers
        ]
        publish_raw(self.cluster, self.queue.topic, records)


@pytest.fixture
def registry() -> Iterator[Registry]:
    """A running registry."""
    with serving(Registry()) as server:
        yield server


@pytest.fixture
def stand(registry: Registry, cluster: ClusterSettings, namespace: str) -> Stand:
    """The queue, its topics and contracts in place."""
    pipeline, queue = declare_queue(namespace, partitions=1)
    journal = Journal()

    @pipeline.job(queue)
    def act(number: int) -> None:
        journal.note(number)

    @pipeline.job(queue)
    async def act_async(number: int) -> None:
        journal.note(number)

    ours = replace(cluster, schema_registry_url=registry.url)
    create(pipeline, ours)
    return Stand(registry, ours, pipeline, queue, journal, {"act": act, "act_async": act_async})


def fail(registry: Registry) -> None:
    """Have the registry answer with an error."""
    registry.answer = (503, {"error_code": 50003, "message": "no leader"})


def hang(registry: Registry) -> None:
    """Have the registry take requests and answer none."""
    registry.may_answer.clear()


def recover(registry: Registry) -> None:
    """Have the registry be well again."""
    registry.answer = None
    registry.may_answer.set()


@pytest.mark.parametrize("fall_ill", [fail, hang])
def test_jobs_whose_schema_cannot_be_asked_for_wait_at_no_cost(
    stand: Stand, caplog: pytest.LogCaptureFixture, fall_ill: Callable[[Registry], None]
) -> None:
    """They wait in their order, also one that was put off for eight days; known ones go on; then all run at once."""
    caplog.set_level(logging.INFO, "stoker.worker")
    with running_worker(stand.pipeline, stand.cluster, concurrency=2) as running:
        running.wait_partitions(1)
        fall_ill(stand.registry)
        long_ago = format_instant(datetime.now(UTC) - timedelta(days=8))
        for number, name in enumerate(["act", "act_async"] * 3):
            stand.publish_newer(name, number, b"waits", **{DEFERRED_SINCE: long_ago})
        stand.publish("act", 100, 101, key="waits")
        stand.publish("act", *range(200, 240), key="goes on")
        stand.publish("act_async", *range(300, 340), key="goes on, too")
        stand.journal.wait_for(*range(200, 240), *range(300, 340))
        wait_until(lambda: said(caplog, " for a schema: ") == 1, 60, "the outage to be reported")
        assert len(stand.journal.runs) == 80
        asked, began_at_s = len(stand.registry.seen), time.monotonic()
        recover(stand.registry)
        stand.journal.wait(88)
        assert time.monotonic() - began_at_s < 40
        wait_all_committed(stand.cluster, stand.queue)
    assert [run.what for run in stand.journal.runs if run.what < 200] == [0, 1, 2, 3, 4, 5, 100, 101]
    assert {run.attempt for run in stand.journal.runs} == {1}
    assert said(caplog, "answers again") == 1
    assert asked < 40, "a registry that is ill is left alone"
    assert not dead_letters(stand.cluster, stand.queue)
    assert not [r for topic in stand.queue.waiting_topics for r in read_topic(stand.cluster, topic, 1)]


def said(caplog: pytest.LogCaptureFixture, part: str) -> int:
    """How many messages have this part."""
    return sum(part in message for message in caplog.messages)


def test_a_worker_that_waits_for_schemas_ends_at_once_and_the_next_one_runs_the_jobs(stand: Stand) -> None:
    """What waits is no job that runs: a shutdown gives it back, and it costs no attempt."""
    grace = timedelta(seconds=60)
    with running_worker(stand.pipeline, stand.cluster, grace=grace) as running:
        running.wait_partitions(1)
        fail(stand.registry)
        stand.publish_newer("act", 1, b"k")
        stand.publish_newer("act_async", 2, b"l")
        wait_until(lambda: running.worker.inspect()[0].awaiting_schema == 2, 60, "both to wait")
        wait_until(lambda: "could not be asked" in str(running.worker.inspect()[0].hints), 60, "the reason")
        began_at_s = time.monotonic()
        running.stop(within_s=100)
        assert time.monotonic() - began_at_s < grace.total_seconds()
    recover(stand.registry)
    with running_worker(stand.pipeline, stand.cluster):
        stand.journal.wait_for(1, 2)
    assert {run.attempt for run in stand.journal.runs} == {1}


def test_a_schema_that_the_registry_does_not_know_is_deferred_and_not_dropped(stand: Stand) -> None:
    """The registry's own "not found" counts: the job is deferred, and the instant of that noted; it has not failed."""
    with running_worker(stand.pipeline, stand.cluster) as running:
        headers: list[tuple[str, bytes | None]] = [("ce_type", b"act"), ("ce_id", b"strange")]
        publish_raw(stand.cluster, stand.queue.topic, [Raw(value=b"\x00\x00\x00\x03\xe8\x02", headers=headers)])
        running.wait_outcomes(Deferred=1)
    deferred, *_ = [r for topic in stand.queue.delay_topics.values() for r in read_topic(stand.cluster, topic, 1)]
    assert DEFERRED_SINCE in headers_of(deferred)
    assert FIRST_FAILED not in headers_of(deferred)


def test_a_worker_starts_without_the_registry_and_runs_all_when_it_is_there(
    stand: Stand, caplog: pytest.LogCaptureFixture
) -> None:
    """It says what it waits for; no job is lost, put off or counted as an attempt meanwhile."""
    fail(stand.registry)
    with running_worker(stand.pipeline, stand.cluster):
        stand.publish("act", 1, 2, 3, key="k")
        wait_until(lambda: said(caplog, " for a schema: ") == 1, 60, "the outage to be reported")
        recover(stand.registry)
        assert stand.journal.wait(3) == [1, 2, 3]
    assert said(caplog, "not compared with the registered ones yet") == 1
    assert {run.attempt for run in stand.journal.runs} == {1}


@pytest.mark.expected_errors("cannot be registered", "does not take these contracts")
def test_a_contract_that_turns_out_to_be_refused_stops_the_worker(stand: Stand, cluster: ClusterSettings) -> None:
    """A worker that started without the registry gets later the error that it would have had at its start."""
    pipeline, queue = declare_queue(stand.pipeline.namespace, partitions=1)

    @pipeline.job(queue)
    def act(number: int, must: str) -> None: ...

    fail(stand.registry)
    running = RunningWorker(Worker(pipeline, stand.cluster, WorkerSettings()))
    recover(stand.registry)
    wait_until(lambda: running.failure is not None, 60, "the worker to stop")
    assert isinstance(running.failure, ContractsRefused)
    with pytest.raises(ContractsRefused, match="must"):
        Worker(pipeline, stand.cluster, WorkerSettings())


def test_a_producer_tells_the_registry_from_the_brokers(stand: Stand) -> None:
    """An outage of the registry is reported as that, with nothing sent, and the next call works after it."""
    from stoker.producers.errors import RegistryUnreachable

    fail(stand.registry)
    with Producer(stand.pipeline, stand.cluster) as producer:
        with pytest.raises(RegistryUnreachable, match=r"Schema Registry.*no leader.*nothing was sent"):
            producer.enqueue(stand.jobs["act"], 1)
        recover(stand.registry)
        producer.enqueue(stand.jobs["act"], 1)
