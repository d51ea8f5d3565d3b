"""A worker process whose application, terminal or supervisor leaves it less than usual: logs, streams, Ctrl+C."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from stoker.operations.cli.exit_codes import ExitCode
from stoker.topology import ClusterSettings
from support.scenes.shop_application import Shop, open_shop
from support.waiting import wait_until

DEADLINE_S = 60.0
EXTRA = """
import logging.config, subprocess, sys
from stoker.consumers import Worker, current_job

logging.config.dictConfig({"version": 1})

def note(text):
    with open("notes", "a") as notes:
        notes.write(text + chr(10))

@pipeline.job(mails)
def work(how: str) -> None:
    if how == "fail":
        raise ValueError("it fails")
    if how == "program":
        note("begun " + str(current_job().attempt))
        subprocess.run(["sleep", "60"], check=True)
    note("done " + how)

@pipeline.job(mails, isolation="process")
def apart(how: str) -> None:
    note("done apart")
"""


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, namespace: str, cluster: ClusterSettings) -> Shop:
    """An application that configures logging at its import."""
    shop = open_shop(tmp_path, monkeypatch, namespace, cluster)
    with Path(f"{shop.module}.py").open("a") as module:
        module.write(EXTRA)
    sys.modules.pop(shop.module, None)
    return shop


def start(shop: Shop, *arguments: str, closed: tuple[int, ...] = ()) -> subprocess.Popen[bytes]:
    """Start a command in a session of its own, without these descriptors."""
    closing = " ".join(f"{number}{'<' if number == 0 else '>'}&-" for number in closed)
    command = ["sh", "-c", f'exec "$0" "$@" {closing}', sys.executable, "-m", "stoker.operations.cli"]
    with Path("err.log").open("ab") as log:
        return subprocess.Popen(
            [*command, "-A", shop.application, *arguments],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=shop.process_environment(), start_new_session=True,
        )  # fmt: skip


def notes() -> list[str]:
    """What the jobs noted."""
    return Path("notes").read_text().splitlines() if Path("notes").exists() else []


def end(process: subprocess.Popen[bytes]) -> int:
    """End a worker in order."""
    process.send_signal(signal.SIGTERM)
    return process.wait(DEADLINE_S)


def test_a_worker_logs_though_its_application_disables_all_loggers(shop: Shop) -> None:
    """The failure of a job and the signal that ends the worker are in the log."""
    worker = start(shop, "worker", "--queue", "mails")
    try:
        assert shop.stoker("enqueue", "work", "how=fail").exit_code == ExitCode.OK
        wait_until(lambda: "it fails" in Path("err.log").read_text(), DEADLINE_S, "the failure's line")
        assert end(worker) == ExitCode.OK
    finally:
        worker.kill()
        worker.wait(10)
    messages = [json.loads(line)["message"] for line in Path("err.log").read_text().splitlines() if line[0] == "{"]
    assert any("SIGTERM" in message for message in messages)


@pytest.mark.parametrize("closed", [(2,), (0, 1, 2)])
def test_a_worker_without_standard_streams_runs_jobs_also_in_children(shop: Shop, closed: tuple[int, ...]) -> None:
    """Their numbers must not become those of connections, into which libraries would print."""
    worker = start(shop, "worker", "--queue", "mails", closed=closed)
    try:
        for command in (("enqueue", "work", "how=it"), ("enqueue", "apart", "how=it")):
            sent = start(shop, *command, closed=closed)
            assert sent.wait(DEADLINE_S) == ExitCode.OK
        wait_until(lambda: set(notes()) == {"done it", "done apart"}, DEADLINE_S, "the jobs")
        assert start(shop, "queues", "--json", closed=closed).wait(DEADLINE_S) == ExitCode.OK
        assert end(worker) == ExitCode.OK
    finally:
        worker.kill()
        worker.wait(10)


def test_ctrl_c_that_ends_a_jobs_program_costs_no_attempt(shop: Shop) -> None:
    """A terminal sends it to all in its foreground; the job fails for that, and its next run is the first attempt."""
    for round_number in (1, 2):
        worker = start(shop, "worker", "--queue", "mails", "--log-format", "text")
        try:
            if round_number == 1:
                assert shop.stoker("enqueue", "work", "how=program").exit_code == ExitCode.OK
            wait_until(lambda: len(notes()) == round_number, DEADLINE_S, "the job's begin")  # noqa: B023  # called at once
            os.killpg(worker.pid, signal.SIGINT)
            assert worker.wait(DEADLINE_S) == ExitCode.OK
        finally:
            worker.kill()
            worker.wait(10)
    assert notes() == ["begun 1", "begun 1"]
    assert "(work) failed after Ctrl+C" in Path("err.log").read_text()
