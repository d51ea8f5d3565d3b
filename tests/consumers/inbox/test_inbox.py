"""The inbox on every driver: id and effect are one transaction, and a second run changes nothing (P3)."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest

from stoker.consumers.inbox import (
    AlreadyDone,
    open_inbox,
)
from stoker.consumers.inbox.inbox import Inbox
from support.scenes.inboxes import (
    ASYNC,
    SYNC,
    WRITE,
    Body,
    act,
    async_connection,
    drive,
    effects,
    make_sqlite,
    perform,
    sync_connection,
    write,
)
from support.scenes.worker import in_threads

every_driver = pytest.mark.parametrize("driver", [*SYNC, *ASYNC])


@every_driver
def test_a_second_run_changes_nothing_and_gets_the_first_result(driver: str, inbox_url: str) -> None:
    """One effect after two runs; the second one's body does not run, and it gets result and time of the first."""
    began = datetime.now(UTC) - timedelta(minutes=1)
    perform(driver, inbox_url, act)
    assert effects(inbox_url) == 1
    with pytest.raises(AlreadyDone, match="j1 was done at") as told:
        perform(driver, inbox_url, act)
    assert effects(inbox_url) == 1
    assert told.value.result == {"receipt": 17}
    assert told.value.done_at is not None
    assert began < told.value.done_at < datetime.now(UTC) + timedelta(minutes=1)


@every_driver
def test_a_failed_run_leaves_nothing_behind(driver: str, inbox_url: str) -> None:
    """Neither effect nor id: the next run is a first one."""

    async def fail(inbox: Inbox, connection: Any) -> None:
        await write(connection)
        inbox.keep("half")
        raise LookupError("broken")

    with pytest.raises(LookupError, match="broken"):
        perform(driver, inbox_url, fail)
    assert effects(inbox_url) == 0
    perform(driver, inbox_url, act)
    assert effects(inbox_url) == 1


@every_driver
def test_a_connection_is_of_use_after_the_block_however_it_ended(driver: str, inbox_url: str) -> None:
    """After a commit, a failure and an answer, the same connection takes another block."""

    async def in_turn_async() -> None:
        async with async_connection(driver, inbox_url) as connection:
            async with open_inbox(connection, queue="q", job="1"):
                await write(connection)
            with pytest.raises(AlreadyDone):
                async with open_inbox(connection, queue="q", job="1"):
                    pytest.fail("it ran")
            with pytest.raises(LookupError):
                async with open_inbox(connection, queue="q", job="2"):
                    raise LookupError
            async with open_inbox(connection, queue="q", job="2"):
                await write(connection)

    def in_turn() -> None:
        with sync_connection(driver, inbox_url) as connection:
            with open_inbox(connection, queue="q", job="1"):
                drive(write(connection))
            with pytest.raises(AlreadyDone), open_inbox(connection, queue="q", job="1"):
                pytest.fail("it ran")
            with pytest.raises(LookupError), open_inbox(connection, queue="q", job="2"):
                raise LookupError
            with open_inbox(connection, queue="q", job="2"):
                drive(write(connection))

    asyncio.run(in_turn_async()) if driver in ASYNC else in_turn()
    assert effects(inbox_url) == 2


@pytest.mark.parametrize("driver", sorted({*SYNC, *ASYNC} - {"asyncpg", "asyncpg pool"}))
def test_what_the_driver_had_begun_by_itself_the_inbox_ends(driver: str, inbox_url: str) -> None:
    """A write or read before the block, in a transaction that nobody has opened, is committed with it, so that no job
    is done whose effect was never committed."""
    counted: list[int] = []
    perform(driver, inbox_url, act, before=write, after=lambda: counted.append(effects(inbox_url)))
    assert counted == [2]
    with pytest.raises(AlreadyDone):
        perform(driver, inbox_url, act, before=write)
    committed_at_once = driver in {"psycopg autocommit", "sqlite3 without isolation", "sqlite3 autocommit"}
    assert effects(inbox_url) == (3 if committed_at_once else 2)


ENCLOSING = (
    *("psycopg", "psycopg autocommit", "sqlalchemy", "sqlalchemy session", "sqlalchemy sqlite"),
    *("async psycopg", "asyncpg", "asyncpg pool", "async sqlalchemy", "async sqlalchemy session asyncpg"),
)


