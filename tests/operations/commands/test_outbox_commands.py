"""`stoker outbox`: the tables are made and looked at, rows are published, tried again and pruned, on both databases."""

from __future__ import annotations

import json
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
from click.testing import CliRunner, Result

from stoker.operations.cli import main
from stoker.operations.outbox import create_outbox, open_outbox, outbox_status
from stoker.producers.outbox import table_ddl
from stoker.topology import ClusterSettings
from support.scenes.outboxes import query
from support.scenes.postgres import Postgres
from support.scenes.shop_application import open_shop
from support.waiting import wait_until

SECRET = "s3cr3t-w0rd"
DEADLINE_S = 60.0


def stoker(*words: str, **environment: str) -> Result:
    """Call the command line in this process."""
    return CliRunner().invoke(main, ["outbox", *words], env={"STOKER_APP": None, **environment})


def fill(url: str, jobs: list[str], topic: str = "shop.mails") -> None:
    """Rows as another language would write them."""
    sql = (
        "INSERT INTO stoker_outbox (job_id, job_type, topic, key, headers, value) VALUES ({0}, {0}, {0}, {0}, {0}, {0})"
    )
    values: list[tuple[Any, ...]] = [(job, "send", topic, job[:1].encode(), "{}", b"x") for job in jobs]
    if url.startswith("sqlite"):
        with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as connection:
            connection.executemany(sql.format("?"), values)
            connection.commit()
        return
    with psycopg.connect(url) as opened:
        opened.cursor().executemany(sql.format("%s").encode(), values)


def test_the_life_of_an_outbox_from_the_command_line(url: str) -> None:
    """Missing, created, created again, filled; one row fails, is tried again, and pruned."""
    missing = stoker("status", "--url", url)
    assert missing.exit_code == 1
    assert "stoker outbox create" in missing.stderr
    for _ in range(2):
        assert stoker("create", STOKER_OUTBOX_URL=url).exit_code == 0
    empty = stoker("status", "--url", url)
    assert "No relay works: start `stoker outbox relay`" in empty.stdout
    fill(url, ["a1", "a2", "b1"])
    with open_outbox(url) as opened:
        opened.set_failed([1], "too large")
        opened.set_behind([2])
    status = json.loads(stoker("status", "--json", STOKER_OUTBOX_URL=url).stdout)
    assert [status[name] for name in ("rows", "waiting", "behind", "failed")] == [3, 1, 1, 1]
    assert (status["first_failed"][0]["job_id"], status["first_failed"][0]["reason"]) == ("a1", "too large")
    assert status["oldest_age_s"] >= 0
    assert not status["is_relay_working"]
    shown = stoker("status", "--url", url).stdout
    assert "later rows of the same keys wait" in shown
    assert "too large" in shown
    assert json.loads(stoker("retry", "--url", url, "--json").stdout)["rows"] == 1
    assert "0 rows to be deleted" in stoker("prune", "--url", url, "--dry-run").stdout
    assert "1 row to be deleted" in stoker("prune", "--url", url, "--older-than", "0s", "--dry-run").stdout
    assert stoker("prune", "--url", url, "--older-than", "0s").exit_code == 0
    with open_outbox(url) as opened:
        assert opened.release() == 1
        assert [row.job_id for row in opened.read(10, [], [])] == ["a2", "b1"]


@pytest.mark.parametrize("dialect", ["postgresql", "sqlite"])
def test_the_statements_are_printed_for_migrations(dialect: str, postgres: Postgres) -> None:
    """What is printed is what is run, for a table of any allowed name."""
    printed = stoker("create", "--print", "--dialect", dialect, "--table", "main.order_outbox")
    if dialect == "sqlite":
        assert printed.stdout == table_ddl("sqlite", "main.order_outbox")
        with closing(sqlite3.connect(":memory:")) as connection:
            connection.executescript(printed.stdout)
            assert connection.execute("SELECT count(*) FROM main.order_outbox").fetchone() == (0,)
        return
    with psycopg.connect(postgres.create_database()) as database:
        database.execute("CREATE SCHEMA main")
        for _ in range(2):
            database.execute(printed.stdout.encode())
        assert database.execute("SELECT count(*) FROM main.order_outbox").fetchone() == (0,)


@pytest.mark.parametrize(
    ("url", "code"),
    [
        (f"postgresql://shop:{SECRET}@127.0.0.1:1/shop", 3),
        (f"mysql://shop:{SECRET}@127.0.0.1/shop", 2),
        ("sqlite://", 2),
        ("sqlite:////no/such/folder/db", 3),
    ],
)
def test_a_wrong_url_is_refused_and_never_shown(url: str, code: int) -> None:
    """Not even with its traceback."""
    for command in ("create", "status", "retry", "prune"):
        done = CliRunner().invoke(main, ["-v", "outbox", command], env={"STOKER_OUTBOX_URL": url})
        assert done.exit_code == code
        assert SECRET not in done.output


def test_a_url_must_be_named() -> None:
    """And the message names where."""
    done = stoker("status")
    assert done.exit_code == 2
    assert "STOKER_OUTBOX_URL" in done.stderr


def test_a_relay_publishes_until_it_is_told_to_end(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, namespace: str, cluster: ClusterSettings
) -> None:
    """A process of `stoker outbox relay`, seen by `stoker outbox status`; SIGTERM ends it with 0."""
    shop = open_shop(tmp_path, monkeypatch, namespace, cluster)
    create_outbox(url)
    fill(url, ["a1", "a2", "b1"], f"{namespace}.mails")
    words = [sys.executable, "-m", "stoker.operations.cli", "-A", shop.module, "outbox", "relay"]
    with _started(words, tmp_path, {**shop.process_environment(), "STOKER_OUTBOX_URL": url}) as relay:
        wait_until(lambda: query(url, "SELECT count(*) FROM stoker_outbox") == [(0,)], DEADLINE_S, "the rows to go")
        wait_until(lambda: (beat := outbox_status(url).beat) and beat.published == 3, DEADLINE_S, "its note")
        assert "3 rows published" in stoker("status", "--url", url).stdout
        relay.send_signal(signal.SIGTERM)
        assert relay.wait(DEADLINE_S) == 0
    assert "this relay publishes" in (tmp_path / "log").read_text()


@contextmanager
def _started(words: list[str], folder: Path, environment: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(words, cwd=folder, env=environment, stderr=log)
        try:
            yield process
        finally:
            process.kill()
            process.wait()
