"""The relay: what is committed is published, in the order in which the transactions of a key committed (P16)."""

from __future__ import annotations

import random
import sqlite3
import time
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from datetime import datetime, timedelta, tzinfo
from pathlib import Path
from typing import Any

import psycopg
import pytest
from confluent_kafka import Message

from stoker.databases.outbox import postgresql, queries
from stoker.operations.outbox import open_outbox, outbox_status
from stoker.producers.outbox import Outbox, OutboxRelay, OutboxTableMissing, relay, row_reading
from stoker.topology import ClusterSettings
from stoker.topology.cluster.admin import Administration
from stoker.topology.declaration.topics import declared_topics
from support.kafka.configs import change_configs
from support.scenes.outboxes import make_database, make_sqlite, query
from support.scenes.postgres import Postgres
from support.scenes.shop import Shop, declare_shop, headers_of, read_all
from support.waiting import wait_until

DEADLINE_S = 60.0
RowsOf = Callable[[], int]


@pytest.fixture
def url(postgres: Postgres) -> str:
    """A PostgreSQL database with an outbox."""
    return make_database(postgres.create_database())


@pytest.fixture
def outbox(shop: Shop) -> Outbox:
    """The shop's outbox."""
    return Outbox(shop.pipeline, source="/tests")


@pytest.fixture
def relaying(shop: Shop, cluster: ClusterSettings, url: str) -> Iterator[OutboxRelay]:
    """A relay that works."""
    with OutboxRelay(shop.pipeline, url, cluster) as started:
        yield started


def wait_empty(url: str) -> None:
    """Wait until all rows are published and deleted."""
    sql = "SELECT count(*) FROM stoker_outbox"
    wait_until(lambda: query(url, sql) == [(0,)], DEADLINE_S, "the outbox to be empty")


def ids_by_key(messages: list[Message]) -> dict[bytes, list[str]]:
    """{key: the ids of its jobs, in the order of their partition}."""
    found = defaultdict[bytes, list[str]](list)
    for message in messages:
        key = message.key()
        found[key if isinstance(key, bytes) else b""].append(headers_of(message)["ce_id"].decode())
    return dict(found)


