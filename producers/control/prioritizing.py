"""Orders to give a job another priority, before they are given, and the copy of the job that comes with each."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from typing import cast

from confluent_kafka import Message

from ...schemas.own_records.control_records import ControlOrder, RecordPlace
from ...topology import Pipeline, Queue
from ...topology.declaration.priorities import NORMAL
from ...topology.wire import headers as wire
from ...topology.wire.orders import PRIORITY
from ..transaction_writer import TransactionRecord
from .cancelling import cancel_until
from .errors import OrderRefused
from .rescheduling import queues_of

_OWN = frozenset({wire.PRIORITY, wire.ORIGIN})


def queues_with(order: ControlOrder, pipeline: Pipeline, job_id: str, priority: str | None) -> Collection[Queue]:
    """The queues that declare the priority, any if none is named, and may have the job.

    Raises:
        OrderRefused: no job is named, or no queue has the priority.
        UnknownName: there is no such queue.
    """
    if not job_id:
        raise OrderRefused(order.verb, "the job's id is empty")
    found = [
        queue
        for queue in queues_of(pipeline, order.queue)
        if queue.priorities and priority in (None, *queue.priorities)
    ]
    if not found:
        named = "priorities" if priority is None else f"priority {priority!r}"
        raise OrderRefused(order.verb, f"no queue that is meant declares {named}: see `stoker topology show`")
    return found


def prioritized(
    order: ControlOrder, pipeline: Pipeline, job_id: str, priority: str | None, found: tuple[Queue, Message] | None
) -> tuple[ControlOrder, TransactionRecord]:
    """The order for a job that was looked up, and its copy on the topic of the priority.

    Raises:
        OrderRefused: the job was not found, is unique, or has the priority already.
    """
    if found is None:
        raise OrderRefused(
            order.verb,
            f"job {job_id} does not wait for its turn in a queue with priorities: it runs or has ended, or it waits "
            "for its time, which `reschedule` changes",
        )
    queue, message = found
    wanted = next(iter(queue.priorities)) if priority is None else priority
    headers = wire.header_map(cast("wire.HeaderList", message.headers() or []))
    if message.topic() == queue.topic_of(wanted):
        raise OrderRefused(order.verb, f"job {job_id} has the priority {wanted!r} already")
    if wire.UNIQUE in headers:
        raise OrderRefused(
            order.verb,
            f"job {job_id} is unique: all jobs of its type have one priority, so that they come in one order",
        )
    own_place = f"{message.topic()}/{message.partition()}/{message.offset()}".encode()
    origin = headers.get(wire.ORIGIN, own_place)
    until = order.until or cancel_until(pipeline, order.at)
    detail = {**order.detail, PRIORITY: wanted}
    order = replace(
        order, queue=queue.name, job_id=job_id, until=until, detail=detail, place=_place_of(origin, own_place)
    )
    return order, _copy(message, queue, wanted, origin)


def _place_of(origin: bytes, own: bytes) -> RecordPlace:
    for text in (origin, own):
        topic, *numbers = text.decode("utf-8", "replace").rsplit("/", 2)
        if len(numbers) == 2 and all(number.isdecimal() for number in numbers):
            return RecordPlace(topic=topic, partition=int(numbers[0]), offset=int(numbers[1]))
    raise ValueError(f"{own!r} is no place")


def _copy(message: Message, queue: Queue, priority: str, origin: bytes) -> TransactionRecord:
    added = [(wire.ORIGIN, origin)]
    if priority != NORMAL:
        added.append((wire.PRIORITY, priority.encode()))
    pairs = cast("wire.HeaderList", message.headers() or [])
    key = message.key()
    return TransactionRecord(
        topic=queue.topic_of(priority),
        key=key.encode() if isinstance(key, str) else key,
        value=message.value(),
        headers=wire.replace_headers(pairs, drop=_OWN, add=added),
        partition=message.partition() or 0,
    )
