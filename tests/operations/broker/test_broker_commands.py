"""`stoker broker`: what it prints and with which code it exits."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from stoker.operations.broker.embedded import EmbeddedBroker
from stoker.operations.broker.errors import JavaMissing
from stoker.operations.cli import main


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broker: EmbeddedBroker) -> Path:
    """A project of the test's own; the fixture `broker` serves the same folder and ends it."""
    monkeypatch.setenv("STOKER_HOME", str(tmp_path))
    return broker.folder


def _run(*words: str, answers: str | None = None) -> Result:
    return CliRunner().invoke(main, ["broker", *words], input=answers)


def test_the_life_of_a_broker_from_the_command_line(home: Path) -> None:
    """Start, status, stop, status: the address is printed, the codes tell whether it runs."""
    started = _run("start")
    running = json.loads(_run("status", "--json").stdout)
    assert started.exit_code == 0, started.output
    assert running["running"]
    assert f"STOKER_BOOTSTRAP_SERVERS={running['bootstrap_servers']}" in started.stdout
    assert str(home) in _run("status").stdout
    assert json.loads(_run("start", "--json").stdout)["pid"] == running["pid"]
    assert _run("stop").exit_code == 0
    assert _run("status").exit_code == 1
    assert json.loads(_run("status", "--json").stdout) == {"running": False}


@pytest.mark.usefixtures("home")
def test_to_stop_nothing_is_no_error() -> None:
    """`stop` may be called by a script that does not know whether it runs."""
    stopped = _run("stop")
    assert stopped.exit_code == 0
    assert "No embedded broker runs" in stopped.stdout


def test_reset_asks_before_it_deletes(home: Path) -> None:
    """Without a yes nothing is deleted."""
    data = home / "data"
    data.mkdir(parents=True)
    assert _run("reset", answers="n\n").exit_code != 0
    assert data.exists()
    assert _run("reset", answers="y\n").exit_code == 0
    assert not data.exists()


def test_reset_does_not_ask_when_yes_is_given(home: Path) -> None:
    """Scripts have no terminal to answer on."""
    (home / "data").mkdir(parents=True)
    assert _run("reset", "--yes").exit_code == 0
    assert not (home / "data").exists()


@pytest.mark.usefixtures("home")
def test_a_start_that_cannot_be_is_one_message_and_code_three(monkeypatch: pytest.MonkeyPatch) -> None:
    """An expected failure shows the way out instead of a traceback."""

    def no_java() -> Path:
        raise JavaMissing(["PATH: not there"])

    monkeypatch.setattr("stoker.operations.broker.embedded.find_java", no_java)
    failed = _run("start")
    assert failed.exit_code == 3
    assert "pip install 'stoker[embedded]'" in failed.stderr
    assert "Traceback" not in failed.output
