"""`stoker inbox`: the table is made, counted and pruned, on both databases, and no password is ever shown."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import psycopg
import pytest
from click.testing import CliRunner, Result

from stoker.consumers.inbox import table_ddl
from stoker.operations.cli import main
from stoker.operations.inbox import create_inbox, open_table, prune_inbox
from support.scenes.postgres import Postgres
from support.scenes.shop_application import make_shop

SECRET = "s3cr3t-w0rd"


def stoker(*words: str, **environment: str) -> Result:
    """Call the command line in this process."""
    return CliRunner().invoke(main, ["inbox", *words], env={"STOKER_APP": None, **environment})


def fill(url: str, old: int, new: int) -> None:
    """Rows of 40 days ago, and of now."""
    create_inbox(url)
    with open_table(url) as table:
        then = "now() - interval '40 days'" if table.dialect == "postgresql" else "'2013-01-01T00:00:00.000Z'"
        for number in range(old):
            table.connection.execute(
                f"INSERT INTO stoker_inbox (queue, job, done_at) VALUES ('a.b', 'o{number}', {then})"
            )
        for number in range(new):
            table.connection.execute(f"INSERT INTO stoker_inbox (queue, job) VALUES ('a.c', 'n{number}')")
        table.connection.commit()


def held(url: str) -> dict[str, int]:
    """{queue: jobs}."""
    with open_table(url) as table:
        return {each.queue: each.rows for each in table.status()}


def test_the_life_of_an_inbox_from_the_command_line(url: str) -> None:
    """Missing, created, created again, counted, pruned."""
    missing = stoker("status", "--url", url)
    assert missing.exit_code == 1
    assert "stoker inbox create" in missing.stderr
    for _ in range(2):
        assert stoker("create", STOKER_INBOX_URL=url).exit_code == 0
    fill(url, old=3, new=2)
    status = stoker("status", "--json", STOKER_INBOX_URL=url)
    assert [(each["queue"], each["rows"]) for each in json.loads(status.stdout)] == [("a.b", 3), ("a.c", 2)]
    assert stoker("status", "--url", url).stdout.count("a.b") == 1
    counted = stoker("prune", "--url", url, "--dry-run", "--json")
    assert (json.loads(counted.stdout)["jobs"], held(url)) == (3, {"a.b": 3, "a.c": 2})
    pruned = stoker("prune", "--url", url)
    assert pruned.exit_code == 0
    assert "3 of 3 jobs forgotten" in pruned.stderr
    assert held(url) == {"a.c": 2}


def test_a_prune_goes_in_batches(url: str) -> None:
    """Each a transaction of its own, so that workers wait for a short one at most."""
    fill(url, old=7, new=1)
    with open_table(url) as table:
        oldest = table.status()[0].oldest
        assert list(table.prune(oldest + timedelta(seconds=1), batch_rows=3)) == [3, 3, 1]
    assert held(url) == {"a.c": 1}
    assert prune_inbox(url, timedelta(days=30)) == 0


def test_what_a_topic_may_deliver_again_is_not_forgotten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, namespace: str
) -> None:
    """The application's longest retention is the bound, or the usual one; a flag allows it all the same."""
    url = f"sqlite:///{tmp_path / 'db'}"
    fill(url, old=1, new=0)
    shop = make_shop(tmp_path, monkeypatch, namespace)
    source = tmp_path / f"{shop.module}.py"
    source.write_text(source.read_text().replace('"bills", ', '"bills", retention=timedelta(days=60), '))
    refused = stoker("prune", "--url", url, "--older-than", "7d")
    assert (refused.exit_code, held(url)) == (4, {"a.b": 1})
    assert "--allow-repetitions" in refused.stderr
    refused = shop.stoker("inbox", "prune", "--url", url, "--older-than", "30d")
    assert (refused.exit_code, held(url)) == (4, {"a.b": 1})
    assert "60d, the retention of queue bills" in refused.stderr
    assert shop.stoker("inbox", "prune", "--url", url, "--older-than", "30d", "--allow-repetitions").exit_code == 0
    assert held(url) == {}


@pytest.mark.parametrize("dialect", ["postgresql", "sqlite"])
def test_the_statements_are_printed_for_migrations(dialect: str, postgres: Postgres) -> None:
    """What is printed is what is run, for a table of any allowed name."""
    printed = stoker("create", "--print", "--dialect", dialect, "--table", "main.order_inbox")
    if dialect == "sqlite":
        assert printed.stdout == table_ddl("sqlite", "main.order_inbox")
        with closing(sqlite3.connect(":memory:")) as connection:
            connection.executescript(printed.stdout)
            assert connection.execute("SELECT count(*) FROM main.order_inbox").fetchone() == (0,)
        return
    with psycopg.connect(postgres.create_database()) as database:
        database.execute("CREATE SCHEMA main")
        database.execute(printed.stdout.encode())
        assert database.execute("SELECT count(*) FROM main.order_inbox").fetchone() == (0,)


def test_a_url_names_the_dialect_of_what_is_printed() -> None:
    """Nothing is connected to."""
    assert "WITHOUT" not in stoker("create", "--print").stdout
    assert "timestamptz" in stoker("create", "--print", "--url", "postgresql+psycopg://nobody@nowhere/x").stdout
    assert "strftime" in stoker("create", "--print", "--url", "sqlite:///x").stdout


@pytest.mark.parametrize(
    ("url", "code"),
    [
        (f"postgresql://shop:{SECRET}@127.0.0.1:1/shop", 3),
        (f"postgresql://shop:{SECRET}@127.0.0.1:1/shop?no_such_option=1", 2),
        (f"postgresql://shop:{SECRET}@127.0.0.1:port/shop", 3),
        (f"postgresql//shop:{SECRET}@127.0.0.1/shop", 2),
        (f"mysql://shop:{SECRET}@127.0.0.1/shop", 2),
        ("sqlite://", 2),
        ("sqlite:////no/such/folder/db", 3),
    ],
)
def test_a_wrong_url_is_refused_and_never_shown(url: str, code: int) -> None:
    """Not even with its traceback."""
    for verbose in ([], ["-v"]):
        done = CliRunner().invoke(main, [*verbose, "inbox", "create"], env={"STOKER_INBOX_URL": url})
        assert done.exit_code == code
        assert SECRET not in done.output


def test_what_the_database_refuses_is_reported(postgres: Postgres) -> None:
    """A schema that is not there, in the database's own words."""
    done = stoker("create", "--table", "nowhere.inbox", STOKER_INBOX_URL=postgres.create_database())
    assert done.exit_code == 1
    assert 'schema "nowhere" does not exist' in done.stderr


def test_without_a_url_the_usage_is_shown() -> None:
    """With both ways to give it."""
    done = stoker("status")
    assert done.exit_code == 2
    assert "STOKER_INBOX_URL" in done.stderr