@pytest.mark.parametrize("kind", ["postgresql", "sqlite"])
def test_what_is_committed_is_published_in_order_and_deleted(
    outbox: Outbox, shop: Shop, cluster: ClusterSettings, kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """2,500 jobs of 50 keys; each is published as the producer itself would have."""
    url = make_sqlite(tmp_path) if kind == "sqlite" else request.getfixturevalue("url")
    calls = (shop.charge.with_options(job_id=f"{n:04}").call(f"k{n % 50}", n) for n in range(2_500))
    with ExitStack() as stack:
        connection: Any = (
            stack.enter_context(closing(sqlite3.connect(url.removeprefix("sqlite:///"))))
            if kind == "sqlite"
            else stack.enter_context(psycopg.connect(url))
        )
        assert outbox.enqueue_many(connection, calls) == 2_500
        connection.commit()
    with OutboxRelay(shop.pipeline, url, cluster) as started:
        wait_empty(url)
        wait_until(lambda: started.published == 2_500, DEADLINE_S)
    messages = read_all(cluster, shop.mails)
    assert len(messages) == 2_500
    by_key = ids_by_key(messages)
    assert len(by_key) == 50
    assert all(ids == sorted(ids) for ids in by_key.values())
    assert headers_of(messages[0])["ce_source"] == b"/tests"


@pytest.mark.parametrize("encoding", ["SQL_ASCII", "LATIN1"])
def test_the_database_may_have_any_encoding(
    outbox: Outbox, shop: Shop, cluster: ClusterSettings, postgres: Postgres, encoding: str
) -> None:
    """Also none: psycopg gives bytes for the text of such a database, which no relay could publish."""
    url = make_database(postgres.create_database(encoding))
    with psycopg.connect(url) as connection:
        outbox.enqueue(connection, shop.charge.with_options(job_id="j1"), "ada", 1)
    with OutboxRelay(shop.pipeline, url, cluster):
        wait_empty(url)
    assert ids_by_key(read_all(cluster, shop.mails)) == {b"ada": ["j1"]}


def test_a_transaction_that_commits_late_is_not_passed_over(
    outbox: Outbox, shop: Shop, cluster: ClusterSettings, url: str, relaying: OutboxRelay
) -> None:
    """Its row has the lowest id, and becomes visible after all others are published; of its key, the order is so."""
    with psycopg.connect(url) as late, psycopg.connect(url) as soon:
        outbox.enqueue(late, shop.charge.with_options(job_id="late"), "ada", 1)
        for number in range(20):
            outbox.enqueue(soon, shop.charge.with_options(job_id=f"soon {number}".replace(" ", "-")), "ada", number)
            soon.commit()
        wait_until(lambda: relaying.published == 20, DEADLINE_S, "what was committed to be published")
        late.commit()
        wait_empty(url)
    assert ids_by_key(read_all(cluster, shop.mails)) == {b"ada": [*(f"soon-{n}" for n in range(20)), "late"]}


def test_transactions_that_commit_in_any_order_are_all_published(
    outbox: Outbox, shop: Shop, cluster: ClusterSettings, url: str, relaying: OutboxRelay
) -> None:
    """60 open transactions end in reverse order; some are rolled back, some to a savepoint."""
    draw = random.Random(7)
    kept: list[str] = []
    with ExitStack() as stack:
        connections = [stack.enter_context(psycopg.connect(url)) for _ in range(60)]
        for number, connection in enumerate(connections):
            outbox.enqueue(connection, shop.charge.with_options(job_id=f"a{number}"), f"k{number % 7}", 1)
            connection.execute("SAVEPOINT s")
            outbox.enqueue(connection, shop.charge.with_options(job_id=f"b{number}"), f"k{number % 7}", 1)
        for number, connection in reversed(list(enumerate(connections))):
            fate = draw.choice(["commit", "rollback", "savepoint"])
            if fate == "savepoint":
                connection.execute("ROLLBACK TO SAVEPOINT s")
            connection.rollback() if fate == "rollback" else connection.commit()
            kept += {"commit": [f"a{number}", f"b{number}"], "savepoint": [f"a{number}"], "rollback": []}[fate]
    wait_empty(url)
    found = [job for ids in ids_by_key(read_all(cluster, shop.mails)).values() for job in ids]
    assert sorted(found) == sorted(kept)


INSERT = (
    "INSERT INTO stoker_outbox (job_id, job_type, topic, key, headers, value) "
    "VALUES (%s, 'charge', %s, %s, json_build_object('ce_id', %s::text, 'ce_type', 'charge'), %s)"
)
SLEEPING = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND classid = 1398034252"


def put(url: str, topic: str, job_id: str, key: str, size: int = 10) -> None:
    """A row as another language would write it; its value does not compress."""
    with psycopg.connect(url) as connection:
        connection.execute(INSERT, (job_id, topic, key.encode(), job_id, random.Random(1).randbytes(size)))


def test_a_row_with_the_id_of_a_lost_one_is_published(shop: Shop, cluster: ClusterSettings, url: str) -> None:
    """A replica that is promoted gives the ids again of rows that it had not received, and that are published."""
    started = OutboxRelay(shop.pipeline, url, cluster)
    started._flight.confirmed[1] = "lost"
    started._lose_table(psycopg.OperationalError("the primary is gone"))
    put(url, shop.mails.topic, "new", "ada")
    assert query(url, "SELECT id FROM stoker_outbox") == [(1,)]
    with started:
        wait_empty(url)
    assert ids_by_key(read_all(cluster, shop.mails)) == {b"ada": ["new"]}


@pytest.mark.expected_errors("rows have failed")
def test_a_row_that_is_too_large_holds_up_its_own_key_alone(
    shop: Shop, cluster: ClusterSettings, url: str, relaying: OutboxRelay
) -> None:
    """The rows of its key wait behind it, all others pass; once it is pruned, they go on in order."""
    topic = shop.mails.topic
    put(url, topic, "a0", "ada")
    put(url, topic, "a1", "ada", 3_000_000)
    for number in range(2, 6):
        put(url, topic, f"a{number}", "ada")
        put(url, topic, f"b{number}", "bob")
    wait_until(lambda: outbox_status(url).behind == 4 and outbox_status(url).waiting == 0, DEADLINE_S, "the rest")
    status = outbox_status(url)
    assert (status.failed, status.first_failed[0].job_id, status.first_failed[0].tries) == (1, "a1", 1)
    assert "too large" in status.first_failed[0].reason
    assert ids_by_key(read_all(cluster, shop.mails)) == {b"ada": ["a0"], b"bob": ["b2", "b3", "b4", "b5"]}
    put(url, topic, "a6", "ada")
    with open_outbox(url) as opened:
        assert opened.prune_failed(status.first_failed[0].since.replace(year=2100)) == 1
    wait_empty(url)
    assert ids_by_key(read_all(cluster, shop.mails))[b"ada"] == ["a0", "a2", "a3", "a4", "a5", "a6"]


@pytest.mark.expected_errors("rows have failed")
@pytest.mark.parametrize("headers", ["[]", '"x"', '{"ce_id": 1}', '{"ce_id": null}', r'{"\ud800": "x"}'])
def test_a_row_that_is_no_record_fails(
    shop: Shop, cluster: ClusterSettings, url: str, relaying: OutboxRelay, headers: str
) -> None:
    """Another program's mistake stops nothing but its key."""
    put(url, shop.mails.topic, "good", "bob")
    with psycopg.connect(url) as connection:
        connection.execute(
            "INSERT INTO stoker_outbox (job_id, job_type, topic, key, headers, value) VALUES "
            "('bad', 'charge', %s, 'ada', %s, 'x')",
            (shop.mails.topic, headers),
        )
    put(url, shop.mails.topic, "behind", "ada")
    put(url, shop.mails.topic, "good", "bob")
    wait_until(lambda: outbox_status(url).behind == 1 and outbox_status(url).waiting == 0, DEADLINE_S, "the rest")
    status = outbox_status(url)
    assert (status.failed, status.first_failed[0].job_id) == (1, "bad")
    assert "JSON object of texts" in status.first_failed[0].reason
    assert ids_by_key(read_all(cluster, shop.mails)) == {b"bob": ["good", "good"]}


@pytest.mark.expected_errors("rows have failed")
def test_a_row_with_a_nul_in_its_topic_fails(shop: Shop, cluster: ClusterSettings, tmp_path: Path) -> None:
    """Only SQLite takes such a text: the row has failed, and the relay publishes the next one."""
    url = make_sqlite(tmp_path)
    insert = (
        "INSERT INTO stoker_outbox (job_id, job_type, topic, key, headers, value) VALUES (?, 'charge', ?, ?, '{}', ?)"
    )
    with closing(sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None)) as connection:
        connection.execute(insert, ("bad", "a\0b", b"ada", b"x"))
        connection.execute(insert, ("good", shop.mails.topic, b"bob", b"x"))
    with OutboxRelay(shop.pipeline, url, cluster) as relay:
        wait_until(lambda: relay.published == 1, DEADLINE_S, "the row behind it")
        wait_until(lambda: outbox_status(url).failed == 1, DEADLINE_S, "the row to have failed")
    assert "is no name of a topic" in outbox_status(url).first_failed[0].reason


