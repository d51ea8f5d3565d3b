"""The application's database: what the passengers of each flight may claim, in one SQLite file.

Several worker processes write to it, and a job may run more than once; a claim is booked once all the same, because
the flight is its primary key. `seq` grows with each claim that is booked, so it shows their order afterwards.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Final

FILE_VARIABLE: Final = "FLIGHTS_CLAIMS"
BUSY_TIMEOUT_S: Final = 30.0

_TABLE: Final = """
CREATE TABLE IF NOT EXISTS claims (
    seq         INTEGER PRIMARY KEY AUTOINCREMENT,
    flight_id   TEXT NOT NULL UNIQUE,
    flown_on    TEXT NOT NULL,
    carrier     TEXT NOT NULL,
    flight      INTEGER NOT NULL,
    origin      TEXT NOT NULL,
    departs     INTEGER NOT NULL,
    tailnum     TEXT,
    verdict     TEXT NOT NULL,
    amount_eur  INTEGER NOT NULL,
    attempt     INTEGER NOT NULL,
    replay      TEXT,
    process     INTEGER NOT NULL,
    runs        INTEGER NOT NULL DEFAULT 1
)
"""
_BOOK: Final = """
INSERT INTO claims (
    flight_id, flown_on, carrier, flight, origin, departs, tailnum, verdict, amount_eur, attempt, replay, process
) VALUES (
    :flight_id, :flown_on, :carrier, :flight, :origin, :departs, :tailnum, :verdict, :amount_eur, :attempt, :replay,
    :process
)
ON CONFLICT (flight_id) DO UPDATE SET runs = runs + 1
"""

_writing = threading.Lock()
"""SQLite lets one writer in at a time; the threads of a process wait better for a lock than for its busy timeout."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """What each passenger of one flight may claim.

    Attributes:
        flight_id: the flight's identity, and its job's id.
        flown_on: the day as it was planned, `2013-01-31`.
        departs: the planned time of departure, 1725 for 17:25.
        verdict: why, in a word or two.
        attempt, replay: of the run that found it, from the worker.
    """

    flight_id: str
    flown_on: str
    carrier: str
    flight: int
    origin: str
    departs: int
    tailnum: str | None
    verdict: str
    amount_eur: int
    attempt: int
    replay: str | None


def claims_file() -> Path:
    """Where the claims are kept: `$FLIGHTS_CLAIMS`, or `claims.sqlite` in the working folder."""
    return Path(os.environ.get(FILE_VARIABLE, "claims.sqlite")).absolute()


def book_claim(claim: Claim) -> None:
    """Write the claim down; if it is there already, only count that it was assessed once more."""
    with _writing:
        _connection(claims_file()).execute(_BOOK, {**asdict(claim), "process": os.getpid()})


def open_claims(file: Path) -> sqlite3.Connection:
    """Open the file for writing; it is made if need be."""
    connection = sqlite3.connect(file, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False)
    connection.execute("PRAGMA journal_mode = WAL")
    # In WAL mode a killed process loses nothing that it committed; only a power cut might, and would want FULL here.
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.execute(_TABLE)
    return connection


@cache
def _connection(file: Path) -> sqlite3.Connection:
    return open_claims(file)
