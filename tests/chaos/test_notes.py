"""The outside ledger survives what it tells of: whole lines count, and a run without an end died with its process."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from pathlib import Path

from chaos.clock import write_offset
from chaos.notes import (
    OK,
    NoteFile,
    Tally,
    read_confirmations,
    read_given,
    read_held,
    read_runs,
    read_stops,
    read_ticks,
)

TESTS = Path(__file__).parents[1]
SITE = Path(__file__).with_name("site")
TELL_TIME = "import time, datetime; print(time.time(), time.time_ns() / 1e9, time.monotonic())"


def test_a_run_has_the_end_that_its_process_noted_or_none(tmp_path: Path) -> None:
    """A start with its end is one run; a start that another start of the same attempt follows had no end."""
    lines = ["S 1 1 q/0/5 - 100", "S 2 1 q/0/6 - 200", "E 1 1 q/0/5 ok 300", "S 2 1 q/0/6 - 400", "E 2 1 q/0/6 ok 500"]
    (tmp_path / "runs-10-10").write_text("".join(f"{line}\n" for line in lines) + "E 2 1 q/0")
    runs = sorted(read_runs(tmp_path), key=lambda run: (run.number, run.start_s))
    assert [(run.number, run.end_s, run.how) for run in runs] == [(1, 3e-7, OK), (2, None, None), (2, 5e-7, OK)]


def test_what_a_child_ran_counts_as_its_workers_and_knows_the_child(tmp_path: Path) -> None:
    """The file's name says whose child it was."""
    (tmp_path / "runs-10-11").write_text("S 1 2 q.retry.1s/0/5 q/0/1 100\n")
    [run] = read_runs(tmp_path)
    assert (run.pid, run.child, run.process, run.origin) == (10, 11, 11, "q/0/1")


def test_a_note_is_there_at_once_and_counted_once(tmp_path: Path) -> None:
    """What is appended can be read by others; the tally reads on where it stopped."""
    notes, tally = NoteFile(tmp_path, "confirmed"), Tally(tmp_path, "confirmed", b"C ")
    notes.append("C 7 q/0/1")
    assert tally.look() == 1
    notes.append("C 7 q/0/2")
    notes.append("F 8 QueueFull")
    assert tally.look() == 1
    assert [found.number for found in read_confirmations(tmp_path)] == [7, 7]


def test_an_order_holds_from_its_answer_until_it_is_lifted_or_the_next_operator_begins(tmp_path: Path) -> None:
    """A cancel holds for good."""
    notes = NoteFile(tmp_path, "orders")
    given = ("G 1.0 pause type=light -", "G 1.9 pause key=a:b -", "K 1.8 stop worker=web-77 -")
    answered = ("A 1.0 pause type=light 7,8", "A 1.1 quiet all none")
    for line in (*given, *answered, "L 1.0 - - -", "A 1.2 cancel below=9 none"):
        notes.append(line)
    notes.append("L all - - -")
    held = {found.verb: found for found in read_held(tmp_path)}
    assert (held["pause"].target, held["pause"].missing) == ("type=light", frozenset({7, 8}))
    assert held["pause"].from_s < held["quiet"].from_s < held["pause"].until_at_s < held["quiet"].until_at_s
    assert held["cancel"].until_at_s == math.inf
    assert [one.target for one in read_given(tmp_path)] == ["type=light", "key=a:b"]
    assert [pid for pid, _ in read_stops(tmp_path)] == [77]


def test_the_job_of_a_schedule_has_ended_when_a_run_of_it_ended_well_first(tmp_path: Path) -> None:
    """Not by a failed attempt, nor by a zombie's run after that; without an end it has none."""
    notes = NoteFile(tmp_path, "ticks")
    for line in ("S a@1 1 -", "E a@1 1 failed", "S a@1 2 -", "E a@1 2 ok", "E a@1 2 ok", "S b@1 1 -"):
        notes.append(line)
    found = read_ticks(tmp_path)
    assert found["a@1"].ended_at_s is not None
    assert found["a@1"].start_s < found["a@1"].ended_at_s
    assert found["b@1"].ended_at_s is None


def test_the_wall_clock_of_a_run_can_be_moved_and_the_monotonic_one_stays(tmp_path: Path) -> None:
    """A process started with the harness's site folder follows the offset in the file."""
    plain = {**os.environ, "PYTHONPATH": os.pathsep.join([str(SITE), str(TESTS)])}
    told = []
    for offset_s in (0.0, -3_600.0):
        write_offset(tmp_path / "clock", offset_s)
        said = subprocess.run(
            [sys.executable, "-c", TELL_TIME],
            env={**plain, "CHAOS_FOLDER": str(tmp_path)},
            capture_output=True,
            text=True,
            check=True,
        )
        told.append([float(word) for word in said.stdout.split()])
    (now_s, now_ns_s, monotonic_s), (moved_s, moved_ns_s, later_s) = told
    assert -3_600 <= moved_s - now_s < -3_500
    assert -3_600 <= moved_ns_s - now_ns_s < -3_500
    assert 0 <= later_s - monotonic_s < 100
