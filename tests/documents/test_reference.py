"""The reference pages say what the code says: every public name, option and default, as docstrings and help have it."""

from __future__ import annotations

import inspect

import pytest
from click.testing import CliRunner

from stoker import consumers, producers, schemas, testing, topology
from stoker.operations.cli import main
from support import commands_page, metrics_page, modules_page, reference_page

OUTDATED = "is not what the code says: run `make reference`"


def test_the_api_reference_is_what_the_docstrings_say() -> None:
    """A reader finds each signature and default as it is in the code."""
    written = reference_page.PAGE.read_text(encoding="utf-8")
    assert written == reference_page.reference_page(), f"docs/reference.md {OUTDATED}"


def test_the_commands_are_what_their_help_says() -> None:
    """A reader finds each command and option as `--help` shows it, whatever help was asked for before."""
    CliRunner().invoke(main, ["worker", "--help"])
    written = commands_page.PAGE.read_text(encoding="utf-8")
    assert written == commands_page.commands_page(), f"docs/commands.md {OUTDATED}"


def test_the_modules_are_listed_as_their_docstrings_open() -> None:
    """A newcomer finds the file for a question, and no module is missing."""
    written = modules_page.PAGE.read_text(encoding="utf-8")
    assert written == modules_page.modules_page(), f"docs/modules.md {OUTDATED}"


def test_the_metrics_are_those_of_the_catalogue() -> None:
    """A reader finds each metric with its labels and unit, as processes have it."""
    written = metrics_page.PAGE.read_text(encoding="utf-8")
    assert written == metrics_page.metrics_page(), f"docs/metrics.md {OUTDATED}"


@pytest.mark.parametrize(
    "package", [topology, producers, consumers, schemas, testing], ids=lambda package: package.__name__
)
def test_every_public_class_and_function_is_in_the_reference(package: object) -> None:
    """What a package exports has a heading of its own, however the page is made."""
    headings = set(reference_page.PAGE.read_text(encoding="utf-8").splitlines())
    exported = {name: getattr(package, name) for name in vars(package)["__all__"]}
    named = [name for name, value in exported.items() if inspect.isclass(value) or inspect.isfunction(value)]
    assert named
    assert [name for name in named if f"### {name}" not in headings] == []
