"""An outbox in a database of the test's own, filled through every driver, and what a look from outside finds in it."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg

from stoker.operations.outbox import create_outbox
from support.scenes.inboxes import ASYNC, async_connection, drive, sync_connection, write

Body = Callable[[Any], Any]
"""Uses a connection; returns what is to be awaited where that is an async one."""


def make_database(url: str) -> str:
    """Put an outbox and a table of causes into an empty database; returns its URL."""
    create_outbox(url)
    sql = "CREATE TABLE causes (job text)"
    if url.startswith("sqlite"):
        with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as connection:
            connection.execute(sql)
    else:
        with psycopg.connect(url) as connection:
            connection.execute(sql)
    return url


def make_sqlite(folder: Path) -> str:
    """A new SQLite database with an outbox; returns its URL."""
    return make_database(f"sqlite:///{folder / 'shop.sqlite'}")


def query(url: str, sql: str) -> list[tuple[Any, ...]]:
    """What a look from outside finds."""
    if url.startswith("sqlite"):
        with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as connection:
            return connection.execute(sql).fetchall()
    with psycopg.connect(url) as connection:
        return connection.execute(sql.encode()).fetchall()


def job_ids(url: str) -> list[str]:
    """The ids of the jobs in the outbox, in their order."""
    return [row[0] for row in query(url, "SELECT job_id FROM stoker_outbox ORDER BY id")]


def headers_of(url: str) -> dict[str, str]:
    """The headers of the only row."""
    ((headers,),) = query(url, "SELECT headers FROM stoker_outbox")
    found: dict[str, str] = headers if isinstance(headers, dict) else json.loads(headers)
    return found


def transact(driver: str, url: str, body: Body, *, commit: bool = True) -> None:
    """Open a connection, begin as its driver wants it, run the body, and commit or roll back."""
    if driver in ASYNC:
        asyncio.run(_transact_async(driver, url, body, commit=commit))
        return
    with sync_connection(driver, url) as connection:
        if driver in BY_HAND:
            drive(write(connection, "BEGIN"))
        body(connection)
        if driver in BY_HAND:
            drive(write(connection, "COMMIT" if commit else "ROLLBACK"))
        elif commit:
            connection.commit()
        else:
            connection.rollback()


async def _transact_async(driver: str, url: str, body: Body, *, commit: bool) -> None:
    async with async_connection(driver, url) as connection:
        if driver.startswith("asyncpg"):
            transaction = connection.transaction()
            await transaction.start()
        else:
            transaction = connection
        made: Awaitable[None] = body(connection)
        await made
        await (transaction.commit() if commit else transaction.rollback())


BY_HAND = ("psycopg autocommit", "sqlite3 without isolation", "sqlite3 autocommit")
"""Drivers that begin no transaction by themselves."""
