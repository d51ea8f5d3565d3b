"""Relays, writers, workers and servers killed with SIGKILL: every committed job is published, and runs once (P16)."""

from __future__ import annotations

import random
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from pathlib import Path

import psycopg
import pytest

from stoker.operations.broker.embedded import EmbeddedBroker
from stoker.operations.inbox import create_inbox
from stoker.operations.outbox import create_outbox
from stoker.producers.outbox import Outbox, OutboxRelay
from stoker.topology import ClusterSettings
from support.program import TESTS, program
from support.programs.money import ACCOUNTS, CENTS, declare
from support.programs.outbox_relay import PLACES
from support.scenes.outboxes import make_database, make_sqlite, query
from support.scenes.postgres import Postgres, running_postgres
from support.scenes.shop import Shop, create_topics, declare_shop, headers_of, read_all
from support.scenes.worker import create
from support.waiting import wait_until

DEADLINE_S = 60.0
BALANCED_S = 100.0
"""Workers that died are suspected, so that their jobs run one at a time."""
EMPTY = "SELECT count(*) FROM stoker_outbox"
PAID = "SELECT count(*) FROM payments"


class Processes:
    """Programs that a test starts and kills."""

    def __init__(self) -> None:
        self.all: list[subprocess.Popen[bytes]] = []

    def start(self, name: str, *words: str) -> subprocess.Popen[bytes]:
        """Start one of `support/programs`."""
        process = subprocess.Popen([*program(name), *words], cwd=TESTS, stderr=subprocess.DEVNULL)
        self.all.append(process)
        return process


@pytest.fixture
def processes() -> Iterator[Processes]:
    """None is left at the end."""
    started = Processes()
    yield started
    for process in started.all:
        process.kill()
        process.wait(10)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("kind", ["postgresql", "sqlite"])
def test_a_relay_killed_at_any_place_loses_nothing(
    shop: Shop,
    cluster: ClusterSettings,
    processes: Processes,
    request: pytest.FixtureRequest,
    tmp_path: Path,
    kind: str,
    place: str,
) -> None:
    """The next relay publishes what is left: each job at least once, and each key's first copies in order."""
    if kind == "sqlite":
        url = make_sqlite(tmp_path)
    else:
        server: Postgres = request.getfixturevalue("postgres")
        url = make_database(server.create_database())
    fill(Outbox(shop.pipeline), shop, url, 300)
    words = (cluster.bootstrap_servers, shop.pipeline.namespace, url)
    assert processes.start("outbox_relay", *words, place).wait(DEADLINE_S) == -9
    assert query(url, EMPTY) == [(300,)]
    with OutboxRelay(shop.pipeline, url, cluster):
        wait_until(lambda: query(url, EMPTY) == [(0,)], DEADLINE_S, "the outbox to be empty")
    assert_first_copies_in_order(cluster, shop, 300)


def fill(outbox: Outbox, shop: Shop, url: str, jobs: int) -> None:
    """Enqueue numbered jobs of 7 keys."""
    import sqlite3

    calls = (shop.charge.with_options(job_id=f"{n:05}").call(f"k{n % 7}", n) for n in range(jobs))
    if url.startswith("sqlite"):
        with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as lite:
            outbox.enqueue_many(lite, calls)
            lite.commit()
        return
    with psycopg.connect(url) as connection:
        outbox.enqueue_many(connection, calls)


def assert_first_copies_in_order(cluster: ClusterSettings, shop: Shop, jobs: int) -> None:
    """All are there; a copy may come later."""
    found: dict[bytes, list[str]] = {}
    for message in read_all(cluster, shop.mails):
        key = message.key()
        assert isinstance(key, bytes)
        ids = found.setdefault(key, [])
        if (job := headers_of(message)["ce_id"].decode()) not in ids:
            ids.append(job)
    assert sum(map(len, found.values())) == jobs
    assert all(ids == sorted(ids) for ids in found.values())


