"""`stoker replay`: run a stretch of a queue's past again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING

import click

from ...topology.counts import counted
from ..cli.app import AppContext, pass_app
from ..cli.filter_options import job_filters, selection_of, stored_job_failures
from ..cli.parameters import INSTANT
from ..cli.process_end import stop_signals
from ..cli.publishing import (
    Manner,
    Printer,
    confirm,
    print_end,
    published_document,
    publishing_options,
    shown_progress,
    shown_reading,
    tally_document,
    tally_lines,
)

if TYPE_CHECKING:
    from ..replay.queue_replay import Bounds, Counts, QueueReplay, Stretch
    from ..stored_jobs.selection import Selection


class OffsetBound(click.ParamType):
    """`OFFSET` for every partition, or `PARTITION/OFFSET` (also with a colon) for one."""

    name = "offset"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int | None, int]:
        """Read (partition, offset); no partition means all of them."""
        if isinstance(value, tuple):
            return value[0], value[1]
        parts = str(value).replace(":", "/").split("/")
        if len(parts) > 2 or not all(part.isdecimal() for part in parts):
            self.fail(f"{value!r} is neither an offset nor PARTITION/OFFSET", param, ctx)
        return (int(parts[0]), int(parts[1])) if len(parts) == 2 else (None, int(parts[0]))


@click.command()
@click.argument("queue_name", metavar="QUEUE")
@click.option(
    "--from-offset",
    "from_offsets",
    multiple=True,
    type=OffsetBound(),
    metavar="[P/]O",
    help="Begin at this offset: O in every partition, or P/O in partition P, others left alone. Repeatable.",
)
@click.option("--from-time", type=INSTANT, help="Begin at what was published then: RFC 3339, a date, -2h, '30m ago'.")
@click.option(
    "--to-offset", "to_offsets", multiple=True, type=OffsetBound(), metavar="[P/]O", help="End before this offset."
)
@click.option("--to-time", type=INSTANT, help="End before what was published then. Without an end: now.")
@click.option(
    "--priority", metavar="NAME", help="Of the jobs of this priority; normal ones, unless given. Also with --replay-id."
)
@job_filters
@click.option("--include-replays", is_flag=True, help="Also jobs that an earlier replay has published.")
@click.option("--drop-expiry", is_flag=True, help="Let jobs run although they have expired meanwhile.")
@click.option("--replay-id", metavar="ID", help="Continue this replay, with the bounds and filters it was begun with.")
@click.option("--reason", default="", metavar="TEXT", help="Why, for the audit trail.")
@publishing_options("jobs")
@pass_app
def replay(
    app: AppContext,
    /,
    queue_name: str,
    *,
    from_offsets: tuple[tuple[int | None, int], ...],
    from_time: datetime | None,
    to_offsets: tuple[tuple[int | None, int], ...],
    to_time: datetime | None,
    priority: str | None,
    include_replays: bool,
    drop_expiry: bool,
    replay_id: str | None,
    reason: str,
    manner: Manner,
    **filters: object,
) -> None:
    """Publish a stretch of a queue's past again, so that its jobs run once more, also those that succeeded.

    The jobs pass the ledger under the replay's own id, and go to their old partitions, behind what waits there. What is
    published after the replay has begun is not part of it. A replay that was killed or stopped continues with
    --replay-id, which is printed when it begins, and publishes nothing twice.
    """
    from ...topology.declaration.priorities import unknown_priority
    from ...topology.planning.access import require_rights
    from ...topology.planning.rights import Duty
    from ..replay.queue_replay import QueueReplay

    queue = app.pipeline.find_queue(queue_name)
    unknown = unknown_priority(priority, queue.priorities, queue.name)
    if unknown is not None:
        raise click.UsageError(f"--priority {unknown}")
    queue_replay = QueueReplay(app.pipeline, app.cluster, queue, priority, actor=app.actor())
    bounds = _bounds(from_offsets, from_time, to_offsets, to_time)
    selection = selection_of(filters)
    require_rights(Duty.REPLAY, app.pipeline, app.cluster, [queue])
    with stored_job_failures():
        if replay_id is not None:
            _refuse_others(bounds, selection, include_replays=include_replays, drop_expiry=drop_expiry)
            stretch = queue_replay.begun_stretch(replay_id)
        elif bounds is None:
            raise click.UsageError("the replay has no beginning: give --from-offset or --from-time")
        else:
            stretch = queue_replay.stretch(bounds, selection, replays_too=include_replays, keep_expiry=not drop_expiry)
        _carry_out(queue_replay, replace(stretch, reason=reason), manner, queue_name)


def _bounds(
    from_offsets: tuple[tuple[int | None, int], ...],
    from_time: datetime | None,
    to_offsets: tuple[tuple[int | None, int], ...],
    to_time: datetime | None,
) -> Bounds | None:
    from ..replay.queue_replay import Bounds

    starts, start = _bound("--from-offset", from_offsets, from_time)
    ends, end = _bound("--to-offset", to_offsets, to_time)
    if starts is not None or start is not None:
        return Bounds(starts=starts, start=start or 0, ends=ends, end=end)
    if ends is not None or end is not None:
        raise click.UsageError("the replay has no beginning: give --from-offset or --from-time")
    return None


def _bound(
    option: str, offsets: tuple[tuple[int | None, int], ...], time: datetime | None
) -> tuple[Mapping[int, int] | None, int | datetime | None]:
    """({partition: offset}, None), or (None, the offset or time for all partitions)."""
    if offsets and time:
        raise click.UsageError("give an offset or a time, not both")
    named, for_all = _by_partition(option, offsets)
    return named, time if for_all is None else for_all


def _by_partition(
    option: str, given: tuple[tuple[int | None, int], ...]
) -> tuple[Mapping[int, int] | None, int | None]:
    """({partition: offset}, None), or (None, the offset for all partitions)."""
    common = [offset for partition, offset in given if partition is None]
    if len(common) > 1 or (common and len(given) > 1):
        raise click.UsageError(f"{option}: give one offset for all partitions, or P/O for each of some")
    named = {partition: offset for partition, offset in given if partition is not None}
    return (named or None), (common[0] if common else None)


def _refuse_others(bounds: Bounds | None, selection: Selection, *, include_replays: bool, drop_expiry: bool) -> None:
    if bounds is not None or selection.in_words() or include_replays or drop_expiry:
        raise click.UsageError(
            "--replay-id continues a replay with the bounds and filters it was begun with: give no others"
        )


def _carry_out(queue_replay: QueueReplay, stretch: Stretch, manner: Manner, queue: str) -> None:
    from ..replay.pacing import ReplayPace

    printer = manner.printer
    with shown_reading(queue) as progress:
        counts = queue_replay.count(stretch, progress)
    total = counts.tally.total
    _print_counts(printer, counts, stretch)
    document = {"id": stretch.replay_id, "selected": total, "groups": tally_document(counts.tally)}
    if manner.dry_run or not stretch.spans or not (total or stretch.is_begun):
        printer.print_document({**document, "done": 0})
        return
    confirm(f"Publish {counted(total, 'job')} to {queue} again?", yes=manner.yes)
    printer.print_line(f"replay {stretch.replay_id}")
    with stop_signals() as stop, shown_progress(total, "replay") as show:
        published = queue_replay.carry_out(stretch, counts, ReplayPace(rate=manner.rate, stop=stop), show)
    printer.print_document({**document, **published_document(published)})
    ended = f"{counted(published.units, 'job')} published again"
    print_end(printer, published, ended, f"stoker replay {queue} --replay-id {stretch.replay_id}")


def _print_counts(printer: Printer, counts: Counts, stretch: Stretch) -> None:
    left = " left" if stretch.is_begun else ""
    total = counts.tally.total
    printer.print_line(f"{counted(total, 'job')}{left} to publish again" + (":" if total else ""))
    for line in tally_lines(counts.tally):
        printer.print_line(line)
    if counts.replays_left_out:
        printer.print_line(
            f"left out: {counted(counts.replays_left_out, 'job')} that a replay has published (--include-replays)"
        )
    for span in stretch.spans:
        printer.print_line(f"  partition {span.partition}: offsets {span.start:,} to {span.end - 1:,}")