@pytest.mark.expected_errors("rows have failed")
@pytest.mark.parametrize(
    ("column", "value", "failed"),
    [
        ("topic", "CAST('{topic}' AS BLOB)", 0),
        ("key", "'ada'", 0),
        ("value", "17", 0),
        ("job_id", "CAST(x'ff' AS TEXT)", 0),
        ("headers", "CAST(x'7b22ff227d' AS TEXT)", 1),
        ("headers", "replace(hex(zeroblob(5000)), '0', '[')", 1),
        ("partition_key", "17", 0),
    ],
)
def test_a_value_of_another_type_stops_no_other_row(
    shop: Shop, cluster: ClusterSettings, tmp_path: Path, column: str, value: str, failed: int
) -> None:
    """SQLite keeps any value in any column, and another program may write it: the row is published, or has failed."""
    topic, url = shop.mails.topic, make_sqlite(tmp_path)
    row = {"job_id": "'odd'", "job_type": "'charge'", "topic": f"'{topic}'", "headers": "'{}'", "value": "x'01'"}
    with closing(sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None)) as connection:
        for written in ({**row, column: value.format(topic=topic)}, row):
            names, values = ", ".join(written), ", ".join(written.values())
            connection.execute(f"INSERT INTO stoker_outbox ({names}) VALUES ({values})")
    with OutboxRelay(shop.pipeline, url, cluster) as started:
        wait_until(lambda: started.published == 2 - failed, DEADLINE_S, "the row behind it")
        wait_until(lambda: outbox_status(url).failed == failed, DEADLINE_S, "the row to have failed")


