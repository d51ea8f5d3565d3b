"""`stoker worker --help`: the options of the settings, with the defaults that the settings have."""

from __future__ import annotations

import re
from dataclasses import dataclass, fields
from datetime import timedelta

import pytest
from click.testing import CliRunner

from stoker import consumers
from stoker.consumers import WorkerSettings
from stoker.operations.commands.worker import SETTINGS, worker


@dataclass(frozen=True, kw_only=True)
class Changed(WorkerSettings):
    """Settings with other defaults."""

    concurrency: int = 17
    grace: timedelta = timedelta(minutes=2)


def test_each_setting_has_an_option() -> None:
    """All but the queues, which have an option of their own, and the worker's id, which each process makes."""
    assert {"queues", "worker_id", *SETTINGS} == {field.name for field in fields(WorkerSettings)}


def test_the_help_shows_the_defaults_of_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """A changed default of `WorkerSettings` is in the help; one that depends on the machine is there in words."""
    monkeypatch.setattr(consumers.settings, "WorkerSettings", Changed)
    shown = " ".join(CliRunner().invoke(worker, ["--help"], terminal_width=200).stdout.split())
    shown = re.sub(r"env var: \w+; ", "", shown)  # there once the whole command line was used in this process
    assert "Threads for sync jobs, for each queue. [default: 17; x>=1]" in shown
    assert "to end at a shutdown. [default: 2m]" in shown
    assert "queue that has them. [default: one for each processor; x>=1]" in shown
    assert "run so many jobs. [default: no; x>=1]" in shown
