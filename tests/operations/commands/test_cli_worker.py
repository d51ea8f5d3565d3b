"""`stoker worker` as a process: it runs jobs, logs JSON lines, ends in order, and supervises a fleet."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from stoker.operations.cli.exit_codes import ExitCode
from stoker.operations.cluster_view import ClusterView
from stoker.topology import ClusterSettings
from support.scenes.shop_application import Shop, make_shop, open_shop
from support.sight.scraping import free_ports, health, scrape
from support.waiting import wait_until

_DEADLINE_S = 60.0


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, namespace: str, cluster: ClusterSettings) -> Shop:
    """An application with its topics."""
    return open_shop(tmp_path, monkeypatch, namespace, cluster)


@contextmanager
def running(shop: Shop, *arguments: str, err: int | None = None) -> Iterator[subprocess.Popen[bytes]]:
    """`stoker worker` as a process of its own; its output goes to out.log, its log to err.log; gone at the end."""
    command = [sys.executable, "-m", "stoker.operations.cli", "-A", shop.application, "worker", *arguments]
    with Path("out.log").open("wb") as out, Path("err.log").open("wb") as log:
        process = subprocess.Popen(
            command,
            stdout=out,
            stderr=log if err is None else err,
            env=shop.process_environment(),
            start_new_session=True,
        )
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()
            process.wait(10)


def ended(process: subprocess.Popen[bytes], how: signal.Signals = signal.SIGTERM) -> int:
    """Ask the process to end; its exit code."""
    process.send_signal(how)
    return process.wait(_DEADLINE_S)


def logged() -> str:
    """What was logged so far."""
    return Path("err.log").read_text()


def wait_for_output(text: str) -> None:
    """Wait until a job has printed this."""
    wait_until(lambda: text in Path("out.log").read_text(), _DEADLINE_S, f"{text!r} in the output; the log: {logged()}")


def test_a_worker_runs_jobs_logs_json_lines_and_ends_in_order(shop: Shop) -> None:
    """A job enqueued by hand is run; away from a terminal each line of the log is an object; SIGTERM ends with 0."""
    with running(shop, "--queue", "mails", "--concurrency", "2", "--grace", "5s") as worker:
        assert shop.stoker("enqueue", "send_mail", "order_id=77").exit_code == ExitCode.OK
        wait_for_output("sent 77")
        assert ended(worker) == ExitCode.OK
    lines = [json.loads(line) for line in logged().splitlines()]
    assert lines
    assert all({"ts", "level", "logger", "message"} <= line.keys() for line in lines)


def test_on_a_terminal_a_worker_shows_a_live_table(shop: Shop) -> None:
    """Rate, jobs in flight and unfinished ones are drawn where a person looks, and Ctrl+C ends in order."""
    ours, theirs = pty.openpty()
    shown = b""
    with running(shop, err=theirs) as worker:
        os.close(theirs)

        def table() -> bool:
            nonlocal shown
            shown += os.read(ours, 65_536)
            return all(word in shown for word in (b"jobs/s", b"in flight", b"unfinished", b"mails", b"bills"))

        wait_until(table, _DEADLINE_S, "the live table")
        worker.send_signal(signal.SIGINT)
        _drain(ours)
        assert worker.wait(_DEADLINE_S) == ExitCode.OK
    os.close(ours)


def test_on_a_terminal_a_fleet_shows_its_queues_with_the_processes_output_above(shop: Shop) -> None:
    """Rates and lag of the whole fleet are drawn, and a log line of a process does not tear the table."""
    ours, theirs = pty.openpty()
    shown = b""
    with running(shop, "--processes", "2", "--queue", "mails", err=theirs) as fleet:
        os.close(theirs)

        def table() -> bool:
            nonlocal shown
            shown += os.read(ours, 65_536)
            return b"2 of 2 processes run" in shown and b"lag" in shown and b"partitions assigned" in shown

        wait_until(table, _DEADLINE_S, "the fleet's table and a line of a process")
        fleet.send_signal(signal.SIGINT)
        _drain(ours)
        assert fleet.wait(_DEADLINE_S) == ExitCode.OK
    os.close(ours)


def _drain(terminal: int) -> None:
    """Read until the other side hangs up, which a terminal says by an error."""
    try:
        while os.read(terminal, 65_536):
            pass
    except OSError:
        pass


def test_a_fleet_has_as_many_members_and_replaces_one_that_is_killed(shop: Shop, cluster: ClusterSettings) -> None:
    """`--processes 2` makes two members of the group; one killed with SIGKILL is started again; SIGTERM ends all."""
    view, group = ClusterView(cluster, timeout_s=60.0), shop.pipeline.queues["mails"].group
    with running(shop, "--processes", "2", "--queue", "mails") as fleet:
        wait_until(lambda: len(view.groups([group])[group].members) == 2, _DEADLINE_S, "two members")
        first = _started()
        os.kill(first[0], signal.SIGKILL)
        wait_until(lambda: len(_started()) == 3, _DEADLINE_S, "a third process")
        assert ended(fleet) == ExitCode.OK
    assert not [pid for pid in _started() if _is_running(pid)]


def test_each_process_of_a_fleet_shows_metrics_and_health_at_a_port_of_its_own(shop: Shop) -> None:
    """The first port and those after it; where one of them is taken, the fleet refuses to start."""
    first = free_ports(2)
    with running(shop, "--processes", "2", "--queue", "mails", "--metrics-port", str(first)) as fleet:
        for port in (first, first + 1):
            wait_until(partial(is_ready, port), _DEADLINE_S, f"port {port}; the log: {logged()}")
            assert scrape(port).value("stoker_ready") == 1
        assert len({health(port, "/live")[1]["worker"] for port in (first, first + 1)}) == 2
        refused = shop.stoker("worker", "--processes", "2", "--metrics-port", str(first - 1))
        assert refused.exit_code == ExitCode.FINDING
        assert f"127.0.0.1:{first} cannot be opened for metrics" in refused.stderr
        assert ended(fleet) == ExitCode.OK


def is_ready(port: int) -> bool:
    """Whether a process answers at this port that it is ready."""
    try:
        return health(port, "/ready")[0] == 200
    except OSError:
        return False


def test_ctrl_c_reaches_each_process_of_a_fleet_once(shop: Shop, cluster: ClusterSettings) -> None:
    """A terminal sends Ctrl+C to all of its processes; a second signal would cut the running jobs short."""
    view, group = ClusterView(cluster, timeout_s=60.0), shop.pipeline.queues["mails"].group
    with running(shop, "--processes", "2", "--queue", "mails") as fleet:
        wait_until(lambda: len(view.groups([group])[group].members) == 2, _DEADLINE_S, "two members")
        assert all(os.getpgid(process) != fleet.pid for process in _started())
        os.killpg(fleet.pid, signal.SIGINT)
        assert fleet.wait(_DEADLINE_S) == ExitCode.OK
    assert "letting running jobs end" in logged()
    assert "a second signal" not in logged()


def _inspections() -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in logged().splitlines() if line.startswith("{") and line.endswith("}")]
    return [line for line in lines if line["logger"] == "stoker.inspection"]


def test_a_signal_to_a_fleet_makes_each_process_print_what_it_does(shop: Shop) -> None:
    """SIGUSR1, however early, ends nobody; each queue of each process is a JSON line."""
    with running(shop, "--processes", "2", "--queue", "mails") as fleet:
        wait_until(lambda: len(_started()) == 2, _DEADLINE_S, "two processes")
        fleet.send_signal(signal.SIGUSR1)  # they have begun nothing: it must wait for them, and not end them
        wait_until(
            lambda: len({inspection["worker"] for inspection in _inspections()}) == 2, _DEADLINE_S, "both to answer"
        )
        assert ended(fleet) == ExitCode.OK
    assert len(_started()) == 2
    assert {inspection["queue"] for inspection in _inspections()} == {"mails"}
    assert all(
        {"runs", "partitions", "ready", "parked", "delayed", "hints"} <= inspection.keys()
        for inspection in _inspections()
    )


def test_a_worker_inspects_itself_again_and_again_when_asked_to(shop: Shop) -> None:
    """With `--inspect`, as text for people; the partitions are in it once it has them."""
    ours, theirs = pty.openpty()
    shown = b""
    with running(shop, "--inspect", "--queue", "mails", err=theirs) as worker:
        os.close(theirs)

        def inspected() -> bool:
            nonlocal shown
            shown += os.read(ours, 65_536)
            return b"queue mails on" in shown and b"/0 running: " in shown

        wait_until(inspected, _DEADLINE_S, "an inspection")
        worker.send_signal(signal.SIGTERM)
        _drain(ours)
        assert worker.wait(_DEADLINE_S) == ExitCode.OK
    os.close(ours)


def test_the_processes_of_a_fleet_end_when_its_supervisor_is_killed(shop: Shop, cluster: ClusterSettings) -> None:
    """No worker is left behind that nobody supervises."""
    view, group = ClusterView(cluster, timeout_s=60.0), shop.pipeline.queues["mails"].group
    with running(shop, "--processes", "2", "--queue", "mails") as fleet:
        wait_until(lambda: len(view.groups([group])[group].members) == 2, _DEADLINE_S, "two members")
        fleet.kill()
        wait_until(lambda: not [pid for pid in _started() if _is_running(pid)], _DEADLINE_S, "the processes' end")


def _is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def _started() -> list[int]:
    """Ids of the processes that the fleet says it has started."""
    lines = [json.loads(line) for line in logged().splitlines() if line.startswith("{") and line.endswith("}")]
    return [int(line["message"].split()[2]) for line in lines if line["message"].endswith("started")]


def test_an_unknown_queue_starts_no_broker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, namespace: str) -> None:
    """A misspelt name is refused before the embedded broker is started for it."""
    shop = make_shop(tmp_path, monkeypatch, namespace)
    assert shop.stoker("worker", "--queue", "male").exit_code == ExitCode.USAGE
    assert not (tmp_path / ".stoker").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("--queue", "male"), ExitCode.USAGE, "did you mean mails?"),
        (("--grace", "soon"), ExitCode.USAGE, "not a length of time"),
        (("--concurrency", "0"), ExitCode.USAGE, "range"),
        ((), ExitCode.FINDING, "stoker topology apply"),
    ],
)
def test_a_worker_that_cannot_start_gives_the_reason(
    request: pytest.FixtureRequest, cluster: ClusterSettings, arguments: tuple[str, ...], code: ExitCode, said: str
) -> None:
    """Wrong options and missing topics end the command at once, with what to do."""
    tmp_path, monkeypatch, namespace = map(request.getfixturevalue, ("tmp_path", "monkeypatch", "namespace"))
    shop = make_shop(tmp_path, monkeypatch, namespace)
    shop.environment["STOKER_BOOTSTRAP_SERVERS"] = cluster.bootstrap_servers
    result = shop.stoker("worker", *arguments)
    assert result.exit_code == code, result.output
    assert said in result.stderr