def test_brokers_that_are_away_for_a_while_cost_nothing(broker: EmbeddedBroker, postgres: Postgres) -> None:
    """Writers go on, the relay waits, and publishes all in order when the broker is back."""
    cluster = ClusterSettings(bootstrap_servers=broker.start())
    shop = declare_shop("away")
    create_topics(shop, cluster)
    url = make_database(postgres.create_database())
    outbox = Outbox(shop.pipeline)
    with OutboxRelay(shop.pipeline, url, cluster) as relay:
        fill(outbox, shop, url, 100)
        wait_until(lambda: relay.published == 100, DEADLINE_S, "the relay to work")
        broker.kill()
        with psycopg.connect(url) as connection:
            for number in range(100, 6_000):
                outbox.enqueue(connection, shop.charge.with_options(job_id=f"{number:05}"), f"k{number % 7}", number)
        broker.start()
        wait_until(lambda: query(url, EMPTY) == [(0,)], DEADLINE_S, "the outbox to be empty")
    assert_first_copies_in_order(cluster, shop, 6_000)


def test_money_moves_between_two_databases_while_everything_is_killed(
    cluster: ClusterSettings, namespace: str, processes: Processes
) -> None:
    """Two banks, two relays, two workers and the databases' server die again and again: both books balance."""
    with running_postgres() as server:
        move_money(server, cluster, namespace, processes, {3: lambda: restart(server)}, kills=6)


@pytest.mark.soak
@pytest.mark.timeout(400)
def test_money_moves_while_the_brokers_are_killed_too(broker: EmbeddedBroker, processes: Processes) -> None:
    """More often, and longer, with a broker of its own that is killed twice."""
    cluster = ClusterSettings(bootstrap_servers=broker.start())

    def restart_broker() -> None:
        broker.kill()
        broker.start()

    with running_postgres() as server:
        also = {4: restart_broker, 7: lambda: restart(server), 10: restart_broker, 13: lambda: restart(server)}
        move_money(server, cluster, "money", processes, also, kills=16)


def restart(server: Postgres) -> None:
    """SIGKILL a database server, and start it again."""
    server.kill()
    server.start()


def move_money(
    server: Postgres,
    cluster: ClusterSettings,
    namespace: str,
    processes: Processes,
    also: Mapping[int, Callable[[], None]],
    *,
    kills: int,
) -> None:
    """Transfer, kill one or two processes after each 40 payments, and do what else is to be done; compare the books."""
    draw = random.Random(3)
    first, second = open_books(server)
    pipeline, _, _ = declare(namespace, second)
    create(pipeline, cluster)
    words = (cluster.bootstrap_servers, namespace, first, second)
    parts = ["bank", "bank", "relay", "relay", "worker", "worker"]
    alive = [processes.start("money", part, *words) for part in parts]
    for kill in range(kills):
        enough = count(second, PAID) + 40
        wait_until(lambda enough=enough: count(second, PAID) > enough, DEADLINE_S, f"payments before kill {kill}")  # type: ignore[misc]  # bound at once
        for at in {draw.randrange(6), kill % 6}:
            alive[at].kill()
            alive[at] = processes.start("money", parts[at], *words)
        also.get(kill, lambda: None)()
    for at in range(2):  # no more transfers
        alive[at].kill()
        alive[at].wait(10)
    wait_until(lambda: count(first, EMPTY) == 0, DEADLINE_S, "the outbox to be empty")
    wait_until(lambda: balance(first) + balance(second) == ACCOUNTS * CENTS, BALANCED_S, "the books to balance")
    assert balance(second) > 0
    (row,) = query(second, "SELECT sum(cents) FROM payments")
    assert row[0] == balance(second)


def open_books(server: Postgres) -> tuple[str, str]:
    """All money is in the first database."""
    urls = server.create_database(), server.create_database()
    create_outbox(urls[0])
    create_inbox(urls[1])
    for url, cents in zip(urls, (CENTS, 0), strict=True):
        with psycopg.connect(url) as connection:
            connection.execute("CREATE TABLE accounts (name text PRIMARY KEY, cents bigint NOT NULL)")
            connection.execute("CREATE TABLE payments (account text, cents bigint)")
            for number in range(ACCOUNTS):
                connection.execute("INSERT INTO accounts VALUES (%s, %s)", (f"a{number}", cents))
    return urls


def count(url: str, sql: str) -> int:
    """A number, as soon as the server answers."""
    while True:
        try:
            return int(query(url, sql)[0][0])
        except psycopg.OperationalError:
            continue


def balance(url: str) -> int:
    """What a book holds."""
    return count(url, "SELECT sum(cents) FROM accounts")
