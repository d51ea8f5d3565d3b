"""`stoker schedules`, and what `stoker topology` does with the schedules that the application declares."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from stoker.operations.cli.exit_codes import ExitCode
from stoker.topology import ClusterSettings
from support.scenes.shop_application import Shop, make_shop, open_shop

DECLARED = """
from stoker.topology import cron, every

pipeline.schedule("nightly", cron("0 3 * * *", tz="Europe/Berlin"), send_mail.call(1), owner="ann")
pipeline.schedule("made", every(timedelta(hours=1)), lambda at: send_mail.call(at.hour), queue=mails)
"""


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, namespace: str, cluster: ClusterSettings) -> Shop:
    """An application with its topics."""
    return open_shop(tmp_path, monkeypatch, namespace, cluster)


def done(shop: Shop, *arguments: str) -> str:
    """What a command prints that ends well."""
    result = shop.stoker(*arguments)
    assert result.exit_code == ExitCode.OK, result.output
    return result.stdout


def test_a_schedule_is_made_shown_changed_and_removed(shop: Shop) -> None:
    """From the empty list to the audit trail, for people and for programs."""
    assert "has no schedules" in done(shop, "schedules", "list")
    added = ("poll", "send_mail", "order_id=7", "--every", "5m", "--overlap", "skip", "--reason", "a new supplier")
    assert "every 5m" in done(shop, "schedules", "add", *added)
    edited = done(shop, "schedules", "edit", "poll", "--cron", "30 2 * * *", "--tz", "Europe/Berlin", "--json")
    assert json.loads(edited)["cron"] == "30 2 * * *"
    assert json.loads(done(shop, "schedules", "show", "poll", "--json"))["overlap"] == "skip"
    assert "T02:30:00+0" in done(shop, "schedules", "next", "poll", "-n", "3").splitlines()[2]
    assert len(json.loads(done(shop, "schedules", "next", "poll", "-n", "3", "--json"))) == 3
    assert "paused" in done(shop, "schedules", "pause", "poll", "--operator", "ann", "--reason", "maintenance")
    assert "poll is paused" in done(shop, "schedules", "next", "poll")
    assert [view["is_paused"] for view in json.loads(done(shop, "schedules", "list", "--json"))] == [True]
    assert "poll@" in done(shop, "schedules", "trigger", "poll")
    assert "paused" not in done(shop, "schedules", "resume", "poll")
    assert "is removed" in done(shop, "schedules", "remove", "poll")
    trail = done(shop, "control", "log")
    assert "add schedule poll of queue mails" in trail
    assert "maintenance" in trail


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("a", "send_mail", "order_id=1"), "set when it fires"),
        (("a", "send_mail", "order_id=1", "--cron", "0 3 * *"), "cannot be read"),
        (("a", "send_mail", "order_id=1", "--cron", "0 3 * * *", "--tz", "Berlin"), "did you mean Europe/Berlin"),
        (("a", "send_mail", "order_id=1", "--cron", "0 3 * * *", "--every", "5m"), "exclude each other"),
        (("a", "send_mail", "order_id=1", "--every", "5m", "--tz", "UTC"), "--tz is the time zone of --cron"),
        (("a", "send_mail", "order=1", "--every", "5m"), "'order'"),
        (("a", "send_mal", "--every", "5m"), "did you mean send_mail"),
    ],
)
def test_what_cannot_be_a_schedule_is_refused_before_any_cluster_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, namespace: str, arguments: tuple[str, ...], said: str
) -> None:
    """With exit code 2 and the option named, even while no broker runs."""
    shop = make_shop(tmp_path, monkeypatch, namespace)
    shop.environment["STOKER_BOOTSTRAP_SERVERS"] = "127.0.0.1:1"
    result = shop.stoker("schedules", "add", *arguments)
    assert result.exit_code == ExitCode.USAGE
    assert said in result.stderr


def test_one_that_is_not_there_is_a_finding(shop: Shop) -> None:
    """With the nearest name."""
    done(shop, "schedules", "add", "poll", "send_mail", "order_id=7", "--every", "5m")
    result = shop.stoker("schedules", "show", "pol")
    assert result.exit_code == ExitCode.FINDING
    assert "did you mean poll" in result.stderr


def test_apply_puts_declared_schedules_in_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, namespace: str, cluster: ClusterSettings
) -> None:
    """`plan` says so before, `apply` does it with the topics, and nothing is left to do after it."""
    shop = make_shop(tmp_path, monkeypatch, namespace)
    shop.environment["STOKER_BOOTSTRAP_SERVERS"] = cluster.bootstrap_servers
    with (tmp_path / f"{shop.module}.py").open("a") as source:
        source.write(DECLARED)
    assert "schedule nightly to add" in done(shop, "topology", "plan")
    assert "added schedule nightly" in done(shop, "topology", "apply")
    assert json.loads(done(shop, "topology", "plan", "--check", "--json"))["schedules"]["added"] == []
    found = {view["name"]: view for view in json.loads(done(shop, "schedules", "list", "--json"))}
    assert (found["nightly"]["owner"], found["nightly"]["is_declared"]) == ("ann", True)
    assert found["made"]["job_type"] is None
    refused = shop.stoker("schedules", "remove", "nightly")
    assert refused.exit_code == ExitCode.FINDING
    assert "change it there" in refused.stderr
    assert "made@" in done(shop, "schedules", "trigger", "made")
