"""The processes that enqueue: in bulk, one by one and paced; each way through Stoker, and with the plain client."""

from __future__ import annotations

import random
import time
from typing import Final

import confluent_kafka
import uuid_utils
from backlog import Backlog
from jobs import order
from part import Part, Result, Say, only_job, only_queue

from stoker.producers import Producer
from stoker.producers.client import producer_config
from stoker.topology.planning.schema_store import schema_store
from stoker.topology.wire import headers as wire

PACE_S: Final = (0.025, 0.075)
"""Pauses between paced jobs, drawn evenly so that they fall in with no timer of the worker: 20 a second."""
WARM_UP: Final = 20
"""The first paced jobs, which find clients connecting and ledgers being restored; they are not measured."""
PATIENCE_S: Final = 60.0
_LOOK_S: Final = 0.02
_POLL_EVERY: Final = 500


def bulk(part: Part, _say: Say) -> Result:
    """Enqueue all orders with `enqueue_many`; the first one alone, since it connects and verifies."""
    pipeline = part.pipeline()
    job = only_job(pipeline)
    with Producer(pipeline, part.cluster) as producer:
        producer.enqueue_many([job.call(*order(0))])
        began_at_s = time.perf_counter()
        producer.enqueue_many(job.call(*order(number)) for number in range(1, part.jobs))
        return {"jobs_per_s": (part.jobs - 1) / (time.perf_counter() - began_at_s)}


def bulk_plain(part: Part, _say: Say) -> Result:
    """The same records by the plain client alone: encode, `produce`, flush."""
    plain = _Plain(part)
    plain.produce(0)
    plain.flush()
    began_at_s = time.perf_counter()
    for number in range(1, part.jobs):
        plain.produce(number)
        if number % _POLL_EVERY == 0:
            plain.poll()
    plain.flush()
    return {"jobs_per_s": (part.jobs - 1) / (time.perf_counter() - began_at_s)}


def singly(part: Part, _say: Say) -> Result:
    """Enqueue one by one, each confirmed before the next: how long the caller waits."""
    pipeline = part.pipeline()
    job = only_job(pipeline)
    waits_s = []
    with Producer(pipeline, part.cluster) as producer:
        producer.send(job.call(*order(0)))
        for number in range(1, part.jobs):
            began_at_s = time.perf_counter()
            producer.send(job.call(*order(number)))
            waits_s.append(time.perf_counter() - began_at_s)
    return {"seconds": waits_s}


def singly_plain(part: Part, _say: Say) -> Result:
    """The same by the plain client: encode, `produce`, flush."""
    plain = _Plain(part, linger_ms=0)
    waits_s = []
    for number in range(part.jobs):
        began_at_s = time.perf_counter()
        plain.produce(number)
        plain.flush()
        waits_s.append(time.perf_counter() - began_at_s)
    return {"seconds": waits_s[1:]}


def paced(part: Part, _say: Say) -> Result:
    """Enqueue stamped jobs, about 20 a second; the stamp is taken when `enqueue` is called.

    The first ones go ahead, until the worker has committed them: it restores its ledgers before it begins.
    """
    pipeline, draw = part.pipeline(), random.Random(part.namespace)
    job = only_job(pipeline)
    with Producer(pipeline, part.cluster) as producer:
        for number in range(part.jobs):
            if number == WARM_UP:
                _wait_committed(part)
            time.sleep(draw.uniform(*PACE_S))
            producer.enqueue(job, time.time())
    return {}


def _wait_committed(part: Part) -> None:
    backlog, give_up_at_s = Backlog(part.cluster, only_queue(part.pipeline())), time.monotonic() + PATIENCE_S
    while (left := backlog.uncommitted()) and time.monotonic() < give_up_at_s:
        time.sleep(_LOOK_S)
    backlog.close()
    if left:
        raise NotServed(left)


class NotServed(Exception):
    """The worker did not get through the first jobs."""

    def __init__(self, left: int) -> None:
        super().__init__(f"{left} of the first {WARM_UP} jobs are not committed after {PATIENCE_S:g} s")


class _Plain:
    """confluent-kafka's producer with the same guarantees (acks=all, idempotent), writing the same records."""

    def __init__(self, part: Part, linger_ms: int = 5) -> None:
        pipeline = part.pipeline()
        self._contract, self._topic = only_job(pipeline).contract, only_queue(pipeline).topic
        self._store = schema_store(pipeline, part.cluster)
        self._type = part.kind.encode()
        config = producer_config(
            part.cluster,
            linger_ms=linger_ms,
            compression_type="lz4",
            delivery_report_only_error=True,
            queue_buffering_max_messages=part.jobs + 1,
        )
        self._client = confluent_kafka.Producer(config)

    def produce(self, number: int) -> None:
        arguments = order(number)
        body = self._contract.encode(self._contract.payload(arguments, {}))
        self._client.produce(
            self._topic,
            value=self._store.frame(self._contract, body),
            key=arguments[1],
            headers=[
                (wire.SPEC_VERSION, wire.SPEC_VERSION_1_0),
                (wire.JOB_ID, str(uuid_utils.uuid7()).encode()),
                (wire.JOB_TYPE, self._type),
                (wire.SOURCE, b"/bench"),
                (wire.TIME, b"2013-01-01T05:17:00.250000Z"),
                (wire.CONTENT_TYPE, wire.CONTENT_TYPE_AVRO),
            ],
        )

    def poll(self) -> None:
        self._client.poll(0)

    def flush(self) -> None:
        self._client.flush()
