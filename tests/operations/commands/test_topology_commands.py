"""`stoker topology`: what it prints, the shapes of its JSON, and with which code it exits."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from stoker.operations.cli import main
from stoker.topology import ClusterSettings
from stoker.topology.cluster.admin import Administration
from stoker.topology.declaration.topics import Role
from support.waiting import wait_until

DELAYS = ("mails.delay.short", "mails.delay.medium", "mails.delay.long")
LAST = ("ledger", "progress")
SHARED = ("schemas", "events", "control", "workers", "audit", "schedules", "stats")
APPLICATION = """
from datetime import timedelta
from stoker.topology import Pipeline, RetryPolicy

pipeline = Pipeline({namespace!r}, description="Sells things")
mails = pipeline.queue("mails", partitions={partitions}, tiers=(timedelta(seconds=5),), owner="post"{more})


@pipeline.job(mails, key=lambda order_id, to=None: to, retry=RetryPolicy(attempts=3, permanent=(ValueError,)))
def send_receipt(order_id: int{parameters}, to: str | None = None) -> None:
    "Send the receipt of an order."
"""

Stoker = Callable[..., Result]


@pytest.fixture
def declare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, namespace: str) -> Callable[..., str]:
    """Writes an application's module and returns how `-A` names it."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def write(*, partitions: int = 2, parameters: str = "", more: str = "") -> str:
        module = f"shop_{namespace}_{len(list(tmp_path.iterdir()))}"
        text = APPLICATION.format(namespace=namespace, partitions=partitions, parameters=parameters, more=more)
        (tmp_path / f"{module}.py").write_text(text)
        return f"{module}:pipeline"

    return write


@pytest.fixture
def stoker(cluster: ClusterSettings, declare: Callable[..., str]) -> Stoker:
    """Runs `stoker topology` for a declared application on the cluster."""
    usual = declare()

    def run(*words: str, application: str = usual) -> Result:
        address = ["--bootstrap-servers", cluster.bootstrap_servers]
        return CliRunner().invoke(main, ["-A", application, *address, "topology", *words])

    return run


def _data(result: Result) -> Any:
    return json.loads(result.stdout)


def test_plan_then_apply_then_nothing(stoker: Stoker, namespace: str) -> None:
    """Plan lists what apply then creates; afterwards there is nothing, and a second apply does nothing."""
    before = stoker("plan")
    assert before.exit_code == 0, before.output
    assert f"+ {namespace}.mails: main topic; 2 partitions, kept 7d" in before.stdout
    assert "16 to create, 0 to change" in before.stdout
    applied = stoker("apply")
    assert applied.exit_code == 0, applied.output
    assert f"created {namespace}.mails.ledger" in applied.stdout
    after = stoker("plan")
    assert after.stdout == f"{namespace}: the cluster is as declared\n"
    assert stoker("apply").stdout == f"{namespace}: all is as declared\n"


def test_check_tells_ci_by_the_exit_code(stoker: Stoker) -> None:
    """With --check there is something to do: 1; after apply: 0."""
    assert stoker("plan", "--check").exit_code == 1
    assert stoker("apply").exit_code == 0
    assert stoker("plan", "--check").exit_code == 0


def test_the_json_of_plan_and_apply(stoker: Stoker, namespace: str) -> None:
    """Plan has a list for each group, apply one for each kind of step."""
    planned = _data(stoker("plan", "--json"))
    groups = ["create", "change", "drift", "refused", "unmanaged"]
    assert list(planned) == ["namespace", *groups, "refused_schemas", "schedules"]
    assert [found["topic"] for found in planned["create"]] == [
        f"{namespace}.{name}"
        for name in (
            "mails",
            "mails.retry.5s",
            *DELAYS,
            "mails.carried",
            "mails.dead",
            *(f"mails.{role}" for role in LAST),
            *SHARED,
        )
    ]
    assert set(planned["create"][0]) == {"topic", "queue", "setting", "found", "declared", "reason", "flag"}
    applied = _data(stoker("apply", "--json"))
    assert len(applied.pop("created")) == 16
    assert applied == {
        "namespace": namespace,
        "grown": [],
        "configured": {},
        "deleted": [],
        "kept": [],
        "refused": [],
        "refused_schemas": [],
        "schedules": {"added": [], "changed": [], "removed": [], "left_alone": []},
    }


def test_drift_is_shown(stoker: Stoker, cluster: ClusterSettings, namespace: str) -> None:
    """A config that somebody set by hand is seen: undeclared as drift, declared as what apply will set back."""
    stoker("apply")
    configs = {"compression.type": "zstd", "retention.ms": "60000"}
    assert Administration(cluster).set_configs({f"{namespace}.mails": configs}) == {}
    drift = f"! {namespace}.mails: compression.type zstd: set on the topic"
    shown = wait_until(lambda: found if drift in (found := stoker("plan").stdout) else "", what="brokers to have it")
    assert f"~ {namespace}.mails: retention.ms 1m, declared 7d: apply sets it" in shown


