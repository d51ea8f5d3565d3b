"""The log that people read: each line tells when and which job, and a flood of failures is a line and a number."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import pytest

from stoker.consumers.job.failure import describe_failure
from stoker.consumers.progress.assignment import Assignment
from stoker.consumers.records.outcomes import Dead, Retried
from stoker.consumers.records.record import Record
from stoker.consumers.settling.setbacks import log_setback
from stoker.operations.cli.folding import FoldingHandler
from stoker.operations.cli.logs import StderrHandler
from stoker.operations.views.text_log import TIME, TextFormatter
from stoker.topology import Pipeline
from stoker.topology.wire import headers as wire
from support.waiting import wait_until

LOGGER = logging.getLogger("stoker.worker")


class Delivered:
    """As much of a message as a record reads."""

    def __init__(self, number: int, job_type: str, job_id: bytes | None) -> None:
        headers = [
            (wire.JOB_ID, f"0198c0de-0000-7000-8000-{number:012x}".encode() if job_id is None else job_id),
            (wire.JOB_TYPE, job_type.encode()),
            (wire.ATTEMPT, b"5"),
        ]
        self._values = {"headers": headers, "offset": number, "key": None, "value": b"", "timestamp": (1, 1)}

    def __getattr__(self, name: str) -> object:
        return lambda: self._values[name]


def add(number: int, outcome: Retried | Dead, job_type: str, job_id: bytes | None = None) -> None:
    """Log what became of a job as the worker does."""
    delivered = Delivered(number, job_type, job_id)
    record = Record(delivered, Assignment(1, "ns.mails", 0))  # type: ignore[arg-type]  # see there
    log_setback(record, outcome, Pipeline("ns").queue("mails", tiers=(timedelta(seconds=1),)))


def add_dead(number: int, job_type: str = "never_works", job_id: bytes | None = None) -> None:
    """Log a dead letter."""
    failure = describe_failure("work", ValueError("never"))
    add(number, Dead(reason="attempts-spent", failure=failure), job_type, job_id)


@pytest.fixture(autouse=True)
def _one_log(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out the handler of a command that ran in this process before."""
    root = logging.getLogger()
    kept = [handler for handler in root.handlers if not isinstance(handler, StderrHandler)]
    monkeypatch.setattr(root, "handlers", kept)


@pytest.fixture
def terminal(capsys: pytest.CaptureFixture[str]) -> Iterator[Callable[[], str]]:
    """What a worker's terminal shows so far."""
    shown: list[str] = []

    def read() -> str:
        shown.append(capsys.readouterr().err)
        return "".join(shown)

    handler = FoldingHandler(window_s=0.2)
    handler.setFormatter(TextFormatter(TIME))
    LOGGER.addHandler(handler)
    yield read
    LOGGER.removeHandler(handler)
    handler.close()


def test_a_line_tells_when_which_job_why_where_and_the_attempt(terminal: Callable[[], str]) -> None:
    """A dead letter is a warning that begins with time and job, and ends with the queue and the attempt that failed."""
    add_dead(0xBEEF)
    line = terminal()
    assert line[2] == line[5] == ":"
    assert line.partition(" ")[2] == (
        "WARNING job 0198c0de-0000-7000-8000-00000000beef (never_works) is a dead letter (attempts-spent), which "
        "`stoker dead` shows and replays: ValueError: never · in mails, attempt 5\n"
    )


def test_a_line_whose_text_names_no_job_ends_with_it(terminal: Callable[[], str]) -> None:
    """A job's own line does not name it; a part of another id, or a number that is an id, is no name."""
    fields = {"job_id": "0198c0de-0000-7000-8000-00000000beef", "job_type": "send_mail", "queue": "mails"}
    LOGGER.warning("5 mails are sent", extra=fields)
    LOGGER.warning("job %s (send_mail) waits for this one", "b" + fields["job_id"], extra=fields)
    LOGGER.warning("sent 5 mails", extra={**fields, "job_id": "5"})
    assert terminal().count(" · send_mail …0000beef, in mails\n") == 2
    assert terminal().endswith(" · send_mail 5, in mails\n")


