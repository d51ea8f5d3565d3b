"""`make demo`: a month of real flights through real workers, one of them killed, with the balance at the end.

Exit code 0 when every figure is as it must be, 1 when one is off or something failed, 130 after Ctrl+C.
"""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Final, NoReturn

import click
from confluent_kafka import KafkaException

from examples import demo_story as story
from examples.audit import QUEUE, Evidence, balance, gather, order, report
from examples.audit_sources import TopicsUnread
from examples.claims import open_claims
from examples.demo_cluster import DemoCluster, delete_traces, demo_cluster
from examples.demo_story import FIRST_RELEASE, BalanceOff, DemoFailed, Run, title
from examples.demo_workers import WorkersEnded
from examples.flight_data import JANUARY, MISSING, FlightFile, YearUnavailable, fetch_year
from stoker.operations.broker.errors import BrokerError
from stoker.producers.errors import EnqueueError
from stoker.topology.cluster.settings import home_folder

INTERRUPTED: Final = 130
FAILURES: Final = (
    *(DemoFailed, WorkersEnded, YearUnavailable, TopicsUnread),
    *(BrokerError, EnqueueError, KafkaException, sqlite3.Error, subprocess.TimeoutExpired),
)
"""Errors from outside; the message of each has what to do."""


@click.command()
@click.option("--flights", "limit", type=click.IntRange(min=100), help="Only the first N flights.")
@click.option("--year", is_flag=True, help="The whole of 2013, 336,776 flights; pip fetches them once (4 MB).")
@click.option("--keep", is_flag=True, help="Leave the broker, the topics and the claims for a look.")
def main(limit: int | None, year: bool, keep: bool) -> None:
    """Send a month of real flights through Stoker, kill a worker half-way, and prove that nothing was lost."""
    for number in (signal.SIGINT, signal.SIGTERM):  # SIGINT too: a shell's background jobs are started deaf to it
        signal.signal(number, _interrupt)
    try:
        _run(limit, year=year, keep=keep)
    except KeyboardInterrupt:
        click.echo("\nInterrupted; everything that the demo started is ended.", err=True)
        sys.exit(INTERRUPTED)
    except FAILURES as failed:
        click.echo(f"\nThe demo failed: {failed}", err=True)
        sys.exit(1)


def _interrupt(_number: int, _frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


def _run(limit: int | None, *, year: bool, keep: bool) -> None:
    began_at_s = time.monotonic()
    file = FlightFile(path=fetch_year(home_folder() / "downloads") if year else JANUARY, limit=limit)
    flights = _describe(file)
    with demo_cluster(keep=keep) as cluster:
        click.echo(f"  Kafka: {cluster.said}")
        with _fresh_run(cluster, file, flights, keep=keep) as run:
            is_right = _play(run)
            verdict = "Every figure is as it must be" if is_right else "The figures marked !! are off"
            click.echo(f"\n{verdict}: {flights:,} flights in {time.monotonic() - began_at_s:.0f} s.")
            if not is_right:
                raise BalanceOff


def _describe(file: FlightFile) -> int:
    title("1. The input: departures from New York in 2013, by the US Bureau of Transportation Statistics")
    rows = incomplete = 0
    planes = set[str]()
    for row in file.rows():
        rows += 1
        planes.add(row["tailnum"])
        incomplete += not MISSING.isdisjoint((row["tailnum"], row["dep_time"], row["arr_delay"]))
    click.echo(f"  {file.path.name}: {rows:,} flights of {len(planes - MISSING):,} planes")
    click.echo(f"  {incomplete:,} of them have no tail number, no departure time or no arrival delay")
    return rows


@contextmanager
def _fresh_run(cluster: DemoCluster, file: FlightFile, flights: int, *, keep: bool) -> Iterator[Run]:
    """A namespace and a folder that no other run has; both go in the end, unless they are to be kept or looked into."""
    namespace = f"demo-{secrets.token_hex(4)}"
    folder = home_folder() / "demo" / namespace
    run = Run(cluster=cluster.settings, namespace=namespace, folder=folder, file=file, flights=flights)
    folder.mkdir(parents=True)
    open_claims(run.claims).close()
    os.environ.update(run.environment())  # for this process, which publishes, and all that it starts
    wants_look = True  # so it is when something fails: its traces tell of it
    try:
        yield run
        wants_look = keep
    except KeyboardInterrupt:
        wants_look = keep
        raise
    finally:
        if wants_look:
            _print_traces(run, cluster, keep=keep)
        else:
            delete_traces(run.cluster, namespace, run.topics().group)
            shutil.rmtree(folder)


def _print_traces(run: Run, cluster: DemoCluster, *, keep: bool) -> None:
    click.echo(f"  claims and workers' logs:  {_shown(run.folder)}")
    click.echo(f"  topics:                    {run.namespace}.*")
    if cluster.ours is not None and not keep:
        click.echo("  the broker stops now; `stoker broker start` starts it again with its data")
    limit = "" if run.file.limit is None else f" --flights {run.file.limit}"
    arguments = f"--namespace {run.namespace} --claims {_shown(run.claims)} --csv {_shown(run.file.path)}{limit}"
    click.echo(f"  the balance once more:     python -m examples.audit {arguments}")
    look = f"FLIGHTS_NAMESPACE={run.namespace} stoker -A {FIRST_RELEASE} dead list --all"
    click.echo(f"  the dead letters:          {look}")


def _shown(path: Path) -> str:
    return os.path.relpath(path)


def _play(run: Run) -> bool:
    story.prepare(run)
    story.publish(run)
    is_right = _check(run, "   The balance before any work:")
    story.work(run)
    is_right &= _check(run, "5. The balance when nothing waits any more:")
    story.stoker(FIRST_RELEASE, "dead", "list", QUEUE, "--group")
    story.correct(run)
    is_right &= _check(run, "7. The balance in the end:", at_end=True)
    return is_right


def _check(run: Run, heading: str, *, at_end: bool = False) -> bool:
    title(heading)
    evidence = gather(run.cluster, run.namespace, run.claims, run.file)
    figures = list(balance(evidence))
    if at_end:
        figures += order(evidence)
    is_right = report(figures)
    if evidence.topics.dead_letters > len(evidence.topics.dead):
        click.echo(
            "    More dead letters than jobs: the kill came after a retry was written and before that was noted, so the"
        )
        click.echo(
            "    job was retried twice. That is what at least once means; the ledger lets only one of two succeed."
        )
    if at_end:
        _print_claims(evidence)
    return is_right


def _print_claims(evidence: Evidence) -> None:
    title("What the passengers of these flights may claim, each of them:")
    for verdict, amount_eur, flights in evidence.claims.verdicts:
        click.echo(f"    {verdict:<10} {amount_eur:>4} EUR   {flights:>9,} flights")


if __name__ == "__main__":
    main()
