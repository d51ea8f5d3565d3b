"""`stoker dead`: list, show, replay and discard dead letters."""

from __future__ import annotations

import heapq
import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from ...topology.counts import counted
from ..cli.app import AppContext, pass_app
from ..cli.filter_options import JsonAssignment, death_filters, selection_of, stored_job_failures
from ..cli.output import echo_line, print_json_line
from ..cli.process_end import stop_signals
from ..cli.publishing import (
    Manner,
    confirm,
    print_end,
    published_document,
    publishing_options,
    shown_progress,
    shown_reading,
    tally_document,
)

if TYPE_CHECKING:
    from ...schemas.json_data import Json
    from ...topology import Queue
    from ..replay.dead_letter_replay import DeadLetterManager, Request
    from ..replay.payloads import WantedCorrection
    from ..stored_jobs.dead_letters import DeadLetter
    from ..stored_jobs.selection import Selection

SHOWN_DEAD_LETTERS: Final = 100
"""Dead letters that are shown to people unless they ask for more."""

_queue = click.argument("queue_name", metavar="QUEUE")
_dead_letters = click.argument("dead_letters", metavar="[DEAD_LETTER]...", nargs=-1)
_limit = click.option(
    "--limit", type=click.IntRange(1), metavar="N", help="At most N dead letters, by partition and offset."
)
_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON document on stdout.")


@click.group()
def dead() -> None:
    """List, show, replay and discard dead letters.

    DEAD_LETTER is a reference, partition/offset as `dead list` shows it, or a job id. Several filters must all hold; of
    one filter given several times, any value will do.
    """