@pytest.mark.expected_errors("rows have failed")
@pytest.mark.parametrize("topic", ["", "a b", "x" * 300, "über"])
def test_a_row_fails_whose_topic_no_broker_can_have(
    shop: Shop, cluster: ClusterSettings, url: str, relaying: OutboxRelay, topic: str
) -> None:
    """Also where it is asked how many partitions that topic has; the rows behind it pass."""
    insert = (
        "INSERT INTO stoker_outbox (job_id, job_type, topic, partition_key, headers, value) "
        "VALUES ('bad', 'charge', %s, 'ada', '{}', 'x')"
    )
    with psycopg.connect(url) as connection:
        connection.execute(insert, (topic,))
    put(url, shop.mails.topic, "good", "bob")
    wait_until(lambda: outbox_status(url).failed == 1 and outbox_status(url).waiting == 0, DEADLINE_S, "the rest")
    assert ids_by_key(read_all(cluster, shop.mails)) == {b"bob": ["good"]}


@pytest.mark.expected_errors("rows have failed")
def test_rows_of_a_topic_that_is_gone_fail_until_it_is_there(
    shop: Shop, cluster: ClusterSettings, url: str, relaying: OutboxRelay, namespace: str
) -> None:
    """Other topics' rows pass; a retry publishes them, in order, when the topic has been created."""
    later = declare_shop(f"{namespace}x")
    for number in range(30):
        put(url, later.mails.topic, f"x{number:02}", f"k{number % 3}")
    put(url, shop.mails.topic, "here", "ada")
    wait_until(lambda: outbox_status(url).waiting == 0, DEADLINE_S, "all rows to be judged")
    status = outbox_status(url)
    assert (status.failed, status.behind) == (3, 27)
    assert "topology apply" in status.first_failed[0].reason
    assert ids_by_key(read_all(cluster, shop.mails)) == {b"ada": ["here"]}
    assert not Administration(cluster).create(declared_topics(later.pipeline))
    relaying._flight._bad.clear()  # as after ten seconds
    with open_outbox(url) as opened:
        wait_until(lambda: opened.retry() == 0, DEADLINE_S, "the topic to be written")
    wait_empty(url)
    by_key = ids_by_key(read_all(cluster, later.mails))
    assert sum(map(len, by_key.values())) == 30
    assert all(ids == sorted(ids) for ids in by_key.values())