@pytest.mark.parametrize("driver", ENCLOSING)
def test_a_block_of_the_callers_own_ends_what_it_has_begun(driver: str, inbox_url: str) -> None:
    """Inside of the driver's own transaction block the inbox commits nothing; if that fails, id and effect go with it.
    A failure inside of the inbox undoes the inbox alone."""

    def block(connection: Any) -> Any:
        return connection.begin() if "sqlalchemy" in driver else connection.transaction()

    async def fail_async(connection: Any) -> None:
        async with open_inbox(connection, queue="q", job="2"):
            await write(connection)
            raise KeyError

    def fail(connection: Any) -> None:
        with open_inbox(connection, queue="q", job="2"):
            drive(write(connection))
            raise KeyError

    async def enclosed_async(failure: type[Exception] | None) -> None:
        async with async_connection(driver, inbox_url) as connection, block(connection):
            async with open_inbox(connection, queue="q", job="1"):
                await write(connection)
            assert effects(inbox_url) == 0
            with pytest.raises(KeyError):
                await fail_async(connection)
            if failure:
                raise failure

    def enclosed(failure: type[Exception] | None) -> None:
        with sync_connection(driver, inbox_url) as connection, block(connection):
            with open_inbox(connection, queue="q", job="1"):
                drive(write(connection))
            assert effects(inbox_url) == 0
            with pytest.raises(KeyError):
                fail(connection)
            if failure:
                raise failure

    def run(failure: type[Exception] | None) -> None:
        asyncio.run(enclosed_async(failure)) if driver in ASYNC else enclosed(failure)

    with pytest.raises(LookupError):
        run(LookupError)
    assert effects(inbox_url) == 0
    run(None)
    assert effects(inbox_url) == 1
    with pytest.raises(AlreadyDone):
        run(None)
    assert effects(inbox_url) == 1


# ---- twins


@pytest.mark.parametrize("driver", ["psycopg", "sqlite3", "sqlalchemy session"])
@pytest.mark.parametrize("first_fails", [False, True])
def test_of_two_twins_at_the_same_time_one_has_its_effect(driver: str, inbox_url: str, first_fails: bool) -> None:
    """The second waits for the first's end; then it is told the result, or goes on for it if that failed."""
    inside, go_on = threading.Event(), threading.Event()
    ends: list[str] = []

    async def hold(inbox: Inbox, connection: Any) -> None:
        await act(inbox, connection)
        inside.set()
        assert go_on.wait(60)
        if first_fails:
            raise LookupError

    def attempt(body: Body) -> None:
        try:
            perform(driver, inbox_url, body)
            ends.append("done")
        except AlreadyDone as done:
            ends.append(f"told {done.result}")
        except LookupError:
            ends.append("failed")

    first = threading.Thread(target=attempt, args=(hold,))
    second = threading.Thread(target=attempt, args=(act,))
    first.start()
    assert inside.wait(60)
    second.start()
    second.join(0.2)
    assert second.is_alive(), "it did not wait"
    go_on.set()
    for thread in (first, second):
        thread.join(60)
    assert effects(inbox_url) == 1
    assert sorted(ends) == (["done", "failed"] if first_fails else ["done", "told {'receipt': 17}"])


@pytest.mark.parametrize("level", ["REPEATABLE READ", "SERIALIZABLE"])
def test_twins_under_a_stricter_isolation_get_it_as_well(inbox_database: str, level: str) -> None:
    """PostgreSQL fails the insert of the second twin there; the inbox looks again in a new transaction."""
    name = f"twin {level}"
    with psycopg.connect(inbox_database) as first, psycopg.connect(inbox_database) as second:
        for connection in (first, second):
            connection.isolation_level = psycopg.IsolationLevel[level.replace(" ", "_")]
        told: list[object] = []

        def enter() -> None:
            with pytest.raises(AlreadyDone) as done, open_inbox(second, queue="q", job=name):
                pytest.fail("it ran")
            told.append(done.value.result)

        with open_inbox(first, queue="q", job=name) as inbox:
            thread = threading.Thread(target=enter)
            thread.start()
            thread.join(0.2)
            assert thread.is_alive()
            inbox.keep(1)
        thread.join(60)
    assert told == [1]


def test_writers_of_sqlite_wait_for_each_other(tmp_path: Path) -> None:
    """Many connections at once, each takes its turn, and none finds the database locked."""
    url = make_sqlite(tmp_path / "db")
    failures: list[BaseException] = []

    def work(worker: int) -> None:
        try:
            with closing(sqlite3.connect(tmp_path / "db", timeout=60)) as connection:
                for number in range(25):
                    with open_inbox(connection, queue="q", job=f"{worker}-{number}"):
                        connection.execute(WRITE)
        except BaseException as error:  # noqa: BLE001  # told below
            failures.append(error)

    for thread in in_threads(8, work):
        thread.join(60)
    assert not failures
    assert effects(url) == 200
