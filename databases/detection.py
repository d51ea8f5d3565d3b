"""Finds the driver of a connection by the names of its classes, and so imports nothing that is not installed."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from typing import Final

from .driver import Driver
from .errors import UnsupportedConnection

_DRIVERS: Final = {
    ("psycopg", "Connection"): ("psycopg_driver", "PsycopgDriver"),
    ("psycopg", "AsyncConnection"): ("psycopg_driver", "PsycopgDriver"),
    ("asyncpg", "Connection"): ("asyncpg_driver", "AsyncpgDriver"),
    ("asyncpg", "PoolConnectionProxy"): ("asyncpg_driver", "AsyncpgDriver"),
    ("sqlite3", "Connection"): ("sqlite_driver", "SqliteDriver"),
    ("aiosqlite", "Connection"): ("sqlite_driver", "SqliteDriver"),
    ("django", "BaseDatabaseWrapper"): ("django_driver", "DjangoDriver"),
    ("django", "ConnectionProxy"): ("django_driver", "DjangoDriver"),
    ("sqlalchemy", "Connection"): ("sqlalchemy_driver", "SqlAlchemyDriver"),
    ("sqlalchemy", "Session"): ("sqlalchemy_driver", "SqlAlchemyDriver"),
    ("sqlalchemy", "scoped_session"): ("sqlalchemy_driver", "SqlAlchemyDriver"),
    ("sqlalchemy", "AsyncConnection"): ("sqlalchemy_driver", "SqlAlchemyDriver"),
    ("sqlalchemy", "AsyncSession"): ("sqlalchemy_driver", "SqlAlchemyDriver"),
    ("sqlalchemy", "async_scoped_session"): ("sqlalchemy_driver", "SqlAlchemyDriver"),
}
"""{(package, class): (module here, driver)}; a class of the user's own is known by those that it inherits from."""
_HINTS: Final = {
    "psycopg2": "use psycopg 3, or psycopg2 through SQLAlchemy",
    "psycopg_pool": "take a connection out of the pool first: `with pool.connection() as connection:`",
}


def find_driver(connection: object) -> Driver:
    """Choose the driver for a connection.

    Raises:
        UnsupportedConnection: there is none.
    """
    for name in _class_names(type(connection)):
        if name in _DRIVERS:
            module, driver = _DRIVERS[name]
            made: Driver = getattr(import_module(f".{module}", __package__), driver)(connection)
            return made
    raise UnsupportedConnection(connection, _hint(connection))


def _class_names(kind: type) -> Iterator[tuple[str, str]]:
    for parent in kind.__mro__:
        yield parent.__module__.partition(".")[0], parent.__name__


def _hint(connection: object) -> str:
    if type(connection).__name__ in {"Engine", "AsyncEngine", "Pool", "sessionmaker", "async_sessionmaker"}:
        return "give it an open connection or session of this"
    return _HINTS.get(type(connection).__module__.partition(".")[0], "")
