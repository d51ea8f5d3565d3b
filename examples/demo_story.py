"""The demo's acts, each one function: publish, work and kill, look at the dead letters, correct, prove."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import click

from examples.audit import QUEUE
from examples.audit_sources import QueueTopics, bookings, count_claims, read_claims
from examples.claims import FILE_VARIABLE
from examples.demo_workers import Workers, kill, workers
from examples.flight_data import FlightFile
from stoker.producers import Producer
from stoker.topology import ClusterSettings, JobCall
from stoker.topology.cluster.settings import BOOTSTRAP_VARIABLE

NAMESPACE_VARIABLE: Final = "FLIGHTS_NAMESPACE"
FIRST_RELEASE: Final = "examples.flights:pipeline"
CORRECTED: Final = "examples.flights_corrected:pipeline"
PROCESSES: Final = 2
LOOK_EVERY_S: Final = 0.05
PRINT_EVERY_S: Final = 1.0
STALLED_AFTER_S: Final = 90.0
"""Without any progress for so long the demo gives up: twice the longest time in which a killed worker is noticed."""
COMMAND_TIMEOUT_S: Final = 120.0


class DemoFailed(Exception):
    """A check of the demo failed; the message has what, and where to look."""


class BalanceOff(DemoFailed):
    """A figure is not what it must be; it is marked where it was printed."""

    def __init__(self) -> None:
        super().__init__("the balance does not hold")


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One run of the demo.

    Attributes:
        folder: holds the claims and the workers' logs.
        flights: how many the file gives.
    """

    cluster: ClusterSettings
    namespace: str
    folder: Path
    file: FlightFile
    flights: int

    @property
    def claims(self) -> Path:
        """The SQLite file."""
        return self.folder / "claims.sqlite"

    def topics(self) -> QueueTopics:
        """The queue, as an outsider sees it."""
        return QueueTopics(self.cluster, self.namespace, QUEUE)

    def environment(self) -> dict[str, str]:
        """The environment variables of this process and its children, beside those that they inherit."""
        return {
            BOOTSTRAP_VARIABLE: self.cluster.bootstrap_servers,
            NAMESPACE_VARIABLE: self.namespace,
            FILE_VARIABLE: str(self.claims),
        }


def title(text: str) -> None:
    """Begin an act."""
    click.echo(f"\n{text}")


def stoker(app: str, *arguments: str) -> None:
    """Call the command line, as a person would, and show its output.

    Raises:
        DemoFailed: it did not end with 0.
    """
    click.echo(f"  $ stoker -A {app} {' '.join(arguments)}")
    done = subprocess.run(
        _command(app, *arguments),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=COMMAND_TIMEOUT_S,
        check=False,
    )
    click.echo("".join(f"    {line}\n" for line in done.stdout.splitlines()), nl=False)
    if done.returncode:
        raise DemoFailed(f"`stoker {' '.join(arguments)}` ended with exit code {done.returncode}")


def _command(app: str, *arguments: str) -> list[str]:
    return [str(Path(sys.executable).with_name("stoker")), "-A", app, *arguments]


def prepare(run: Run) -> None:
    """Make the topics."""
    title("2. The queue is declared in examples/flights.py; its topics are made from that")
    stoker(FIRST_RELEASE, "topology", "apply")
    from examples.flights import SESSION_TIMEOUT  # only now, as below

    click.echo(f"  a killed worker is missed after {SESSION_TIMEOUT.total_seconds():g} s, which the queue declares")


