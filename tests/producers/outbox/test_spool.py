"""`Producer(spool=…)`: jobs wait in a local file while no broker answers, and go out in order afterwards."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest

from stoker.operations.broker.embedded import EmbeddedBroker
from stoker.producers import AsyncProducer, BulkResult, Producer, Receipt
from stoker.producers.errors import (
    BrokerUnreachable,
    BulkFailed,
    FailedCall,
    PayloadRefused,
    ProducerClosed,
    SpoolFailed,
    SpoolFull,
    UnreachableAtStart,
)
from stoker.producers.outbox import Spool, SpooledReceipt
from stoker.producers.outbox.spool import SpoolFile
from stoker.producers.spooling import SpooledBulk
from stoker.schemas import MemorySchemaStore, RegistrySchemaStore
from stoker.topology import ClusterSettings
from stoker.topology.declaration.job_type import JobCall
from support.scenes.outboxes import query
from support.scenes.shop import Shop, create_topics, declare_shop, headers_of, read_all
from support.waiting import wait_until

NOWHERE = ClusterSettings(bootstrap_servers="127.0.0.1:1", options={"log_level": 0})
SOON = timedelta(seconds=0.3)
DEADLINE_S = 60.0


@pytest.fixture
def shop() -> Shop:
    """Declared jobs."""
    return declare_shop("spooled")


@pytest.mark.timeout(240)
def test_jobs_wait_for_the_brokers_and_go_out_in_order(broker: EmbeddedBroker, tmp_path: Path, shop: Shop) -> None:
    """Those of an outage go before the ones after it, and each reaches the topic under its id."""
    cluster = ClusterSettings(bootstrap_servers=broker.start())
    create_topics(shop, cluster)
    with Producer(shop.pipeline, cluster, spool=Spool(tmp_path / "spool"), confirm_timeout=timedelta(seconds=2)) as it:
        first = it.enqueue(shop.charge, "ada", 0)
        assert not isinstance(first, SpooledReceipt)
        broker.kill()
        receipts = [it.enqueue(shop.charge, "ada", number) for number in range(1, 21)]
        receipts.append(it.enqueue_future(shop.charge, "ada", 21).result(30))
        assert all(isinstance(receipt, SpooledReceipt) for receipt in receipts)
        assert it.spooled == 21
        bulk = it.enqueue_many(shop.charge.with_options(job_id=f"bulk-{n:02}").call("bob", n) for n in range(30))
        assert (bulk.confirmed, bulk.spooled) == (0, 30)
        broker.start()
        wait_until(lambda: it.spooled == 0, DEADLINE_S, "the spool to be empty")
        last = it.enqueue(shop.charge, "ada", 22)
        assert not isinstance(last, SpooledReceipt)
    found = first_copies(cluster, shop)
    assert found == {
        b"ada": [receipt.job_id for receipt in (first, *receipts, last)],
        b"bob": [f"bulk-{n:02}" for n in range(30)],
    }


def first_copies(cluster: ClusterSettings, shop: Shop) -> dict[bytes, list[str]]:
    """{key: the ids of its jobs, in the order of their first copies}."""
    found = dict[bytes, dict[str, None]]()
    for message in read_all(cluster, shop.mails):
        key = message.key()
        assert isinstance(key, bytes)
        found.setdefault(key, {})[headers_of(message)["ce_id"].decode()] = None
    return {key: list(ids) for key, ids in found.items()}


@pytest.mark.timeout(240)
def test_bulks_whose_brokers_die_amid_go_on_in_the_spool(broker: EmbeddedBroker, tmp_path: Path, shop: Shop) -> None:
    """Each job of a key comes before the next one, whether the brokers had confirmed it, or it was spooled."""
    cluster = ClusterSettings(bootstrap_servers=broker.start())
    create_topics(shop, cluster)
    timeout = timedelta(seconds=2)
    jobs, is_away = 3_000, threading.Event()

    def calls(prefix: str) -> Iterator[JobCall]:
        for number in range(jobs):
            if number == jobs // 2 and prefix == "a":
                broker.kill()
                is_away.set()
            elif number == jobs // 2:
                assert is_away.wait(DEADLINE_S)
            yield shop.charge.with_options(job_id=f"{prefix}{number:04}").call(f"{prefix}{number % 5}", number)

    async def bulk() -> BulkResult:
        async with AsyncProducer(shop.pipeline, cluster, spool=Spool(tmp_path / "a"), confirm_timeout=timeout) as it:
            one = await it.enqueue(shop.charge.with_options(job_id="one"), "one", 1)
            done = await it.enqueue_many(calls("a"))
            two = await it.enqueue(shop.charge.with_options(job_id="two"), "one", 2)
            assert [type(one), type(two), it.spooled] == [Receipt, SpooledReceipt, done.spooled + 1]
            return done

    with Producer(shop.pipeline, cluster, spool=Spool(tmp_path / "s"), confirm_timeout=timeout) as it:
        with ThreadPoolExecutor(1) as beside:
            sync = beside.submit(it.enqueue_many, calls("s"))
            results = [asyncio.run(bulk()), sync.result(DEADLINE_S)]
        assert all(result.spooled and result.confirmed + result.spooled == jobs for result in results), results
        broker.start()
        with Producer(shop.pipeline, cluster, spool=Spool(tmp_path / "a")) as other:
            wait_until(lambda: it.spooled + other.spooled == 0, DEADLINE_S, "the spools to be empty")
    wanted = {f"{p}{k}".encode(): [f"{p}{n:04}" for n in range(k, jobs, 5)] for p in "as" for k in range(5)}
    assert first_copies(cluster, shop) == {**wanted, b"one": ["one", "two"]}


def test_what_a_process_has_left_in_its_spool_is_sent_by_the_next(
    cluster: ClusterSettings, namespace: str, tmp_path: Path
) -> None:
    """Nothing but the file connects them."""
    shop = declare_shop(namespace)
    create_topics(shop, cluster)
    spool = Spool(tmp_path / "spool")
    with Producer(shop.pipeline, NOWHERE, spool=spool, confirm_timeout=SOON) as first:
        ids = [first.enqueue(shop.charge, "ada", number).job_id for number in range(3)]
    with Producer(shop.pipeline, cluster, spool=spool) as second:
        wait_until(lambda: second.spooled == 0, DEADLINE_S, "the spool to be empty")
    assert [headers_of(message)["ce_id"].decode() for message in read_all(cluster, shop.mails)] == ids


@pytest.mark.parametrize("bounds", [{"max_jobs": 2}, {"max_bytes": 40_000}])
def test_a_spool_is_bounded(tmp_path: Path, shop: Shop, bounds: dict[str, int]) -> None:
    """By jobs and by bytes; what it holds stays."""
    spool = Spool(tmp_path / "spool", **bounds)
    with Producer(shop.pipeline, NOWHERE, spool=spool, confirm_timeout=SOON) as producer:
        with pytest.raises(SpoolFull) as full:
            [producer.enqueue(shop.charge, "ada" * 200, number) for number in range(200)]
        kept = producer.spooled
        assert kept >= 1
        assert full.value.is_temporary
    assert query(f"sqlite:///{tmp_path / 'spool'}", "SELECT count(*) FROM stoker_outbox") == [(kept,)]


def test_a_job_that_stays_in_the_spool_takes_the_room_of_one(tmp_path: Path, shop: Shop) -> None:
    """Thousands went out behind one that the brokers refuse: there is room for others, and the error names it."""
    path = tmp_path / "spool"
    with Producer(shop.pipeline, NOWHERE, spool=Spool(path, max_jobs=3), confirm_timeout=SOON) as producer:
        producer.enqueue(shop.charge, "ada", 1)
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("UPDATE stoker_outbox SET tries = 1, aside_at = 0, reason = 'too large'")
            other.execute("UPDATE sqlite_sequence SET seq = 100000")
        producer.enqueue(shop.charge, "ada", 2)
        producer.enqueue(shop.charge, "ada", 3)
        with pytest.raises(SpoolFull, match=r"3 jobs of 3; the brokers have refused 1 of them"):
            producer.enqueue(shop.charge, "ada", 4)
        assert producer.spooled == 3


def test_a_bulk_that_fills_the_spool_says_what_it_holds(tmp_path: Path, shop: Shop) -> None:
    """Refused calls do not stop it, a full spool does."""
    calls = [shop.charge.call("ada", number) for number in range(10)]
    calls[1] = JobCall(shop.charge, ("ada", "one"), {})
    with Producer(
        shop.pipeline, NOWHERE, spool=Spool(tmp_path / "spool", max_jobs=4), confirm_timeout=SOON
    ) as producer:
        with pytest.raises(BulkFailed, match=r"2 of 6 jobs failed .*, 4 more are in the spool") as failed:
            producer.enqueue_many(calls)
        assert (failed.value.failed_indexes, failed.value.spooled, failed.value.read) == ((1, 5), 4, 6)
        assert [type(failure.error) for failure in failed.value.failures] == [PayloadRefused, SpoolFull]
        with pytest.raises(TypeError, match="number 0 is a str, and no call"):
            producer.enqueue_many(["x"])  # type: ignore[list-item]  # on purpose
        assert producer.spooled == 4


def test_a_bulk_that_fills_the_spool_accounts_for_each_call_that_it_has_sent(tmp_path: Path, shop: Shop) -> None:
    """Of six calls it has sent five: 0 and 3 are confirmed, 1, 2 and 4 are not, and the spool has room for one."""
    kept = Spool(tmp_path / "spool", max_jobs=1)
    spool = SpoolFile(kept, shop.pipeline, NOWHERE, source="/tests", framing=MemorySchemaStore(), store=None)
    silence = BrokerUnreachable("j", "t", "timed out")
    lost = tuple(FailedCall(index=index, job_type="charge", job_id="j", error=silence) for index in (1, 2, 4))
    sent = SimpleNamespace(account=lambda: BulkFailed(2, 5, lost, (1, 2, 4)), unreached=[1, 2, 4], stopped=True)
    bulk = SpooledBulk(spool)
    bulk.note_sent([shop.charge.call("ada", number) for number in range(6)], sent, None)  # type: ignore[arg-type]
    with pytest.raises(BulkFailed) as failed:
        bulk.result()
    spool.close()
    account = failed.value
    assert (account.confirmed, account.spooled, account.failed_indexes, account.read) == (2, 1, (2, 4), 5)
    assert [type(failure.error) for failure in account.failures] == [SpoolFull, BrokerUnreachable]


def know_contract(producer: Producer, shop: Shop) -> None:
    """Let the producer know the registry's id of one contract."""
    store, contract = producer._publisher.store, shop.charge.contract
    assert isinstance(store, RegistrySchemaStore)
    store._own_ids[contract.header] = b"\0\0\0\0\7"
    store._registered.add((contract.job_type, contract.header))


