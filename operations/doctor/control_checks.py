"""Checks of control: its topics are there, and each worker knows all orders and understands them."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Self

from ...producers.control.answers import LastStatus
from ...producers.control.errors import ControlNotReady
from ...producers.control.standing import STANDING, OrderBook, read_workers
from ...schemas.own_records.control_records import WorkerState
from ...topology import ClusterSettings, NotAuthorized, Pipeline, Queue
from ...topology.cluster.settings import ClusterUnreachable
from ...topology.counts import counted
from ...topology.wire.orders import UNAUDITED, Verb
from ..cluster_view import ConsumerGroup
from .cluster_checks import CLUSTER
from .facts import Facts
from .findings import Finding, at_risk, broken, kept, unknown

GUARANTEE = "P13"
RECENT_S = 3_600.0
STALE_S = 15.0
"""Workers whose orders are older than this may have missed some."""
_APPLY = "run `stoker topology apply`"
_RESTART = "see its log, and stop it if it does nothing: its partitions go to other workers then"


def check_control(pipeline: Pipeline, cluster: ClusterSettings, facts: Facts) -> Iterator[Finding]:
    """Whether orders are durable, and answered by each worker."""
    absent = [topic for topic in _topics(pipeline) if not facts.has(topic)]
    if absent:
        yield broken(GUARANTEE, CLUSTER, f"{', '.join(absent)}: missing, so workers do not start", _APPLY)
        return
    if not facts.has(pipeline.audit_topic):
        yield broken(GUARANTEE, CLUSTER, f"{pipeline.audit_topic} is missing, so no order can be given", _APPLY)
    try:
        standing = _Standing.read(pipeline, cluster)
        now_s = time.time()
        statuses = read_workers(pipeline, cluster, now_s - RECENT_S).statuses
    except (ControlNotReady, ClusterUnreachable, NotAuthorized) as error:
        yield unknown(GUARANTEE, CLUSTER, "the orders and the workers' answers cannot be read", str(error))
        return
    if standing.unaudited:
        observed = f"standing orders that the audit topic does not have: {standing.unaudited} (`--without-audit`)"
        yield at_risk(GUARANTEE, CLUSTER, observed, "give them again, or lift them, now that the topic takes entries")
    findings = list(check_workers(pipeline, facts.groups, statuses, now_s))
    yield from findings
    if not findings:
        living = sum(one.is_living(now_s) for one in statuses)
        yield kept(GUARANTEE, CLUSTER, f"all workers know the orders (workers: {living}, {standing})")


@dataclass(frozen=True, slots=True)
class _Standing:
    """How many orders stand: all but cancels of single jobs, those by filter among them, and those of single jobs.

    Attributes:
        unaudited: how many of the first were given without an audit record.
    """

    orders: int
    filters: int
    jobs: int
    unaudited: int = 0

    @classmethod
    def read(cls, pipeline: Pipeline, cluster: ClusterSettings) -> Self:
        """Read them."""
        standing = OrderBook(pipeline, cluster, STANDING)
        try:
            found = standing.read()
            filters = sum(order.verb == Verb.CANCEL for order in found)
            unaudited = sum(UNAUDITED in order.detail for order in found)
            return cls(len(found), filters, standing.cancelled_jobs, unaudited)
        finally:
            standing.close()

    def __str__(self) -> str:
        filters = f", {self.filters} of them cancels by filter" if self.filters else ""
        jobs = f", jobs cancelled by id: {self.jobs}" if self.jobs else ""
        return f"standing orders: {self.orders}{filters}{jobs}"


def _topics(pipeline: Pipeline) -> tuple[str, ...]:
    return pipeline.control_topic, pipeline.workers_topic, pipeline.schedules_topic


def check_workers(
    pipeline: Pipeline, groups: Mapping[str, ConsumerGroup], statuses: Sequence[LastStatus], now_s: float
) -> Iterator[Finding]:
    """Check the workers by their last statuses; no finding where all is well. Pure."""
    living = [one for one in statuses if one.is_living(now_s)]
    for one in statuses:
        if one not in living and one.status.state != WorkerState.GONE:
            ago_s = one.silent_s(now_s)
            observed = (
                f"worker {one.status.id} wrote its last status {ago_s:.0f} s ago and has not ended: killed, or it hangs"
            )
            yield unknown(GUARANTEE, CLUSTER, observed, _RESTART)
    for one in living:
        yield from _of_worker(one)
    for queue in pipeline.queues.values():
        yield from _mute_members(queue, groups[queue.group], living)


def _of_worker(one: LastStatus) -> Iterator[Finding]:
    status = one.status
    if status.control_age_s > STALE_S:
        observed = f"worker {status.id} knows the orders of {status.control_age_s:.0f} s ago, and no later ones"
        yield broken(GUARANTEE, CLUSTER, observed, "see in its log why it cannot read the control topic")
    if status.not_understood:
        orders = counted(status.not_understood, "order that stands", "orders that stand")
        observed = f"worker {status.id} does not understand {orders}"
        yield broken(GUARANTEE, CLUSTER, observed, "start it with the version of Stoker that has given them")


def _mute_members(queue: Queue, group: ConsumerGroup, living: Sequence[LastStatus]) -> Iterator[Finding]:
    """Workers of a release without control have partitions, and write no status."""
    members = len(group.members)
    known = sum(any(share.queue == queue.name for share in one.status.queues) for one in living)
    if members > known:
        observed = f"{members - known} of {members} workers write no status, so they take no orders"
        yield broken(GUARANTEE, queue.name, observed, "start them with this version of Stoker")
