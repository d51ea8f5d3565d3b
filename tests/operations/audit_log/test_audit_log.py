"""`stoker audit-log` on a real broker: nothing is done without its entry, and each entry is found again."""

from __future__ import annotations

import csv
import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from confluent_kafka import KafkaError

from stoker.operations.audit_log.filters import ActionFilter
from stoker.operations.cli.app import AppContext
from stoker.operations.cli.exit_codes import ExitCode
from stoker.operations.commands import audit_log as audit_log_command
from stoker.producers import Producer
from stoker.producers.control import log_reader
from stoker.topology import AuditUnwritable, ClusterSettings, Pipeline, ensure_topology
from stoker.topology.cluster.admin import Administration
from stoker.topology.planning.registration import register_contracts
from stoker.topology.planning.schema_store import schema_store
from support.kafka.configs import change_configs
from support.scenes.shop_application import Shop, make_shop, open_shop
from support.scenes.worker import delete_topics
from support.waiting import wait_until

KILLED_APPLY = """
import os, signal
from stoker.topology.cluster.admin import Administration

Administration.set_configs = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
from stoker.operations.cli import main

main()
"""


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cluster: ClusterSettings, namespace: str) -> Shop:
    """An application whose topics exist; ann is at the terminal."""
    monkeypatch.setenv("STOKER_OPERATOR", "ann")
    return open_shop(tmp_path, monkeypatch, namespace, cluster)


def trail(shop: Shop, *options: str) -> list[dict[str, Any]]:
    """The actions, the oldest first."""
    shown = shop.stoker("audit-log", "--json", *options)
    assert shown.exit_code == 0, shown.output
    return [json.loads(line) for line in shown.stdout.splitlines()][::-1]


def test_orders_schedules_and_topologies_are_on_one_trail(shop: Shop, tmp_path: Path) -> None:
    """With who, why, from where, and before and after; filters find one, and an export has all."""
    shop.stoker("control", "pause", "--queue", "mails", "--reason", "Stripe is down")
    shop.stoker("control", "pause", "--queue", "mails", "--until", "2h", "--operator", "bob")
    shop.stoker("schedules", "add", "often", "send_mail", "order_id=1", "--every", "1h", "--reason", "reports")
    shop.stoker("schedules", "edit", "often", "--every", "2h")
    first, second, *others = trail(shop)
    assert (first["kind"], first["outcome"]) == ("topology", "ended")
    assert (second["kind"], second["outcome"], second["job_types"]) == (
        "contract",
        "ended",
        ["send_mail", "write_bill"],
    )
    assert "2 partitions" in first["after"][f"{shop.pipeline.namespace}.mails"]
    assert [(one["kind"], one["action"], one["operator"]) for one in others] == [
        *(("order", "pause", "ann"), ("order", "pause", "bob")),
        *(("schedule", "schedule add", "ann"), ("schedule", "schedule edit", "ann")),
    ]
    assert others[1]["before"] == {"queue mails": "pause queue mails"}
    assert others[1]["command"].endswith("control pause")
    assert (others[3]["before"]["every_ms"], others[3]["after"]["every_ms"]) == ("3600000", "7200000")
    assert [one["reason"] for one in trail(shop, "--words", "stripe")] == ["Stripe is down"]
    assert [one["operator"] for one in trail(shop, "--action", "order", "--since", "1h", "--by", "bob")] == ["bob"]
    table = shop.stoker("audit-log", "--limit", "2").output
    assert "schedule edit" in table
    assert "4 older ones are not shown" in table
    assert "queue mails: pause queue mails → pause queue mails until" in shop.stoker("audit-log", "--changes").output
    assert "has nothing like that" in shop.stoker("audit-log", "--by", "nobody").output
    path = tmp_path / "audit.csv"
    assert "6 entries" in shop.stoker("audit-log", "--format", "csv", "--output", str(path)).stderr
    rows = list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8"), newline="")))
    assert [row["action"] for row in rows][2:4] == ["pause", "pause"]


