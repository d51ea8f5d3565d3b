"""The database that jobs have effects in, through the inbox: a plain table that would take every effect twice."""

from __future__ import annotations

import os
import threading
from typing import Final

import psycopg

from stoker.operations.inbox import create_inbox

DATABASE: Final = "CHAOS_DATABASE"
"""The environment's name of the URL."""
WRITE_EFFECT: Final = "INSERT INTO effects (number, process) VALUES (%s, %s)"


_own = threading.local()


def own_connection() -> psycopg.Connection:
    """A connection of this thread's own, made when it is first needed or was broken."""
    connection: psycopg.Connection | None = getattr(_own, "connection", None)
    if connection is None or connection.closed:
        connection = _own.connection = psycopg.connect(os.environ[DATABASE])
    return connection


def prepare(url: str) -> None:
    """Make the inbox and the table of effects; nothing in the latter keeps a row from being there twice."""
    create_inbox(url)
    with psycopg.connect(url) as connection:
        connection.execute("CREATE TABLE effects (number bigint NOT NULL, process int NOT NULL)")


def count_effects(url: str) -> dict[int, int]:
    """{number of a job: how often its effect is there}."""
    with psycopg.connect(url) as connection:
        rows = connection.execute("SELECT number, count(*) FROM effects GROUP BY number").fetchall()
    return {int(number): int(count) for number, count in rows}
