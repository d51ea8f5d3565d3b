"""`AsyncProducer` on a real cluster: the same guarantees, without blocking the loop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from stoker.producers import AsyncProducer
from stoker.producers.bulk import BulkRun
from stoker.producers.connection import Connection
from stoker.producers.errors import BulkFailed, PayloadRefused, ProducerClosed, TopologyNotReady
from stoker.topology import ClusterSettings
from stoker.topology.declaration.job_type import JobCall
from support.scenes.shop import Shop, declare_shop, end_offsets, headers_of, read_all


def test_an_awaited_job_is_confirmed(shop: Shop, cluster: ClusterSettings) -> None:
    """`await enqueue` returns the receipt of a job that a plain client then finds."""

    async def enqueue() -> str:
        async with AsyncProducer(shop.pipeline, cluster, source="/tests") as producer:
            return (await producer.enqueue(shop.charge, "acc-1", 250)).job_id

    job_id = asyncio.run(enqueue())
    [message] = read_all(cluster, shop.mails)
    assert (message.key(), headers_of(message)["ce_id"]) == (b"acc-1", job_id.encode())


def test_pipelined_jobs_keep_their_order_and_need_no_thread_each(shop: Shop, cluster: ClusterSettings) -> None:
    """Futures are settled in one loop with one reading thread beside it, however many jobs are pending."""
    threads: list[int] = []

    async def enqueue() -> list[int]:
        async with AsyncProducer(shop.pipeline, cluster) as producer:
            futures = [await producer.enqueue_future(shop.charge, "one", n) for n in range(2_000)]
            threads.append(sum(thread.name.startswith("stoker-producer") for thread in threading.enumerate()))
            return [receipt.offset for receipt in await asyncio.gather(*futures)]

    offsets = asyncio.run(enqueue())
    assert offsets == list(range(2_000))
    assert threads[0] <= 5, "one reader, and at the most four for what blocks at the start"


def test_the_loop_goes_on_while_a_bulk_runs(shop: Shop, cluster: ClusterSettings) -> None:
    """Other tasks of the loop get their turn again and again during a bulk of a plain iterable."""
    turns = 0

    async def count_turns(done: asyncio.Event) -> None:
        nonlocal turns
        while not done.is_set():
            turns += 1
            await asyncio.sleep(0)

    async def enqueue() -> int:
        done = asyncio.Event()
        async with AsyncProducer(shop.pipeline, cluster) as producer, asyncio.TaskGroup() as tasks:
            tasks.create_task(count_turns(done))
            try:
                result = await producer.enqueue_many(shop.charge.call(f"a{n % 9}", n) for n in range(20_000))
            finally:
                done.set()
        return result.confirmed

    assert asyncio.run(enqueue()) == 20_000
    assert sum(end_offsets(cluster, shop.mails)) == 20_000
    assert turns > 20


def test_a_bulk_takes_an_async_iterable_with_a_bound_in_flight(shop: Shop, cluster: ClusterSettings) -> None:
    """An asynchronous generator is read as the brokers confirm, here with 100 in flight at the most."""

    async def calls() -> AsyncIterator[JobCall]:
        for n in range(3_000):
            if n % 500 == 0:
                await asyncio.sleep(0)
            yield shop.charge.call("one", n)

    async def enqueue() -> int:
        async with AsyncProducer(shop.pipeline, cluster) as producer:
            return (await producer.enqueue_many(calls(), max_in_flight=100)).confirmed

    assert asyncio.run(enqueue()) == 3_000
    assert sum(end_offsets(cluster, shop.mails)) == 3_000


def test_parameters_may_have_the_names_of_the_methods_own(shop: Shop, cluster: ClusterSettings) -> None:
    """A job whose parameters are called `job`, `self` or `key` is enqueued by name."""
    arguments = {"self": 1, "job": 2, "timeout": 3, "calls": 4, "key": 5}

    async def enqueue() -> None:
        async with AsyncProducer(shop.pipeline, cluster) as producer:
            await producer.enqueue(shop.collide, **arguments)
            await (await producer.enqueue_future(shop.collide.with_options(job_id="x"), **arguments))

    asyncio.run(enqueue())
    assert sum(end_offsets(cluster, shop.mails)) == 2


def test_a_bulk_that_stops_midway_says_what_became_of_it(shop: Shop, cluster: ClusterSettings) -> None:
    """An error of the asynchronous iterable has, as `bulk`, what is confirmed and what failed before it."""

    async def broken() -> AsyncIterator[JobCall]:
        yield shop.charge.call("acc", 1)
        yield JobCall(shop.charge, (), {})
        raise ZeroDivisionError

    async def enqueue() -> BulkFailed:
        async with AsyncProducer(shop.pipeline, cluster) as producer:
            with pytest.raises(ZeroDivisionError) as caught:
                await producer.enqueue_many(broken())
            account = getattr(caught.value, "bulk", None)
            assert isinstance(account, BulkFailed)
            return account

    account = asyncio.run(enqueue())
    assert (account.confirmed, account.read, account.failed_indexes) == (1, 2, (1,))


def test_refusals_are_raised_as_by_the_sync_producer(shop: Shop, cluster: ClusterSettings) -> None:
    """A refused call raises, alone or in a bulk, and after `close` everything is refused."""

    async def enqueue() -> None:
        producer = AsyncProducer(shop.pipeline, cluster)
        with pytest.raises(PayloadRefused, match="cents"):
            await producer.enqueue(shop.charge, "acc", "much")  # type: ignore[arg-type]  # on purpose
        with pytest.raises(BulkFailed) as caught:
            await producer.enqueue_many([shop.charge.call("acc", 1), JobCall(shop.charge, (), {})])
        assert (caught.value.confirmed, caught.value.failed_indexes) == (1, (1,))
        await producer.close()
        await producer.close()
        with pytest.raises(ProducerClosed):
            await producer.enqueue(shop.charge, "acc", 1)
        with pytest.raises(ProducerClosed):
            await producer.enqueue_many([])

    asyncio.run(enqueue())


def test_missing_topics_are_reported_at_the_start(cluster: ClusterSettings, namespace: str) -> None:
    """An asynchronous producer verifies the topology as well, and names the command that fixes it."""

    async def start() -> None:
        await AsyncProducer(declare_shop(namespace).pipeline, cluster).start()

    with pytest.raises(TopologyNotReady, match="stoker topology apply"):
        asyncio.run(start())


def test_a_cancelled_bulk_settles_what_it_published(shop: Shop, cluster: ClusterSettings) -> None:
    """Cancelling a bulk of an endless iterable ends it, confirms what was taken, and says how many."""
    taken = 0

    def endless() -> Iterator[JobCall]:
        nonlocal taken
        while True:
            taken += 1
            yield shop.charge.call("one", taken)

    async def cancel_one() -> str:
        async with AsyncProducer(shop.pipeline, cluster) as producer:
            bulk = asyncio.create_task(producer.enqueue_many(endless()))
            while taken < 2_000:
                await asyncio.sleep(0)
            bulk.cancel()
            with pytest.raises(asyncio.CancelledError) as caught:
                await bulk
            return str(caught.value.__notes__)

    note = asyncio.run(cancel_one())
    published = sum(end_offsets(cluster, shop.mails))
    assert f"{published:,} jobs of the bulk were confirmed" in note
    assert taken - 1 <= published <= taken, "the last one taken may have waited for room"


def test_the_connection_of_a_bulk_cancelled_at_its_end_is_lent_on_when_that_is_settled(
    shop: Shop, cluster: ClusterSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next bulk does not share a connection with records that may still be given up as a whole."""
    is_settling, may_settle = threading.Event(), threading.Event()
    flush = Connection.flush

    def flush_later(connection: Connection, timeout_s: float) -> int:
        is_settling.set()
        assert may_settle.wait(30)
        return flush(connection, timeout_s)

    async def cancel_one() -> tuple[bool, bool]:
        async with AsyncProducer(shop.pipeline, cluster) as producer:
            connections = producer._publisher.connections
            monkeypatch.setattr(Connection, "flush", flush_later)
            bulk = asyncio.create_task(producer.enqueue_many([shop.charge.call("one", 1)]))
            assert await asyncio.to_thread(is_settling.wait, 30)
            [lent] = connections._lent
            bulk.cancel()
            with pytest.raises(asyncio.CancelledError):
                await bulk
            before = lent in connections._beside
            may_settle.set()
            async with asyncio.timeout(30):
                while lent not in connections._beside:
                    await asyncio.sleep(0)
            return before, connections.bulks_in_flight() == 0

    assert asyncio.run(cancel_one()) == (False, True)


