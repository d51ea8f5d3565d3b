"""`Outbox`: a job is in the table exactly if the caller's transaction commits, through every driver."""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import asyncpg
import psycopg
import pytest

from stoker.databases import (
    AutocommitConnection,
    ConnectionClosed,
    NoTransaction,
    OutboxTableMissing,
    TransactionAborted,
    UnsupportedConnection,
)
from stoker.producers.errors import OptionRefused, PayloadRefused, PayloadTooLarge
from stoker.producers.outbox import Outbox
from stoker.topology.wire import headers as wire
from support.scenes.inboxes import ASYNC, SYNC, async_connection, sync_connection, write
from support.scenes.outboxes import headers_of, job_ids, make_database, make_sqlite, query, transact
from support.scenes.postgres import Postgres
from support.scenes.shop import Shop, declare_shop

DRIVERS = (*SYNC, *ASYNC)


@pytest.fixture
def shop() -> Shop:
    """Declared jobs; no cluster knows them."""
    return declare_shop("shop")


@pytest.fixture
def outbox(shop: Shop) -> Outbox:
    """An outbox for them."""
    return Outbox(shop.pipeline, source="/tests")


@pytest.fixture
def url(request: pytest.FixtureRequest, tmp_path: Path, driver: str) -> str:
    """A database of the kind that the driver needs, with an outbox."""
    if "sqlite" in driver:
        return make_sqlite(tmp_path)
    server: Postgres = request.getfixturevalue("postgres")
    return make_database(server.create_database())


@pytest.mark.parametrize("commit", [True, False])
@pytest.mark.parametrize("driver", DRIVERS)
def test_a_job_is_there_exactly_if_the_transaction_commits(
    outbox: Outbox, shop: Shop, url: str, driver: str, commit: bool
) -> None:
    """With its cause: both or neither, one job or many."""

    def act(connection: Any) -> Any:
        one = outbox.enqueue(connection, shop.charge.with_options(job_id="j1"), "ada", 5)
        if driver in ASYNC:
            return act_async(connection, one)
        assert one == "j1"
        assert outbox.enqueue_many(connection, calls()) == 3
        return None

    async def act_async(connection: Any, one: Any) -> None:
        await write(connection, "INSERT INTO causes VALUES ('j1')")
        assert await one == "j1"
        assert await outbox.enqueue_many(connection, calls()) == 3

    def calls() -> Any:
        return (shop.charge.with_options(job_id=f"m{n}").call("bob", n) for n in range(3))

    transact(driver, url, act, commit=commit)
    assert job_ids(url) == (["j1", "m0", "m1", "m2"] if commit else [])


@pytest.mark.parametrize("driver", ["psycopg", "asyncpg", "sqlite3", "sqlalchemy session"])
def test_a_row_holds_the_producers_own_record(outbox: Outbox, shop: Shop, url: str, driver: str) -> None:
    """Topic, key, value and headers, and what chooses the partition of a job without a key."""
    job = shop.send_receipt.with_options(job_id="j1", expires=timedelta(hours=1), headers={"x-shop": "für Elise"})
    transact(driver, url, lambda connection: outbox.enqueue(connection, job, 7, "ada@example.org"))
    ((topic, chosen_by, key, value),) = query(url, "SELECT topic, partition_key, key, value FROM stoker_outbox")
    assert (topic, bytes(chosen_by), key) == ("shop.mails", b"j1", None)
    assert bytes(value).startswith(b"\xc3\x01")
    headers = headers_of(url)
    assert (headers[wire.JOB_ID], headers[wire.JOB_TYPE], headers[wire.SOURCE]) == ("j1", "send_receipt", "/tests")
    assert headers["x-shop"] == "für Elise"
    assert wire.EXPIRES in headers


@pytest.mark.parametrize("driver", ["asyncpg"])
def test_an_application_may_have_a_json_codec_of_its_own(outbox: Outbox, shop: Shop, url: str, driver: str) -> None:
    """As asyncpg's documentation gives it: it would make the row's object a text, which no relay could publish."""

    async def act(connection: asyncpg.Connection) -> None:
        await connection.set_type_codec("json", encoder=json.dumps, decoder=json.loads, schema="pg_catalog")
        await outbox.enqueue(connection, shop.charge.with_options(job_id="j1"), "ada", 5)

    transact(driver, url, act)
    assert query(url, "SELECT headers ->> 'ce_id' FROM stoker_outbox") == [("j1",)]


