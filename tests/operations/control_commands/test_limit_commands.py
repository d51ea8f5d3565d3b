"""`stoker limits`, `stoker control limit` and `unlimit`: what people and programs see, with and without workers."""

from __future__ import annotations

import json
import socket
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from stoker.consumers.control import control_thread
from stoker.producers import Producer
from stoker.topology import ClusterSettings, Rate
from support.scenes.shop_application import Shop, open_shop
from support.scenes.worker import Journal, create, running_worker
from support.waiting import wait_until

HOUR = timedelta(hours=1)
IN_TIME = ("--wait", "--timeout", "60s")


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cluster: ClusterSettings, namespace: str) -> Shop:
    """An application whose topics exist, with a limit that lets few jobs begin; ann is at the terminal."""
    monkeypatch.setenv("STOKER_OPERATOR", "ann")
    opened = open_shop(tmp_path, monkeypatch, namespace, cluster)
    pipeline = opened.pipeline

    def greet(name: str) -> None:
        """Note who was greeted."""
        journal.note(name)

    journal = opened.journal = Journal()  # type: ignore[attr-defined]  # of this test alone
    pipeline.job(pipeline.queues["mails"], limits=[Rate(2, per=HOUR, resource="smtp")])(greet)
    create(pipeline, cluster)
    return opened


def smtp(shop: Shop) -> dict[str, Any]:
    """The limit, as programs see it."""
    (found,) = json.loads(shop.stoker("limits", "--json").stdout)["limits"]
    assert isinstance(found, dict)
    return found


def used_and_held(shop: Shop) -> tuple[int, int] | None:
    """As programs see it; None before a worker has reported it."""
    found = smtp(shop)
    return (found["scopes"][0]["used"], found["held"]) if found["scopes"] else None


def test_a_limit_is_changed_lifted_and_let_be_at_the_terminal(
    shop: Shop, cluster: ClusterSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Jobs that wait go on by each order; a worker that starts later holds to the last one."""
    monkeypatch.setattr(control_thread, "STATUS_INTERVAL_S", 0.5)
    assert "resource smtp  2/1h      -        ?        ?  -" in shop.stoker("limits").output
    assert "no worker runs, so what is used and what waits is not known" in shop.stoker("limits").output
    journal: Journal = shop.journal  # type: ignore[attr-defined]  # as above
    greet = shop.pipeline.job_types["greet"]
    with Producer(shop.pipeline, cluster) as producer:
        producer.enqueue_many(greet.call(f"{number}") for number in range(6))
        with running_worker(shop.pipeline, cluster):
            journal.wait(2)
            wait_until(lambda: used_and_held(shop) == (2, 4), what="the report")
            wait_until(lambda: 3_000 < (smtp(shop)["scopes"][0]["next_in_s"] or 0) < 3_700, what="when the next begins")
            given = shop.stoker("control", "limit", "smtp.rate", "--count", "3", "--reason", "slow", "--json", *IN_TIME)
            order = json.loads(given.stdout)
            assert (order["target"], order["taken_by_all"]) == ({"limit": "smtp.rate"}, True)
            assert order["change"] == {"count": 3, "per_s": None, "burst": None, "is_lifted": False}
            journal.wait(3)
            wait_until(lambda: used_and_held(shop) == (3, 3), what="the report")
            table = shop.stoker("limits", "--queue", "mails").output
            assert "resource smtp  2/1h      3/1h     3 of 3     3  " in table
            assert f" ago by ann@{socket.gethostname()}: slow" in table
            assert "limit smtp.rate to count 3 " in shop.stoker("control", "list").output
            lifted = shop.stoker("control", "limit", "smtp.rate", "--lift", "--until", "2h", *IN_TIME)
            assert "ordered: limit smtp.rate (lifted) until" in lifted.output
            assert "taken by the one worker that runs" in lifted.output
            journal.wait(6)
            wait_until(lambda: smtp(shop)["held"] == 0, what="the report")
            assert (smtp(shop)["is_lifted"], smtp(shop)["in_force"]) == (True, None)
        producer.enqueue_many(greet.call(f"{number}") for number in range(6, 12))
        with running_worker(shop.pipeline, cluster):
            journal.wait(12)
    given = shop.stoker("control", "unlimit", "smtp.rate")
    assert "lifts nothing" not in given.output
    assert "no order stands" in shop.stoker("control", "list").output
    assert "lifts nothing" in shop.stoker("control", "unlimit", "smtp.rate").output


@pytest.mark.parametrize(
    ("arguments", "answer"),
    [
        (("limit", "smtp.rate"), "name what is to change: a count, per or burst, or lift the limit"),
        (("limit", "smtp.rate", "--lift", "--count", "3"), "a lifted limit has no count, per or burst"),
        (("limit", "smtp.rate", "--burst", "3"), "smtp.rate: Rate(2/1h) is a window: it is declared without burst="),
        (("limit", "smtp.rate", "--per", "2d"), "per must be from"),
        (("limit", "nope", "--lift"), "the pipeline has no limit 'nope'; there is: smtp.rate"),
        (("unlimit", "smtp.rat"), "did you mean smtp.rate?"),
    ],
)
def test_an_order_about_no_limit_is_refused(shop: Shop, arguments: tuple[str, ...], answer: str) -> None:
    """With the way out; nothing is ordered."""
    assert answer in shop.refuse("control", *arguments)


def test_where_no_limit_is_declared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cluster: ClusterSettings, namespace: str
) -> None:
    """The command says how one is declared."""
    opened = open_shop(tmp_path, monkeypatch, namespace, cluster)
    assert "declares no such limit: limits= of a queue or a job type does" in opened.stoker("limits").output
    assert json.loads(opened.stoker("limits", "--json").stdout) == {"workers": 0, "limits": []}
    assert "the pipeline has no queue 'nope'" in opened.stoker("limits", "--queue", "nope").output