def test_a_bulk_cancelled_while_its_end_waits_for_a_thread_is_settled_all_the_same(
    shop: Shop, cluster: ClusterSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All calls are taken, and the threads are busy until after the cancel."""
    are_busy, are_free, is_settled = asyncio.Event(), threading.Event(), threading.Event()
    settle = BulkRun.settle

    def note_settled(run: BulkRun, timeout_s: float) -> None:
        settle(run, timeout_s)
        is_settled.set()

    async def one_and_busy_threads(threads: ThreadPoolExecutor) -> AsyncIterator[JobCall]:
        yield shop.charge.call("one", 1)
        for _ in range(threads._max_workers):
            threads.submit(are_free.wait, 60)
        while threads._work_queue.qsize():
            await asyncio.sleep(0)
        are_busy.set()

    async def cancel_one() -> tuple[bool, int]:
        async with AsyncProducer(shop.pipeline, cluster) as producer:
            threads, connections = producer._blocking, producer._publisher.connections
            bulk = asyncio.create_task(producer.enqueue_many(one_and_busy_threads(threads)))
            async with asyncio.timeout(30):
                await are_busy.wait()
                while not threads._work_queue.qsize():
                    await asyncio.sleep(0)
            bulk.cancel()
            with pytest.raises(asyncio.CancelledError):
                await bulk
            assert not is_settled.is_set()
            are_free.set()
            return await asyncio.to_thread(is_settled.wait, 30), len(connections._lent)

    monkeypatch.setattr(BulkRun, "settle", note_settled)
    try:
        assert asyncio.run(cancel_one()) == (True, 0)
    finally:
        are_free.set()
    assert sum(end_offsets(cluster, shop.mails)) == 1
