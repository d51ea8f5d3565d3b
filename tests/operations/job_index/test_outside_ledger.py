"""Each job is shown as what it was, by an account that Stoker knows nothing of, through kills of workers and index."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import pytest
from click.testing import CliRunner

from stoker.operations.cli import main
from stoker.operations.job_index.database import throw_away
from stoker.producers import Producer
from stoker.topology import ClusterSettings
from support.program import TESTS, program
from support.programs.fates import FATES, RUNS, declare
from support.scenes.worker import create, wait_all_committed
from support.waiting import wait_until

pytestmark = [pytest.mark.timeout(240), pytest.mark.expected_errors("dead letter")]

IMPATIENT: Final = """
import sys
from stoker.operations.job_index import committed_jobs, ledger_backlog
ledger_backlog.RECONCILE_AFTER_S, committed_jobs.INTERVAL_S = 1.0, 2.0
from stoker.operations.cli.__main__ import main
sys.exit(main())
"""
"""The process of the index, with short intervals."""
APPLICATION: Final = """
from support.programs.fates import declare
pipeline, _, _ = declare({namespace!r})
"""
CONVERGED_S: Final = 60.0
"""The children of crashing jobs come one by one."""


class Fleet:
    """Workers, the process of the index, and an account of all jobs beside them."""

    def __init__(self, cluster: ClusterSettings, namespace: str, folder: Path) -> None:
        self.pipeline, self.queue, self.types = declare(namespace)
        self._cluster, self._folder = cluster, folder
        self.runs, self.index = folder / "runs", folder / "index.sqlite"
        self.runs.touch()
        (folder / f"app_{namespace}.py").write_text(APPLICATION.format(namespace=namespace), encoding="utf-8")
        self._common = ["-A", f"app_{namespace}:pipeline", "--bootstrap-servers", cluster.bootstrap_servers]
        self._environment = {**os.environ, RUNS: str(self.runs), "PYTHONPATH": f"{folder}:{TESTS}"}
        self._processes: list[subprocess.Popen[bytes]] = []
        self.fates: dict[str, str] = {}

    def _start(self, command: list[str]) -> subprocess.Popen[bytes]:
        self._processes.append(
            subprocess.Popen(
                command, cwd=TESTS, env=self._environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
        )
        return self._processes[-1]

    def work(self) -> subprocess.Popen[bytes]:
        """Start a worker."""
        return self._start([*program("fates"), self._cluster.bootstrap_servers, self.pipeline.namespace])

    def keep_index(self, *options: str) -> subprocess.Popen[bytes]:
        """Start the process of the index."""
        own = ["status", "run", "--index", str(self.index), *options]
        return self._start([sys.executable, "-c", IMPATIENT, *self._common, *own])

    def end(self) -> None:
        """End all processes, as a power cut would."""
        for process in self._processes:
            process.kill()
            process.wait()

    def enqueue(self, fates: Iterable[str]) -> None:
        """Enqueue a job for each fate, and note its id."""
        given: dict[str, Any] = {
            "expires": {"expires": timedelta(milliseconds=1)},
            "delayed": {"delay": timedelta(hours=1)},
            "cancelled": {"delay": timedelta(hours=1)},
        }
        with Producer(self.pipeline, self._cluster) as producer:
            for fate in fates:
                job_type = self.types[fate].with_options(**given.get(fate, {}))
                self.fates[producer.enqueue(job_type, len(self.fates), fate).job_id] = fate

    def of(self, *fates: str) -> set[str]:
        """The ids of the jobs of these fates."""
        return {job_id for job_id, fate in self.fates.items() if fate in fates}

    def command(self, *words: str) -> str:
        """Run a command in this process; what it prints."""
        ended = CliRunner().invoke(main, [*self._common, *words])
        assert ended.exit_code == 0, ended.output
        return ended.stdout

    def accounts(self) -> dict[str, list[tuple[int, str]]]:
        """{job: (attempt, what) of its runs}."""
        found: dict[str, list[tuple[int, str]]] = {}
        written = self.runs.read_text(encoding="utf-8")
        whole = written[: written.rfind("\n") + 1]  # a line across two pages is half there for a moment
        for line in whole.splitlines():
            job_id, attempt, what = line.split()
            found.setdefault(job_id, []).append((int(attempt), what))
        return found

    def wait_runs(self, ids: set[str], least: int, what: str = "begun") -> None:
        """Wait until each of these jobs has run so often."""

        def lacking() -> bool:
            accounts = self.accounts()
            return all(sum(one[1] == what for one in accounts.get(job_id, ())) >= least for job_id in ids)

        wait_until(lacking, 90, f"{least} runs {what} of {len(ids)} jobs")

    def wrong(self, ids: Iterable[str]) -> list[str]:
        """The jobs that are shown as something else than what they were."""
        accounts = self.accounts()
        found = []
        for job_id in ids:
            shown = json.loads(self.command("jobs", "show", job_id, "--index", str(self.index), "--json"))
            is_ended_by_ledger = shown["known_from"] == "ledger" and shown["state"] == "cancelled"
            wanted = FATES[self.fates[job_id]]
            if is_ended_by_ledger and wanted in ("expired", "discarded"):  # a kill has taken the event along
                wanted = "cancelled"
            seen = (shown["state"], shown["tenant"], shown["attempt"])
            runs = accounts.get(job_id, [])
            if seen != (wanted, self.fates[job_id], runs[-1][0] if runs else 1):
                found.append(f"{self.fates[job_id]} {job_id}: {seen}, known from {shown['known_from']}; it was {runs}")
        return found


@contextmanager
def fleet_of(cluster: ClusterSettings, namespace: str, folder: Path) -> Iterator[Fleet]:
    """A fleet that is gone in the end."""
    fleet = Fleet(cluster, namespace, folder)
    create(fleet.pipeline, cluster)
    try:
        yield fleet
    finally:
        fleet.end()


@pytest.mark.parametrize(
    ("jobs", "asked"),
    [
        pytest.param(110, 60, id="short"),
        pytest.param(20_000, 1_000, marks=[pytest.mark.soak, pytest.mark.timeout(1_200)], id="long"),
    ],
)
def test_jobs_are_shown_as_what_they_were(
    cluster: ClusterSettings,
    namespace: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    jobs: int,
    asked: int,
) -> None:
    """Workers are killed under load, and so is the index, which is thrown away and built again in between."""
    monkeypatch.syspath_prepend(tmp_path)
    chance = random.Random(jobs)
    crashing = min(jobs // 11, 20)
    fates = [fate for fate in FATES if fate not in ("expires", "crashes") for _ in range(jobs // 11)]
    chance.shuffle(fates)
    with fleet_of(cluster, namespace, tmp_path) as fleet:
        fleet.enqueue(["expires"] * (jobs // 11) + ["crashes"] * crashing)
        index, workers = fleet.keep_index(), [fleet.work(), fleet.work()]
        for part in range(4):
            fleet.enqueue(fates[part::4])
            if part in (1, 2):
                workers[part - 1].kill()
                workers[part - 1].wait()
                workers.append(fleet.work())
            if part == 2:
                index.kill()
                index.wait()
                throw_away(fleet.index)
                index = fleet.keep_index()
        (tmp_path / "ids").write_text("\n".join(fleet.of("cancelled")), encoding="utf-8")
        fleet.command("control", "cancel", "--ids-from", str(tmp_path / "ids"), "--reason", "ordered twice")
        fleet.wait_runs(fleet.of("dead", "dropped", "replayed", "again", "snoozes", "crashes"), 2)
        fleet.runs.with_suffix(".fixed").touch()
        wait_all_committed(cluster, fleet.queue)
        fleet.command("dead", "discard", "work", "--tenant", "dropped", "--yes", "--reason", "too old")
        fleet.command("dead", "replay", "work", "--tenant", "replayed", "--yes", "--reason", "fixed")
        fleet.wait_runs(fleet.of("replayed", "done", "again", "snoozes"), 1, "done")
        wait_all_committed(cluster, fleet.queue)
        sample = chance.sample(sorted(fleet.fates), min(asked, len(fleet.fates)))
        agree(fleet, sample)
        index.kill()
        index.wait()
        throw_away(fleet.index)
        assert fleet.keep_index("--once").wait(60) == 0
        agree(fleet, sample, 0.0)


def agree(fleet: Fleet, ids: list[str], within_s: float = CONVERGED_S) -> None:
    """All are shown as what they were, at last."""
    wrong = list(ids)

    def is_right() -> bool:
        wrong[:] = fleet.wrong([job_id for job_id in ids if job_id in " ".join(wrong)])
        return not wrong

    try:
        wait_until(is_right, within_s, "all to be shown as what they were")
    except AssertionError:
        raise AssertionError(f"{len(wrong)} of {len(ids)} are shown wrong:\n" + "\n".join(wrong[:20])) from None
