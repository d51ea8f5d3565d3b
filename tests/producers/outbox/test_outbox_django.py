"""Django: the app's migration creates the outbox, and jobs follow Django's transactions, also in its test cases."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from support.program import TESTS, program
from support.scenes.postgres import Postgres

DEADLINE_S = 60.0


@pytest.mark.parametrize("kind", ["postgresql", "sqlite"])
def test_jobs_follow_djangos_transactions(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    """Commit, rollback, savepoint, autocommit, a broken transaction, and a TestCase that rolls back."""
    if kind == "sqlite":
        url = f"sqlite:///{tmp_path / 'db'}"
    else:
        server: Postgres = request.getfixturevalue("postgres")
        url = server.create_database()
    command = [*program("django_shop"), url]
    done = subprocess.run(command, cwd=TESTS, capture_output=True, text=True, timeout=DEADLINE_S, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    kept = ["proxy", "wrapper", "m0", "m1"]
    assert (found["committed"], found["rolled back"], found["after test"]) == (kept, kept, kept)
    assert "transaction.atomic()" in found["without transaction"]
    assert found["broken"]
    assert found["test"], done.stderr
    assert found["tables"] == []