@pytest.mark.expected_errors("rows have failed")
def test_a_batch_that_is_refused_in_the_middle_lets_no_row_of_a_key_pass(
    shop: Shop, cluster: ClusterSettings, url: str, relaying: OutboxRelay
) -> None:
    """Every hundredth row is above the topic's limit, and so are whole batches; all are on their way at once."""
    change_configs(cluster, {shop.mails.topic: {"max.message.bytes": "50000"}})
    bad = {f"{number:03}" for number in range(50, 400, 100)}
    with psycopg.connect(url) as connection:
        for number in range(400):
            job = f"{number:03}"
            value = random.Random(1).randbytes(100_000 if job in bad else 2_000)
            connection.execute(INSERT, (job, shop.mails.topic, b"k%d" % (number % 4), job, value))
    wait_until(lambda: outbox_status(url).waiting == 0 and outbox_status(url).failed, DEADLINE_S, "all to be judged")
    by_key = ids_by_key(read_all(cluster, shop.mails))
    for key, ids in by_key.items():
        first_bad = min((job for job in bad if int(job) % 4 == int(key[1:])), default="999")
        first = list(dict.fromkeys(ids))  # a batch of another partition may repeat, when the client gives up amid it
        assert first == sorted(first), "an order"
        assert all(job < first_bad for job in ids)
    status = outbox_status(url)
    assert {row.job_id for row in status.first_failed} <= bad, "no row is blamed for its batch"
    assert sum(len(set(ids)) for ids in by_key.values()) + status.behind + status.failed == 400


def test_a_relay_that_was_closed_may_be_started_again(shop: Shop, cluster: ClusterSettings, url: str) -> None:
    """As an application does whose lifespan begins twice."""
    started = OutboxRelay(shop.pipeline, url, cluster)
    for number in range(2):
        put(url, shop.mails.topic, f"j{number}", "ada")
        with started:
            wait_empty(url)
    assert ids_by_key(read_all(cluster, shop.mails)) == {b"ada": ["j0", "j1"]}


def test_of_two_relays_one_works_and_the_other_takes_over(
    outbox: Outbox, shop: Shop, cluster: ClusterSettings, url: str, relaying: OutboxRelay
) -> None:
    """At the end of the first one."""
    wait_until(lambda: relaying.is_leading, DEADLINE_S)
    with OutboxRelay(shop.pipeline, url, cluster) as second, psycopg.connect(url) as connection:
        outbox.enqueue(connection, shop.charge, "ada", 1)
        connection.commit()
        wait_until(lambda: relaying.published == 1, DEADLINE_S)
        assert not second.is_leading
        relaying.close()
        outbox.enqueue(connection, shop.charge, "ada", 2)
        connection.commit()
        wait_until(lambda: second.published == 1, DEADLINE_S, "the second relay to publish")
    assert len(read_all(cluster, shop.mails)) == 2


@pytest.mark.parametrize(("beat", "leads"), [("-1 hour", True), ("-1 second", False), ("+1 hour", True)])
def test_a_lease_ends_whatever_the_clock_does(tmp_path: Path, beat: str, leads: bool) -> None:
    """Its holder was killed, and the clock was set back meanwhile: the next relay does not wait for that hour."""
    url = make_sqlite(tmp_path)
    with open_outbox(url) as opened:
        assert opened.take_lead("killed")
    with closing(sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None)) as connection:
        connection.execute("UPDATE stoker_outbox_relay SET beat_at = strftime('%Y-%m-%dT%H:%M:%fZ', 'now', ?)", (beat,))
    with open_outbox(url) as opened:
        assert opened.take_lead("next") is leads


