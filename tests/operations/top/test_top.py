"""`stoker top`: frames fit any window, rates come from events, and a terminal is as it was afterwards."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stoker.operations.job_index.entries import HistoryEntry, JobEntry
from stoker.operations.job_index.event_tail import EventTail
from stoker.operations.job_index.states import State
from stoker.operations.top.event_window import EventWindow
from stoker.operations.top.frames import frame
from stoker.operations.top.gatherer import Gatherer
from stoker.operations.top.picture import (
    FailureLine,
    Picture,
    QueueLine,
    SlowLine,
    TypeLine,
    WorkerLine,
    picture_document,
)
from stoker.topology import ClusterSettings, Pipeline
from support.sight.job_desk import Desk
from support.waiting import wait_until

pytestmark = [pytest.mark.timeout(180), pytest.mark.expected_errors("dead letter")]

QUEUE = QueueLine(
    name="mails",
    waiting=1_200,
    oldest_s=75.0,
    enqueued_per_s=50.0,
    done_per_s=20.5,
    failed_per_s=1.0,
    workers=2,
    dead_records=7,
)
PICTURE = Picture(
    namespace="shop",
    at=datetime(2013, 1, 1, 5, 17, tzinfo=UTC),
    queues=tuple(QUEUE for _ in range(30)),
    types=(TypeLine(name="charge", queue="mails", done_per_s=20.5, failed_per_s=1.0, median_s=0.0042, p95_s=12.3),),
    workers=(
        WorkerLine(
            id="w1", host="web-1", state="running", busy=3, runners=8, memory_bytes=2**26, silent_s=2, queues=("mails",)
        ),
    ),
    slow=(
        SlowLine(
            job_id="job-7",
            job_type="charge",
            queue="mails",
            state="running",
            running_s=190.0,
            timeout_s=300.0,
            worker="w1",
        ),
    ),
    failures=(
        FailureLine(error_type="pay.Declined", message="card\x1b[2J", job_type="charge", fingerprint="ab", count=9),
    ),
    missing=("there is no index",),
)


@given(width=st.integers(1, 250), height=st.integers(1, 120))
def test_a_frame_fits_any_window(width: int, height: int) -> None:
    """No line is wider than the window, and none is below it: the terminal would scroll."""
    lines = frame(PICTURE, width, height)
    assert len(lines) <= height
    assert all(len(re.sub(r"\x1b\[[0-9;]*m", "", line)) <= width for line in lines)


def test_a_frame_tells_all_of_it_and_what_is_missing() -> None:
    """In a large window each section has all of its rows; foreign text cannot control the terminal."""
    shown = "\n".join(frame(PICTURE, 160, 60, "q ends"))
    for part in (
        "1,200",
        "+29.5",
        "1m15s",
        "4.2ms",
        "12.3s",
        "3/8",
        "64 MiB",
        "3m10s",
        "Declined",
        "there is no index",
    ):
        assert part in shown
    assert "q ends" in shown
    assert "card\\x1b[2J" in shown
    assert "… " not in shown
    small = "\n".join(frame(PICTURE, 80, 24))
    assert re.search(r"… \d+ more", small)
    assert all(title in small for title in ("QUEUE", "TYPE", "WORKER", "SLOWEST RUNNING", "FAILURE"))


def test_an_empty_picture_says_so() -> None:
    """Where nothing runs and nothing fails, each section says that; a picture that is old says why."""
    empty = Picture(namespace="shop", at=PICTURE.at, trouble="Kafka does not answer")
    shown = "\n".join(frame(empty, 100, 40))
    assert all(said in shown for said in ("no worker runs", "no job holds up", "no failures", "Kafka does not answer"))
    (queue, *_) = json.loads(json.dumps(picture_document(PICTURE), default=str))["queues"]
    assert queue["growth_per_s"] == 29.5


def entry(state: State, took_us: int = -1) -> JobEntry:
    """What an event says of a job of type charge."""
    failed = HistoryEntry(kind="dead", attempt=1, at_ms=0, error_type="pay.Declined", fingerprint="ab", message="card")
    told = [failed] if state is State.DEAD else []
    place = {"topic": "shop.mails", "partition": 0, "offset": 7}
    facts = {"stored": "1", "life": 0, "step": 8, "at_ms": 0, "job_type": "charge", "queue": "mails", **place}
    return JobEntry(**facts, state=state, took_us=took_us, history=told)  # type: ignore[arg-type]  # by name


def test_rates_are_those_of_the_last_minute() -> None:
    """Sixty done jobs and six dead ones in a minute are 1/s and 0.1/s; a minute later they are forgotten."""
    now_s = 0.0

    def clock() -> float:
        return now_s

    window = EventWindow(clock)
    for second in range(60):
        now_s = float(second)
        window.note([entry(State.DONE, took_us=1_000 * second), *([entry(State.DEAD)] if second % 10 == 0 else [])])
    now_s = 59.9
    (line,) = window.types()
    assert (line.name, line.queue) == ("charge", "mails")
    assert line.done_per_s == pytest.approx(1, abs=0.01)
    assert line.failed_per_s == pytest.approx(0.1, abs=0.01)
    assert (line.median_s, line.p95_s) == (0.03, 0.057)
    assert window.failed_per_s("mails") == pytest.approx(0.1, abs=0.01)
    assert [(one.error_type, one.message, one.count) for one in window.failures()] == [("pay.Declined", "card", 6)]
    now_s = 200.0
    assert (window.types(), window.failures()) == ([], [])


def test_a_look_ends_where_events_come_without_a_pause(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of many workers never leave a gap in which all are read: the screen stood still under load."""
    now_s = 0.0

    def read(_tail: EventTail, timeout_s: float) -> Iterator[JobEntry]:
        nonlocal now_s
        now_s += timeout_s
        assert now_s < 60, "it reads for ever"
        yield from [entry(State.DONE)] * 1_000

    monkeypatch.setattr(EventTail, "read", read)
    cluster = ClusterSettings(bootstrap_servers="127.0.0.1:1")
    with closing(Gatherer(Pipeline("shop"), cluster, tmp_path / "index", clock=lambda: now_s)) as gatherer:
        gatherer.read_events()
    assert now_s <= 3


