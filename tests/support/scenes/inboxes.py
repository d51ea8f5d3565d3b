"""Every driver that an inbox takes behind one face, so that each test of it runs on all of them."""

from __future__ import annotations

import asyncio
import sqlite3
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from pathlib import Path
from typing import Any, Final

import aiosqlite
import asyncpg
import psycopg
import pytest
import sqlalchemy
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import Session
from sqlalchemy.pool import NullPool

from stoker.consumers.inbox import open_inbox
from stoker.consumers.inbox.inbox import Inbox
from stoker.operations.inbox import create_inbox

WRITE = "INSERT INTO effects (job) VALUES ('j1')"


def alchemy_url(url: str, driver: str) -> str:
    """A URL as SQLAlchemy writes it."""
    return url.replace("postgresql:", f"postgresql+{driver}:").replace("sqlite:", f"sqlite+{driver}:")


SQLITE_MODES: Final[dict[str, dict[str, Any]]] = {"sqlite3 without isolation": {"isolation_level": None}}
if sys.version_info >= (3, 12):
    SQLITE_MODES["sqlite3 autocommit"] = {"autocommit": True}
    SQLITE_MODES["sqlite3 no autocommit"] = {"autocommit": False}


@contextmanager
def sync_connection(driver: str, url: str) -> Iterator[Any]:
    """An open connection or session of a sync driver."""
    if driver == "psycopg":
        with psycopg.connect(url) as connection:
            yield connection
    elif driver == "psycopg autocommit":
        with psycopg.connect(url, autocommit=True) as connection:
            yield connection
    elif driver.startswith("sqlite3"):
        options: dict[str, Any] = {"sqlite3": {}, **SQLITE_MODES}[driver]
        with closing(sqlite3.connect(url.removeprefix("sqlite:///"), **options)) as opened:
            yield opened
    else:
        backend = "pysqlite" if "sqlite" in driver else "psycopg"
        engine = sqlalchemy.create_engine(alchemy_url(url, backend), poolclass=NullPool)
        with Session(engine) if "session" in driver else engine.connect() as connected:
            yield connected
        engine.dispose()


@asynccontextmanager
async def async_connection(driver: str, url: str) -> AsyncIterator[Any]:
    """An open connection or session of an async driver."""
    if driver == "async psycopg":
        async with await psycopg.AsyncConnection.connect(url) as connection:
            yield connection
    elif driver == "asyncpg":
        opened = await asyncpg.connect(url)
        try:
            yield opened
        finally:
            await opened.close()
    elif driver == "asyncpg pool":
        async with asyncpg.create_pool(url, min_size=1, max_size=1) as pool, pool.acquire() as lent:
            yield lent
    elif driver == "aiosqlite":
        async with aiosqlite.connect(url.removeprefix("sqlite:///")) as lite:
            yield lite
    else:
        backend = "aiosqlite" if "sqlite" in driver else "asyncpg" if "asyncpg" in driver else "psycopg"
        engine = create_async_engine(alchemy_url(url, backend), poolclass=NullPool)
        async with AsyncSession(engine) if "session" in driver else engine.connect() as connected:
            yield connected
        await engine.dispose()


SYNC = (
    *("psycopg", "psycopg autocommit", "sqlite3", *SQLITE_MODES),
    *("sqlalchemy", "sqlalchemy session", "sqlalchemy sqlite", "sqlalchemy session sqlite"),
)
ASYNC = (
    *("async psycopg", "asyncpg", "asyncpg pool", "aiosqlite", "async sqlalchemy", "async sqlalchemy asyncpg"),
    *("async sqlalchemy session", "async sqlalchemy session asyncpg", "async sqlalchemy sqlite"),
)
Body = Callable[[Inbox, Any], Awaitable[None]]


async def write(connection: Any, sql: str = WRITE) -> None:
    """What a job's code does, on whatever connection."""
    answer = connection.execute(sqlalchemy.text(sql) if "sqlalchemy" in type(connection).__module__ else sql)
    if hasattr(answer, "__await__"):
        await answer


def perform(
    driver: str,
    url: str,
    body: Body,
    *,
    before: Callable[[Any], Awaitable[None]] | None = None,
    after: Callable[[], None] = lambda: None,
) -> None:
    """Open a connection, do something before, run the body in the inbox of job j1, and look while it is open still."""

    async def run_async() -> None:
        async with async_connection(driver, url) as connection:
            if before is not None:
                await before(connection)
            async with open_inbox(connection, queue="shop.work", job="j1") as inbox:
                await body(inbox, connection)
            after()

    if driver in ASYNC:
        asyncio.run(run_async())
        return
    with sync_connection(driver, url) as connection:
        if before is not None:
            drive(before(connection))
        with open_inbox(connection, queue="shop.work", job="j1") as inbox:
            drive(body(inbox, connection))
        after()


def drive(coroutine: Awaitable[None]) -> None:
    """Run a coroutine that has nothing to wait for."""
    with pytest.raises(StopIteration):
        coroutine.send(None)  # type: ignore[attr-defined]  # a coroutine is what there is


async def act(inbox: Inbox, connection: Any) -> None:
    """The job."""
    await write(connection)
    inbox.keep({"receipt": 17})


def make_sqlite(file: Path) -> str:
    """A new database with an inbox and a table of effects; returns its URL."""
    url = f"sqlite:///{file}"
    create_inbox(url)
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("CREATE TABLE effects (job text)")
    return url


def make_postgresql(url: str) -> str:
    """Put an inbox and a table of effects into an empty database; returns its URL."""
    create_inbox(url)
    with psycopg.connect(url) as connection:
        connection.execute("CREATE TABLE effects (job text)")
    return url


def effects(url: str) -> int:
    """How many effects a look from outside finds."""
    query = "SELECT count(*) FROM effects"
    if url.startswith("sqlite"):
        with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as connection:
            return int(connection.execute(query).fetchone()[0])
    with psycopg.connect(url) as outside:
        row = outside.execute(query).fetchone()
        assert row is not None
        return int(row[0])
