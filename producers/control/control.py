"""`Control`: gives orders to the workers of a pipeline. An order is a record: it outlasts restarts, and is answered."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Final, Self

from ...schemas.own_records.control_records import ControlOrder
from ...topology import ClusterSettings, Pipeline
from ...topology.actor import Actor
from ...topology.cluster.admin import Administration
from ...topology.planning.access import require_rights
from ...topology.planning.rights import Duty
from ...topology.wire.orders import UNAUDITED, Verb
from ..transaction_writer import TransactionRecord
from .breaker_control import BreakerControl
from .cancelling import cancels, chunks, uncancels
from .errors import ControlNotReady, OrderRefused
from .limit_control import LimitControl
from .order_writer import OrderWriter
from .place_search import Progress, find_published_record, find_waiting_record
from .prioritizing import prioritized, queues_with
from .receipt import OrderReceipt
from .rescheduling import LOOK_UP_FOR, queues_of, reschedule_order
from .targets import check_block, check_blocked, check_target

ONCE_FOR: Final = timedelta(minutes=10)
"""A worker that takes an order to stop or to inspect later than this ignores it."""
LONGEST_TEXT: Final = 1_000
"""The bound on names, keys and reasons, in characters or bytes."""


class Control(BreakerControl, LimitControl):
    """Gives orders, and returns a receipt of each once the brokers have confirmed it. Not thread-safe.

    An order holds for all workers of the pipeline, those that start later included, until it is lifted or its time is
    over. Making a `Control` opens no connection: the first order does.

    Args:
        pipeline: whose workers.
        cluster: where; None reads the environment.
        operator: who orders; None takes `$STOKER_OPERATOR`, or the user that runs this process.
        command: from where, for the audit trail; None takes the name of this program.
        is_audited: False gives orders without the audit topic, for an outage of that; each notes that in its `detail`.

    Raises:
        NoCluster: none was given, and none is configured.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        cluster: ClusterSettings | None = None,
        *,
        operator: str | None = None,
        command: str | None = None,
        is_audited: bool = True,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._pipeline = pipeline
        self._cluster = cluster or ClusterSettings.from_environment()
        self._actor = Actor.of_process(operator, command)
        self._is_audited = is_audited
        self._clock = clock
        self._writer = OrderWriter(pipeline, self._cluster, self._actor, is_audited=is_audited)
        self._is_checked = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Disconnect."""
        self._writer.close()

    def pause(  # all by name: callers see one flat list of targets
        self,
        *,
        queue: str | None = None,
        job_type: str | None = None,
        key: bytes | str | None = None,
        tenant: str | None = None,
        partition: int | None = None,
        until: datetime | None = None,
        reason: str = "",
    ) -> OrderReceipt:
        """Let jobs wait, at no attempt's cost; running ones end.

        Name one target: a queue; a job type; a tenant; a queue with a key, or with a partition.

        Args:
            until: when the pause is over; None until `resume`.

        Raises:
            OrderRefused, UnknownName: there is no such target.
            ControlError, ClusterUnreachable, NotAuthorized: the order could not be given.
        """
        target = self._target(Verb.PAUSE, queue, job_type, key, tenant, partition)
        return self.give(replace(target, until=until, reason=reason))

    def resume(  # as above
        self,
        *,
        queue: str | None = None,
        job_type: str | None = None,
        key: bytes | str | None = None,
        tenant: str | None = None,
        partition: int | None = None,
        reason: str = "",
    ) -> OrderReceipt:
        """End the pause that was ordered with the same target; raises as `pause`."""
        return self.give(replace(self._target(Verb.RESUME, queue, job_type, key, tenant, partition), reason=reason))

    def block(
        self,
        *,
        queue: str | None = None,
        job_type: str | None = None,
        key: bytes | str | None = None,
        tenant: str | None = None,
        discard: bool = False,
        until: datetime | None = None,
        reason: str,
    ) -> OrderReceipt:
        """Let jobs wait as `pause` does, apart from all pauses: a kill switch, which only `unblock` lifts.

        Name one target: a job type; a tenant; a queue with a key. Raises as `pause`.

        Args:
            discard: let the jobs end as cancelled, and not wait; also those that run, and those that come.
            reason: why; a block without one would be lifted by accident.
        """
        order = replace(self.order(Verb.BLOCK), queue=queue, job_type=job_type, key=_as_bytes(key), tenant=tenant)
        order = replace(order, discard=discard, until=until, reason=reason)
        check_block(order, self._pipeline)
        return self.give(order)

    def unblock(
        self,
        *,
        queue: str | None = None,
        job_type: str | None = None,
        key: bytes | str | None = None,
        tenant: str | None = None,
        reason: str = "",
    ) -> OrderReceipt:
        """End the block that was ordered with the same target; raises as `pause`."""
        order = replace(self.order(Verb.UNBLOCK), queue=queue, job_type=job_type, key=_as_bytes(key), tenant=tenant)
        check_blocked(order, self._pipeline)
        return self.give(replace(order, reason=reason))

    def cancel(
        self,
        *job_ids: str,
        queue: str | None = None,
        job_type: str | None = None,
        key: bytes | str | None = None,
        tenant: str | None = None,
        older_than: timedelta | datetime | None = None,
        until: datetime | None = None,
        reason: str = "",
    ) -> OrderReceipt:
        """Let jobs end as cancelled, at no attempt's cost: those that wait do not run, those that run are interrupted.

        Name the jobs by their ids, in one call as many as you like, also before they are enqueued; or by a filter, of
        which all that is named must hold: then those that were enqueued before the order.

        Args:
            older_than: by a filter only: jobs that were enqueued so long ago, or before this instant.
            until: when the cancel is over, if a job has not ended before; None in 30 days, or after the longest
                retention of a queue.
            reason: why; needed with a filter.

        Raises:
            OrderRefused, UnknownName: nothing is named, or there is no such target.
            ControlError, ClusterUnreachable, NotAuthorized: the order could not be given. Of more than 10,000 ids,
                the first ones may be cancelled then; give it again.
        """
        order = replace(self.order(Verb.CANCEL), queue=queue, job_type=job_type, key=_as_bytes(key), tenant=tenant)
        order = replace(order, until=until, reason=reason)
        return self.give_as_one(cancels(order, self._pipeline, job_ids, older_than))

    def uncancel(self, *job_ids: str, order_id: str | None = None, reason: str = "") -> OrderReceipt:
        """Lift cancels: what has not ended runs. Raises as `cancel`.

        Args:
            order_id: of the order that has cancelled jobs by a filter.
        """
        order = replace(self.order(Verb.UNCANCEL), reason=reason)
        return self.give_as_one(uncancels(order, job_ids, order_id))

    def reschedule(
        self,
        job_id: str,
        *,
        at: datetime | None = None,
        now: bool = False,
        queue: str | None = None,
        until: datetime | None = None,
        reason: str = "",
        progress: Progress | None = None,
    ) -> OrderReceipt:
        """Let a job that waits start at another time, at no attempt's cost; that counts for its next start alone.

        A job that is delayed or waits for a retry is looked up first, which reads the topics where such jobs wait, for
        a minute at the most. One that is not found there has its new time when a worker comes to it: in its turn, or
        when its own time has come.

        Args:
            at, now: when it is to start; one of the two.
            queue: where it is; None looks it up in all queues of the pipeline.
            until: when the order is over, if the job has not begun before; None in 30 days from then, or after the
                longest retention of a queue.
            progress: takes (records passed, records in all) while it is looked up, for each queue.

        Raises:
            OrderRefused, UnknownName: no job or time is named, or there is no such queue.
            ControlError, ClusterUnreachable, NotAuthorized: the order could not be given.
        """
        order = replace(self.order(Verb.RESCHEDULE), queue=queue, until=until, reason=reason)
        order = reschedule_order(order, self._pipeline, job_id, at, now=now)
        queues = queues_of(self._pipeline, queue)
        self._check_ready()
        place = find_waiting_record(self._cluster, queues, job_id, LOOK_UP_FOR.total_seconds(), progress)
        return self.give(replace(order, place=place))

    def prioritize(
        self,
        job_id: str,
        *,
        priority: str | None = None,
        queue: str | None = None,
        reason: str = "",
        progress: Progress | None = None,
    ) -> OrderReceipt:
        """Give a job another priority that waits for its turn: it runs as if it had been enqueued with that.

        The job is looked up, which reads what waits in the queues with priorities, for a minute at the most. A copy of
        it goes to the topic of the priority, in one transaction with the order by which workers pass over the first.

        Args:
            priority: one of the queue's; None takes its most urgent one.
            queue: where the job is; None looks it up in all queues that declare priorities.
            progress: takes (records passed, records in all) while it is looked up, for each queue.

        Raises:
            OrderRefused, UnknownName: there is no such queue, priority, or job that waits for its turn.
            ControlError, ClusterUnreachable, NotAuthorized: the order could not be given.
        """
        order = replace(self.order(Verb.PRIORITIZE), queue=queue, reason=reason)
        queues = queues_with(order, self._pipeline, job_id, priority)
        self._check_ready()
        found = find_published_record(self._cluster, queues, job_id, LOOK_UP_FOR.total_seconds(), progress)
        order, copy = prioritized(order, self._pipeline, job_id, priority, found)
        return self._give_all([order], [copy])[0]

    def worker_quiet(
        self,
        *,
        worker: str | None = None,
        host: str | None = None,
        until: datetime | None = None,
        reason: str = "",
    ) -> OrderReceipt:
        """Let workers start no job; running ones end, and the partitions stay where they are. Raises as `pause`.

        Args:
            worker: the id of one; with neither it nor a host, all workers.
            host: all of this host.
        """
        return self.give(replace(self._workers(Verb.QUIET, worker, host), until=until, reason=reason))

    def worker_work(self, *, worker: str | None = None, host: str | None = None, reason: str = "") -> OrderReceipt:
        """End what `worker_quiet` has ordered with the same target; raises as `pause`."""
        return self.give(replace(self._workers(Verb.WORK, worker, host), reason=reason))

    def worker_stop(self, *, worker: str | None = None, host: str | None = None, reason: str = "") -> OrderReceipt:
        """Let workers shut down gracefully, as at SIGTERM: those that run now. Raises as `pause`."""
        return self.give(replace(self._workers(Verb.STOP, worker, host), until=self._soon(), reason=reason))

    def worker_inspect(self, *, worker: str | None = None, host: str | None = None) -> OrderReceipt:
        """Ask workers what they are doing: `Answer.inspection` has what each has answered. Raises as `pause`."""
        return self.give(replace(self._workers(Verb.INSPECT, worker, host), until=self._soon()))

    def order(self, verb: Verb) -> ControlOrder:
        """A new order without a target, by this operator, now."""
        return ControlOrder(
            order_id=str(uuid.uuid4()),
            verb=verb,
            operator=self._actor.operator,
            host=self._actor.host,
            at=self._clock(),
        )

    def give(self, order: ControlOrder) -> OrderReceipt:
        """Give one order; raises as `pause`."""
        return self.give_all([order])[0]

    def give_all(self, orders: list[ControlOrder]) -> list[OrderReceipt]:
        """Give several orders at once: all of them stand, or none; raises as `pause`."""
        return self._give_all(orders)

    def _give_all(self, orders: list[ControlOrder], beside: Sequence[TransactionRecord] = ()) -> list[OrderReceipt]:
        for order in orders:
            self._check(order)
        if not self._is_audited:
            mark = {UNAUDITED: self._actor.command}
            orders = [replace(order, detail={**order.detail, **mark}) for order in orders]
        self._check_ready()
        offsets, at_s = self._writer.write(orders, beside)
        asked_at_s = time.monotonic()
        return [
            OrderReceipt(
                order=order,
                offset=offset,
                at_s=at_s,
                asked_at_s=asked_at_s,
                cluster=self._cluster,
                workers_topic=self._pipeline.workers_topic,
            )
            for order, offset in zip(orders, offsets, strict=True)
        ]

    def give_as_one(self, orders: list[ControlOrder]) -> OrderReceipt:
        """Give orders of one id, at least one, in as few transactions as they fit; the receipt is that of all."""
        for chunk in chunks(orders):
            receipt = self.give_all(chunk)[-1]
        return replace(receipt, count=len(orders))

    def _target(
        self,
        verb: Verb,
        queue: str | None,
        job_type: str | None,
        key: bytes | str | None,
        tenant: str | None,
        partition: int | None,
    ) -> ControlOrder:
        """An order with its target, of which each part exists."""
        order = replace(self.order(verb), queue=queue, job_type=job_type, key=_as_bytes(key), tenant=tenant)
        order = replace(order, partition=partition)
        check_target(order, self._pipeline)
        return order

    def _workers(self, verb: Verb, worker: str | None, host: str | None) -> ControlOrder:
        if worker is not None and host is not None:
            raise OrderRefused(verb, "name a worker or a host, not both")
        return replace(self.order(verb), worker=worker, worker_host=host)

    def _soon(self) -> datetime:
        return self._clock() + ONCE_FOR

    def _check(self, order: ControlOrder) -> None:
        if order.until is not None and (order.until.tzinfo is None or order.is_over(order.at)):
            raise OrderRefused(order.verb, f"it would be over already: until is {order.until}, an aware, later instant")
        texts = {"reason": order.reason, "operator": order.operator, "key": order.key, "tenant": order.tenant}
        texts["job id"] = order.job_id
        too_long = [name for name, text in texts.items() if text is not None and len(text) > LONGEST_TEXT]
        if too_long:
            raise OrderRefused(order.verb, f"{' and '.join(too_long)} may have {LONGEST_TEXT} characters at the most")

    @property
    def _unused_topics(self) -> set[str]:
        return set() if self._is_audited else {self._pipeline.audit_topic}

    def _check_ready(self) -> None:
        """See once that the topics are there and may be written to."""
        if self._is_checked:
            return
        pipeline = self._pipeline
        wanted = {pipeline.control_topic, pipeline.workers_topic, pipeline.audit_topic} - self._unused_topics
        found = Administration(self._cluster).topics(wanted)
        if len(found) < len(wanted):
            raise ControlNotReady(sorted(wanted - set(found)))
        require_rights(Duty.CONTROL, pipeline, self._cluster, without=self._unused_topics)
        self._is_checked = True


def _as_bytes(key: bytes | str | None) -> bytes | None:
    return key.encode() if isinstance(key, str) else key
