"""The page on the architecture gives the bounds of the code: on memory, and on what is read again in a turn."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

import pytest

from stoker.consumers.backlog.rereader import READS_A_TURN, SWEEP_OPTIONS
from stoker.consumers.carrying import carrier
from stoker.consumers.delays.calendar import BUDGET_BYTES
from stoker.consumers.intake.reread_records import READS_BEHIND
from stoker.consumers.kafka import clients
from stoker.consumers.settings import WorkerSettings
from stoker.consumers.settling.done_jobs import MOST_WAITING
from stoker.consumers.settling.event_publisher import MOST_EVENTS, MOST_EVENTS_KBYTES
from stoker.producers.control.log_reader import _READING

PAGE: Final = (Path(__file__).parents[2] / "docs/architecture.md").read_text(encoding="utf-8")
SETTINGS: Final = WorkerSettings()


def mib(size_bytes: int) -> str:
    """A size as the page writes it."""
    whole, rest = divmod(size_bytes, 1024 * 1024)
    assert rest == 0
    return f"{whole} MiB"


def kib(option: object) -> str:
    """The same, of one of the client's options in its own unit."""
    assert isinstance(option, int)
    return mib(1024 * option)


BOUNDS: Final = {
    "records that the clients have fetched ahead": (
        f"{kib(clients.PREFETCH_KBYTES)} of the main topic, "
        f"{kib(clients.READER_PREFETCH_KBYTES)} of tiers, delays and the carried topic together, "
        f"{kib(clients.READER_PREFETCH_KBYTES)} of each priority, "
        f"{kib(SWEEP_OPTIONS['queued.max.messages.kbytes'])} of what is read again; "
        f"{kib(clients.READER_PREFETCH_KBYTES)} while partitions are restored",
        f"{kib(clients.READER_PREFETCH_KBYTES)} where they are reserved and "
        f"{kib(_READING['queued.max.messages.kbytes'])} where they are shared",
        f"{mib(clients.FETCH_BYTES)} of the main topic, {mib(clients.READER_FETCH_BYTES)} of the others",
    ),
    "jobs taken and not settled": (f"`--max-in-flight` {SETTINGS.max_in_flight:,}.",),
    "the same in bytes": (f"`--max-in-flight-bytes` {mib(SETTINGS.max_in_flight_bytes)} ",),
    "delayed jobs": (f"{mib(BUDGET_BYTES)} of packed records",),
    "jobs that are done and of which no event is made yet": (f"{MOST_WAITING:,}.",),
    "events that the brokers have not confirmed": (f"{MOST_EVENTS:,} events, {kib(MOST_EVENTS_KBYTES)}.",),
    "records that are being carried forward": (f"{carrier.MOST_RECORDS:,} records, {mib(carrier.MOST_BYTES)}",),
}


@pytest.mark.parametrize("what", BOUNDS)
def test_each_bound_on_memory_is_that_of_the_code(what: str) -> None:
    """Whoever sizes a host adds these up."""
    table = PAGE.split("\n## Bounds on memory\n", 1)[1].split("\n\n", 2)[1]
    rows = dict(re.findall(r"^\| (.+?) \| (.+) \|$", table, re.MULTILINE))
    for bound in BOUNDS[what]:
        assert bound in rows[what]


def test_the_records_that_are_read_again_in_a_turn_are_those_of_the_code() -> None:
    """Usually, and where a turn must bring more."""
    section = " ".join(PAGE.split("**Reading again.**", 1)[1].split("\n\n", 1)[0].split())
    assert f"at most {READS_A_TURN:,} records; at most {READS_BEHIND:,} while" in section
