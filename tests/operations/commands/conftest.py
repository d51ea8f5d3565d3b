"""What tests of commands share."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.scenes.postgres import Postgres


@pytest.fixture(params=["postgresql", "sqlite"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'db'}"
    server: Postgres = request.getfixturevalue("postgres")
    return server.create_database()
