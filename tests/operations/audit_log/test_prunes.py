"""`stoker inbox prune` and `stoker outbox prune` on the audit trail: who has deleted which rows, and when."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from stoker.operations.inbox import create_inbox
from stoker.operations.outbox import create_outbox, open_outbox
from stoker.topology import ClusterSettings
from support.kafka.configs import change_configs
from support.scenes.shop_application import Shop, open_shop

OLD = "2013-01-01T00:00:00.000Z"


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cluster: ClusterSettings, namespace: str) -> Shop:
    """An application whose topics exist; ann is at the terminal."""
    monkeypatch.setenv("STOKER_OPERATOR", "ann")
    return open_shop(tmp_path, monkeypatch, namespace, cluster)


@pytest.fixture
def url(shop: Shop) -> str:
    """A database with an inbox of two old jobs, and an outbox of three rows of which two have failed."""
    path = shop.folder / "database"
    url = f"sqlite:///{path}"
    create_inbox(url)
    create_outbox(url)
    with closing(sqlite3.connect(path)) as connection:
        for job in ("j1", "j2"):
            connection.execute(f"INSERT INTO stoker_inbox (queue, job, done_at) VALUES ('a.b', '{job}', '{OLD}')")
        for job in ("a1", "b1", "c1"):
            connection.execute(
                "INSERT INTO stoker_outbox (job_id, job_type, topic, key, headers, value) "
                f"VALUES ('{job}', 'send_mail', 'shop.mails', '{job}', '{{}}', 'x')"
            )
        connection.commit()
    with open_outbox(url) as outbox:
        outbox.set_failed([1, 2], "too large")
    return url


def prunes(shop: Shop, *options: str) -> list[dict[str, Any]]:
    """The actions, the oldest first."""
    shown = shop.stoker("audit-log", "--json", "--action", "prune", *options)
    assert shown.exit_code == 0, shown.output
    return [json.loads(line) for line in shown.stdout.splitlines()][::-1]


def test_prunes_are_on_the_trail_with_the_jobs_that_are_lost(shop: Shop, url: str) -> None:
    """Who, why, how many rows of which table, and the jobs that will never run; a count alone is no action."""
    assert shop.stoker("outbox", "prune", "--url", url, "--older-than", "0s", "--dry-run").exit_code == 0
    outbox = shop.stoker("outbox", "prune", "--url", url, "--older-than", "0s", "--reason", "too large for ever")
    assert "2 rows deleted" in outbox.output
    assert shop.stoker("inbox", "prune", "--url", url, "--older-than", "30d").exit_code == 0
    first, second = prunes(shop)
    assert (first["action"], first["outcome"], first["operator"]) == ("outbox-pruned", "ended", "ann")
    assert (first["about"], first["reason"]) == ("2 rows of stoker_outbox", "too large for ever")
    assert first["before"] == dict.fromkeys(("a1", "b1"), "send_mail to shop.mails: too large")
    assert (second["action"], second["about"], second["detail"]["done"]) == (
        *("inbox-pruned", "2 rows of stoker_inbox", "2"),
    )
    assert [one["id"] for one in prunes(shop, "--job", "b1")] == [first["id"]]


def test_nothing_is_pruned_where_the_trail_cannot_be_written(shop: Shop, url: str, cluster: ClusterSettings) -> None:
    """An audit topic that takes no record: the rows stay; `--without-audit` deletes them all the same."""
    change_configs(cluster, {shop.pipeline.audit_topic: {"max.message.bytes": "10"}})
    words = ("outbox", "prune", "--url", url, "--older-than", "0s")
    refused = shop.stoker(*words)
    assert refused.exit_code == 1
    assert "--without-audit" in refused.output
    assert "2 rows deleted" in shop.stoker(*words, "--without-audit").output


def test_a_prune_that_fails_is_on_the_trail(shop: Shop, url: str) -> None:
    """The database refuses: the entry has how many rows are gone, and that it has failed."""
    with closing(sqlite3.connect(shop.folder / "database")) as connection:
        connection.execute("CREATE TRIGGER keep BEFORE DELETE ON stoker_inbox BEGIN SELECT RAISE(ABORT, 'no'); END")
        connection.commit()
    assert shop.stoker("inbox", "prune", "--url", url, "--older-than", "30d").exit_code == 1
    (action,) = prunes(shop)
    assert (action["outcome"], action["detail"]["rows"], action["detail"]["done"]) == ("failed", "2", "0")


def test_a_prune_needs_no_brokers(shop: Shop, url: str) -> None:
    """Without a cluster it works, and a note says that the trail has nothing of it."""
    shop.environment["STOKER_BOOTSTRAP_SERVERS"] = None
    done = shop.stoker("outbox", "prune", "--url", url, "--older-than", "0s")
    assert (done.exit_code, "not on the audit trail" in done.stderr) == (0, True)