@pytest.mark.parametrize("driver", ["psycopg", "sqlite3"])
def test_what_the_producer_refuses_is_refused_in_the_transaction(
    outbox: Outbox, shop: Shop, url: str, driver: str
) -> None:
    """With the same errors, and nothing is written."""
    stranger = declare_shop("elsewhere")

    def act(connection: Any) -> None:
        with pytest.raises(PayloadRefused, match="order_id"):
            outbox.enqueue(connection, shop.send_receipt, "one", "ada@example.org")  # type: ignore[call-overload]
        with pytest.raises(PayloadTooLarge):
            outbox.enqueue(connection, shop.charge, "a" * 1_001, 1)
        with pytest.raises(OptionRefused, match="key"):
            outbox.enqueue(connection, shop.send_receipt.with_options(key="k" * 1_025), 1, "ada@example.org")
        with pytest.raises(OptionRefused, match="not declared"):
            outbox.enqueue(connection, stranger.send_receipt, 1, "ada@example.org")
        with pytest.raises(PayloadRefused):
            outbox.enqueue_many(connection, [shop.charge.call("ada", 1), shop.charge.call("ada", "x")])  # type: ignore[arg-type]

    transact(driver, url, act)
    assert job_ids(url) == []


@pytest.mark.parametrize("driver", ["psycopg", "sqlite3"])
def test_a_savepoint_that_is_rolled_back_takes_its_jobs_with_it(
    outbox: Outbox, shop: Shop, url: str, driver: str
) -> None:
    """The rest of the transaction stays."""

    def act(connection: Any) -> None:
        outbox.enqueue(connection, shop.charge.with_options(job_id="kept"), "ada", 1)
        connection.execute("SAVEPOINT a")
        outbox.enqueue(connection, shop.charge.with_options(job_id="undone"), "ada", 1)
        connection.execute("ROLLBACK TO SAVEPOINT a")
        outbox.enqueue(connection, shop.charge.with_options(job_id="later"), "ada", 1)

    transact(driver, url, act)
    assert job_ids(url) == ["kept", "later"]


@pytest.mark.parametrize("driver", [driver for driver in SYNC if "auto" in driver or "without" in driver])
def test_a_connection_that_would_commit_at_once_is_refused(outbox: Outbox, shop: Shop, url: str, driver: str) -> None:
    """Whatever became of the other writes, the job would run."""
    if driver == "sqlite3 no autocommit":
        pytest.skip("it is always in a transaction")
    with sync_connection(driver, url) as connection, pytest.raises(NoTransaction, match="no transaction is open"):
        outbox.enqueue(connection, shop.charge, "ada", 1)
    assert job_ids(url) == []


def test_asyncpg_and_sqlalchemy_without_a_transaction_are_refused(
    outbox: Outbox, shop: Shop, postgres: Postgres
) -> None:
    """asyncpg commits each statement that is outside of a block, and so does SQLAlchemy's AUTOCOMMIT."""
    url = make_database(postgres.create_database())

    async def act() -> None:
        connection = await asyncpg.connect(url)
        try:
            with pytest.raises(NoTransaction, match="transaction\\(\\)"):
                await outbox.enqueue(connection, shop.charge, "ada", 1)
        finally:
            await connection.close()
        with pytest.raises(ConnectionClosed):
            await outbox.enqueue(connection, shop.charge, "ada", 1)

    asyncio.run(act())
    with sync_connection("sqlalchemy", url) as connection, pytest.raises(AutocommitConnection):
        outbox.enqueue(connection.execution_options(isolation_level="AUTOCOMMIT"), shop.charge, "ada", 1)
    assert job_ids(url) == []


def test_wrong_connections_and_databases_are_explained(
    outbox: Outbox, shop: Shop, postgres: Postgres, tmp_path: Path
) -> None:
    """No connection at all, no table, a transaction that has failed."""
    with pytest.raises(UnsupportedConnection):
        outbox.enqueue("postgresql://…", shop.charge, "ada", 1)
    url = postgres.create_database()
    with psycopg.connect(url) as connection:
        with pytest.raises(OutboxTableMissing, match="stoker outbox create"):
            outbox.enqueue(connection, shop.charge, "ada", 1)
        with pytest.raises(TransactionAborted):
            outbox.enqueue(connection, shop.charge, "ada", 1)
        connection.rollback()
    with sync_connection("sqlite3", f"sqlite:///{tmp_path / 'db'}") as connection, pytest.raises(OutboxTableMissing):
        outbox.enqueue(connection, shop.charge, "ada", 1)


def test_an_async_call_that_is_not_awaited_warns(outbox: Outbox, shop: Shop, tmp_path: Path) -> None:
    """Nothing would be written, and Python says so."""
    url = make_sqlite(tmp_path)

    async def act() -> None:
        async with async_connection("aiosqlite", url) as connection:
            call = outbox.enqueue(connection, shop.charge, "ada", 1)
            assert call.__class__.__name__ == "coroutine"
            call.close()

    asyncio.run(act())
