"""What can go wrong around an inbox has a name of its own, and leaves the connection of use."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import aiosqlite
import asyncpg
import psycopg
import pytest
import sqlalchemy
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.orm import scoped_session, sessionmaker

from stoker.consumers.inbox import (
    AlreadyDone,
    AutocommitConnection,
    ConnectionClosed,
    EnteredTwice,
    InboxTableMissing,
    InvalidEffectName,
    InvalidTableName,
    ResultRefused,
    TransactionAborted,
    TransactionEnded,
    UnsupportedConnection,
    WrongBlock,
    identify,
    open_inbox,
)
from stoker.consumers.inbox.inbox import RESULT_LIMIT_BYTES, Inbox
from stoker.operations.inbox import create_inbox
from support.scenes.inboxes import (
    ASYNC,
    SYNC,
    WRITE,
    act,
    alchemy_url,
    async_connection,
    drive,
    effects,
    perform,
    sync_connection,
    write,
)

every_driver = pytest.mark.parametrize("driver", [*SYNC, *ASYNC])


@pytest.mark.parametrize("driver", [*SYNC, *ASYNC])
def test_a_missing_table_is_reported_with_the_command_that_makes_it(driver: str, inbox_url: str) -> None:
    """With its name, and the connection is of use afterwards."""

    async def missing_async() -> None:
        async with async_connection(driver, inbox_url) as connection:
            with pytest.raises(InboxTableMissing, match=r"stoker inbox create --table other_inbox --url"):
                async with open_inbox(connection, queue="q", job="1", table="other_inbox"):
                    pytest.fail("it ran")
            async with open_inbox(connection, queue="q", job="1"):
                await write(connection)

    def missing() -> None:
        with sync_connection(driver, inbox_url) as connection:
            with (
                pytest.raises(InboxTableMissing, match=r"stoker inbox create --table other_inbox --url"),
                open_inbox(connection, queue="q", job="1", table="other_inbox"),
            ):
                pytest.fail("it ran")
            with open_inbox(connection, queue="q", job="1"):
                drive(write(connection))

    asyncio.run(missing_async()) if driver in ASYNC else missing()
    assert effects(inbox_url) == 1


CAN_BE_CLOSED = [name for name in (*SYNC, *ASYNC) if "session" not in name and "pool" not in name]
"""A closed session begins anew, and a pool takes its connection back."""


@pytest.mark.parametrize("driver", CAN_BE_CLOSED)
def test_a_closed_connection_is_reported(driver: str, inbox_url: str) -> None:
    """Whoever closed it."""

    async def close(connection: Any) -> None:
        answer = connection.close()
        if hasattr(answer, "__await__"):
            await answer

    with pytest.raises(ConnectionClosed):
        perform(driver, inbox_url, act, before=close)


@pytest.mark.parametrize("driver", ["psycopg", "async psycopg", "sqlalchemy", "async sqlalchemy asyncpg"])
def test_a_transaction_that_has_failed_before_is_reported(driver: str, inbox_url: str) -> None:
    """Instead of the database's riddle about ignored commands."""

    async def fail(connection: Any) -> None:
        with pytest.raises((psycopg.Error, sqlalchemy.exc.DBAPIError)):
            await write(connection, "SELECT 1/0")

    with pytest.raises(TransactionAborted):
        perform(driver, inbox_url, act, before=fail)


def test_asyncpg_in_a_failed_transaction_is_reported(inbox_database: str) -> None:
    """Also where its transaction is the caller's."""

    async def run() -> None:
        connection = await asyncpg.connect(inbox_database)
        transaction = connection.transaction()
        await transaction.start()
        with pytest.raises(asyncpg.DivisionByZeroError):
            await connection.execute("SELECT 1/0")
        with pytest.raises(TransactionAborted):
            async with open_inbox(connection, queue="q", job="1"):
                pytest.fail("it ran")
        await transaction.rollback()
        await connection.close()

    asyncio.run(run())


@pytest.mark.parametrize("driver", ["sqlite3", "aiosqlite", "sqlalchemy", "sqlalchemy session", "async sqlalchemy"])
def test_a_commit_by_the_block_itself_is_reported(driver: str, inbox_url: str) -> None:
    """For id and effect were not committed together then."""

    async def commit(_inbox: Inbox, connection: Any) -> None:
        await write(connection)
        answer = connection.commit()
        if hasattr(answer, "__await__"):
            await answer

    with pytest.raises(TransactionEnded, match="leave commit and rollback to the block"):
        perform(driver, inbox_url, commit)


def test_psycopg_refuses_a_commit_by_the_block(inbox_database: str) -> None:
    """By itself, so that nothing was committed."""
    with psycopg.connect(inbox_database) as connection:
        with pytest.raises(psycopg.ProgrammingError), open_inbox(connection, queue="q", job="committed"):
            connection.commit()
        with open_inbox(connection, queue="q", job="committed"):
            pass


