"""Why a job is not running, or how it ended, in sentences for people. Orders and reports are read from the cluster."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from ..instants import rounded
from ..job_index.states import State

if TYPE_CHECKING:
    from ...schemas.control_records import ControlOrder
    from ...topology import ClusterSettings, Pipeline, Queue
    from ..cluster_view import ClusterView
    from ..job_index.job_history import JobHistory
    from ..job_index.listed_jobs import ListedJob
    from ..queue_status.blocker_reports import BlockerReport


@dataclass(frozen=True, slots=True, kw_only=True)
class Circumstances:
    """The cluster's side of a job that has not ended.

    Attributes:
        orders: in words, those that hold it back or end it.
        report: its worker's word about it, if that is recent.
        workers: how many workers the queue has; None where that is not known.
        fault: why some of this is not known; empty where all is.
    """

    orders: Sequence[str] = ()
    report: str = ""
    workers: int | None = None
    fault: str = ""

    @classmethod
    def look(cls, pipeline: Pipeline, cluster: ClusterSettings, job: ListedJob) -> Circumstances:
        """Look at the orders, the reports and the group of the job's queue, each within a bounded time."""
        from confluent_kafka import KafkaException

        from ...topology.cluster.settings import ClusterUnreachable, NotAuthorized
        from ..cluster_view import ClusterView
        from ..queue_status.queue_orders import QueueOrders, order_lines

        queue = pipeline.queues.get(job.queue)
        if queue is None:
            return cls(fault=f"this application does not declare the queue {job.queue}")
        try:
            view = ClusterView(cluster)
            orders = QueueOrders(pipeline, cluster)
            orders.look()
            found = [order for order in orders.of(queue.name) if concerns(order, job)]
            workers = sum(len(group.members) for group in view.groups([queue.group]).values())
            return cls(
                orders=order_lines(found),
                report=_report(view, queue, job.job_id),
                workers=workers,
                fault=orders.fault,
            )
        except (ClusterUnreachable, NotAuthorized, KafkaException) as failure:
            return cls(fault=f"orders and workers could not be looked at: {failure}")


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


def _report(view: ClusterView, queue: Queue, job_id: str) -> str:
    from ..queue_status.blocker_reports import read_blockers

    now = datetime.now(UTC)
    found: list[BlockerReport] = [
        report for report in read_blockers(view, [queue], view.topics(), now).reports if report.job_id == job_id
    ]
    return found[-1].sentence(now) if found else ""


def reasons(history: JobHistory, seen: Circumstances, now: datetime) -> list[str]:
    """Why the job is not running, the strongest reason first; how it ended, where it has."""
    if history.job.state.has_ended:
        return [_ended(history, now)]
    found = [*_held(history, seen, now), *_in_order(history, seen, now)]
    return [*(found or ["It is ready: it starts when a runner is free, or runs already."]), *filter(None, [seen.fault])]


def _held(history: JobHistory, seen: Circumstances, now: datetime) -> Iterator[str]:
    job = history.job
    yield from (f"An order stands: {line}." for line in seen.orders)
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
        yield (
            f"Job {front.job_id} of the same key {front.key!r} was enqueued {rounded(now - front.enqueued)} ago and is "
            f"{front.state.word}: jobs of a key run one after another."
        )
    if seen.workers == 0:
        yield f"No worker of the queue {history.job.queue} runs: `stoker worker` starts one."


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
        return (
            f"It became a dead letter {ago}, after run {job.attempt}: {job.error_type}: {job.message}. `stoker "
            f"dead show {job.queue} {job.job_id}` has its payload, `stoker dead replay` runs it again."
        )
    last = history.entries[-1] if history.entries else None
    message = last.message if last is not None and last.message else ""
    word = "expired" if job.state is State.EXPIRED else f"was {job.state.word}"
    return f"It {word} {ago}{': ' if message else ''}{message}."


def _how_it_ran(job: ListedJob) -> str:
    if job.took is None:
        return "; only the ledger has it"
    where = f" on {job.worker}" if job.worker else ""
    return f" after {job.took.total_seconds():.3f} s{where}"


def _at(instant: datetime) -> str:
    return f"{instant.astimezone(UTC):%Y-%m-%d %H:%M:%SZ}"
