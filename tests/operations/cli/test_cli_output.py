"""What commands print: tables, JSON and log lines."""

from __future__ import annotations

import io
import json
import logging
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from stoker.consumers.inspection.snapshot import QueueSnapshot
from stoker.consumers.job.heartbeats import JobProgress
from stoker.operations.cli import main
from stoker.operations.cli.logs import StderrHandler
from stoker.operations.cli.output import Figure, format_age, print_fitting_table, print_json, table_lines
from stoker.operations.doctor.findings import Verdict, kept
from stoker.operations.views.live_view import RateMeter, WorkerView
from stoker.operations.views.logging_json import JsonFormatter
from support.scenes.shop_application import make_shop


def test_a_table_sets_figures_to_the_right_and_cuts_nothing() -> None:
    """Columns of numbers and ages align at their ends, text at its beginning, however long it is."""
    rows = [("a" * 100, 1_234, Figure("3m")), ("b", 5, None)]
    lines = [click.unstyle(line) for line in table_lines(("NAME", "COUNT", "AGE"), rows)]
    assert lines == [
        "NAME" + " " * 98 + "COUNT  AGE",
        "a" * 100 + "  1,234   3m",
        "b" + " " * 105 + "5    -",
    ]


def test_a_fitting_table_is_cut_on_a_terminal_alone(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A narrow terminal shows whole lines that end with a mark; a pipe gets everything."""
    titles, rows = ("REF", "ERROR"), [("0/1", "x" * 60), ("0/2", "short")]
    print_fitting_table(titles, rows)
    assert "x" * 60 in capsys.readouterr().out

    monkeypatch.setenv("COLUMNS", "20")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    print_fitting_table(titles, rows)
    assert [click.unstyle(line) for line in capsys.readouterr().out.splitlines()] == [
        "REF  ERROR",
        "0/1  " + "x" * 14 + "…",
        "0/2  short",
    ]


def test_no_color_leaves_colours_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, namespace: str) -> None:
    """NO_COLOR holds also on a terminal, for every command."""
    shop = make_shop(tmp_path, monkeypatch, namespace)
    command = ["-A", shop.application, "topology", "show"]
    assert "\x1b[1m" in CliRunner().invoke(main, command, color=True).output
    assert "\x1b" not in CliRunner().invoke(main, command, color=True, env={"NO_COLOR": "1"}).output


@pytest.mark.parametrize(
    ("age_s", "shown"),
    [(-3, "0s"), (0, "0s"), (59.9, "59s"), (60, "1m"), (61, "1m1s"), (3 * 3600 + 9, "3h"), (90_061, "1d1h")],
)
def test_an_age_shows_its_two_largest_units(age_s: float, shown: str) -> None:
    """90,061 s are 1 day, 1 hour, 1 minute and 1 second: shown as 1d1h; a zero between them is left out."""
    assert format_age(timedelta(seconds=age_s)) == shown


def test_json_shows_instants_lengths_and_verdicts_as_data(capsys: pytest.CaptureFixture[str]) -> None:
    """Programs read instants as RFC 3339, lengths of time as seconds, and dataclasses as objects."""
    print_json({"at": datetime(2013, 1, 1, tzinfo=UTC), "for": timedelta(minutes=1), "found": kept("P1", "q", "é")})
    assert json.loads(capsys.readouterr().out) == {
        "at": "2013-01-01T00:00:00Z",
        "for": 60.0,
        "found": {"verdict": Verdict.KEPT.value, "guarantee": "P1", "place": "q", "observed": "é", "fix": ""},
    }


def _logged(**extra: object) -> dict[str, object]:
    record = logging.makeLogRecord({"name": "n", "levelname": "INFO", "msg": "took %d s", "args": (3,), **extra})
    line = JsonFormatter().format(record)
    assert "\n" not in line
    fields: dict[str, object] = json.loads(line)
    return fields


def test_a_log_line_is_one_object_with_the_extras_of_its_record() -> None:
    """Whatever a record carries is found under its own name, even what JSON does not know."""
    fields = _logged(job_id="7", due=datetime(2013, 1, 1, tzinfo=UTC), note="two\nlines", nothing=None)
    assert fields["message"] == "took 3 s"
    assert (fields["level"], fields["logger"], fields["job_id"]) == ("info", "n", "7")
    assert fields["due"] == "2013-01-01 00:00:00+00:00"
    assert fields["note"] == "two\nlines"
    assert "nothing" not in fields
    assert str(fields["ts"]).endswith("Z")


def test_an_extra_named_like_a_field_of_the_line_does_not_replace_it() -> None:
    """A job that logs an extra `level` of its own hides nothing."""
    fields = _logged(level="high")
    assert (fields["level"], fields["level_"]) == ("info", "high")


def test_an_exception_is_in_its_own_fields() -> None:
    """The stack of a failure stays within the line."""
    try:
        raise ValueError("unlucky")
    except ValueError:
        fields = _logged(exc_info=sys.exc_info())
    assert fields["error"] == "ValueError('unlucky')"
    assert "Traceback" in str(fields["stack"])


def test_the_log_follows_stderr(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stderr that was replaced and closed, as the live view and test runners do, breaks no log line."""
    handler = StderrHandler()
    old, new = io.StringIO(), io.StringIO()
    monkeypatch.setattr(sys, "stderr", old)
    handler.emit(logging.makeLogRecord({"msg": "first"}))
    monkeypatch.setattr(sys, "stderr", new)
    old.close()
    handler.emit(logging.makeLogRecord({"msg": "second"}))
    assert new.getvalue() == "second\n"


def test_the_rate_is_that_of_the_last_seconds() -> None:
    """100 jobs/s for 10 s, then nothing: after 5 s more, a window of 5 s shows nothing of it."""
    meter = RateMeter(window_s=5.0)
    rates = [meter.note(float(second), min(second, 10) * 100) for second in range(16)]
    assert rates[0] == 0
    assert rates[10] == pytest.approx(100)
    assert rates[15] == 0


def test_the_live_table_shows_each_queue_and_says_what_hinders_it() -> None:
    """A worker without partitions, or with its bounds reached, is not just a row of zeros."""
    idle = QueueSnapshot(
        queue="idle", outcomes={}, in_flight=0, delayed=0, partitions=(), unfinished=None, is_paused=False
    )
    busy = QueueSnapshot(
        queue="busy",
        outcomes={"Done": 9, "Dead": 1},
        in_flight=4_000,
        delayed=2,
        partitions=(0, 1),
        unfinished=77,
        is_paused=True,
        stuck=1,
        progress={"job-7": JobProgress(done=3, total=10, note="sending")},
    )
    table = WorkerView(lambda: [idle, busy], "worker", clock=lambda: 1.0).table()
    cells = [[str(cell) for cell in column.cells] for column in table.columns]
    assert [column[0] for column in cells[:7]] == ["idle", "0", "0", "0", "0", "?", "0"]
    assert [column[1] for column in cells[:7]] == ["busy", "0", "9", "4,000", "2", "77", "2"]
    assert cells[7][0].startswith("no partitions")
    assert cells[7][1] == "full: fetching rests · 1 stuck past their timeout · 1 dead"
    assert cells[7][2] == "job-7: 3 of 10 (30 %), sending"