@pytest.mark.parametrize("driver", ["psycopg", "asyncpg"])
def test_autocommit_of_sqlalchemy_is_refused(inbox_database: str, driver: str) -> None:
    """Each statement would be a transaction of its own."""
    if driver == "psycopg":
        engine = sqlalchemy.create_engine(alchemy_url(inbox_database, driver), isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            with pytest.raises(AutocommitConnection), open_inbox(connection, queue="q", job="auto"):
                pytest.fail("it ran")
            assert not connection.in_transaction()
        engine.dispose()
        return

    async def run() -> None:
        engine = create_async_engine(alchemy_url(inbox_database, driver), isolation_level="AUTOCOMMIT")
        async with engine.connect() as connection:
            with pytest.raises(AutocommitConnection):
                async with open_inbox(connection, queue="q", job="auto"):
                    pytest.fail("it ran")
        await engine.dispose()

    asyncio.run(run())


def test_a_scoped_session_is_its_session(inbox_database: str) -> None:
    """As the web frameworks hand it out."""
    engine = sqlalchemy.create_engine(alchemy_url(inbox_database, "psycopg"))
    session = scoped_session(sessionmaker(engine))
    with open_inbox(session, queue="q", job="scoped"):
        session.execute(sqlalchemy.text(WRITE))
    with pytest.raises(AlreadyDone), open_inbox(session, queue="q", job="scoped"):
        pytest.fail("it ran")
    session.remove()
    engine.dispose()


@pytest.mark.parametrize(
    "given", [object(), "postgresql://", sqlalchemy.create_engine("sqlite://")], ids=lambda given: type(given).__name__
)
def test_what_is_no_connection_is_refused(given: object) -> None:
    """With what would do instead."""
    with pytest.raises(UnsupportedConnection, match="connection"):
        open_inbox(given, queue="q", job="1")


def test_with_and_async_with_are_distinguished(tmp_path: Path) -> None:
    """The message says which to write."""

    async def run() -> None:
        async with aiosqlite.connect(tmp_path / "db") as connection:
            with pytest.raises(WrongBlock, match="`async with"), open_inbox(connection, queue="q", job="1"):
                pytest.fail("it ran")
        with closing(sqlite3.connect(tmp_path / "db")) as other, pytest.raises(WrongBlock, match="`with"):
            async with open_inbox(other, queue="q", job="1"):
                pytest.fail("it ran")

    asyncio.run(run())


@pytest.mark.parametrize("result", [object(), float("nan"), {1, 2}, "x" * RESULT_LIMIT_BYTES], ids=type)
def test_a_result_that_cannot_be_kept_is_refused(tmp_path: Path, result: object) -> None:
    """At once, where the stack tells who gave it."""
    with closing(sqlite3.connect(tmp_path / "db")) as connection:
        inbox = open_inbox(connection, queue="q", job="1")
        with pytest.raises(ResultRefused, match="result to keep"):
            inbox.keep(result)


@pytest.mark.parametrize("table", ["", "a.b.c", 'x"; DROP TABLE y', "a b", "1a", "ü", "a" * 64, "a.", "%s", "a:b"])
def test_a_table_cannot_have_any_name(tmp_path: Path, table: str) -> None:
    """So that no name is ever a statement."""
    with closing(sqlite3.connect(tmp_path / "db")) as connection, pytest.raises(InvalidTableName, match="cannot name"):
        open_inbox(connection, queue="q", job="1", table=table)


@pytest.mark.parametrize("effect", ["x" * 201, "ü" * 101, "a\0b"])
def test_an_effect_has_a_short_name(tmp_path: Path, effect: str) -> None:
    """An index takes the names of all effects, so a longer one is refused before anything is written."""
    with (
        closing(sqlite3.connect(tmp_path / "db")) as connection,
        pytest.raises(InvalidEffectName, match="job 1 cannot"),
    ):
        open_inbox(connection, queue="q", job="1", effect=effect)


def test_the_table_may_stand_in_a_schema(inbox_database: str) -> None:
    """Named `schema.table`; words of SQL are allowed."""
    with psycopg.connect(inbox_database) as connection:
        connection.execute('CREATE SCHEMA "select"')
    create_inbox(inbox_database, "select.Order")
    with psycopg.connect(inbox_database) as connection:
        with open_inbox(connection, queue="q", job="1", table="select.Order"):
            pass
        assert connection.execute('SELECT job FROM "select"."Order"').fetchall() == [("1",)]


@pytest.mark.parametrize(
    ("name", "kept"), [("a", "a"), ("x" * 1_000, "x" * 1_000), ("x" * 1_001, "blake2b:"), ("a\0b", "blake2b:")]
)
def test_a_name_that_an_index_refuses_is_kept_as_its_digest(name: str, kept: str) -> None:
    """Only a foreign publisher makes such."""
    assert identify("q", name).job.startswith(kept)


# ---- several blocks in one run


def test_steps_are_distinguished(tmp_path: Path) -> None:
    """Each has an id of its own, also in a second run."""
    url = f"sqlite:///{tmp_path / 'db'}"
    create_inbox(url)
    with closing(sqlite3.connect(tmp_path / "db")) as connection:
        for effect in ("charge", "ship"):
            with open_inbox(connection, queue="q", job="1", effect=effect) as inbox:
                inbox.keep(effect)
        for effect in ("charge", "ship"):
            with (
                pytest.raises(AlreadyDone, match="catch AlreadyDone") as done,
                open_inbox(connection, queue="q", job="1", effect=effect),
            ):
                pytest.fail("it ran")
            assert (done.value.effect, done.value.result) == (effect, effect)


@pytest.mark.parametrize(("first", "second"), [("", ""), ("", "ship"), ("ship", "ship")])
def test_a_run_cannot_enter_what_a_second_run_would_never_reach(tmp_path: Path, first: str, second: str) -> None:
    """After the whole effect was committed, a second run ends there as done: another block would be lost in silence."""
    url = f"sqlite:///{tmp_path / 'db'}"
    create_inbox(url)
    entered: dict[str, bool] = {}
    with closing(sqlite3.connect(tmp_path / "db")) as connection:
        with open_inbox(connection, queue="q", job="1", effect=first, entered=entered):
            pass
        with (
            pytest.raises(EnteredTwice, match="in this very run"),
            open_inbox(connection, queue="q", job="1", effect=second, entered=entered),
        ):
            pytest.fail("it ran")


def test_a_block_that_was_rolled_back_may_be_entered_again(tmp_path: Path) -> None:
    """As code does that tries again after a deadlock."""
    url = f"sqlite:///{tmp_path / 'db'}"
    create_inbox(url)
    entered: dict[str, bool] = {}
    with closing(sqlite3.connect(tmp_path / "db")) as connection:
        with pytest.raises(LookupError), open_inbox(connection, queue="q", job="1", entered=entered):
            raise LookupError
        with open_inbox(connection, queue="q", job="1", entered=entered):
            pass


# ---- the database goes away


ON_POSTGRESQL = [name for name in (*SYNC, *ASYNC) if "sqlite" not in name]


@pytest.mark.parametrize("when", ["in the body", "before the commit"])
@pytest.mark.parametrize("driver", ON_POSTGRESQL)
def test_a_connection_that_breaks_fails_the_run_and_leaves_nothing(driver: str, inbox_url: str, when: str) -> None:
    """The run fails with what the driver says, whether a statement or the commit finds it; the next run is a first."""

    async def lose(inbox: Inbox, connection: Any) -> None:
        await act(inbox, connection)
        if when == "in the body":
            await write(connection, "SELECT pg_terminate_backend(pg_backend_pid())")
        else:
            end_others(inbox_url)

    with pytest.raises(
        (psycopg.Error, asyncpg.PostgresError, asyncpg.InterfaceError, OSError, sqlalchemy.exc.DBAPIError)
    ):
        perform(driver, inbox_url, lose)
    assert effects(inbox_url) == 0
    perform(driver, inbox_url, act)
    assert effects(inbox_url) == 1


@pytest.mark.parametrize("driver", ASYNC)
def test_a_run_that_is_cancelled_at_the_entry_leaves_the_connection_of_use(driver: str, inbox_url: str) -> None:
    """The next run on the same connection commits its effect, and others can write before it."""

    async def run() -> None:
        async with async_connection(driver, inbox_url) as connection:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0), open_inbox(connection, queue="shop.work", job="j0"):
                    await write(connection)
            if "sqlite" in driver:
                write_at_once(inbox_url)
            async with open_inbox(connection, queue="shop.work", job="j1"):
                await write(connection, "INSERT INTO effects (job) VALUES ('j2')")
            assert effects(inbox_url) == (2 if "sqlite" in driver else 1)

    asyncio.run(run())


@pytest.mark.parametrize("driver", ASYNC)
def test_a_run_that_is_cancelled_in_its_commit_ends_as_cancelled(driver: str, inbox_url: str) -> None:
    """Whether it is committed nobody knows; a second run on the same connection makes sure of it."""

    async def cut_off(connection: Any) -> None:
        async with asyncio.timeout(None) as limit, open_inbox(connection, queue="shop.work", job="j1"):
            await write(connection)
            limit.reschedule(0)

    async def run() -> None:
        async with async_connection(driver, inbox_url) as connection:
            with pytest.raises(TimeoutError):
                await cut_off(connection)
            with suppress(AlreadyDone):
                async with open_inbox(connection, queue="shop.work", job="j1"):
                    await write(connection)
            assert effects(inbox_url) == 1

    asyncio.run(run())


def write_at_once(file_url: str) -> None:
    """Write an effect into SQLite without waiting for its lock."""
    with closing(sqlite3.connect(file_url.removeprefix("sqlite:///"), timeout=0)) as other:
        other.execute(WRITE)
        other.commit()


def end_others(url: str) -> None:
    """Have the server end all other connections to a database."""
    with psycopg.connect(url) as connection:
        query = (
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        assert connection.execute(query).fetchall()
