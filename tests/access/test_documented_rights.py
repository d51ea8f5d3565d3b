"""The rights that docs/security.md names, and those that `topology rights` prints, are those that are tested."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from stoker.topology.planning.rights import RIGHTS, Duty
from support.scenes.shop_application import make_shop

TEXT = (Path(__file__).parents[2] / "docs" / "security.md").read_text(encoding="utf-8")
ROW = re.compile(r"\| (?P<duty>[a-z-]+) \| (?P<operations>[A-Za-z, ]+) \| (?P<kind>[a-z-]+) `(?P<name>[^`]+)` \|")


def test_the_document_names_the_rights_of_the_table() -> None:
    """An administrator grants what the document says, so it says what is tested, no more and no less."""
    documented = {
        (row["duty"], operation, f"{row['kind']} {row['name']}")
        for row in ROW.finditer(TEXT)
        for operation in row["operations"].split(", ")
    }
    wanted = {
        (duty.value, right.operation.value, right.of("<namespace>", "<queue>").where)
        for duty, rights in RIGHTS.items()
        for right in rights
    }
    assert documented == wanted


def test_rights_are_printed_for_an_application(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The command names the application's own topics and groups, for one part and queue where that is asked."""
    shop = make_shop(tmp_path, monkeypatch, "sold")
    printed = json.loads(shop.stoker("topology", "rights", "--duty", "dead-list", "--queue", "mails", "--json").output)
    assert [(right["operation"], right["resource"], right["name"]) for right in printed["dead-list"]] == [
        ("Read", "topic", "sold.mails.dead"),
        ("Read", "topic", "sold.schemas"),
    ]
    table = shop.stoker("topology", "rights").output
    assert all(duty in table for duty in Duty)
    assert "sold.bills.retry.*" in table


def test_rights_are_printed_as_commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a principal, each resource has a command that grants all operations on it."""
    shop = make_shop(tmp_path, monkeypatch, "sold2")
    lines = shop.stoker("topology", "rights", "--duty", "worker", "--queue", "mails", "--principal", "User:ada").output
    tiers = "--operation Read --operation Write --topic sold2.mails.retry. --resource-pattern-type prefixed"
    assert any(line.startswith("kafka-acls.sh") and line.endswith(tiers) for line in lines.splitlines())
    assert "--allow-principal 'User:ada' --operation Read --group sold2.mails" in lines


def test_an_unknown_part_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A misspelt part prints nothing that could be taken for its rights."""
    shop = make_shop(tmp_path, monkeypatch, "sold3")
    refused = shop.stoker("topology", "rights", "--duty", "workers")
    assert refused.exit_code == 2
    assert "did you mean worker" in refused.output