def publish(run: Run) -> None:
    """Enqueue every flight, read from the file as fast as the brokers confirm."""
    from examples.flights import assess_claim, pipeline  # only now, since it takes its namespace from the environment

    def calls() -> Iterator[JobCall]:
        for flight in run.file.flights():
            yield assess_claim.with_options(job_id=flight.flight_id).call(flight)

    title("3. Every flight becomes a job: id = the flight, key = its plane")
    with Producer(pipeline, run.cluster, source="/demo/flights") as producer:
        began_at_s = time.monotonic()
        confirmed = producer.enqueue_many(calls()).confirmed
        took_s = time.monotonic() - began_at_s
    click.echo(f"  {confirmed:,} jobs confirmed by the brokers in {took_s:.1f} s ({confirmed / took_s:,.0f}/s)")
    if confirmed != run.flights:
        raise DemoFailed(f"the producer confirms {confirmed:,} jobs for {run.flights:,} flights")


def work(run: Run) -> None:
    """Work with two processes, kill one half-way, and wait until nothing waits any more."""
    title(f"4. {PROCESSES} worker processes begin; one is killed (SIGKILL) when half of the flights are done")
    with _fleet(run, FIRST_RELEASE, "workers.log") as fleet:
        _watch(run, fleet, lambda done, _waiting: done >= run.flights // 2)
        victim = list(bookings(run.claims))[-1]
        kill(victim)
        click.echo(f"  killed process {victim}, which was booking claims at that moment")
        _wait_replaced(fleet, victim)
        click.echo(f"  the supervisor has started another one; processes {_listed(fleet)}")
        _watch(run, fleet, lambda _done, waiting: waiting == 0)
    shares = [f"{number:,} by {process}" for process, number in bookings(run.claims).items()]
    click.echo(f"  claims booked: {', '.join(shares)}")
    repeated = read_claims(run.claims).repeated
    click.echo(f"  {repeated:,} flights were assessed once more because of the kill: at least once, booked once")


def correct(run: Run) -> None:
    """Replay the dead letters to the corrected release, and wait until it is through."""
    title("6. The next release knows cancelled and diverted flights; the dead letters are replayed to it")
    with _fleet(run, CORRECTED, "workers-corrected.log") as fleet:
        stoker(CORRECTED, "dead", "replay", QUEUE, "--yes")
        _watch(run, fleet, lambda _done, waiting: waiting == 0)


def _fleet(run: Run, app: str, log: str) -> AbstractContextManager[Workers]:
    return workers(_command(app, "worker", "--processes", str(PROCESSES), "--log-format", "json"), run.folder / log)


def _wait_replaced(fleet: Workers, victim: int) -> None:
    give_up_at_s = time.monotonic() + STALLED_AFTER_S
    while victim in (ids := fleet.process_ids()) or len(ids) < PROCESSES:
        if time.monotonic() > give_up_at_s:
            raise DemoFailed(f"no process took the place of {victim}; see {fleet.log}")
        threading.Event().wait(LOOK_EVERY_S)


def _listed(fleet: Workers) -> str:
    return ", ".join(map(str, fleet.process_ids()))


def _watch(run: Run, fleet: Workers, has_come: Callable[[int, int], bool]) -> None:
    """Show the progress until the moment has come.

    Args:
        has_come: takes the flights done, from SQLite, and the records waiting, from the topics.

    Raises:
        DemoFailed: nothing has moved for a long time.
        WorkersEnded: the fleet is gone.
    """
    topics, began_at_s = run.topics(), time.monotonic()
    moved_s = printed_at_s = began_at_s
    seen = (-1, -1)
    while True:
        now = (count_claims(run.claims), topics.waiting())
        now_s = time.monotonic()
        has_ended = has_come(*now)
        if has_ended or now_s - printed_at_s >= PRINT_EVERY_S:
            click.echo(f"  {now_s - began_at_s:6.1f} s   {now[0]:>9,} done   {now[1]:>9,} waiting")
            printed_at_s = now_s
        if has_ended:
            return
        fleet.check()
        seen, moved_s = (now, now_s) if now != seen else (seen, moved_s)
        if now_s - moved_s > STALLED_AFTER_S:
            raise DemoFailed(f"nothing has moved for {STALLED_AFTER_S:.0f} s; the workers' log is {fleet.log}")
        threading.Event().wait(LOOK_EVERY_S)