@pytest.fixture
def desk(cluster: ClusterSettings, namespace: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    """A desk in an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    return Desk(cluster, namespace, tmp_path)


@contextmanager
def terminal(desk: Desk, columns: int, lines: int) -> Iterator[tuple[subprocess.Popen[bytes], int, Callable[[], str]]]:
    """The command on a terminal of its own: its process, the other end, and all that was shown."""
    ours, theirs = pty.openpty()
    resize(ours, columns, lines)
    command = [sys.executable, "-m", "stoker.operations.cli", *desk.common, "top", "--interval", "500ms"]
    environment = {**os.environ, "PYTHONPATH": str(desk.folder), "TERM": "xterm"}
    environment.pop("COLUMNS", None), environment.pop("LINES", None)
    shown = bytearray()
    os.set_blocking(ours, False)

    def read() -> str:
        try:
            while part := os.read(ours, 65_536):
                shown.extend(part)
        except (BlockingIOError, OSError):  # nothing more at the moment, or the other end is closed
            pass
        return shown.decode("utf-8", "replace")

    with subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=subprocess.DEVNULL, env=environment) as process:
        try:
            yield process, ours, read
        finally:
            process.kill()
    os.close(ours)
    os.close(theirs)


def resize(file: int, columns: int, lines: int) -> None:
    """Give the terminal another size."""
    fcntl.ioctl(file, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))


def test_the_screen_is_live_and_leaves_the_terminal_as_it_was(desk: Desk) -> None:
    """Frames come one over the other without clearing, a new size is drawn at once, and q ends it."""
    with terminal(desk, 100, 30) as (process, keyboard, read):
        before = termios.tcgetattr(keyboard)
        wait_until(lambda: read().count("GROWTH/S") >= 2, 60, what="two frames")
        assert "work" in read()
        assert read().count("\x1b[2J") == 1
        resize(keyboard, 40, 12)
        wait_until(lambda: "…\x1b" in read().rpartition("\x1b[H")[2], 60, what="a narrow frame")
        os.write(keyboard, b"q")
        wait_until(lambda: process.poll() is not None, 60, what="the end")
        assert process.returncode == 0
        assert read().endswith("\x1b[?25h\x1b[?1049l")
        assert termios.tcgetattr(keyboard) == before


def test_one_frame_is_data_for_programs(desk: Desk) -> None:
    """Queues with what waits, failures by the index where there is one; else the document names what is missing."""
    frame_of = json.loads(desk.run("top", "--once", "--json", "--interval", "500ms").stdout)
    (queue,) = frame_of["queues"]
    assert (queue["name"], queue["waiting"], queue["dead_records"], queue["growth_per_s"]) == ("work", 2, 1, 0.0)
    assert "no index" in frame_of["missing"][0]
    assert desk.run("status", "run", "--once").exit_code == 0
    frame_of = json.loads(desk.run("top", "--once", "--json", "--interval", "500ms").stdout)
    assert frame_of["missing"] == []
    assert [(one["error_type"], one["message"], one["count"]) for one in frame_of["failures"]] == [
        ("ValueError", "card declined", 1)
    ]
    assert "no worker runs" in desk.run("top", "--once", "--interval", "500ms").stdout