@dead.command("list", short_help="Show dead letters, or count them by type and error.")
@click.argument("queue_names", metavar="[QUEUE]...", nargs=-1)
@death_filters
@click.option("--all", "settled_too", is_flag=True, help="Also those that were replayed or discarded.")
@click.option("--group", "grouped", is_flag=True, help="Counts by type and error instead of single dead letters.")
@click.option(
    "--limit",
    type=click.IntRange(1),
    metavar="N",
    help=f"Show the latest N of each queue.  [default: {SHOWN_DEAD_LETTERS}; all with --json]",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON lines: one for each dead letter, or for each group.")
@pass_app
def list_dead_letters(
    app: AppContext,
    /,
    queue_names: tuple[str, ...],
    *,
    settled_too: bool,
    grouped: bool,
    limit: int | None,
    as_json: bool,
    **filters: object,
) -> None:
    """Show dead letters, the latest last; of all queues when none is named.

    A dead letter that a crash has written twice counts once. JSON lines are complete unless --limit is given; they come
    partition by partition as they are read, with --limit in the order of death.
    """
    selection = selection_of(filters)
    queues = app.find_queues(queue_names)
    for queue in queues:
        with stored_job_failures():
            dead_letters = _dead_letters_of(app, queue, selection, settled_too=settled_too)
            if grouped:
                _print_groups(queue, dead_letters, settled_too=settled_too, as_json=as_json)
            elif as_json:
                _print_json_lines(app, queue, dead_letters if limit is None else _latest(dead_letters, limit)[1])
            else:
                _print_table(app, queue, dead_letters, settled_too=settled_too, limit=limit or SHOWN_DEAD_LETTERS)


def _dead_letters_of(app: AppContext, queue: Queue, selection: Selection, *, settled_too: bool) -> Iterable[DeadLetter]:
    from ..stored_jobs.dead_letters import DeadLetterReader

    reader = DeadLetterReader(app.cluster, queue)
    with shown_reading(queue.dead_topic) as progress:
        view = reader.survey(progress)
    return reader.dead_letters(view, selection, settled_too=settled_too)


def _print_groups(queue: Queue, dead_letters: Iterable[DeadLetter], *, settled_too: bool, as_json: bool) -> None:
    from ..cli.dead_letter_output import print_groups
    from ..stored_jobs.tally import GroupTally

    tally = GroupTally(dead_letter.record for dead_letter in dead_letters)
    if as_json:
        for group in tally_document(tally):
            print_json_line({"queue": queue.name, **group})
        return
    echo_line(f"{queue.name}: {counted(tally.total, _kind(settled_too))}")
    if tally.total:
        print_groups(tally)


def _print_json_lines(app: AppContext, queue: Queue, dead_letters: Iterable[DeadLetter]) -> None:
    for dead_letter in dead_letters:
        print_json_line({"queue": queue.name, **_row(app, dead_letter)})


def _row(app: AppContext, dead_letter: DeadLetter) -> dict[str, object]:
    from ..catalogue.owners import owner_of
    from ..cli.dead_letter_output import dead_letter_row

    record = dead_letter.record
    return dead_letter_row(dead_letter, owner_of(app.pipeline, record.job_type, record.headers))


def _print_table(
    app: AppContext, queue: Queue, dead_letters: Iterable[DeadLetter], *, settled_too: bool, limit: int
) -> None:
    from ..cli.dead_letter_output import print_dead_letters

    total, latest = _latest(dead_letters, limit)
    shown = f", the latest {len(latest):,} shown (--limit shows more)" if total > len(latest) else ""
    echo_line(f"{queue.name}: {counted(total, _kind(settled_too))}{shown}")
    if latest:
        print_dead_letters([_row(app, dead_letter) for dead_letter in latest])


def _kind(settled_too: bool) -> str:
    return "dead letter" if settled_too else "open dead letter"


def _latest(dead_letters: Iterable[DeadLetter], limit: int) -> tuple[int, list[DeadLetter]]:
    """How many there are, and the latest of them, in order; no more than those are held."""
    total, heap = 0, list[tuple[Any, Any, Any]]()  # what heapq cannot know to be ordered
    for dead_letter in dead_letters:
        total += 1
        entry = (dead_letter.record.at, dead_letter.record.ref, dead_letter)
        (heapq.heappush if len(heap) < limit else heapq.heappushpop)(heap, entry)
    return total, [dead_letter for _, _, dead_letter in sorted(heap, key=lambda entry: entry[:2])]


@dead.command("show", short_help="Show all that is known of one dead letter.")
@_queue
@click.argument("dead_letter")
@_json
@pass_app
def show_dead_letter(app: AppContext, queue_name: str, dead_letter: str, *, as_json: bool) -> None:
    """Show all that is known of one DEAD_LETTER: its error, its payload, its headers, and what was done with it."""
    from ...schemas import Decoder
    from ...topology.planning.access import require_rights
    from ...topology.planning.rights import Duty
    from ...topology.planning.schema_store import schema_store
    from ..catalogue.owners import owner_of
    from ..cli.dead_letter_output import history_document, history_lines, payload_of
    from ..stored_jobs.dead_letters import DeadLetterReader

    queue = app.pipeline.find_queue(queue_name)
    require_rights(Duty.DEAD_LIST, app.pipeline, app.cluster, [queue])
    with stored_job_failures():
        history = DeadLetterReader(app.cluster, queue).history(dead_letter)
    store = schema_store(app.pipeline, app.cluster)
    try:
        how_read, payload = payload_of(history.record, app.pipeline, Decoder(store))
    finally:
        store.close()
    owner = owner_of(app.pipeline, history.record.job_type, history.record.headers)
    if as_json:
        print_json_line(history_document(history, how_read, payload, owner))
    else:
        for line in history_lines(history, how_read, payload, owner):
            echo_line(line)


@dead.command("replay", short_help="Publish dead letters to their queue again.")
@_queue
@_dead_letters
@death_filters
@_limit
@click.option(
    "--set",
    "fields",
    multiple=True,
    type=JsonAssignment(),
    metavar="FIELD=JSON",
    help="Correct a field of every selected payload; dots lead into nested fields. Repeatable.",
)
@click.option(
    "--payload",
    "payload_file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Replace the payload of the one selected dead letter by this JSON file.",
)
@click.option("--drop-expiry", is_flag=True, help="Let jobs run although they have expired meanwhile.")
@click.option("--include-undecodable", is_flag=True, help="Also what today's code cannot decode, byte for byte.")
@click.option("--again", is_flag=True, help="Also dead letters that were replayed or discarded before.")
@click.option("--replay-id", metavar="ID", help="Continue this replay: with --again, leave out what it has published.")
@click.option("--reason", default="", metavar="TEXT", help="Why; it is kept with each dead letter.")
@publishing_options("dead letters")
@pass_app
def replay_dead_letters(
    app: AppContext,
    /,
    queue_name: str,
    dead_letters: tuple[str, ...],
    *,
    limit: int | None,
    fields: tuple[tuple[str, Json], ...],
    payload_file: Path | None,
    drop_expiry: bool,
    include_undecodable: bool,
    again: bool,
    replay_id: str | None,
    reason: str,
    manner: Manner,
    **filters: object,
) -> None:
    """Publish dead letters to their queue again, with a fresh attempt count.

    Without DEAD_LETTERs and filters, all open ones. Each job goes to its old partition with its key, headers and bytes
    as they were. Corrected payloads (--set, --payload) must fit the schema, or nothing at all is published; they do not
    change the key. Published dead letters count as settled: a replay that was killed or stopped is simply started
    again, and publishes nothing twice.
    """
    from ...topology.planning.access import require_rights
    from ...topology.planning.rights import Duty
    from ...topology.planning.schema_store import schema_store
    from ..replay.dead_letter_replay import DeadLetterManager, Replaying, Request
    from ..replay.payloads import PayloadCorrector
    from ..replay.republishing import new_action_id
    from ..stored_jobs.originals import Originals

    queue = app.pipeline.find_queue(queue_name)
    request = Request(
        selection=selection_of(filters, dead_letters, limit),
        settled_too=again,
        action_id=replay_id or new_action_id(),
        keep_expiry=not drop_expiry,
        reason=reason,
    )
    correction = _correction(fields, payload_file, request.selection)
    require_rights(Duty.DEAD_REPLAY, app.pipeline, app.cluster, [queue])
    store = schema_store(app.pipeline, app.cluster)
    try:
        corrector = PayloadCorrector(app.pipeline, store, correction=correction, undecodable_too=include_undecodable)
        with Originals(app.cluster, queue) as originals:
            replaying = Replaying(queue, corrector, originals)
            manager = DeadLetterManager(app.pipeline, app.cluster, queue, replaying, actor=app.actor())
            _settle(manager, request, manner, "replay")
    finally:
        store.close()


def _correction(
    fields: tuple[tuple[str, Json], ...], payload_file: Path | None, selection: Selection
) -> WantedCorrection:
    from ..replay.payloads import NOTHING, WantedCorrection

    if payload_file is None:
        return WantedCorrection(fields=dict(fields))
    if len(selection.refs) + len(selection.ids) != 1:
        raise click.UsageError("--payload replaces the payload of one dead letter: name it as DEAD_LETTER or with --id")
    try:
        payload = json.loads(payload_file.read_text("utf-8"))
    except ValueError as wrong:
        raise click.UsageError(f"{payload_file} is not JSON: {wrong}") from wrong
    return WantedCorrection(fields=dict(fields), payload=NOTHING if payload is None else payload)


@dead.command("discard", short_help="Write dead letters off, with a reason.")
@_queue
@_dead_letters
@death_filters
@_limit
@click.option("--reason", required=True, metavar="TEXT", help="Why; it is kept with each dead letter.")
@publishing_options("dead letters")
@pass_app
def discard_dead_letters(
    app: AppContext,
    /,
    queue_name: str,
    dead_letters: tuple[str, ...],
    *,
    limit: int | None,
    reason: str,
    manner: Manner,
    **filters: object,
) -> None:
    """Write dead letters off. They are settled then, and stay readable with --all until their retention ends."""
    from ...topology.planning.access import require_rights
    from ...topology.planning.rights import Duty
    from ..replay.dead_letter_replay import DeadLetterManager, Discarding, Request

    queue = app.pipeline.find_queue(queue_name)
    require_rights(Duty.DEAD_DISCARD, app.pipeline, app.cluster, [queue])
    selection = selection_of(filters, dead_letters, limit)
    manager = DeadLetterManager(app.pipeline, app.cluster, queue, Discarding(), actor=app.actor())
    request = Request(selection=selection, reason=reason)
    _settle(manager, request, manner, "discard")


def _settle(manager: DeadLetterManager, request: Request, manner: Manner, verb: str) -> None:
    """Count, ask, carry out, and print how it ended."""
    from ..cli.forecast_output import forecast_document, print_forecast
    from ..replay.pacing import ReplayPace

    printer = manner.printer
    with stored_job_failures():
        with shown_reading("the dead letters") as progress:
            forecast = manager.forecast(request, progress)
        print_forecast(printer, forecast, verb)
        document = forecast_document(request, forecast)
        if manner.dry_run or not forecast.total:
            printer.print_document({**document, "done": 0})
            return
        confirm(f"{verb.capitalize()} {counted(forecast.total, 'dead letter')}?", yes=manner.yes)
        printer.print_line(f"{verb} {request.action_id}")
        with stop_signals() as stop, shown_progress(forecast.total, verb) as show:
            published = manager.carry_out(request, forecast, ReplayPace(rate=manner.rate, stop=stop), show)
    printer.print_document({**document, **published_document(published)})
    ended = f"{counted(published.units, 'dead letter')} {manager.verdict.value}"
    go_on = f"give --replay-id {request.action_id} as well" if request.settled_too else "start the same command again"
    print_end(printer, published, ended, go_on)
