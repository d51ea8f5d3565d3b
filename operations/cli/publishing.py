"""The terminal side of publishing commands: show counts, ask, show progress, stop cleanly, print how it ended."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import wraps
from typing import TYPE_CHECKING, Final

import click

from ...topology.counts import counted
from ..views.terminal_text import printable
from .exit_codes import ExitCode
from .failures import CommandFailure
from .output import echo_line, print_json_line

if TYPE_CHECKING:
    from ..replay.pacing import Published
    from ..stored_jobs.tally import GroupTally
    from ..stored_jobs.topic_reader import ReadProgress

PLAIN_PROGRESS_EVERY_S: Final = 5.0
SHOWN_REFUSALS: Final = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Printer:
    """Prints what a command reports: lines for people, and one JSON document for programs that ask for it."""

    as_json: bool

    def print_line(self, words: str = "") -> None:
        """Print a line for people; on stderr when stdout belongs to JSON."""
        echo_line(words, err=self.as_json)

    def print_document(self, document: Mapping[str, object]) -> None:
        """Print the JSON document, if it was asked for."""
        if self.as_json:
            print_json_line(document)


@dataclass(frozen=True, slots=True, kw_only=True)
class Manner:
    """How a command publishes, by its options.

    Attributes:
        dry_run: show the counts and change nothing.
        yes: do not ask.
        rate: at most so many a second; None for no cap.
    """

    dry_run: bool
    yes: bool
    rate: float | None
    printer: Printer


def publishing_options(things: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Add the options of a command that publishes; they reach it together, as `manner`."""
    options = (
        click.option("--dry-run", is_flag=True, help="Show the counts, change nothing."),
        click.option("--yes", "-y", is_flag=True, help="Do not ask."),
        click.option(
            "--rate", type=click.FloatRange(0, min_open=True), metavar="N", help=f"At most N {things} a second."
        ),
        click.option("--json", "as_json", is_flag=True, help="Print one JSON document on stdout."),
    )

    def add(command: Callable[..., None]) -> Callable[..., None]:
        @wraps(command)
        def collected(
            *args: object, dry_run: bool, yes: bool, rate: float | None, as_json: bool, **given: object
        ) -> None:
            manner = Manner(dry_run=dry_run, yes=yes, rate=rate, printer=Printer(as_json=as_json))
            return command(*args, manner=manner, **given)

        for option in reversed(options):
            collected = option(collected)
        return collected

    return add


def confirm(question: str, *, yes: bool) -> None:
    """Go on only with a yes.

    Raises:
        CommandFailure: there is no terminal to ask at.
        Abort: the answer was no.
    """
    if yes:
        return
    if not sys.stdin.isatty():
        raise CommandFailure(
            f"{question} There is no terminal to ask at, so nothing was done: pass --yes", ExitCode.REFUSED
        )
    click.confirm(printable(question), abort=True, err=True)


@contextmanager
def shown_progress(total: int, verb: str) -> Iterator[Callable[[Published], None]]:
    """Show how far the publishing is: a bar on a terminal, elsewhere a line every few seconds."""
    if sys.stderr.isatty():
        with _bar(total, verb) as show:
            yield show
    else:
        lines = progress_lines(total, verb)
        yield lambda published: lines(published.units)


@contextmanager
def shown_reading(topic: str) -> Iterator[ReadProgress | None]:
    """Show on a terminal how far a topic has been read; the bar goes when that is done."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(f"reading {topic}", total=None)
        yield lambda passed, total: bar.update(task, completed=passed, total=total)


@contextmanager
def _bar(total: int, verb: str) -> Iterator[Callable[[Published], None]]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn(verb),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[speed]}"),
        TimeRemainingColumn(),
    )
    begun_at_s = time.monotonic()
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(verb, total=total, speed="")

        def show(published: Published) -> None:
            speed = published.units / max(time.monotonic() - begun_at_s, 0.001)
            bar.update(task, completed=published.units + published.refused, speed=f"{speed:,.0f}/s")

        yield show


def progress_lines(total: int, verb: str) -> Callable[[int], None]:
    """Make a function that takes how far a command is, and prints that every few seconds, where no bar shows it."""
    printed_at_s = time.monotonic()

    def show(count: int) -> None:
        nonlocal printed_at_s
        if time.monotonic() - printed_at_s >= PLAIN_PROGRESS_EVERY_S:
            printed_at_s = time.monotonic()
            echo_line(f"{verb}: {count:,} of {total:,}", err=True)

    return show


def tally_lines(tally: GroupTally) -> Iterator[str]:
    """The counts by type and error, the largest first."""
    for key, group in tally.groups():
        error = " ".join(part for part in (key.reason, key.error_type, key.fingerprint[:8]) if part)
        first_line = group.message.partition("\n")[0]
        yield f"  {group.count:>9,}  {key.job_type or '(no type)'}  {error}  {first_line}".rstrip()


def tally_document(tally: GroupTally) -> list[dict[str, object]]:
    """The counts by type and error, for programs."""
    return [
        {
            **key._asdict(),
            "count": group.count,
            "first": group.first.isoformat(),
            "last": group.last.isoformat(),
            "example": str(group.example),
            "message": group.message,
        }
        for key, group in tally.groups()
    ]


def published_document(published: Published) -> dict[str, object]:
    """How it ended, for programs."""
    refusals = [{"ref": refusal.unit.label, "reason": refusal.reason} for refusal in published.refusals]
    return {
        "done": published.units,
        "refused": published.refused,
        "refusals": refusals,
        "refusals_are_cut": published.refused > len(refusals),
        "stopped": published.is_stopped,
    }


def print_end(printer: Printer, published: Published, what: str, go_on: str) -> None:
    """Print how it ended, and set the exit code: interrupted, or a finding when the brokers refused single records."""
    printer.print_line(what)
    for refusal in published.refusals[:SHOWN_REFUSALS]:
        printer.print_line(f"  left out: {refusal.unit.label}: {refusal.reason}")
    if published.is_stopped:
        printer.print_line(f"stopped before the end; every batch is complete. To go on: {go_on}")
        click.get_current_context().exit(ExitCode.INTERRUPTED)
    if published.refused:
        raise CommandFailure(
            f"the brokers refused {counted(published.refused, 'record')}, and what they refused is left as it is; fix "
            "what is shown for each, and start again",
            ExitCode.FINDING,
        )
