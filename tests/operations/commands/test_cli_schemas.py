"""`stoker schemas`: exported contracts, and what a change of contract breaks, before it is deployed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from stoker.operations.cli.exit_codes import ExitCode
from stoker.topology import ClusterSettings
from support.scenes.shop_application import SOURCE, Shop, make_shop, open_shop


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, namespace: str) -> Shop:
    """An application whose cluster nobody has started, its contracts exported."""
    shop = make_shop(tmp_path, monkeypatch, namespace)
    shop.environment["STOKER_BOOTSTRAP_SERVERS"] = "127.0.0.1:1"
    assert shop.stoker("schemas", "export").exit_code == ExitCode.OK
    return shop


def changed(shop: Shop, namespace: str, old: str, new: str) -> Shop:
    """The application after an edit, as a module of its own name, since Python keeps what it has imported."""
    module = f"{shop.module}_changed"
    source = SOURCE.format(namespace=namespace)
    assert old in source
    (shop.folder / f"{module}.py").write_text(source.replace(old, new))
    return Shop(folder=shop.folder, module=module, environment=shop.environment)


def test_export_writes_the_same_bytes_again(shop: Shop) -> None:
    """A file changes only when its contract does, so that reviews show nothing else."""
    file = shop.folder / "contracts" / "send_mail.avsc"
    before = file.read_bytes()
    result = shop.stoker("schemas", "export", "--to", "contracts")
    assert file.read_bytes() == before
    assert [Path(line).name for line in result.stdout.splitlines()] == ["send_mail.avsc", "write_bill.avsc"]
    assert json.loads(before)["type"] == "record"


def test_what_was_exported_agrees_without_a_cluster(shop: Shop) -> None:
    """A check in a build needs no broker."""
    result = shop.stoker("schemas", "check", "--offline")
    assert result.exit_code == ExitCode.OK, result.output
    assert "✓ send_mail" in result.stdout


def test_a_field_without_a_default_breaks_backward_and_is_named(shop: Shop, namespace: str) -> None:
    """A worker with a new, required field could not read jobs that wait: rule and field are reported, exit code 1."""
    result = changed(shop, namespace, "order_id: int,", "order_id: int, colour: str,").stoker(
        "schemas", "check", "--offline", "--json"
    )
    assert result.exit_code == ExitCode.FINDING
    findings = json.loads(result.stdout)["findings"]
    assert {finding["field"] for finding in findings} == {"colour"}
    assert [finding["rule"].partition(" ")[0] for finding in findings] == ["drift", "BACKWARD"]


@pytest.mark.parametrize(
    ("mode", "rules"), [("NONE", {"drift"}), ("backward", {"drift"}), ("FULL", {"drift", "FORWARD"})]
)
def test_the_mode_decides_what_a_removed_field_breaks(shop: Shop, namespace: str, mode: str, rules: set[str]) -> None:
    """A removed field without a default breaks old readers only, so that BACKWARD allows it and FULL does not."""
    result = changed(shop, namespace, "order_id: int, ", "").stoker(
        "schemas", "check", "--offline", "--json", "--mode", mode
    )
    findings = json.loads(result.stdout)["findings"] if result.stdout else pytest.fail(result.stderr)
    assert {finding["rule"].partition(" ")[0] for finding in findings} == rules


def test_a_contract_that_was_not_committed_is_a_finding(shop: Shop) -> None:
    """Without the export, the error explains what to do."""
    (shop.folder / "contracts" / "send_mail.avsc").unlink()
    result = shop.stoker("schemas", "check", "--offline")
    assert result.exit_code == ExitCode.FINDING
    assert "✗ send_mail: drift" in result.stdout
    assert "stoker schemas export" in result.stdout


def test_a_file_that_is_no_schema_is_reported_by_its_path(shop: Shop) -> None:
    """A broken merge of a schema file is not passed over."""
    (shop.folder / "contracts" / "send_mail.avsc").write_text("<<<<<<< ours")
    result = shop.stoker("schemas", "check", "--offline")
    assert result.exit_code == ExitCode.FINDING
    assert "send_mail.avsc is not an Avro schema" in result.stderr


def test_the_cluster_is_asked_unless_offline(shop: Shop) -> None:
    """Without a broker the check does not claim that all is well."""
    assert shop.stoker("schemas", "check").exit_code in (ExitCode.UNREACHABLE, ExitCode.FINDING)


def test_versions_in_the_cluster_are_compared_as_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, namespace: str, cluster: ClusterSettings
) -> None:
    """A change that was exported, and so agrees with its file, still breaks the version that producers use."""
    shop = open_shop(tmp_path, monkeypatch, namespace, cluster)
    assert shop.stoker("enqueue", "send_mail", "order_id=1").exit_code == ExitCode.OK
    edited = changed(shop, namespace, "order_id: int,", "order_id: int, colour: str,")
    assert edited.stoker("schemas", "export").exit_code == ExitCode.OK
    result = edited.stoker("schemas", "check", "--json")
    assert result.exit_code == ExitCode.FINDING, result.output
    [found] = json.loads(result.stdout)["findings"]
    assert (found["job_type"], found["against"], found["field"]) == ("send_mail", "cluster", "colour")
    shown = edited.stoker("schemas", "check").stdout
    assert "compared with the cluster" in shown
    assert "✓ write_bill" in shown
