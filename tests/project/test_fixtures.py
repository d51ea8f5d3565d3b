"""The fixtures all tests stand on: they notice errors in the log, and tell what was waited for in vain."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from support.long_tests import LAST_BEGUN_AT, LONG, TESTS, spread_long
from support.waiting import wait_until

INNER = """
import logging, pytest

def test_surprise():
    logging.getLogger("stoker.consumers").error("the offset was not committed")

@pytest.mark.expected_errors("not committed")
def test_expected():
    logging.getLogger("stoker.consumers").error("the offset was not committed")

def test_stranger():
    logging.getLogger("elsewhere").error("somebody else's trouble")
"""


def test_an_error_in_the_log_fails_its_test_unless_expected(tmp_path: Path) -> None:
    """No test passes over an error it did not foresee, in whatever thread it was logged."""
    (tmp_path / "test_inner.py").write_text(INNER)
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers = expected_errors(*parts): allowed")
    command = [sys.executable, "-m", "pytest", "-p", "conftest", "-p", "no:cacheprovider", "-q", "test_inner.py"]
    plain = {name: value for name, value in os.environ.items() if not name.startswith(("STOKER_TESTS", "PYTEST_"))}
    environment = {**plain, "PYTHONPATH": str(Path(__file__).parents[1])}
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert "3 passed, 1 error" in done.stdout, done.stdout + done.stderr
    assert "stoker.consumers: the offset was not committed" in done.stdout


def test_waiting_gives_back_what_made_the_condition_true() -> None:
    """A test goes on with the value it waited for."""
    values = iter([0, None, "ready"])
    assert wait_until(lambda: next(values), 5) == "ready"


def test_waiting_in_vain_names_what_was_awaited_and_seen() -> None:
    """The message is enough to begin the search."""
    with pytest.raises(AssertionError, match=r"0\.05 s in vain for three letters; last seen: \[\]"):
        wait_until(list, 0.05, "three letters")


def test_the_tests_that_are_begun_early_are_there() -> None:
    """A file that was moved is begun early under its new name."""
    assert not [name for name in LONG if not (TESTS / name).is_file()]


def test_the_tests_that_are_begun_early_are_spread_and_none_is_left_out(request: pytest.FixtureRequest) -> None:
    """Each test is there once, whatever was selected; the last of the long ones begins before the last third."""
    found = list(request.session.items)
    spread_long(found)
    assert sorted(item.nodeid for item in found) == sorted(item.nodeid for item in request.session.items)
    early = [at for at, item in enumerate(found) if item.path in {TESTS / name for name in LONG}]
    assert not early or early[-1] <= len(early) + LAST_BEGUN_AT * (len(found) - len(early))