def test_a_relay_that_sleeps_is_woken_by_the_commit(
    outbox: Outbox, shop: Shop, url: str, cluster: ClusterSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It does not have to look by itself."""
    monkeypatch.setattr(postgresql, "SLEEP_S", 60.0)
    monkeypatch.setattr(postgresql, "AWAKE_S", 0.0)
    monkeypatch.setattr(relay, "BEAT_S", 60.0)
    with OutboxRelay(shop.pipeline, url, cluster) as started, psycopg.connect(url) as connection:
        for number in range(1, 4):
            wait_until(lambda: query(url, SLEEPING) == [(1,)], DEADLINE_S, "the relay to sleep")
            outbox.enqueue(connection, shop.charge, "ada", number)
            connection.commit()
            wait_until(lambda number=number: started.published == number, DEADLINE_S, "the row")  # type: ignore[misc]  # bound at once
        wait_until(lambda: query(url, SLEEPING) == [(1,)], DEADLINE_S, "the relay to sleep")
        started.stop()
        outbox.enqueue(connection, shop.charge, "ada", 4)
        connection.commit()


class LateClock(datetime):
    """The clock of a machine that is an hour behind."""

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> LateClock:
        """An hour ago."""
        return cls.fromtimestamp(time.time() - 3_600, tz)


@pytest.mark.parametrize("kind", ["postgresql", "sqlite"])
def test_a_failed_row_rests_by_the_clock_of_its_database(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That clock notes when it has failed; a relay whose own is an hour behind would let it rest an hour longer."""
    url = make_sqlite(tmp_path) if kind == "sqlite" else request.getfixturevalue("url")
    insert = (
        "INSERT INTO stoker_outbox (job_id, job_type, topic, headers, value) VALUES ('j1', 'charge', 't', '{}', 'x')"
    )
    monkeypatch.setattr(queries, "datetime", LateClock)
    with open_outbox(url) as opened:
        assert isinstance(opened, queries.SqlOutbox)
        opened._run(insert)
        opened.set_failed([1], "too large")
        assert opened.read_failed(10, timedelta(minutes=1), []) == []
        wait_until(lambda: opened.read_failed(10, timedelta(0), []), DEADLINE_S, "the row, a millisecond later")


@pytest.mark.parametrize(("option", "silence_ms"), [("", "20000"), ("?tcp_user_timeout=5000", "5000")])
def test_a_server_whose_machine_vanishes_counts_as_lost(url: str, option: str, silence_ms: str) -> None:
    """After 20 s, or what the URL says: else Linux waits a quarter of an hour for it, and the relay as well."""
    with open_outbox(url + option) as opened:
        assert isinstance(opened, postgresql.PostgresqlOutbox)
        options = opened._connection.info.get_parameters()
    assert (options["tcp_user_timeout"], options["keepalives_idle"]) == (silence_ms, "10")


def test_a_burst_of_notifications_wakes_the_relay_once(url: str) -> None:
    """Of each that was kept it would look for rows a second long, and those of later bursts would pile up."""
    with open_outbox(url) as opened, psycopg.connect(url, autocommit=True) as writer:
        assert isinstance(opened, postgresql.PostgresqlOutbox)
        opened.prepare()
        assert opened.take_lead("it")
        for _ in range(3):
            writer.execute("NOTIFY stoker_outbox")
            opened.backlog()  # psycopg keeps what it receives amid a statement
        assert opened._is_notified(DEADLINE_S)
        assert not opened._is_notified(0.0)


def test_transactions_that_overlap_keep_the_order_of_their_commits(
    outbox: Outbox, shop: Shop, cluster: ClusterSettings, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each holds two rows of a key, and all wait when the relay begins, which reads three at a time."""
    monkeypatch.setattr(row_reading, "READ_ROWS", 3)
    kept: dict[bytes, list[str]] = {b"ada": [], b"bob": []}
    draw = random.Random(11)
    with ExitStack() as stack:
        connections = [stack.enter_context(psycopg.connect(url)) for _ in range(12)]
        for part in "ab":
            for number, connection in enumerate(connections):
                level = psycopg.IsolationLevel(1 + number % 4)  # from READ UNCOMMITTED to SERIALIZABLE
                if part == "a":
                    connection.set_isolation_level(level)
                key = ("ada", "bob")[number % 2]
                outbox.enqueue(connection, shop.charge.with_options(job_id=f"{part}{number}"), key, 1)
        order = list(enumerate(connections))
        draw.shuffle(order)
        for number, connection in order:
            connection.commit()
            kept[(b"ada", b"bob")[number % 2]] += [f"a{number}", f"b{number}"]
    with OutboxRelay(shop.pipeline, url, cluster):
        wait_empty(url)
    assert ids_by_key(read_all(cluster, shop.mails)) == kept


def test_a_writer_needs_no_right_but_to_insert(outbox: Outbox, shop: Shop, url: str) -> None:
    """Also where its row moves behind those of a transaction that has committed meanwhile."""
    role = f"writer_{uuid.uuid4().hex[:10]}"  # roles are of the whole server
    with psycopg.connect(url) as owner:
        owner.execute(f"CREATE ROLE {role}; GRANT INSERT ON stoker_outbox TO {role}".encode())
    try:
        with psycopg.connect(url) as late, psycopg.connect(url) as soon:
            late.execute(f"SET ROLE {role}".encode())
            outbox.enqueue(late, shop.charge.with_options(job_id="late"), "ada", 1)
            outbox.enqueue(soon, shop.charge.with_options(job_id="soon"), "ada", 1)
            soon.commit()
        with open_outbox(url) as opened:
            assert [row.job_id for row in opened.read(10, [], [])] == ["soon", "late"]
    finally:
        with psycopg.connect(url) as owner:
            owner.execute(f"DROP OWNED BY {role}; DROP ROLE {role}".encode())


def test_on_sqlite_transactions_that_enqueue_do_not_overlap(outbox: Outbox, shop: Shop, tmp_path: Path) -> None:
    """The second one waits for the first one's end, so that ids ascend in the order of the commits."""
    path = make_sqlite(tmp_path).removeprefix("sqlite:///")
    with closing(sqlite3.connect(path, timeout=0)) as first, closing(sqlite3.connect(path, timeout=0)) as second:
        outbox.enqueue(first, shop.charge, "ada", 1)
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            outbox.enqueue(second, shop.charge, "ada", 2)
        first.commit()
        outbox.enqueue(second, shop.charge, "ada", 2)


def test_the_relay_gives_the_space_of_a_large_table_back(
    outbox: Outbox, shop: Shop, cluster: ClusterSettings, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When it has nothing to do, as after an outage."""
    monkeypatch.setattr(postgresql, "SMALL_BYTES", 50_000)
    monkeypatch.setattr(postgresql, "SHRINK_EVERY_S", 0.5)
    monkeypatch.setattr(postgresql, "AWAKE_S", 0.1)
    size = "SELECT pg_relation_size('stoker_outbox') < 50000"
    with psycopg.connect(url) as connection:
        outbox.enqueue_many(connection, (shop.charge.call("ada", number) for number in range(1_000)))
    assert query(url, size) == [(False,)]
    with OutboxRelay(shop.pipeline, url, cluster):
        wait_until(lambda: query(url, size) == [(True,)], DEADLINE_S, "the table to be small")


def test_the_relay_vacuums_its_table(
    outbox: Outbox, shop: Shop, cluster: ClusterSettings, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Autovacuum looks once a minute, when hundreds of thousands of rows may have gone."""
    monkeypatch.setattr(postgresql, "VACUUM_EVERY", 100)
    with OutboxRelay(shop.pipeline, url, cluster), psycopg.connect(url) as connection:
        outbox.enqueue_many(connection, (shop.charge.call("ada", number) for number in range(200)))
        connection.commit()
        wait_empty(url)
        vacuumed = "SELECT vacuum_count > 0 FROM pg_stat_user_tables WHERE relname = 'stoker_outbox'"
        wait_until(lambda: query(url, vacuumed) == [(True,)], DEADLINE_S, "the vacuum")


def test_a_missing_table_is_an_error_at_the_start(shop: Shop, cluster: ClusterSettings, postgres: Postgres) -> None:
    """And is explained."""
    with pytest.raises(OutboxTableMissing, match="stoker outbox create"):
        OutboxRelay(shop.pipeline, postgres.create_database(), cluster).run()


@pytest.mark.expected_errors("outbox stoker_outbox: the relay failed, and begins anew")
def test_a_relay_that_fails_begins_anew(shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its thread has no caller that would see the error, and rows would wait for ever."""
    monkeypatch.setattr(relay, "_TABLE_S", 0.01)
    turns = 0

    def turn(_relay: OutboxRelay) -> None:
        nonlocal turns
        turns += 1
        raise ZeroDivisionError

    monkeypatch.setattr(OutboxRelay, "_turn", turn)
    nobody = ClusterSettings(bootstrap_servers="localhost:1")
    with OutboxRelay(shop.pipeline, make_sqlite(tmp_path), nobody) as started:
        wait_until(lambda: turns > 1, DEADLINE_S, "another turn")
    assert not started.is_leading
