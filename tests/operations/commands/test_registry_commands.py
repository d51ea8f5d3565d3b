"""The commands with a Schema Registry: they ask it, say its name, and tell its outage from all else."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from stoker.operations.cli.exit_codes import ExitCode
from stoker.topology import ClusterSettings
from stoker.topology.planning.apply import ensure_topology
from support.kafka.registry_server import Registry, serving
from support.scenes.shop_application import Shop, make_shop
from support.scenes.worker import Raw, publish_raw

SECRET = "hush-hush"


@pytest.fixture
def registry() -> Iterator[Registry]:
    """A running registry."""
    with serving(Registry()) as server:
        yield server


@pytest.fixture
def shop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, namespace: str, cluster: ClusterSettings, registry: Registry
) -> Shop:
    """An application with its topics, its contracts in the registry and exported."""
    shop = make_shop(tmp_path, monkeypatch, namespace)
    url = registry.url.replace("http://", f"http://stoker:{SECRET}@")
    ensure_topology(shop.pipeline, replace(cluster, schema_registry_url=url))
    shop.environment |= {
        "STOKER_BOOTSTRAP_SERVERS": cluster.bootstrap_servers,
        "STOKER_SCHEMA_REGISTRY_URL": url,
    }
    assert shop.stoker("schemas", "export").exit_code == ExitCode.OK
    return shop


COMMANDS = {
    "check": ("schemas", "check"),
    "plan": ("topology", "plan"),
    "apply": ("topology", "apply"),
    "enqueue": ("enqueue", "send_mail", "order_id=1"),
    "replay": ("dead", "replay", "mails", "--yes"),
    "correct": ("dead", "replay", "mails", "--yes", "--set", "order_id=2"),
}


def add_dead(shop: Shop) -> None:
    """A dead letter in the registry's framing, of a schema that a new process has not met."""
    queue, contract = shop.pipeline.queues["mails"], shop.pipeline.job_types["send_mail"].contract
    value = b"\x00\x00\x00\x00\x01" + contract.encode(contract.payload((1,), {}))
    headers: list[tuple[str, bytes | None]] = [
        ("ce_type", b"send_mail"), ("ce_id", b"dead-1"), ("stoker-origin", f"{queue.topic}/0/0".encode()),
    ]  # fmt: skip
    dead_letter = Raw(value=value, headers=headers)
    publish_raw(
        ClusterSettings(bootstrap_servers=str(shop.environment["STOKER_BOOTSTRAP_SERVERS"])),
        queue.dead_topic,
        [dead_letter],
    )


@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
def test_an_outage_is_reported_as_that(shop: Shop, registry: Registry, command: tuple[str, ...]) -> None:
    """Nothing passes as checked, sent or empty; the registry is named, without its password, with exit code 3."""
    add_dead(shop)
    registry.answer = (503, {"error_code": 50003, "message": "no leader"})
    told = shop.stoker(*command)
    assert told.exit_code == ExitCode.UNREACHABLE, told.output
    assert f"Schema Registry http://127.0.0.1:{registry.server_port}" in told.stderr
    assert "no leader" in told.stderr
    assert SECRET not in told.output
    registry.answer = None
    assert shop.stoker(*command).exit_code == ExitCode.OK


def test_topics_can_be_applied_while_the_registry_is_away(shop: Shop, registry: Registry) -> None:
    """`--skip-schemas` asks the registry nothing."""
    registry.answer = (503, {"error_code": 50003, "message": "no leader"})
    registry.seen.clear()
    told = shop.stoker("topology", "apply", "--skip-schemas")
    assert (told.exit_code, registry.seen) == (ExitCode.OK, []), told.output


def test_a_dead_letter_is_shown_also_while_the_registry_is_away(shop: Shop, registry: Registry) -> None:
    """All that is known without the schema is shown, and why the payload is not read."""
    add_dead(shop)
    registry.answer = (503, {"error_code": 50003, "message": "no leader"})
    (dead_letter,) = [json.loads(line) for line in shop.stoker("dead", "list", "mails", "--json").stdout.splitlines()]
    told = shop.stoker("dead", "show", "mails", dead_letter["ref"])
    assert told.exit_code == ExitCode.OK, told.output
    assert "dead-1" in told.stdout
    assert "could not be asked" in told.stdout


def test_apply_reports_the_topics_that_it_made_before_the_registry_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, namespace: str, cluster: ClusterSettings, registry: Registry
) -> None:
    """The topics stay, so the operator learns of them; the log has none of the registry client's requests."""
    shop = make_shop(tmp_path, monkeypatch, namespace)
    shop.environment |= {
        "STOKER_BOOTSTRAP_SERVERS": cluster.bootstrap_servers,
        "STOKER_SCHEMA_REGISTRY_URL": registry.url,
    }
    registry.answer = (503, {"error_code": 50003, "message": "no leader"})
    registry.ailing = {"POST"}
    told = shop.stoker("--log-level", "info", "topology", "apply", "--json")
    assert told.exit_code == ExitCode.UNREACHABLE, told.output
    assert f"created {namespace}.mails\n" in told.stderr
    assert "the contracts not registered: apply again" in told.stderr
    assert "HTTP Request" not in told.stderr
    assert told.stdout == ""
    registry.answer = None
    assert shop.stoker("topology", "apply").exit_code == ExitCode.OK


def test_the_doctor_finds_what_apply_has_registered(shop: Shop, registry: Registry) -> None:
    """Right after an apply all contracts are there; while the registry is away that is broken, not unknown."""
    told = shop.stoker("doctor")
    assert "holds the contracts of all 2 job types" in told.stdout, (told.output, told.exception)
    assert "never registered" not in told.stdout
    registry.answer = (503, {"error_code": 50003, "message": "no leader"})
    told = shop.stoker("doctor")
    assert (told.exit_code, "no leader" in told.stdout) == (ExitCode.FINDING, True)


@pytest.mark.parametrize("command", [*COMMANDS.values(), ("worker",), ("topology", "show")])
def test_an_address_that_is_none_is_wrong_usage(shop: Shop, command: tuple[str, ...]) -> None:
    """One sentence, without a traceback and without what may be a password."""
    shop.environment["STOKER_SCHEMA_REGISTRY_URL"] = f"stoker:{SECRET}@registry:8081"
    told = shop.stoker(*command)
    assert told.exit_code == ExitCode.USAGE, told.output
    assert "registry:8081" in told.stderr
    assert SECRET not in told.output
    assert "Traceback" not in told.output


def test_the_catalogue_names_the_registry_and_no_schemas_topic(shop: Shop, registry: Registry, namespace: str) -> None:
    """`topology show` says where schemas are, and under which subjects."""
    told = shop.stoker("topology", "show")
    assert f"{namespace}.schemas" not in told.stdout
    assert f"http://127.0.0.1:{registry.server_port}, subjects {namespace}.send_mail" in told.stdout
    document = json.loads(shop.stoker("topology", "show", "--json").stdout)
    assert document["schema_registry"]["subjects"] == [f"{namespace}.send_mail", f"{namespace}.write_bill"]
    assert SECRET not in told.stdout + json.dumps(document)
    del shop.environment["STOKER_SCHEMA_REGISTRY_URL"]
    assert f"{namespace}.schemas" in shop.stoker("topology", "show").stdout
