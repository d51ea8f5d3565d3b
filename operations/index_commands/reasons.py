"""Why a job is not running, or how it ended, in sentences for people. Orders and reports are read from the cluster."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from ...topology.wire.orders import Verb
from ..instants import rounded
from ..job_index.jobs_ahead import waits_for_key
from ..job_index.states import State

if TYPE_CHECKING:
    from ...schemas.own_records.control_records import ControlOrder
    from ...topology import ClusterSettings, Pipeline, Queue
    from ..job_index.job_history import JobHistory
    from ..job_index.listed_jobs import ListedJob
    from ..queue_status.blocker_reports import BlockerReport
    from ..queue_status.waiting_reports import WaitingSum

_FOLLOWS: Final[Mapping[str, str]] = {
    Verb.PAUSE: "`stoker control resume` lifts it.",
    Verb.BLOCK: "`stoker control unblock` lifts it.",
    Verb.CANCEL: "The job ends without a run when a worker comes to it.",
}
"""{verb of an order: what can be done about it, or comes of it}."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Circumstances:
    """The cluster's side of a job that has not ended.

    Attributes:
        orders: in sentences, those that hold it back or end it, and how they can be lifted.
        report: its worker's word about it, if that is recent.
        held_back: how many jobs of its queue the workers hold back at gates, in words; empty where none.
        workers: how many workers the queue has; None where that is not known.
        faults: why some of this is not known, each in words.
    """

    orders: Sequence[str] = ()
    report: str = ""
    held_back: str = ""
    workers: int | None = None
    faults: Sequence[str] = ()

    @classmethod
    def look(cls, pipeline: Pipeline, cluster: ClusterSettings, job: ListedJob) -> Circumstances:
        """Look at the orders, the reports and the group of the job's queue, each within a bounded time."""
        from confluent_kafka import KafkaException

        from ...topology.cluster.settings import ClusterUnreachable, NotAuthorized
        from ..cluster_view import ClusterView
        from ..queue_status.blocker_reports import read_blockers
        from ..queue_status.queue_orders import QueueOrders
        from ..queue_status.waiting_reports import sum_of

        queue, now = pipeline.queues.get(job.queue), datetime.now(UTC)
        if queue is None:
            return cls(
                faults=[f"this application does not declare the queue {job.queue}: whether it is held is not known"]
            )
        try:
            view = ClusterView(cluster)
            orders = QueueOrders(pipeline, cluster, with_jobs=True)
            orders.look()
            workers = {one.client_id for group in view.groups([queue.group]).values() for one in group.members}
            reported = read_blockers(view, [queue], view.topics(), now)
            about = [report for report in reported.reports if is_about(report, job, workers)]
            return cls(
                orders=_order_sentences([order for order in orders.of(queue.name) if concerns(order, job)]),
                report=about[-1].sentence(now) if about else "",
                held_back=_at_gates(sum_of(reported.waiting, queue.name, workers)),
                workers=len(workers),
                faults=[fault for fault in (orders.fault, reported.fault) if fault],
            )
        except (ClusterUnreachable, NotAuthorized, KafkaException) as failure:
            return cls(faults=[f"orders and workers could not be looked at: {failure}"])


def _order_sentences(orders: Sequence[ControlOrder]) -> list[str]:
    from ..queue_status.queue_orders import order_lines

    lines = order_lines(orders)
    return [f"{line}. {_FOLLOWS[order.verb]}" for order, line in zip(orders, lines, strict=True)]


def _at_gates(waits: WaitingSum | None) -> str:
    return "" if waits is None else ", ".join(f"{count:,} {word}" for word, count in waits.held.items())


def concerns(order: ControlOrder, job: ListedJob) -> bool:
    """Whether an order is about this job, by all that it names."""
    named = (
        (order.job_id, job.job_id),
        (order.job_type, job.job_type),
        (order.key, None if job.key is None else job.key.encode()),
        (order.tenant, job.tenant),
    )
    is_of_place = order.partition is None or job.place.split("/")[1] == str(order.partition)
    is_in_time = order.before is None or job.enqueued < order.before
    return is_of_place and is_in_time and all(wanted is None or wanted == has for wanted, has in named)


def is_about(report: BlockerReport, job: ListedJob, workers: Collection[str]) -> bool:
    """Whether a worker that is there reports a job as it is: not one of its earlier runs.

    A worker that has only the offset of a job at hand names its place alone.
    """
    topic, partition = report.partition
    is_named = job.job_id == report.job_id or job.place == f"{topic}/{partition}/{report.offset}"
    return is_named and report.worker in workers and report.at >= job.changed


def reasons(history: JobHistory, queue: Queue | None, seen: Circumstances, now: datetime) -> list[str]:
    """Why the job is not running, the strongest reason first; how it ended, where it has.

    Args:
        queue: its queue; None where the application does not declare it.
    """
    if history.job.state.has_ended:
        return [_ended(history, now)]
    unknown = [*_not_shown(history, queue, seen, now), *map(_as_sentence, seen.faults)]
    found = [*_held(history, seen, now), *_in_order(history, seen, now)]
    return [*(found or [_is_ready(history.job, seen, now, is_all_known=not unknown)]), *unknown]


