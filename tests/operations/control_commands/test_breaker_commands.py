"""`stoker breakers`, `stoker control open` and `close`: what people and programs see, with and without workers."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

import pytest

from stoker.consumers.control import control_thread
from stoker.producers import Producer
from stoker.topology import Breaker, ClusterSettings, DeadGuard
from support.scenes.shop_application import Shop, open_shop
from support.scenes.worker import running_worker
from support.waiting import wait_until


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cluster: ClusterSettings, namespace: str) -> Shop:
    """An application whose topics exist, with a breaker and a guard; ann is at the terminal."""
    monkeypatch.setenv("STOKER_OPERATOR", "ann")
    opened = open_shop(tmp_path, monkeypatch, namespace, cluster)
    pipeline = opened.pipeline

    def greet(name: str) -> None:
        """Nothing."""

    guard = DeadGuard(9, within=timedelta(minutes=1))
    pipeline.job(pipeline.queues["mails"], breaker=Breaker(), needs=["smtp"], dead_guard=guard)(greet)
    return opened


def breakers(shop: Shop) -> dict[str, dict[str, object]]:
    """{name: breaker}, as programs see them."""
    found = json.loads(shop.stoker("breakers", "--json").stdout)
    return {one["name"]: one for one in found["breakers"]}


def test_a_breaker_is_opened_and_closed_at_the_terminal(
    shop: Shop, cluster: ClusterSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With who, since when, why, and how many jobs wait."""
    monkeypatch.setattr(control_thread, "STATUS_INTERVAL_S", 0.5)
    table = shop.stoker("breakers").output
    assert "dependency smtp  closed" in table
    assert "type greet       closed" in table
    assert "type greet  more than 9 dead letters in 1m  watches" in table
    assert breakers(shop)["dependency/smtp"]["needed_by"] == ["greet"]
    ordered = shop.stoker("control", "open", "--dependency", "smtp", "--until", "2h", "--reason", "repair", "--json")
    assert json.loads(ordered.stdout)["target"] == {"dependency": "smtp"}
    smtp = breakers(shop)["dependency/smtp"]
    assert (smtp["state"], smtp["operator"], smtp["reason"], smtp["held"]) == ("open", "ann", "repair", None)
    with running_worker(shop.pipeline, cluster), Producer(shop.pipeline, cluster) as producer:
        producer.enqueue(shop.pipeline.job_types["greet"], "ada")
        wait_until(lambda: breakers(shop)["dependency/smtp"]["held"] == 1, what="the job to wait")
        assert "open dependency smtp until" in shop.stoker("control", "list").output
        closed = shop.stoker("control", "close", "--dependency", "smtp", "--wait", "--timeout", "60s")
        assert "taken by the one worker that runs" in closed.output
        wait_until(lambda: breakers(shop)["dependency/smtp"]["held"] == 0, what="the job to run")
    assert "lifts nothing" in shop.stoker("control", "close", "--type", "greet").output


@pytest.mark.parametrize(
    ("arguments", "answer"),
    [
        (("open",), "name one breaker: that of a job type, or of a dependency"),
        (("open", "--type", "greet", "--dependency", "smtp"), "name one breaker"),
        (("open", "--type", "send_mail"), "has no breaker: declare it with breaker=Breaker(), or pause the job type"),
        (("close", "--dependency", "smpt"), "did you mean smtp?"),
    ],
)
def test_an_order_about_no_breaker_is_refused(shop: Shop, arguments: tuple[str, ...], answer: str) -> None:
    """With the way out; nothing is ordered."""
    assert answer in shop.refuse("control", *arguments)


def test_where_no_breaker_is_declared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cluster: ClusterSettings, namespace: str
) -> None:
    """The command says how one is declared."""
    opened = open_shop(tmp_path, monkeypatch, namespace, cluster)
    assert "declares no breaker: breaker= or needs= of a job type does" in opened.stoker("breakers").output


def test_the_catalogue_shows_them(shop: Shop) -> None:
    """With the job type."""
    shown = shop.stoker("topology", "show").output
    assert "  breaker after 5 failures in a row; probes after 10s, 1m at the most" in shown
    assert "  needs smtp" in shown
    assert "  paused at more than 9 dead letters in 1m" in shown