def test_python_s_own_log_names_the_job_as_well(caplog: pytest.LogCaptureFixture) -> None:
    """It prints the text alone, and of a job without an id where its record is."""
    add_dead(0xBEEF)
    add_dead(7, job_id=b"")
    named, unnamed = (record.getMessage() for record in caplog.records)
    assert named.startswith("job 0198c0de-0000-7000-8000-00000000beef (never_works) is a dead letter ")
    assert unnamed.startswith("job at ns.mails/0/7 (never_works) is a dead letter ")


def test_a_failed_job_is_logged_with_its_error_s_class_and_its_next_attempt(caplog: pytest.LogCaptureFixture) -> None:
    """The message of a KeyError is a mere key, and an assert may have none."""
    for error in (KeyError("to"), AssertionError()):
        failure, due = describe_failure("work", error), datetime(2026, 11, 30, 8, 51, 27, 900_000, tzinfo=UTC)
        add(1, Retried(due=due, tier=timedelta(seconds=1), next_attempt=2, failure=failure), "work")
    job = "job 0198c0de-0000-7000-8000-000000000001 (work)"
    assert [record.getMessage() for record in caplog.records] == [
        f"{job} failed, and attempt 2 follows at 2026-11-30 08:51:27Z: KeyError: 'to'",
        f"{job} failed, and attempt 2 follows at 2026-11-30 08:51:27Z: AssertionError",
    ]


def test_a_thousand_failures_are_a_few_lines_and_their_numbers(terminal: Callable[[], str]) -> None:
    """The first of a kind is shown at once, those that follow are counted; each job is in a line or in a number."""
    for number in range(1_000):
        add_dead(number)
    add_dead(1, "other")

    def told() -> int:
        return sum(
            map(int, re.findall(r"(\d+) more like this within a second: job \S+ \(never_works\) is", terminal()))
        )

    def shown() -> int:
        return terminal().count(" (never_works) is a dead letter") - terminal().count(" more like this")

    wait_until(lambda: told() + shown() == 1_000, 60, "the number of failures")
    assert told() > 500
    assert ": ValueError: never · in mails\n" in terminal()
    assert terminal().count(" (other) is a dead letter") == 1


def test_other_records_are_never_folded(terminal: Callable[[], str]) -> None:
    """What is no job's failure is shown as often as it is logged."""
    for _ in range(3):
        LOGGER.warning("the brokers do not answer")
    assert terminal().count("WARNING stoker.worker: the brokers do not answer\n") == 3


def test_a_line_of_a_queue_names_it(terminal: Callable[[], str]) -> None:
    """Two queues that get partitions say two different things."""
    LOGGER.warning("partitions assigned: [0]", extra={"queue": "mails"})
    assert terminal().endswith("WARNING stoker.worker: partitions assigned: [0] · queue mails\n")


def test_a_stack_below_a_message_is_lines_to_read(terminal: Callable[[], str]) -> None:
    """A stuck job's stack stands below its line, indented; a line end in a value stays an escape and forges nothing."""
    LOGGER.warning("job %s is stuck\n%s", "a\x1b", '  File "jobs.py", line 3\n    wait()\n', extra={"queue": "mails"})
    first, *below = terminal().splitlines()
    assert first.endswith(r"job a\x1b is stuck · queue mails")
    assert below == ['    File "jobs.py", line 3', "      wait()"]
    LOGGER.warning("it failed: %s", "one\n12:00:00Z INFO all is well")
    LOGGER.warning("it failed: one\n12:00:00Z INFO all is well")
    assert terminal().count(r"one\n12:00:00Z INFO") == 2


def test_what_was_counted_is_printed_at_the_end(capsys: pytest.CaptureFixture[str]) -> None:
    """A worker that ends within the second loses no count."""
    handler = FoldingHandler(window_s=1_000)
    handler.setFormatter(TextFormatter(TIME))
    LOGGER.addHandler(handler)
    add_dead(1)
    add_dead(2)
    LOGGER.removeHandler(handler)
    handler.close()
    assert "1 more like this" in capsys.readouterr().err
