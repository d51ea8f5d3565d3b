"""`Producer(spool=…)`: jobs wait in a local file while no broker answers, and go out in order afterwards."""

from __future__ import annotations

import sqlite3
from datetime import timedelta
from pathlib import Path

import pytest

from stoker.operations.broker.embedded import EmbeddedBroker
from stoker.producers import Producer
from stoker.producers.errors import PayloadRefused, SpoolFailed, SpoolFull, UnreachableAtStart
from stoker.producers.outbox import Spool, SpooledReceipt
from stoker.topology import ClusterSettings
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


def test_jobs_wait_for_the_brokers_and_go_out_in_order(broker: EmbeddedBroker, tmp_path: Path, shop: Shop) -> None:
    """Those of an outage go before the ones after it, and each reaches the topic under its id."""
    cluster = ClusterSettings(bootstrap_servers=broker.start())
    create_topics(shop, cluster)
    with Producer(shop.pipeline, cluster, spool=Spool(tmp_path / "spool"), confirm_timeout=timedelta(seconds=2)) as it:
        first = it.enqueue(shop.charge, "ada", 0)
        assert not isinstance(first, SpooledReceipt)
        broker.kill()
        receipts = [it.enqueue(shop.charge, "ada", number) for number in range(1, 21)]
        receipts.append(it.enqueue_future(shop.charge, "ada", 21).result(1))
        assert all(isinstance(receipt, SpooledReceipt) for receipt in receipts)
        assert it.spooled == 21
        broker.start()
        wait_until(lambda: it.spooled == 0, DEADLINE_S, "the spool to be empty")
        last = it.enqueue(shop.charge, "ada", 22)
        assert not isinstance(last, SpooledReceipt)
    found = list(dict.fromkeys(headers_of(message)["ce_id"].decode() for message in read_all(cluster, shop.mails)))
    assert found == [receipt.job_id for receipt in (first, *receipts, last)]


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
