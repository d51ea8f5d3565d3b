"""A small application in a folder of its own, and the command line called on it as a user would."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from stoker.operations.application import load_pipeline
from stoker.operations.cli import main
from stoker.operations.cli.exit_codes import ExitCode
from stoker.topology import ClusterSettings, Pipeline
from stoker.topology.planning.apply import ensure_topology

SOURCE = '''
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from stoker.topology import Pipeline

pipeline = Pipeline("{namespace}")
mails = pipeline.queue("mails", partitions=2, tiers=(timedelta(seconds=1), timedelta(minutes=1)))
bills = pipeline.queue("bills", partitions=1, tiers=(timedelta(minutes=1),))

@pipeline.job(mails)
def send_mail(order_id: int, name: str = "nobody", at: datetime | None = None, tags: list[str] = []) -> None:
    """Send a mail."""
    print(f"sent {{order_id}}", flush=True)

@pipeline.job(bills)
async def write_bill(amount: Decimal) -> None:
    """Write a bill."""

not_a_pipeline = 1
'''


@dataclass
class Shop:
    """The application as a user has it: a module in a folder, and a shell standing there."""

    folder: Path
    module: str
    environment: dict[str, str | None] = field(default_factory=dict)

    @property
    def application(self) -> str:
        """What `-A` is given."""
        return f"{self.module}:pipeline"

    @property
    def pipeline(self) -> Pipeline:
        """The application's pipeline."""
        return load_pipeline(self.application)

    def stoker(self, *arguments: str, stdin: str | None = None) -> Result:
        """Call the command line in this process."""
        return CliRunner().invoke(main, ["-A", self.application, *arguments], input=stdin, env=self.environment)

    def refuse(self, *arguments: str) -> str:
        """Call the command line with what it must refuse as wrong usage; returns what it says."""
        refused = self.stoker(*arguments)
        assert refused.exit_code == ExitCode.USAGE, refused.output
        return refused.output

    def process_environment(self) -> dict[str, str]:
        """The environment for a process of its own."""
        return {**os.environ, **{name: value for name, value in self.environment.items() if value is not None}}


def make_shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, namespace: str) -> Shop:
    """Write the application and go to its folder; there is no cluster yet."""
    module = f"shop_{namespace}"
    (tmp_path / f"{module}.py").write_text(SOURCE.format(namespace=namespace))
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    return Shop(folder=tmp_path, module=module, environment={"STOKER_BOOTSTRAP_SERVERS": None, "STOKER_APP": None})


def open_shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, namespace: str, cluster: ClusterSettings) -> Shop:
    """The application with its topics on a cluster."""
    shop = make_shop(tmp_path, monkeypatch, namespace)
    shop.environment["STOKER_BOOTSTRAP_SERVERS"] = cluster.bootstrap_servers
    ensure_topology(shop.pipeline, cluster)
    return shop
