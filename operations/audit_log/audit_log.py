"""`stoker audit-log`: who did what, when, why, from where, with what was there before and after; and exports."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import click

from ..cli.app import AppContext, pass_app
from ..cli.output import echo_line, print_fitting_table, print_json_line
from ..cli.parameters import FromNow, Options

if TYPE_CHECKING:
    from confluent_kafka import Message

    from .actions import Deed, DeedReader
    from .filters import DeedFilter

SHOWN: Final = 50
TITLES: Final = ("AT", "BY", "DEED", "ABOUT", "OUTCOME", "REASON")
_FORMATS: Final = ("csv", "jsonl")
_FOLLOW_S: Final = 0.5
_SHOWN_ELSEWHERE: Final = frozenset({"schedule", "unaudited", "changes", "contracts", "counts", "rows", "table"})
"""Parts of a deed's detail that its other lines have."""
_FILTERS: Final = (
    click.option("--since", type=FromNow(), help="Done since then: an instant, or 2h for two hours ago."),
    click.option("--until", type=FromNow(), help="Begun before then."),
    click.option("--by", default="", metavar="WHO", help="By this operator, from this host, or both: ann@web-1."),
    click.option(
        "--deed",
        "deeds",
        multiple=True,
        metavar="KIND",
        help="order, schedule, replay, discard, prune, topology or contract; or one deed, such as pause. Repeatable.",
    ),
    click.option("--queue", default="", metavar="QUEUE", help="About this queue."),
    click.option("--type", "job_type", default="", metavar="TYPE", help="That names this job type."),
    click.option("--job", "job_id", default="", metavar="ID", help="That names this job."),
    click.option("--words", default="", metavar="WORDS", help="With each of these words, as in the reason."),
)


def _filters(command: Any) -> Any:  # a decorator of functions of any kind
    for option in reversed(_FILTERS):
        command = option(command)
    return command


