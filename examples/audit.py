"""The auditor: where every flight is, from three sources that know nothing of each other.

It may be called on its own, after `make demo ARGS=--keep`, which prints the command. Exit code 1: a figure is off.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Final

import click

from examples.audit_sources import Booked, OnTopics, Ordered, QueueTopics, read_claims, read_csv
from examples.flight_data import FlightFile
from stoker.topology import ClusterSettings

QUEUE: Final = "assessments"
_NAME_WIDTH: Final = 26


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One line of the balance.

    Attributes:
        wished: what the value must be; None where any value will do.
    """

    name: str
    value: int
    source: str
    wished: int | None = None

    @property
    def is_off(self) -> bool:
        """Whether it is not what it must be."""
        return self.wished is not None and self.value != self.wished

    def __str__(self) -> str:
        """The line as it is printed."""
        mark = "!!" if self.is_off else "  "
        wish = f"   must be {self.wished:,}" if self.is_off else ""
        return f"{mark}  {self.name:<{_NAME_WIDTH}} {self.value:>9,}   {self.source}{wish}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """All that was found, source by source."""

    csv: Ordered
    claims: Booked
    topics: OnTopics

    @property
    def accounted(self) -> frozenset[str]:
        """Flights that are somewhere."""
        return self.claims.ids | self.topics.dead | self.topics.waiting


def gather(cluster: ClusterSettings, namespace: str, claims: Path, flights: FlightFile) -> Evidence:
    """Read all three sources."""
    return Evidence(
        csv=read_csv(flights),
        claims=read_claims(claims),
        topics=QueueTopics(cluster, namespace, QUEUE).read(),
    )


def balance(evidence: Evidence) -> Iterator[Figure]:
    """Where the flights are: enqueued = done + dead + waiting, and nothing besides."""
    csv, claims, topics = evidence.csv, evidence.claims, evidence.topics
    yield Figure(name="flights", value=csv.rows, source="rows of the CSV", wished=len(csv.ids))
    yield Figure(
        name="= enqueued",
        value=len(topics.enqueued & csv.ids),
        source="distinct job ids on the main topic",
        wished=csv.rows,
    )
    yield Figure(name="  done", value=len(claims.ids), source="rows in SQLite, by flight")
    yield Figure(
        name="+ dead",
        value=len(topics.dead),
        source=f"job ids of {topics.dead_letters:,} open dead letters on the dead-letter topic",
    )
    yield Figure(
        name="+ waiting", value=len(topics.waiting), source="job ids beyond the group's offsets, main topic and tiers"
    )
    total = len(claims.ids) + len(topics.dead) + len(topics.waiting)
    yield Figure(name="= done + dead + waiting", value=total, source="their sum", wished=csv.rows)
    unaccounted = len(csv.ids - evidence.accounted)
    yield Figure(name="unaccounted", value=unaccounted, source="flights of the CSV found nowhere", wished=0)
    strangers = len((evidence.accounted | topics.enqueued) - csv.ids)
    yield Figure(name="unknown", value=strangers, source="flights found that the CSV does not have", wished=0)
    yield Figure(name="doubled claims", value=claims.doubled, source="flights with two rows in SQLite", wished=0)


def order(evidence: Evidence) -> Iterator[Figure]:
    """Whether each plane's flights were assessed in the CSV's order, but for those that went through the tiers."""
    booked_at = evidence.claims.first_runs
    planes = [[booked_at[flight] for flight in ids if flight in booked_at] for ids in evidence.csv.by_plane.values()]
    wrong = sum(any(later < earlier for earlier, later in pairwise(plane)) for plane in planes)
    yield Figure(
        name="planes", value=sum(map(bool, planes)), source="tail numbers of the CSV that SQLite has flights of"
    )
    yield Figure(name="their flights", value=sum(map(len, planes)), source="rows in SQLite booked at the first attempt")
    yield Figure(name="planes out of order", value=wrong, source="SQLite's order beside the CSV's", wished=0)


def report(figures: list[Figure]) -> bool:
    """Print them; True when none is off."""
    for figure in figures:
        click.echo(str(figure))
    return not any(figure.is_off for figure in figures)


@click.command()
@click.option("--namespace", required=True, help="The run's namespace.")
@click.option("--claims", required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--csv", "path", required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--flights", "limit", type=click.IntRange(min=1), help="How many flights of the file were enqueued.")
def main(namespace: str, claims: Path, path: Path, limit: int | None) -> None:
    """Audit a run of the demo."""
    cluster = ClusterSettings.from_environment()
    evidence = gather(cluster, namespace, claims, FlightFile(path=path, limit=limit))
    is_right = report([*balance(evidence), *order(evidence)])
    click.echo("Every figure is as it must be." if is_right else "The figures marked !! are off.")
    sys.exit(0 if is_right else 1)


if __name__ == "__main__":
    main()
