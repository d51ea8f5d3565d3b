"""The demo, on fewer flights: it proves its balance, and its auditor sees what is wrong."""

from __future__ import annotations

import os
import re
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
from confluent_kafka.admin import AdminClient

from stoker.topology import ClusterSettings
from support.waiting import wait_until

ROOT = Path(__file__).parents[2]
FLIGHTS = 1_500
DEADLINE_S = 110.0
INCOMPLETE = 13
FAULTS = {
    "DELETE FROM claims WHERE seq = 700": {"done + dead + waiting", "unaccounted"},
    """
    INSERT INTO claims (flight_id, flown_on, carrier, flight, origin, departs, verdict, amount_eur, attempt, process)
    SELECT flight_id || '-', flown_on, carrier, flight, origin, departs, verdict, amount_eur, attempt, process
    FROM claims WHERE seq = 700
    """: {"done + dead + waiting", "unknown", "doubled claims"},
    """
    UPDATE claims SET seq = -seq WHERE seq = (
        SELECT max(seq) FROM claims WHERE replay IS NULL GROUP BY tailnum HAVING count(*) > 1 LIMIT 1
    )
    """: {"planes out of order"},
}
"""{what is done to the claims: the figures which that puts off}."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """A program that has ended."""

    code: int
    said: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """Where the demo runs in a test."""

    environment: dict[str, str]
    home: Path

    def run(self, module: str, *arguments: str) -> Ended:
        """Run one of the examples' programs to its end."""
        done = subprocess.run(
            [sys.executable, "-m", f"examples.{module}", *arguments],
            cwd=ROOT,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=DEADLINE_S,
            check=False,
        )
        return Ended(code=done.returncode, said=done.stdout)

    @contextmanager
    def running_demo(self) -> Iterator[subprocess.Popen[str]]:
        """Start a short demo, and kill it should it be there still in the end."""
        command = [sys.executable, "-u", "-m", "examples.demo", "--flights", str(FLIGHTS)]
        pipe, same = subprocess.PIPE, subprocess.STDOUT
        with subprocess.Popen(command, cwd=ROOT, env=self.environment, stdout=pipe, stderr=same, text=True) as demo:
            try:
                yield demo
            finally:
                demo.kill()

    @property
    def runs(self) -> list[Path]:
        """The folders of runs that left their traces."""
        return sorted((self.home / "demo").glob("*"))

    def audit(self, claims: Path) -> Ended:
        """Call the auditor on the one run that is there, with its claims or a copy of them."""
        january = ROOT / "examples" / "flights-2013-01.csv.gz"
        where = ("--namespace", self.only_run.name, "--claims", str(claims), "--csv", str(january))
        return self.run("audit", *where, "--flights", str(FLIGHTS))

    @property
    def only_run(self) -> Path:
        """The folder of the one run that left its traces."""
        (folder,) = self.runs
        return folder

    def tampered_claims(self, statement: str) -> Path:
        """A copy of the run's claims in which something was changed."""
        copy = self.home / "tampered.sqlite"
        copy.unlink(missing_ok=True)
        with closing(sqlite3.connect(self.only_run / "claims.sqlite")) as db:
            db.execute("VACUUM INTO ?", (str(copy),))
        with closing(sqlite3.connect(copy)) as db, db:
            assert db.execute(statement).rowcount == 1
        return copy


@pytest.fixture
def stage(tmp_path: Path, cluster: ClusterSettings) -> Stage:
    """The shared cluster, and a state folder of the test's own."""
    plain = {name: value for name, value in os.environ.items() if not name.startswith(("STOKER_", "FLIGHTS_"))}
    own = {"STOKER_BOOTSTRAP_SERVERS": cluster.bootstrap_servers, "STOKER_HOME": str(tmp_path)}
    return Stage(environment={**plain, **own}, home=tmp_path)


def figures(said: str, heading: str) -> dict[str, int]:
    """The figures printed below a heading: {name: value}."""
    part = said[said.index(heading) :].partition("\n\n")[0]
    found = re.findall(r"^(?:!!|  )  ([=+ ]*[a-z][a-z +]*?) +([\d,]+)   ", part, flags=re.MULTILINE)
    return {name.strip("=+ "): int(value.replace(",", "")) for name, value in found}


@pytest.mark.timeout(240)
def test_the_demo_proves_its_balance_and_the_auditor_sees_every_fault(stage: Stage) -> None:
    """A short demo with a killed worker ends with 0; a lost, doubled or misplaced claim makes the audit fail."""
    demo = stage.run("demo", "--flights", str(FLIGHTS), "--keep")

    assert demo.code == 0, demo.said
    assert figures(demo.said, "The balance before any work")["waiting"] == FLIGHTS
    between = figures(demo.said, "5. The balance")
    assert (between["done"], between["dead"], between["waiting"]) == (FLIGHTS - INCOMPLETE, INCOMPLETE, 0)
    in_the_end = figures(demo.said, "7. The balance")
    assert (in_the_end["done"], in_the_end["dead"], in_the_end["unaccounted"]) == (FLIGHTS, 0, 0)
    assert in_the_end["their flights"] == FLIGHTS - INCOMPLETE
    assert stage.audit(stage.only_run / "claims.sqlite").code == 0
    for statement, seen in FAULTS.items():
        assert marked(stage.audit(stage.tampered_claims(statement))) == seen, statement


def marked(audited: Ended) -> set[str]:
    """The figures that are marked as off, if the auditor ended with 1 because of them."""
    assert audited.code == 1, audited.said
    return {name.strip("=+ ") for name in re.findall(r"^!!  (.*?) +[\d,]+   ", audited.said, flags=re.MULTILINE)}


def test_an_interrupted_demo_leaves_nothing_behind(stage: Stage, cluster: ClusterSettings) -> None:
    """Ctrl+C while workers run ends all processes, deletes the run's topics and files, and gives 130."""
    with stage.running_demo() as demo:
        assert demo.stdout is not None
        said = next((line for line in demo.stdout if " done " in line and line.endswith(" waiting\n")), "")
        started = psutil.Process(demo.pid).children(recursive=True)
        assert said, "the demo ended before it worked"
        assert started, said
        namespace = stage.only_run.name
        demo.send_signal(signal.SIGINT)
        rest = demo.stdout.read()

    assert demo.returncode == 130, rest
    assert "Interrupted" in rest
    assert not [process for process in started if process.is_running()]
    assert not stage.runs
    admin = AdminClient(cluster.client_config())
    wait_until(
        lambda: not [topic for topic in admin.list_topics(timeout=30).topics if topic.startswith(namespace)],
        what="the brokers to show no topic of the run: they do so a moment after they have answered",
    )
