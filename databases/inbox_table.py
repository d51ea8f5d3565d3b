"""The inbox's table: its name, what creates it, and the statements that use it, in the words of each database."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Final

from .sql import LONGEST_NAME, Dialect, Marker, marked, quoted, table_parts

DEFAULT_TABLE: Final = "stoker_inbox"

_POSTGRESQL: Final = """\
CREATE TABLE IF NOT EXISTS {table} (
    queue   text        NOT NULL,
    job     text        NOT NULL,
    effect  text        NOT NULL DEFAULT '',
    done_at timestamptz NOT NULL DEFAULT now(),
    result  text,
    PRIMARY KEY (queue, job, effect)
);
CREATE INDEX IF NOT EXISTS {index} ON {table} (done_at);
"""
_SQLITE: Final = """\
CREATE TABLE IF NOT EXISTS {table} (
    queue   TEXT NOT NULL,
    job     TEXT NOT NULL,
    effect  TEXT NOT NULL DEFAULT '',
    done_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now')),
    result  TEXT,
    PRIMARY KEY (queue, job, effect)
);
CREATE INDEX IF NOT EXISTS {schema}{index} ON {bare_table} (done_at);
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Statements:
    """The inbox's statements to a database, with the driver's own marks for the values.

    Attributes:
        enter: insert (queue, job, effect); touches no row if there is one already.
        find: (result, done_at) of (queue, job, effect).
        keep: set the result of (result, queue, job, effect).
    """

    enter: str
    find: str
    keep: str


def table_ddl(dialect: Dialect, table: str = DEFAULT_TABLE) -> str:
    """The statements that create the inbox's table, which change nothing where it is there; for migrations."""
    schema, name = table_parts(table)
    index = f'"{name[: LONGEST_NAME - 8]}_done_at"'
    if dialect == "postgresql":
        return _POSTGRESQL.format(table=quoted(table), index=index)
    where = "" if schema is None else f'"{schema}".'
    return _SQLITE.format(table=quoted(table), schema=where, index=index, bare_table=f'"{name}"')


@cache
def statements(table: str, marker: Marker) -> Statements:
    """The statements for one table and one kind of driver."""
    name = quoted(table)
    return Statements(
        enter=marked(f"INSERT INTO {name} (queue, job, effect) VALUES (@1, @2, @3) ON CONFLICT DO NOTHING", marker),
        find=marked(f"SELECT result, done_at FROM {name} WHERE queue = @1 AND job = @2 AND effect = @3", marker),
        keep=marked(f"UPDATE {name} SET result = @1 WHERE queue = @2 AND job = @3 AND effect = @4", marker),
    )