@click.command("audit-log")
@_filters
@click.option("--changes", is_flag=True, help="Show also what was there before and after, and from where it was done.")
@click.option("--follow", is_flag=True, help="Show what is done from now on, until Ctrl+C.")
@click.option(
    "--limit", type=click.IntRange(1), metavar="N", help=f"Show the latest N.  [default: {SHOWN}; all in exports]"
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON lines.")
@click.option("--format", "export", type=click.Choice(_FORMATS), help="Export everything, the oldest first.")
@click.option("--output", "path", default="-", metavar="FILE", help="Where --format writes to.  [default: stdout]")
@pass_app
def audit_log(
    app: AppContext,
    /,
    *,
    changes: bool,
    follow: bool,
    limit: int | None,
    as_json: bool,
    export: str | None,
    path: str,
    **options: Any,
) -> None:
    """Show who did what to this pipeline, the newest first.

    That is orders, changes of schedules, topics and contracts, replays, discards and prunes. Each has who, when, why,
    and from which host, command and version; with --changes or --json also what was there before and after. What was
    begun and has no end, runs still or was killed. The trail is kept for 400 days.

    \b
    Examples:
      stoker -A shop.jobs:pipeline audit-log --since 2h
      stoker -A shop.jobs:pipeline audit-log --deed pause --queue mails --changes
      stoker -A shop.jobs:pipeline audit-log --since 2026-01-01T00:00:00Z --format csv --output audit.csv

    Exit codes: 0; 3 when Kafka cannot be reached or the audit topic is missing.
    """
    from .actions import as_done, read_deeds

    wanted = filter_of(options)
    _check_readable(app)
    if follow:
        return _follow(app, wanted, changes=changes, as_json=as_json)
    deeds = [deed for deed in as_done(read_deeds(app.pipeline, app.cluster, wanted.since)) if wanted.takes(deed)]
    if export is not None:
        return _export(deeds if limit is None else deeds[-limit:], export, path)
    if as_json:
        return _print_json(deeds[::-1][:limit])
    return _print(deeds, limit or SHOWN, changes=changes, namespace=app.pipeline.namespace)


def _check_readable(app: AppContext) -> None:
    """See that the topics may be read: to a client without the right, Kafka shows them as missing."""
    from ...topology.planning.access import require_rights
    from ...topology.planning.rights import Duty

    require_rights(Duty.AUDIT_LOG, app.pipeline, app.cluster)


def filter_of(options: Options, now: datetime | None = None) -> DeedFilter:
    """The filter that the options ask for."""
    from .filters import DeedFilter

    at = now or datetime.now(UTC)
    since, until = (_instant(options.pop(name), at) for name in ("since", "until"))
    if since is not None and until is not None and since >= until:
        raise click.UsageError("--since must be before --until")
    words = tuple(options.pop("words").split())
    return DeedFilter(since=since, until=until, words=words, **options)


def _instant(given: timedelta | datetime | None, now: datetime) -> datetime | None:
    return now - given if isinstance(given, timedelta) else given


def _export(deeds: Sequence[Deed], kind: str, path: str) -> None:
    from .exports import output, write_csv, write_jsonl

    with output(path) as to:
        count = (write_csv if kind == "csv" else write_jsonl)(deeds, to)
    if path != "-":
        echo_line(f"{count:,} entries in {path}", err=True)


def _print_json(deeds: Iterable[Deed]) -> None:
    from .exports import deed_document

    for deed in deeds:
        print_json_line(deed_document(deed))


def _print(deeds: Sequence[Deed], limit: int, *, changes: bool, namespace: str) -> None:
    from .filters import as_shown

    shown = list(as_shown(deeds))[::-1]
    if not shown:
        return echo_line(f"the audit trail of {namespace} has nothing like that")
    if changes:
        for deed in shown[:limit]:
            _print_page(deed)
    else:
        print_fitting_table(TITLES, [_row(deed) for deed in shown[:limit]])
    if len(shown) > limit:
        echo_line(f"{len(shown) - limit:,} older ones are not shown: --limit shows more, --format exports all")
    return None


def _row(deed: Deed) -> tuple[object, ...]:
    about = deed.about if deed.count == 1 else f"{deed.count:,} jobs"
    return (_time(deed.at), deed.by, deed.deed, about, deed.outcome, deed.reason or "-")


def _print_page(deed: Deed) -> None:
    """A deed with all that is known of it."""
    _, by, what, about, outcome, _ = _row(deed)
    ended = "" if deed.ended_at is None else f" at {_time(deed.ended_at)}"
    echo_line(f"{_time(deed.at)}  {what}  {about}")
    from_where = " ".join(part for part in (deed.command, deed.version) if part)
    lines = [("by", by), ("from", from_where), ("reason", deed.reason), ("outcome", f"{outcome}{ended}")]
    lines += [
        (name, value) for name, value in deed.detail.items() if name not in _SHOWN_ELSEWHERE and value not in ("{}", "")
    ]
    for name, value in (*lines, ("id", deed.id)):
        if value:
            echo_line(f"  {name:<8}  {value}")
    for line in change_lines(deed):
        echo_line(f"  {line}")
    echo_line()


def change_lines(deed: Deed) -> Iterator[str]:
    """Tell each change of a deed with its value before and after."""
    for name in dict.fromkeys((*deed.before, *deed.after)):
        before, after = deed.before.get(name, "(nothing)"), deed.after.get(name, "(nothing)")
        yield f"{name}: {before} → {after}"


def _time(at: datetime) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%SZ}"


def _follow(app: AppContext, wanted: DeedFilter, *, changes: bool, as_json: bool) -> None:
    """Print what is done from now on, or since --since, each entry as it comes."""
    from ...producers.control.log_reader import READ_WITHIN_S, LogReader, asking
    from .actions import DeedReader

    topic, since_ms = app.pipeline.audit_topic, (wanted.since or datetime.now(UTC)).timestamp() * 1_000
    deeds, reader = DeedReader(), LogReader(app.cluster, topic, client_id="stoker-audit-log")
    with closing(reader), asking(app.cluster, topic):
        reader.start(reader.ask_end(READ_WITHIN_S)[0])
        while wanted.until is None or time.time() < wanted.until.timestamp():
            for deed in filter(wanted.takes, _deeds_in(reader.read(_FOLLOW_S), deeds, since_ms)):
                _print_one(deed, changes=changes, as_json=as_json)


def _deeds_in(messages: Iterable[Message], deeds: DeedReader, since_ms: float) -> Iterator[Deed]:
    for message in messages:
        if message.timestamp()[1] < since_ms:
            deeds.pass_over(message)
        elif (deed := deeds.read(message)) is not None:
            yield deed


def _print_one(deed: Deed, *, changes: bool, as_json: bool) -> None:
    if as_json:
        _print_json([deed])
    elif changes:
        _print_page(deed)
    else:
        echo_line("  ".join(map(str, _row(deed))))
