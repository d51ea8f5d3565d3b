"""The processes that consume without the worker: consume, headers, decode, call; what it is compared with."""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Awaitable, Callable
from io import BytesIO
from typing import Any, Final, cast

import fastavro
from confluent_kafka import OFFSET_BEGINNING, Consumer, Message, TopicPartition
from jobs import PARTITIONS
from part import Part, Result, Say, only_job, only_queue

from stoker.consumers.worker import GC_THRESHOLD
from stoker.schemas import Decoder
from stoker.schemas.codec.codec import FINGERPRINT_BYTES, SINGLE_OBJECT
from stoker.topology.declaration.job_type import AnyJobType
from stoker.topology.planning.schema_store import schema_store

BATCH: Final = 500
Read = Callable[[Message], tuple[tuple[Any, ...], dict[str, Any]]]
"""Gives the arguments of a message's job."""
PATIENCE_S: Final = 60.0


class NothingCame(Exception):
    """The jobs that were enqueued did not all arrive."""

    def __init__(self, arrived: int, expected: int) -> None:
        super().__init__(f"{arrived:,} of {expected:,} jobs arrived, and no more in {PATIENCE_S:g} s")


def drain(part: Part, _say: Say) -> Result:
    """Go through the whole topic as fast as it goes, with the worker's settings for the client and the collector."""
    pipeline = part.pipeline()
    job, decoder = only_job(pipeline), Decoder(schema_store(pipeline, part.cluster))
    return _drained(part, job, lambda message: _read(message, job, decoder))


def drain_by_hand(part: Part, _say: Say) -> Result:
    """Do so with fastavro's reader, as one writes such a loop with confluent-kafka and fastavro."""
    job = only_job(part.pipeline())
    schema = fastavro.parse_schema(dict(job.contract.schema))
    return _drained(part, job, lambda message: _read_by_hand(message, schema))


def _drained(part: Part, job: AnyJobType, read: Read) -> Result:
    gc.set_threshold(GC_THRESHOLD)
    consumer = open_consumer(part)
    loop = _Loop(consumer, read, job, part.jobs)
    if part.kind == "async":
        asyncio.run(loop.run_async())
    else:
        loop.run()
    consumer.close()
    return {"jobs_per_s": part.jobs / loop.took_s}


def serve(part: Part, say_ready: Say) -> Result:
    """Wait for paced jobs at the topic's end, and call the handler for each as it comes."""
    noted: list[float] = []
    pipeline = part.pipeline(noted.append)
    job, decoder = only_job(pipeline), Decoder(schema_store(pipeline, part.cluster))
    consumer = open_consumer(part, None)
    say_ready()
    give_up_at_s = time.monotonic() + PATIENCE_S
    while len(noted) < part.jobs:
        message = consumer.poll(0.1)
        if message is not None and message.error() is None:
            args, kwargs = _read(message, job, decoder)
            job.handler(*args, **kwargs)
            give_up_at_s = time.monotonic() + PATIENCE_S
        if time.monotonic() > give_up_at_s:
            raise NothingCame(len(noted), part.jobs)
    consumer.close()
    return {"seconds": noted}


def open_consumer(part: Part, offset: int | None = OFFSET_BEGINNING) -> Consumer:
    """A consumer of all partitions from `offset`, or from their ends."""
    topic = only_queue(part.pipeline()).topic
    config = part.cluster.client_config(fetch_queue_backoff_ms=10, queued_min_messages=20_000)
    consumer = Consumer({**config, "group.id": f"{part.namespace}-bare", "enable.auto.commit": False})
    places = [TopicPartition(topic, number) for number in range(PARTITIONS)]
    for place in places:
        place.offset = consumer.get_watermark_offsets(place)[1] if offset is None else offset
    consumer.assign(places)
    return consumer


def _read(message: Message, job: AnyJobType, decoder: Decoder) -> tuple[tuple[Any, ...], dict[str, Any]]:
    dict(message.headers() or ())
    return job.contract.arguments(decoder.decode(job.contract, message.value()))


def _read_by_hand(message: Message, schema: fastavro.types.Schema) -> tuple[tuple[Any, ...], dict[str, Any]]:
    dict(message.headers() or ())
    body = BytesIO(message.value() or b"")
    body.seek(len(SINGLE_OBJECT) + FINGERPRINT_BYTES)
    return (), cast("dict[str, Any]", fastavro.schemaless_reader(body, schema, None))


class _Loop:
    """The bare loop over a backlog; timed from the first batch's arrival."""

    def __init__(self, consumer: Consumer, read: Read, job: AnyJobType, expected: int) -> None:
        self._consumer, self._read, self._job = consumer, read, job
        self._expected, self._left = expected, expected
        self._began_at_s: float | None = None
        self.took_s = 0.0

    def run(self) -> None:
        handler, read = self._job.handler, self._read
        while self._left:
            for message in self._batch():
                args, kwargs = read(message)
                handler(*args, **kwargs)
        self._end()

    async def run_async(self) -> None:
        handler: Callable[..., Awaitable[Any]] = self._job.handler
        read = self._read
        while self._left:
            for message in self._batch():
                args, kwargs = read(message)
                await handler(*args, **kwargs)
        self._end()

    def _batch(self) -> list[Message]:
        """The next messages; `consume` waits for a full batch, so that the last one costs a moment."""
        arrived = self._consumer.consume(min(BATCH, self._left), 1.0 if self._began_at_s else PATIENCE_S)
        if not arrived:
            raise NothingCame(self._expected - self._left, self._expected)
        if self._began_at_s is None:
            self._began_at_s = time.perf_counter()
        messages = [message for message in arrived if message.error() is None]
        self._left -= len(messages)
        return messages

    def _end(self) -> None:
        self.took_s = time.perf_counter() - (self._began_at_s or 0.0)
