"""Priorities are declared on the queue, chosen by job type and call, and are part of the queue's topology."""

from __future__ import annotations

from typing import Any

import pytest

from stoker.producers.errors import OptionRefused
from stoker.producers.record import BuiltRecord, RecordBuilder
from stoker.schemas import MemorySchemaStore
from stoker.testing import RecordingProducer
from stoker.topology import InvalidDeclaration, Pipeline, Unique
from stoker.topology.declaration.catalogue import catalogue
from stoker.topology.declaration.queue import Queue
from stoker.topology.declaration.topics import Role, queue_topics
from stoker.topology.planning.rights import Duty, rights_for
from stoker.topology.wire import headers as wire

WEIGHTS = {"high": 8, "normal": 3, "low": 1}


def declared(**shape: Any) -> tuple[Pipeline, Queue]:
    """A queue with three priorities, unless others are given."""
    pipeline = Pipeline("shop")
    return pipeline, pipeline.queue("mails", partitions=3, **{"priorities": WEIGHTS, **shape})


def bill(number: int) -> None:
    """Have a parameter."""


@pytest.mark.parametrize(
    ("priorities", "fault"),
    [
        ({"high": 2}, "add 'normal' with its weight"),
        ({"normal": 1}, "leave priorities= out"),
        ({"high": 0, "normal": 1}, "whole number from 1 to 1,000"),
        ({"high": True, "normal": 1}, "whole number from 1 to 1,000"),
        ({"high": 1.5, "normal": 1}, "whole number from 1 to 1,000"),
        ({"dead": 2, "normal": 1}, "a word of Stoker's own"),
        ({"Very High": 2, "normal": 1}, "a-z, 0-9"),
        ({f"p{number}": 1 for number in range(5)} | {"normal": 1}, "at the most"),
    ],
)
def test_what_cannot_be_is_refused_with_the_way_out(priorities: dict[str, Any], fault: str) -> None:
    """All faults are named when the program starts."""
    with pytest.raises(InvalidDeclaration, match=fault):
        declared(priorities=priorities)


def test_strict_order_and_priorities_exclude_each_other() -> None:
    """In strict order no job may pass an earlier one of its key."""
    with pytest.raises(InvalidDeclaration, match="declare a queue of its own for urgent jobs"):
        declared(ordering="strict")


def test_each_priority_but_the_normal_one_has_a_topic_like_the_main_one() -> None:
    """Producers and workers have the rights on them that they have on the main topic."""
    pipeline, queue = declared()
    specs = {spec.name: spec for spec in queue_topics(pipeline, queue) if spec.role in (Role.MAIN, Role.PRIORITY)}
    assert list(specs) == ["shop.mails", "shop.mails.high", "shop.mails.low"]
    assert {spec.partitions for spec in specs.values()} == {3}
    assert queue.job_topics[:3] == list(specs)
    for duty, operation in ((Duty.PRODUCER, "Write"), (Duty.WORKER, "Read"), (Duty.DEAD_REPLAY, "Write")):
        named = {right.name for right in rights_for(duty, pipeline) if right.operation == operation}
        assert set(specs) <= named
    assert catalogue(pipeline).queues[0].priorities == WEIGHTS


def test_a_queue_without_priorities_has_no_further_topics() -> None:
    """Nothing declared is nothing paid."""
    _, queue = declared(priorities={})
    assert queue.entry_topics == [queue.topic]


def build(pipeline: Pipeline, call: Any) -> BuiltRecord:
    """The record of a call."""
    store = MemorySchemaStore()
    for job_type in pipeline.job_types.values():
        store.register(job_type.contract)
    return RecordBuilder(store, "/tests", {"shop.mails": 3}).build(call)


@pytest.mark.parametrize(
    ("of_type", "of_call", "topic", "header"),
    [
        (None, None, "shop.mails", None),
        (None, "normal", "shop.mails", None),
        (None, "high", "shop.mails.high", b"high"),
        ("low", None, "shop.mails.low", b"low"),
        ("low", "high", "shop.mails.high", b"high"),
        ("low", "normal", "shop.mails", None),
    ],
)
def test_the_call_chooses_before_the_job_type(
    of_type: str | None, of_call: str | None, topic: str, header: bytes | None
) -> None:
    """The priority decides about the topic, and is in a header."""
    pipeline, queue = declared()
    job_type = pipeline.job(queue, priority=of_type)(bill)
    record = build(pipeline, job_type.with_options(priority=of_call, key="k").call(1))
    assert (record.topic, dict(record.headers).get(wire.PRIORITY)) == (topic, header)
    assert record.partition == build(pipeline, job_type.with_options(key="k").call(1)).partition


def test_a_priority_that_the_queue_does_not_declare_is_refused() -> None:
    """With those that it does, by a call as by a job type."""
    pipeline, queue = declared()
    job_type = pipeline.job(queue)(bill)
    with pytest.raises(OptionRefused, match="declares high, normal, low: choose one"):
        build(pipeline, job_type.with_options(priority="urgent").call(1))
    with pytest.raises(InvalidDeclaration, match="declares high, normal, low: choose one"):
        pipeline.job(queue, name="other", priority="urgent")(bill)
    plain, without = declared(priorities={})
    with pytest.raises(OptionRefused, match="declares no priorities: give it priorities="):
        build(plain, plain.job(without)(bill).with_options(priority="high").call(1))


def test_the_jobs_of_a_unique_type_have_one_priority() -> None:
    """Those of an identity must come in one order."""
    pipeline, queue = declared()
    job_type = pipeline.job(queue, unique=Unique(by="number"), priority="low")(bill)
    assert build(pipeline, job_type.call(1)).topic == "shop.mails.low"
    with pytest.raises(OptionRefused, match="so that they come in one order"):
        build(pipeline, job_type.with_options(priority="high").call(1))


def test_a_recorded_job_has_its_priority() -> None:
    """Tests of users see what their program asks for."""
    pipeline, queue = declared()
    job_type = pipeline.job(queue)(bill)
    producer = RecordingProducer(pipeline)
    producer.enqueue(job_type, 1)
    producer.enqueue(job_type.with_options(priority="high"), 2)
    assert [job.priority for job in producer.jobs] == ["normal", "high"]