def test_a_spool_takes_jobs_whose_registry_is_away_as_well(tmp_path: Path, shop: Shop) -> None:
    """The producer has registered their contract before, and no other question is needed."""
    cluster = replace(NOWHERE, schema_registry_url="http://127.0.0.1:1")
    with Producer(shop.pipeline, cluster, spool=Spool(tmp_path / "spool"), confirm_timeout=SOON) as producer:
        know_contract(producer, shop)
        assert isinstance(producer.enqueue(shop.charge, "ada", 1), SpooledReceipt)
    assert query(f"sqlite:///{tmp_path / 'spool'}", "SELECT hex(value) LIKE '0000000007%' FROM stoker_outbox") == [(1,)]


def test_a_bulk_that_is_interrupted_leaves_the_spool_of_use(
    tmp_path: Path, shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For this process, and for others that have the file open."""

    def interrupt(*_given: object) -> None:
        raise KeyboardInterrupt

    calls = [shop.charge.call("ada", number) for number in range(3)]
    with Producer(shop.pipeline, NOWHERE, spool=Spool(tmp_path / "spool"), confirm_timeout=SOON) as producer:
        producer.enqueue(shop.charge, "ada", 0)
        with monkeypatch.context() as patched:
            patched.setattr(SpoolFile, "_write", interrupt)
            with pytest.raises(KeyboardInterrupt):
                producer.enqueue_many(calls)
        assert producer.enqueue_many(calls).spooled == 3
        assert producer.spooled == 4


def test_a_bulk_ends_at_a_contract_that_no_registry_knows(tmp_path: Path, shop: Shop) -> None:
    """The producer has not registered it, and the registry is away: what was spooled before it is accounted for."""
    cluster = replace(NOWHERE, schema_registry_url="http://127.0.0.1:1")
    calls = [shop.charge.call("ada", 1), shop.send_receipt.call(1, "ada"), shop.charge.call("ada", 2)]
    with Producer(shop.pipeline, cluster, spool=Spool(tmp_path / "spool"), confirm_timeout=SOON) as producer:
        know_contract(producer, shop)
        with pytest.raises(BulkFailed) as failed:
            producer.enqueue_many(calls)
        assert (failed.value.spooled, failed.value.failed_indexes, failed.value.read) == (1, (1,), 2)
        assert producer.spooled == 1


@pytest.mark.expected_errors("nothing is published")  # the relay may open what is not made anew yet
@pytest.mark.parametrize("bulk", [False, True])
def test_a_spool_that_was_deleted_is_made_anew(tmp_path: Path, shop: Shop, bulk: bool) -> None:
    """A job in a deleted file would be gone with the process; one that holds jobs takes no more."""
    path = tmp_path / "spool"
    url = f"sqlite:///{path}"

    def enqueue(producer: Producer, number: int) -> None:
        if bulk:
            producer.enqueue_many([shop.charge.call("ada", number)])
        else:
            producer.enqueue(shop.charge, "ada", number)

    def delete() -> None:
        for file in tmp_path.glob("spool*"):
            file.unlink()

    with Producer(shop.pipeline, NOWHERE, spool=Spool(path), confirm_timeout=SOON) as producer:
        enqueue(producer, 1)
        with closing(sqlite3.connect(path)) as other:
            other.execute("DELETE FROM stoker_outbox")  # as the relay does
            other.commit()
        delete()
        enqueue(producer, 2)
        assert query(url, "SELECT count(*) FROM stoker_outbox") == [(1,)]
        delete()
        with pytest.raises(BulkFailed if bulk else SpoolFailed, match="was deleted"):
            enqueue(producer, 3)


def test_a_closed_producer_sends_nothing_more(tmp_path: Path, shop: Shop) -> None:
    """Its figures may be read, which begins no relay anew; the job stays for the next producer."""

    async def close_async() -> None:
        async with AsyncProducer(shop.pipeline, NOWHERE, spool=Spool(tmp_path / "a"), confirm_timeout=SOON) as other:
            await other.enqueue(shop.charge, "ada", 1)
        with pytest.raises(ProducerClosed):
            await other.enqueue_future(shop.charge, "ada", 2)

    producer = Producer(shop.pipeline, NOWHERE, spool=Spool(tmp_path / "spool"), confirm_timeout=SOON)
    producer.enqueue(shop.charge, "ada", 1)
    producer.close()
    asyncio.run(close_async())
    with pytest.raises(ProducerClosed):
        producer.enqueue_future(shop.charge, "ada", 2)
    assert producer.spooled == 1
    assert "stoker-outbox" not in {thread.name for thread in threading.enumerate()}


def test_a_call_that_is_refused_is_not_spooled(tmp_path: Path, shop: Shop) -> None:
    """And without a spool the outage is the caller's."""
    with Producer(shop.pipeline, NOWHERE, spool=Spool(tmp_path / "spool"), confirm_timeout=SOON) as producer:
        producer.enqueue(shop.charge, "ada", 1)
        with pytest.raises(PayloadRefused):
            producer.enqueue(shop.charge, "ada", "one")  # type: ignore[arg-type]
        assert producer.spooled == 1
    with Producer(shop.pipeline, NOWHERE, lazy=True, confirm_timeout=SOON) as plain, pytest.raises(UnreachableAtStart):
        plain.enqueue(shop.charge, "ada", 1)


def test_a_spool_that_cannot_be_written_is_an_error(tmp_path: Path, shop: Shop) -> None:
    """The caller has the job still."""
    (tmp_path / "spool").write_text("no database " * 100)
    spool = Spool(tmp_path / "spool")
    producer = Producer(shop.pipeline, NOWHERE, spool=spool, confirm_timeout=SOON)
    with pytest.raises(SpoolFailed, match="spool cannot be written"):
        producer.enqueue(shop.charge, "ada", 1)
    producer.close()
    with pytest.raises(ValueError, match="at least 1 job"):
        Spool(tmp_path / "spool", max_jobs=0)
    with pytest.raises(sqlite3.DatabaseError):
        query(f"sqlite:///{tmp_path / 'spool'}", "SELECT 1 FROM stoker_outbox")
