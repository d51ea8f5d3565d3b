"""`stoker audit-log`: who did what, when, why, from where, with what was there before and after; and exports."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import click

from ...topology.counts import counted
from ..cli.app import AppContext, pass_app
from ..cli.output import echo_line, print_fitting_table, print_json_line
from ..cli.parameters import FromNow, Options

if TYPE_CHECKING:
    from confluent_kafka import KafkaError, Message

    from ..audit_log.actions import ActionReader, AuditedAction
    from ..audit_log.filters import ActionFilter

SHOWN: Final = 50
TITLES: Final = ("AT", "BY", "ACTION", "ABOUT", "OUTCOME", "REASON")
_FORMATS: Final = ("csv", "jsonl")
_FOLLOW_S: Final = 0.5
_SHOWN_ELSEWHERE: Final = frozenset({"schedule", "unaudited", "changes", "contracts", "counts", "rows", "table"})
"""Parts of an action's detail that its other lines have."""
_FILTERS: Final = (
    click.option("--since", type=FromNow(), help="Done since then: an instant, or 2h for two hours ago."),
    click.option("--until", type=FromNow(), help="Begun before then."),
    click.option("--by", default="", metavar="WHO", help="By this operator, from this host, or both: ann@web-1."),
    click.option(
        "--action",
        "actions",
        multiple=True,
        metavar="KIND",
        help="order, schedule, replay, discard, prune, topology or contract; or one action, such as pause. Repeatable.",
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
      stoker -A shop.jobs:pipeline audit-log --action pause --queue mails --changes
      stoker -A shop.jobs:pipeline audit-log --since 2026-01-01T00:00:00Z --format csv --output audit.csv

    Exit codes: 0; 1 when the audit topic is missing or may not be read; 3 when Kafka cannot be reached.
    """
    from ..audit_log.actions import as_done, read_actions
    from ..audit_log.filters import as_shown

    wanted = filter_of(options)
    _check_readable(app)
    if follow:
        return _follow(app, wanted, changes=changes, as_json=as_json)
    found = read_actions(app.pipeline, app.cluster, wanted.since)
    if not (export or as_json):
        return _print(as_shown(found, wanted.takes), limit or SHOWN, changes=changes, namespace=app.pipeline.namespace)
    actions = [action for action in as_done(found) if wanted.takes(action)]
    if export is not None:
        return _export(actions if limit is None else actions[-limit:], export, path)
    return _print_json(actions[::-1][:limit])


def _check_readable(app: AppContext) -> None:
    """See that the topics may be read: to a client without the right, Kafka shows them as missing."""
    from ...topology.planning.access import require_rights
    from ...topology.planning.rights import Duty

    require_rights(Duty.AUDIT_LOG, app.pipeline, app.cluster)


def filter_of(options: Options, now: datetime | None = None) -> ActionFilter:
    """The filter that the options ask for."""
    from ..audit_log.filters import ActionFilter

    at = now or datetime.now(UTC)
    since, until = (_instant(options.pop(name), at) for name in ("since", "until"))
    if since is not None and until is not None and since >= until:
        raise click.UsageError("--since must be before --until")
    words = tuple(options.pop("words").split())
    return ActionFilter(since=since, until=until, words=words, **options)


def _instant(given: timedelta | datetime | None, now: datetime) -> datetime | None:
    return now - given if isinstance(given, timedelta) else given


def _export(actions: Sequence[AuditedAction], kind: str, path: str) -> None:
    from ..audit_log.exports import output, write_csv, write_jsonl

    with output(path) as to:
        count = (write_csv if kind == "csv" else write_jsonl)(actions, to)
    if path != "-":
        echo_line(f"{counted(count, 'entry', 'entries')} in {path}", err=True)


def _print_json(actions: Iterable[AuditedAction]) -> None:
    from ..audit_log.exports import action_document

    for action in actions:
        print_json_line(action_document(action))


def _print(actions: Sequence[AuditedAction], limit: int, *, changes: bool, namespace: str) -> None:
    shown = actions[::-1]
    if not shown:
        return echo_line(f"the audit trail of {namespace} has nothing like that")
    if changes:
        for action in shown[:limit]:
            _print_page(action)
    else:
        print_fitting_table(TITLES, [_row(action) for action in shown[:limit]])
    if len(shown) > limit:
        echo_line(f"{len(shown) - limit:,} older ones are not shown: --limit shows more, --format exports all")
    return None


def _row(action: AuditedAction) -> tuple[object, ...]:
    about = action.about if action.count == 1 else f"{action.count:,} jobs"
    return (_time(action.at), action.by, action.action, about, action.outcome, action.reason or "-")


def _print_page(action: AuditedAction) -> None:
    """An action with all that is known of it."""
    _, by, what, about, outcome, _ = _row(action)
    ended = "" if action.ended_at is None else f" at {_time(action.ended_at)}"
    echo_line(f"{_time(action.at)}  {what}  {about}")
    from_where = " ".join(part for part in (action.command, action.version) if part)
    lines = [("by", by), ("from", from_where), ("reason", action.reason), ("outcome", f"{outcome}{ended}")]
    lines += [
        (name, value)
        for name, value in action.detail.items()
        if name not in _SHOWN_ELSEWHERE and value not in ("{}", "")
    ]
    for name, value in (*lines, ("id", action.id)):
        if value:
            echo_line(f"  {name:<8}  {value}")
    for line in change_lines(action):
        echo_line(f"  {line}")
    echo_line()


def change_lines(action: AuditedAction) -> Iterator[str]:
    """Tell each change of an action with its value before and after."""
    for name in dict.fromkeys((*action.before, *action.after)):
        before, after = action.before.get(name, "(nothing)"), action.after.get(name, "(nothing)")
        yield f"{name}: {before} → {after}"


def _time(at: datetime) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%SZ}"


def _follow(app: AppContext, wanted: ActionFilter, *, changes: bool, as_json: bool) -> None:
    """Print what is done from now on, or since --since, each entry as it comes."""
    from ...producers.control.log_reader import READ_WITHIN_S, LogReader, asking
    from ..audit_log.actions import ActionReader

    topic, since_ms = app.pipeline.audit_topic, (wanted.since or datetime.now(UTC)).timestamp() * 1_000
    actions, silence = ActionReader(), _Silence()
    reader = LogReader(app.cluster, topic, client_id="stoker-audit-log", on_error=silence.note)
    with closing(reader), asking(app.cluster, topic):
        reader.start(reader.ask_end(READ_WITHIN_S)[0])
        while wanted.until is None or time.time() < wanted.until.timestamp():
            messages = reader.read(_FOLLOW_S)
            silence.explain(reader.trouble, is_over=bool(messages))
            for action in filter(wanted.takes, _actions_in(messages, actions, since_ms)):
                _print_one(action, changes=changes, as_json=as_json)


class _Silence:
    """Explains once for each reason why nothing comes."""

    def __init__(self) -> None:
        self._outage = self._explained = ""

    def note(self, error: KafkaError) -> None:
        """Take an error of the client."""
        if error.name() == "_ALL_BROKERS_DOWN":
            self._outage = f"the brokers do not answer ({error.str()}): it goes on when they do"

    def explain(self, trouble: KafkaError | None, *, is_over: bool) -> None:
        """Print what is new: the trouble of the reader, or else of its client."""
        if is_over:
            self._outage = ""
        unreadable = "" if trouble is None else f"the audit topic cannot be read ({trouble.str()}): retrying"
        why = unreadable or self._outage
        if why and why != self._explained:
            echo_line(why, err=True)
        self._explained = why


def _actions_in(messages: Iterable[Message], actions: ActionReader, since_ms: float) -> Iterator[AuditedAction]:
    for message in messages:
        if message.timestamp()[1] < since_ms:
            actions.pass_over(message)
        elif (action := actions.read(message)) is not None:
            yield action


def _print_one(action: AuditedAction, *, changes: bool, as_json: bool) -> None:
    if as_json:
        _print_json([action])
    elif changes:
        _print_page(action)
    else:
        echo_line("  ".join(map(str, _row(action))))
