"""A PostgreSQL with an outbox for one measurement: a given one, else that of the tests, which flushes here."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import psycopg

from stoker.operations.outbox import create_outbox

GIVEN: Final = "STOKER_BENCH_POSTGRESQL"
_TESTS_SERVER: Final = Path(__file__).parents[2] / "tests" / "support" / "scenes" / "postgres.py"


@contextmanager
def empty_outbox() -> Iterator[str]:
    """The URL of a database with an empty outbox; a given database must have none, and is left with none."""
    if url := os.environ.get(GIVEN):
        create_outbox(url)
        try:
            yield url
        finally:
            with psycopg.connect(url) as connection:
                connection.execute("DROP TABLE stoker_outbox, stoker_outbox_relay")
        return
    scenes = _load()
    scenes.SETTINGS["fsync"] = "on"
    with scenes.running_postgres() as server:
        made: str = server.create_database()
        create_outbox(made)
        yield made


def _load() -> Any:
    """The tests' module, which is in no package that a bench can import."""
    spec = importlib.util.spec_from_file_location("postgres", _TESTS_SERVER)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["postgres"] = module  # its dataclass looks itself up
    spec.loader.exec_module(module)
    return module
