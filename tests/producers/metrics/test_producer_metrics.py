"""A producer's metrics agree with what its callers got."""

from __future__ import annotations

import asyncio
from typing import cast

import pytest

from stoker.producers import AsyncProducer, EnqueueError, Producer
from stoker.producers.errors import BulkFailed
from stoker.topology import ClusterSettings
from support.scenes.shop import Shop
from support.sight.scraping import Scrape, scrape

JOBS = 20
SENT, FAILED = "messaging_client_sent_messages_total", "stoker_enqueue_failures_total"
TOOK = "messaging_client_operation_duration_seconds_count"
WRONG = cast("int", "a text")


def test_each_job_counts_once_however_it_is_enqueued(shop: Shop, cluster: ClusterSettings) -> None:
    """Single ones with the time until they are confirmed, bulks without; what is refused by the class of its error."""
    with Producer(shop.pipeline, cluster) as producer, producer.serve_metrics(0) as server:
        page = scrape(server.port)
        assert page.value(SENT, type=shop.charge.name) == page.value(TOOK) == 0
        assert page.value(FAILED, type=shop.charge.name, error_type="PayloadRefused") == 0
        assert page.value(FAILED, type=shop.charge.name, error_type="BrokerUnreachable") == 0
        producer.enqueue(shop.charge, "one", 1)
        producer.enqueue_future(shop.charge, "future", 1).result(30)
        with pytest.raises(EnqueueError):
            producer.enqueue(shop.charge, "wrong", WRONG)
        with pytest.raises(BulkFailed):
            producer.enqueue_many([shop.charge.call("bulk", WRONG), *(shop.charge.call("b", n) for n in range(JOBS))])
        _check(scrape(server.port), shop)


def test_an_async_producer_counts_as_well(shop: Shop, cluster: ClusterSettings) -> None:
    """The same jobs make the same figures."""

    async def enqueue() -> Scrape:
        async with AsyncProducer(shop.pipeline, cluster) as producer:
            with producer.serve_metrics(0) as server:
                await producer.enqueue(shop.charge, "one", 1)
                await (await producer.enqueue_future(shop.charge, "future", 1))
                with pytest.raises(EnqueueError):
                    await producer.enqueue(shop.charge, "wrong", WRONG)
                with pytest.raises(BulkFailed):
                    await producer.enqueue_many(
                        [shop.charge.call("bulk", WRONG), *(shop.charge.call("b", n) for n in range(JOBS))]
                    )
                return await asyncio.to_thread(scrape, server.port)

    _check(asyncio.run(enqueue()), shop)


def _check(page: Scrape, shop: Shop) -> None:
    assert page.unlisted() == []
    name = shop.charge.name
    assert page.value(SENT, type=name, messaging_operation_name="enqueue") == 2 + JOBS
    assert page.value(TOOK, messaging_operation_name="enqueue") == 2
    assert page.value(FAILED, type=name) == 2
    assert page.value(FAILED, type=name, error_type="PayloadRefused") == 2