def test_an_apply_that_is_killed_leaves_its_beginning(shop: Shop, cluster: ClusterSettings) -> None:
    """The entry is confirmed before the first change, so SIGKILL leaves an action whose end is not known."""
    change_configs(cluster, {shop.pipeline.find_queue("mails").dead_topic: {"retention.ms": "1000"}})
    command = [sys.executable, "-c", KILLED_APPLY, "-A", shop.application, "topology", "apply", "--reason", "repair"]
    environment = {**shop.process_environment(), "PYTHONPATH": str(shop.folder), "COVERAGE_PROCESS_START": ""}
    killed = subprocess.run(command, cwd=shop.folder, env=environment, capture_output=True, timeout=60, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    *_, action = trail(shop)
    assert (action["action"], action["outcome"], action["reason"]) == (
        "topology-applied",
        "begun, end unknown",
        "repair",
    )
    assert list(action["before"].values()) == ["1s"]
    assert shop.stoker("topology", "apply").exit_code == 0
    assert [one["outcome"] for one in trail(shop, "--action", "topology")[1:]] == ["begun, end unknown", "ended"]


def test_nothing_is_changed_where_the_trail_cannot_be_written(shop: Shop, cluster: ClusterSettings) -> None:
    """An audit topic that takes no record: apply refuses, and says why; `--without-audit` applies all the same."""
    change_configs(cluster, {shop.pipeline.audit_topic: {"max.message.bytes": "10"}})
    dead = shop.pipeline.find_queue("mails").dead_topic
    change_configs(cluster, {dead: {"retention.ms": "1000"}})
    with pytest.raises(AuditUnwritable, match="the step was not done"):
        ensure_topology(shop.pipeline, cluster)
    assert Administration(cluster).configs([dead])[dead].values["retention.ms"] == "1000"
    applied = shop.stoker("topology", "apply", "--without-audit")
    assert applied.exit_code == 0, applied.output
    assert Administration(cluster).configs([dead])[dead].values["retention.ms"] != "1000"


def evolve(shop: Shop, old: str, new: str) -> Shop:
    """The next release of the application: the same, but for some of its source."""
    source = (shop.folder / f"{shop.module}.py").read_text(encoding="utf-8")
    assert old in source
    module = f"{shop.module}_{len(list(shop.folder.glob('*.py')))}"
    (shop.folder / f"{module}.py").write_text(source.replace(old, new), encoding="utf-8")
    return replace(shop, module=module)


def test_a_contract_that_changes_is_on_the_trail(shop: Shop) -> None:
    """With who registered the new version, why, and its fields before and after; one that is refused is not there."""
    later = evolve(shop, "order_id: int,", "order_id: int, copies: int = 1,")
    assert later.stoker("topology", "apply", "--reason", "copies").exit_code == 0
    assert later.stoker("topology", "apply").exit_code == 0
    wrong = evolve(shop, "amount: Decimal", "amount: Decimal, currency: str")
    assert wrong.stoker("topology", "apply").exit_code == 4
    first, second = trail(shop, "--action", "contract")
    assert list(first["before"]) == []
    assert (second["outcome"], second["operator"], second["reason"]) == ("ended", "ann", "copies")
    assert second["command"].endswith("topology apply")
    before, after = second["before"]["send_mail"], second["after"]["send_mail"]
    assert before.startswith("version 1 (order_id: long, [name: string]")
    assert after.startswith("version 2 (order_id: long, [copies: long], [name: string]")
    assert [one["id"] for one in trail(shop, "--type", "send_mail")] == [first["id"], second["id"]]
    assert "send_mail: version 1 (" in shop.stoker("audit-log", "--action", "contract", "--changes").output


def test_a_contract_that_a_program_registers_is_on_the_trail(shop: Shop, cluster: ClusterSettings) -> None:
    """A producer of a new release registers its contract with the first job: its name and operator are there."""
    later = evolve(shop, "order_id: int,", "order_id: int, copies: int = 1,")
    for _ in range(2):
        with Producer(later.pipeline, cluster) as producer:
            producer.enqueue(later.pipeline.job_types["send_mail"], 1, copies=2)
    *_, action = trail(shop, "--action", "contract")
    assert (action["outcome"], action["operator"], action["job_types"]) == ("ended", "ann", ["send_mail"])
    assert len(trail(shop, "--action", "contract")) == 2


def test_contracts_wait_for_the_trail_and_jobs_do_not(
    shop: Shop, cluster: ClusterSettings, caplog: pytest.LogCaptureFixture
) -> None:
    """An audit topic that takes no record: apply registers nothing. A producer logs it, and enqueues its job."""
    change_configs(cluster, {shop.pipeline.audit_topic: {"max.message.bytes": "10"}})
    later = evolve(shop, "order_id: int,", "order_id: int, copies: int = 1,")
    with pytest.raises(AuditUnwritable):
        register_contracts(later.pipeline, cluster)
    store = schema_store(later.pipeline, cluster)
    store.refresh(10)
    assert len(store.versions("send_mail")) == 1
    with Producer(later.pipeline, cluster) as producer:
        producer.enqueue(later.pipeline.job_types["send_mail"], 1, copies=2)
    assert "registered without an audit entry" in caplog.text
    store.refresh(10)
    assert len(store.versions("send_mail")) == 2


def test_an_order_in_need_is_given_without_the_trail_and_is_not_forgotten(shop: Shop, cluster: ClusterSettings) -> None:
    """Without the audit topic an order is refused; `--without-audit` gives it, and the log has it, as what lifts it."""
    delete_topics(cluster, shop.pipeline.audit_topic)
    wait_until(lambda: not Administration(cluster).topics([shop.pipeline.audit_topic]), what="the topic to be gone")
    refused = shop.stoker("control", "pause", "--queue", "mails")
    assert refused.exit_code != 0
    assert shop.pipeline.audit_topic in refused.output
    given = shop.stoker("control", "pause", "--queue", "mails", "--reason", "fire", "--without-audit")
    assert given.exit_code == 0, given.output
    assert "without an audit record" in given.stderr
    assert shop.stoker("topology", "apply").exit_code == 0
    *_, action = trail(shop)
    assert (action["action"], action["outcome"], action["reason"]) == ("pause", "done, not on the audit topic", "fire")
    assert "that the audit topic does not have: 1" in shop.stoker("doctor").output
    for words in (("resume", "--queue", "mails"), ("worker", "stop", "--all")):
        assert shop.stoker("control", *words, "--without-audit").exit_code == 0
    done = [action["action"] for action in trail(shop) if action["outcome"] == "done, not on the audit topic"]
    assert done == ["pause", "resume", "stop"]


def test_the_trail_is_followed(shop: Shop) -> None:
    """What is done meanwhile comes as a line; Ctrl+C ends it cleanly."""
    command = [sys.executable, "-m", "stoker.operations.cli", "-A", shop.application, "audit-log", "--follow", "--json"]
    environment = {**shop.process_environment(), "PYTHONPATH": str(shop.folder), "PYTHONUNBUFFERED": "1"}
    started = subprocess.Popen([*command, "--since", "1h"], cwd=shop.folder, env=environment, stdout=subprocess.PIPE)
    with started as following:
        assert following.stdout is not None
        seen = [json.loads(following.stdout.readline())["outcome"] for _ in range(4)]
        shop.stoker("control", "pause", "--queue", "mails")
        assert seen == ["begun, end unknown", "ended"] * 2
        assert json.loads(following.stdout.readline())["action"] == "pause"
        os.kill(following.pid, signal.SIGINT)
        assert following.wait(30) == 130


def test_where_there_is_no_trail(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cluster: ClusterSettings, namespace: str
) -> None:
    """Before the first apply the command names the missing topic, and what makes it; it is a finding."""
    shop = make_shop(tmp_path, monkeypatch, namespace)
    shop.environment["STOKER_BOOTSTRAP_SERVERS"] = cluster.bootstrap_servers
    shown = shop.stoker("audit-log")
    assert shown.exit_code == ExitCode.FINDING
    assert f"{namespace}.audit" in shown.output
    assert "topology apply" in shown.output


class Away:
    """Stands for a reader whose brokers are away, then answer, and then have no such topic; Ctrl+C ends it."""

    def __init__(self, *_: object, on_error: Callable[[KafkaError], None], **__: object) -> None:
        self._on_error = on_error
        self._turn = 0
        self.trouble: KafkaError | None = None

    def ask_end(self, _timeout_s: float) -> tuple[int, int]:
        """Nothing is there."""
        return 0, 0

    def start(self, _offset: int) -> None:
        """From the beginning."""

    def read(self, _timeout_s: float) -> list[object]:
        """Nothing comes."""
        self._turn += 1
        if self._turn <= 2:
            self._on_error(KafkaError(KafkaError._ALL_BROKERS_DOWN, "1/1 brokers are down"))
        elif self._turn <= 4:
            self.trouble = KafkaError(KafkaError.UNKNOWN_TOPIC_OR_PART, "no such topic")
        else:
            raise KeyboardInterrupt
        return []

    def close(self) -> None:
        """Disconnect."""


def test_who_follows_the_trail_is_told_why_nothing_comes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Once for each reason: an outage looked like a time in which nobody did anything."""
    monkeypatch.setattr(log_reader, "LogReader", Away)
    app = SimpleNamespace(pipeline=Pipeline("shop"), cluster=ClusterSettings(bootstrap_servers="localhost:1"))
    with pytest.raises(KeyboardInterrupt):
        audit_log_command._follow(cast(AppContext, app), ActionFilter(), changes=False, as_json=False)
    assert capsys.readouterr().err.splitlines() == [
        "the brokers do not answer (1/1 brokers are down): it goes on when they do",
        "the audit topic cannot be read (no such topic): retrying",
    ]
