"""`stoker jobs retry`: dead letters go back to their queue, and jobs that wait for their time start now."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import click

from ...topology.counts import counted
from ..cli.app import AppContext, command_path, pass_app
from ..cli.exit_codes import ExitCode
from ..cli.process_end import stop_signals
from ..cli.publishing import Manner, confirm, publishing_options
from .job_choice import MOST, Chosen, choose
from .options import INDEX, job_filters
from .retry_plan import RetryPlan, plan_lines, plan_retry

if TYPE_CHECKING:
    from ...producers.control import Control
    from ...schemas.own_records.control_records import ControlOrder, RecordPlace
    from ...topology import Pipeline
    from ..job_index.listed_jobs import ListedJob

_AT_ONCE: Final = 1_000
"""Orders of one transaction, at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Who:
    """Who replays and starts, and why."""

    operator: str | None
    reason: str


@click.command(short_help="Replay dead letters, and start now the jobs that wait for their time.")
@click.argument("job_ids", nargs=-1, metavar="[ID]...")
@job_filters
@click.option("--limit", type=click.IntRange(1, MOST), default=MOST, show_default=True, help="At most so many.")
@click.option("--reason", default="", metavar="TEXT", help="Why, for the audit trail.")
@click.option("--operator", envvar="STOKER_OPERATOR", metavar="NAME", help="Who.  [default: this user]")
@INDEX
@publishing_options("dead letters")
@pass_app
def retry(
    app: AppContext,
    /,
    job_ids: tuple[str, ...],
    *,
    limit: int,
    reason: str,
    operator: str | None,
    index: str | None,
    manner: Manner,
    **options: Any,
) -> None:
    """Replay dead letters, and start now the jobs that wait for their time: those of these IDs, or of the filters.

    Filters need the index. A dead letter goes back to its queue, with a fresh attempt count. A job that waits for a
    retry, or for its time, starts now, at no attempt's cost. What waits for its turn, or has ended otherwise, is left
    alone, and the command shows why. It shows what it would do, and asks.

    \b
    Examples:
      stoker -A shop.jobs:pipeline jobs retry 0198c2d4-7c1d-7aa0-9d3c-5f0f6c1f7d11
      stoker -A shop.jobs:pipeline jobs retry --state dead --error CardDeclined --since 2h --reason "Stripe is back"
      stoker -A shop.jobs:pipeline jobs retry --type charge --state retrying --dry-run

    Exit codes: 0; 1 when no job can be replayed or started, or is known; 3 when Kafka cannot be reached.
    """
    chosen = choose(app, job_ids, index, limit, options)
    plan = plan_retry(chosen.jobs)
    _print_plan(manner, chosen, plan)
    document: dict[str, object] = _document(chosen, plan)
    if not manner.dry_run and plan.total:
        confirm(f"Retry {counted(plan.total, 'job')}?", yes=manner.yes)
        who = _Who(operator=operator, reason=reason)
        replayed, started = _replay(app, plan, manner, who), _start(app, plan.to_start, who)
        document |= {"replayed": replayed, "started": started}
        manner.printer.print_line(
            f"{counted(replayed, 'dead letter')} replayed, {counted(started, 'job')} ordered to start"
        )
    manner.printer.print_document(document)
    if not plan.total:
        raise click.exceptions.Exit(ExitCode.FINDING)


def _print_plan(manner: Manner, chosen: Chosen, plan: RetryPlan) -> None:
    for line in plan_lines(plan):
        manner.printer.print_line(line)
    for job_id in chosen.unknown:
        manner.printer.print_line(f"no job {job_id} is known; it may be mistyped, or too old")
    if not (chosen.jobs or chosen.unknown):
        manner.printer.print_line("no job is like that")
    if chosen.more:
        manner.printer.print_line(f"the filters take more than these {len(chosen.jobs):,}: run it again for the others")
    manner.printer.print_line(f"({chosen.note})")


def _document(chosen: Chosen, plan: RetryPlan) -> dict[str, object]:
    return {
        "dead": {queue: [job.job_id for job in jobs] for queue, jobs in plan.dead.items()},
        "to_start": [job.job_id for job in plan.to_start],
        "left_out": dict(plan.left_out),
        "unknown": list(chosen.unknown),
        "more": chosen.more,
        "replayed": 0,
        "started": 0,
        "index": chosen.note,
    }


def _replay(app: AppContext, plan: RetryPlan, manner: Manner, who: _Who) -> int:
    """Replay the dead letters that are still open, queue by queue; how many were."""
    from ..cli.filter_options import stored_job_failures

    with stop_signals() as stop, stored_job_failures():
        done = 0
        for queue, jobs in sorted(plan.dead.items()):
            if not stop.is_set():
                done += _replay_queue(app, queue, [job.job_id for job in jobs], (manner.rate, stop), who)
        return done


def _replay_queue(app: AppContext, name: str, job_ids: Sequence[str], pace: tuple[float | None, Any], who: _Who) -> int:
    from ...topology.planning.access import require_rights
    from ...topology.planning.rights import Duty
    from ...topology.planning.schema_store import schema_store
    from ..replay.dead_letter_replay import DeadLetterManager, Replaying, Request
    from ..replay.pacing import ReplayPace
    from ..replay.payloads import PayloadCorrector
    from ..stored_jobs.originals import Originals
    from ..stored_jobs.selection import Selection

    queue, actor = app.pipeline.find_queue(name), app.actor(who.operator)
    require_rights(Duty.DEAD_REPLAY, app.pipeline, app.cluster, [queue])
    request = Request(selection=Selection(ids=frozenset(job_ids)), reason=who.reason)
    store = schema_store(app.pipeline, app.cluster)
    try:
        with Originals(app.cluster, queue) as originals:
            replaying = Replaying(queue, PayloadCorrector(app.pipeline, store), originals)
            manager = DeadLetterManager(app.pipeline, app.cluster, queue, replaying, actor=actor)
            forecast = manager.forecast(request)
            rate, stop = pace
            return manager.carry_out(request, forecast, ReplayPace(rate=rate, stop=stop)).units if forecast.total else 0
    finally:
        store.close()


def _start(app: AppContext, jobs: Sequence[ListedJob], who: _Who) -> int:
    """Order jobs that wait for their time to start now; how many."""
    from ...producers.control import Control

    if not jobs:
        return 0
    with Control(app.pipeline, app.cluster, operator=who.operator, command=command_path()) as control:
        for start in range(0, len(jobs), _AT_ONCE):
            orders = [_order(control, app.pipeline, job, who.reason) for job in jobs[start : start + _AT_ONCE]]
            control.give_all(orders)
    return len(jobs)


def _order(control: Control, pipeline: Pipeline, job: ListedJob, reason: str) -> ControlOrder:
    from ...producers.control.rescheduling import reschedule_order
    from ...topology.wire.orders import Verb

    order = replace(control.order(Verb.RESCHEDULE), queue=job.queue, reason=reason)
    return replace(reschedule_order(order, pipeline, job.job_id, None, now=True), place=place_of(pipeline, job))


def place_of(pipeline: Pipeline, job: ListedJob) -> RecordPlace | None:
    """Where a job waits for its time; None where what is known of it is the record of its last run."""
    from ...schemas.own_records.control_records import RecordPlace

    topic, partition, offset = job.place.rsplit("/", 2)
    queue = pipeline.queues.get(job.queue)
    waits = () if queue is None else (*queue.delay_topics.values(), *queue.retry_topics.values())
    if topic not in waits:
        return None
    return RecordPlace(topic=topic, partition=int(partition), offset=int(offset))
