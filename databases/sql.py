"""The words of SQL that all tables of Stoker share: dialects, names of tables, marks for values."""

from __future__ import annotations

import re
from typing import Final, Literal

from .errors import InvalidTableName

Dialect = Literal["postgresql", "sqlite"]
Marker = Literal["%s", "$n", ":pn", "?"]
"""How a driver marks the places of values."""

LONGEST_NAME: Final = 63
_PART: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def table_parts(table: str) -> tuple[str | None, str]:
    """Part `schema.table` into both; the schema is None where none is named.

    Raises:
        InvalidTableName: a part is no plain identifier.
    """
    parts = table.split(".")
    if len(parts) > 2 or not all(_PART.fullmatch(part) and len(part) <= LONGEST_NAME for part in parts):
        raise InvalidTableName(table, LONGEST_NAME)
    return (parts[0], parts[1]) if len(parts) == 2 else (None, parts[0])


def quoted(table: str) -> str:
    """The table's name as SQL takes it, upper and lower case kept.

    >>> quoted("jobs.Inbox")
    '"jobs"."Inbox"'
    """
    schema, name = table_parts(table)
    return f'"{name}"' if schema is None else f'"{schema}"."{name}"'


def marked(sql: str, marker: Marker) -> str:
    """Put the driver's marks in place of `@1`, `@2`, ….

    >>> marked("a = @1 AND b = @2", "$n")
    'a = $1 AND b = $2'
    """
    return re.sub(r"@(\d)", lambda found: marker.replace("n", found[1]), sql)
