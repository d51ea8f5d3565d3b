"""What the metrics show of an outbox: how much waits and since when, of the relay that works, at little cost."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import psycopg
import pytest

from stoker.databases.outbox import rows
from stoker.databases.outbox.opening import open_outbox_table
from stoker.databases.outbox.rows import OutboxBacklog, OutboxTable
from stoker.producers.metrics import all_metrics as metrics
from stoker.producers.outbox import Outbox, OutboxRelay
from stoker.producers.outbox.backlog import LOOK_EVERY_S, BacklogLooks
from stoker.topology import ClusterSettings
from support.scenes.outboxes import make_database, make_sqlite
from support.scenes.postgres import Postgres
from support.scenes.shop import Shop
from support.waiting import wait_until

INSERT = (
    "INSERT INTO stoker_outbox (job_id, job_type, topic, headers, value, enqueued_at, tries, aside_at) "
    "VALUES ('{id}', 'charge', 't', '{{}}', 'v', {at}, {tries}, {aside})"
)


@pytest.fixture(params=["postgresql", "sqlite"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A database of each kind with an outbox."""
    if request.param == "sqlite":
        return make_sqlite(tmp_path)
    postgres: Postgres = request.getfixturevalue("postgres")
    return make_database(postgres.create_database())


def put(url: str, row: str, *, age_s: int = 0, tries: int = 0, is_aside: bool = False) -> None:
    """Put a row in as it would stand there."""
    if url.startswith("sqlite"):
        at = f"strftime('%Y-%m-%dT%H:%M:%fZ', 'now', '-{age_s} seconds')"
        sql = INSERT.format(id=row, at=at, tries=tries, aside=at if is_aside else "NULL")
        with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as connection, connection:
            connection.execute(sql)
    else:
        at = f"now() - interval '{age_s} seconds'"
        with psycopg.connect(url) as opened:
            opened.execute(INSERT.format(id=row, at=at, tries=tries, aside=at if is_aside else "NULL").encode())


def test_rows_are_counted_by_their_state(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest is that of any state, by the database's clock; beyond a bound none is counted."""
    with closing(open_outbox_table(url, "stoker_outbox")) as table:
        assert table.backlog() == OutboxBacklog(waiting=0, behind=0, failed=0, oldest_age_s=0.0)
        put(url, "bad", age_s=90, tries=2, is_aside=True)
        put(url, "behind", is_aside=True)
        for number in range(5):
            put(url, f"w{number}")
        found = table.backlog()
        assert (found.waiting, found.behind, found.failed) == (5, 1, 1)
        assert 90 <= found.oldest_age_s < 120
        monkeypatch.setattr("stoker.databases.outbox.queries.MOST_LOOKED_AT", 3)
        assert table.backlog().waiting == 3
    assert rows.MOST_LOOKED_AT >= 10_000


def shown(looks: BacklogLooks) -> Mapping[tuple[str, ...], float]:
    """{metric and labels: value}."""
    return {(one.metric.name, *one.labels): cast("float", one.value) for one in looks.samples("outbox")}


AGE = (metrics.OUTBOX_OLDEST.name, "outbox")


def test_looks_are_few_and_a_relay_that_stands_still_shows_older_rows() -> None:
    """A slow table is looked at less often; a look that does not come lets the oldest row go on to age."""
    now_s, looked, takes_s = 100.0, 0, 0.0

    def backlog() -> OutboxBacklog:
        nonlocal looked, now_s
        looked, now_s = looked + 1, now_s + takes_s
        return OutboxBacklog(waiting=3, behind=0, failed=0, oldest_age_s=2.0)

    table = cast("OutboxTable", SimpleNamespace(backlog=backlog))
    looks = BacklogLooks(lambda: now_s)
    assert shown(looks) == {}
    for _ in range(10):
        looks.look(table)
        now_s += LOOK_EVERY_S / 10
    assert (looked, shown(looks)[AGE]) == (1, 2.0)
    looks.look(table)
    assert looked == 2
    now_s += LOOK_EVERY_S + 40
    assert shown(looks)[AGE] == 42.0
    takes_s = 1.0
    looks.look(table)
    now_s += 99
    looks.look(table)
    assert looked == 3
    looks.forget()
    assert shown(looks) == {}
    looks.look(table)
    assert looked == 4


def test_a_relay_shows_what_waits_and_whether_it_can_publish(
    shop: Shop, cluster: ClusterSettings, tmp_path: Path
) -> None:
    """One that stands by shows neither, and so does one that has ended; nothing is counted as waiting twice."""
    url = make_sqlite(tmp_path)
    away = ClusterSettings(bootstrap_servers="127.0.0.1:1")
    outbox = Outbox(shop.pipeline, source="/tests")
    with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as connection:
        outbox.enqueue(connection, shop.charge, "k", 1)
        connection.commit()

    def value(relay: OutboxRelay, metric: metrics.Metric, *labels: str) -> float | None:
        found = {(one.metric, *one.labels): one.value for one in relay.samples()}
        return cast("float | None", found.get((metric, "stoker_outbox", *labels)))

    with OutboxRelay(shop.pipeline, url, away) as leading:
        wait_until(lambda: value(leading, metrics.OUTBOX_ROWS, "waiting") == 1, 30, "the first look")
        wait_until(lambda: value(leading, metrics.OUTBOX_TROUBLE) == 1, 60, "the trouble")
        with OutboxRelay(shop.pipeline, url, cluster) as other:
            wait_until(lambda: value(other, metrics.OUTBOX_LEADS) == 0, 10)
            assert value(other, metrics.OUTBOX_ROWS, "waiting") is None
            assert value(other, metrics.OUTBOX_TROUBLE) == 0
            leading.close()
            assert value(leading, metrics.OUTBOX_OLDEST) is None
            wait_until(lambda: other.published == 1, 60, "the other to publish")
            assert value(other, metrics.OUTBOX_TROUBLE) == 0