def test_what_is_refused_exits_with_its_code(stoker: Stoker, declare: Callable[..., str], namespace: str) -> None:
    """A repartition: refused with 4 and the flag, by plan and apply; with the flag it is done."""
    stoker("apply")
    larger = declare(partitions=3)
    for word in ("plan", "apply"):
        refused = stoker(word, application=larger)
        assert refused.exit_code == 4, refused.output
        assert "`--allow-repartition mails` allows it" in refused.stdout
    allowed = stoker("apply", "--allow-repartition", "mails", application=larger)
    assert allowed.exit_code == 0, allowed.output
    assert f"grew {namespace}.mails.dead" in allowed.stdout


def test_a_broken_contract_is_refused(stoker: Stoker, declare: Callable[..., str]) -> None:
    """A contract that breaks its rule: refused with 4, rule and field; --skip-schemas leaves it to later."""
    stoker("apply")
    changed = declare(parameters=", language: str")
    refused = stoker("apply", application=changed)
    assert refused.exit_code == 4, refused.output
    assert "BACKWARD" in refused.stdout
    assert "'language'" in refused.stdout
    (found,) = _data(stoker("apply", "--json", application=changed))["refused_schemas"]
    assert (found["job_type"], found["field"]) == ("send_receipt", "language")
    assert stoker("apply", "--skip-schemas", application=changed).exit_code == 0


def test_a_flag_for_an_unknown_queue_is_wrong_usage(stoker: Stoker) -> None:
    """A misspelt queue exits with 2 and offers the near one, and nothing is done."""
    wrong = stoker("apply", "--allow-repartition", "mail")
    assert wrong.exit_code == 2
    assert "did you mean mails" in wrong.stderr


def test_an_unreachable_cluster_exits_with_its_code(
    declare: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody answers: 3, and the message says where and what to check."""
    monkeypatch.setattr(
        "stoker.topology.planning.plan.Administration", lambda cluster: Administration(cluster, timeout_s=0.5)
    )
    words = ["-A", declare(), "--bootstrap-servers", "127.0.0.1:1", "topology", "plan"]
    unreachable = CliRunner().invoke(main, words)
    assert unreachable.exit_code == 3, unreachable.output
    assert "127.0.0.1:1 does not answer" in unreachable.stderr


def test_show_prints_the_catalogue_without_a_cluster(declare: Callable[..., str], namespace: str) -> None:
    """Queues, topics and job types with owner, limits and fields, in words."""
    shown = CliRunner().invoke(main, ["-A", declare(), "topology", "show"])
    assert shown.exit_code == 0, shown.output
    for part in (
        f"{namespace}: Sells things",
        "Queue mails (owner: post)",
        "2 partitions, the cluster's number of replicas, in order per key",
        "kept 7d, dead letters 30d; retry tiers 5s; ledger 50,000 jobs or 1d a partition",
        "quarantine after 3 crashes; the brokers' session timeout",
        f"{namespace}.mails.retry.5s",
        "Send the receipt of an order.",
        "order_id: long\n",
        "to: string or null, optional",
        "never tried again after ValueError",
    ):
        assert part in shown.stdout


def test_show_prints_what_a_queue_declares_against_crashes_and_retries(declare: Callable[..., str]) -> None:
    """Order through retries, the bound on crashes and the session timeout stand where somebody looks for them."""
    application = declare(more=", session_timeout=timedelta(seconds=10), crash_limit=1, ordering='strict'")
    shown = CliRunner().invoke(main, ["-A", application, "topology", "show"])
    assert shown.exit_code == 0, shown.output
    assert "in order per key through retries; group " in shown.stdout
    assert "quarantine after 1 crash; session timeout 10s" in shown.stdout
    (queue,) = _data(CliRunner().invoke(main, ["-A", application, "topology", "show", "--json"]))["queues"]
    assert (queue["ordering"], queue["crash_limit"], queue["session_timeout_s"]) == ("strict", 1, 10.0)


def test_the_help_names_all_kinds_of_topics() -> None:
    """A person who reads the help before `apply` learns of every kind of topic that it makes."""
    shown = CliRunner().invoke(main, ["topology", "--help"]).output
    assert not [role for role in Role if role.value not in shown]


def test_show_as_json(declare: Callable[..., str], namespace: str) -> None:
    """The same as data, for other programs."""
    told = _data(CliRunner().invoke(main, ["-A", declare(), "topology", "show", "--json"]))
    (queue,) = told["queues"]
    (job,) = queue["job_types"]
    waiting = ["retry", *["delay"] * 3, "carried"]
    assert [topic["role"] for topic in queue["topics"]] == ["main", *waiting, "dead", *LAST]
    assert [topic["name"] for topic in told["topics"]] == [f"{namespace}.{name}" for name in SHARED]
    assert (queue["partitions"], queue["tiers"], queue["retention_s"]) == (2, ["5s"], 604_800)
    assert (job["name"], job["owner"], job["timeout_s"], job["attempts"]) == ("send_receipt", "post", 300, 3)
    assert (job["tiers"], job["max_payload_bytes"], job["key"]) == (["5s"], 256 * 1024, "by a function")
    assert job["fields"] == [
        {"name": "order_id", "type": "long", "required": True},
        {"name": "to", "type": "string or null", "required": False},
    ]