def _is_ready(job: ListedJob, seen: Circumstances, now: datetime, *, is_all_known: bool) -> str:
    due = "" if job.due is None else f" It was due {rounded(now - job.due)} ago."
    held = f", unless it is one of the jobs of its queue that the workers hold back: {seen.held_back}"
    unless = held if seen.held_back else ""
    if not is_all_known:
        return f"Nothing is known that holds it back{unless}.{due}"
    return f"It is ready: it starts when a runner is free, or runs already{unless}.{due}"


def _not_shown(history: JobHistory, queue: Queue | None, seen: Circumstances, now: datetime) -> Iterator[str]:
    """Name what is not known of the jobs of its key; its worker knows it, where that reports the job."""
    job = history.job
    if queue is None or history.front is not None or seen.report or not waits_for_key(job, queue, now):
        return
    if history.is_of_topics:
        yield (
            f"Whether it waits for an earlier job of its key {job.key!r}, the topics alone do not show: `stoker status "
            "run` keeps an index, which does."
        )
    elif queue.priorities and seen.workers != 0:
        yield (
            f"Jobs of its key {job.key!r} run one at a time, whatever their priorities: the index does not show "
            "whether another one runs now."
        )


def _as_sentence(words: str) -> str:
    return f"{words[:1].upper()}{words[1:]}{'' if words.endswith('.') else '.'}"


def _held(history: JobHistory, seen: Circumstances, now: datetime) -> Iterator[str]:
    job = history.job
    yield from (f"An order stands: {sentences}" for sentences in seen.orders)
    if seen.report:
        yield f"Its worker reports: {seen.report}."
    if job.due is not None and job.due > now:
        yield f"It {_WAITS.get(job.state, 'waits')} until {_at(job.due)}, in {rounded(job.due - now)}."
    elif job.state is State.DEFERRED:
        yield "No worker that has met it knows its type or schema: deploy one that does."


_WAITS: Final = {
    State.DELAYED: "was enqueued to wait",
    State.RETRYING: "failed and is retried: it waits",
    State.SNOOZED: "has asked to be run later: it waits",
    State.DEFERRED: "is of a type or schema that no worker knew: it waits",
}


def _in_order(history: JobHistory, seen: Circumstances, now: datetime) -> Iterator[str]:
    front = history.front
    if front is not None:
        ago = rounded(now - front.enqueued)
        yield f"Job {front.job_id} of the same key {front.key!r}, enqueued {ago} ago, {_goes_first(front, now)}."
    if seen.workers == 0:
        yield f"No worker of the queue {history.job.queue} runs: `stoker worker` starts one."


def _goes_first(front: ListedJob, now: datetime) -> str:
    """Tell what the job in front does, and why others of its key wait for it."""
    if front.due is None or front.due <= now:
        return "runs or waits to run, and comes first: jobs of a key run one after another"
    return (
        f"is {front.state.shown} until {_at(front.due)}, in {rounded(front.due - now)}: the order of the queue is "
        "strict, so later jobs of the key wait until that one has ended"
    )


def _ended(history: JobHistory, now: datetime) -> str:
    job = history.job
    ago = f"{rounded(now - job.changed)} ago"
    if job.known_from == "commits":
        return (
            "It has ended: the workers of its queue have committed its record, and no event, ledger or other record "
            "has when and how. Most of such jobs are done; some were cancelled, have expired or discarded themselves."
        )
    if job.state is State.DONE:
        return f"It is done: run {job.attempt} ended {ago}{_how_it_ran(job)}."
    if job.state is State.DEAD:
        failure = f": {job.error_type}: {job.message}" if job.error_type else ""
        return (
            f"It became a dead letter {ago}, after run {job.attempt}{failure}. `stoker dead show {job.queue} "
            f"{job.job_id}` has its payload, `stoker dead replay` runs it again."
        )
    if job.known_from == "ledger":
        return f"It ended {ago}: it was cancelled, has expired or discarded itself; only the ledger has it, not which."
    last = history.entries[-1] if history.entries else None
    message = last.message if last is not None and last.message else ""
    return f"It {_ENDS[job.state]} {ago}{': ' if message else ''}{message}."


_ENDS: Final = {
    State.CANCELLED: "was cancelled",
    State.EXPIRED: "expired",
    State.DISCARDED: "discarded itself",
    State.DEAD_DISCARDED: "was a dead letter, and an operator discarded it",
}


def _how_it_ran(job: ListedJob) -> str:
    if job.took is None:
        return "; only the ledger has it"
    where = f" on {job.worker}" if job.worker else ""
    return f" after {job.took.total_seconds():.3f} s{where}"


def _at(instant: datetime) -> str:
    return f"{instant.astimezone(UTC):%Y-%m-%d %H:%M:%SZ}"
