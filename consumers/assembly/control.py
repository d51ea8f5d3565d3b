"""`make_control`: the control thread of a worker process, with the takers of all kinds of orders.

A new kind of order is a class in `control/`, and a line in `make_takers`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from ...producers.control.log_reader import END_MS, LogReader
from ...topology import ClusterSettings, Pipeline
from ..control.block_orders import BlockOrders
from ..control.breaker_orders import BreakerOrders
from ..control.cancel_orders import CancelOrders
from ..control.control_thread import ControlThread
from ..control.guard_pauses import GuardPauses
from ..control.limit_orders import LimitOrders
from ..control.order_feed import OrderFeed
from ..control.order_remover import OrderRemover
from ..control.order_takers import OrderTaker
from ..control.orders import Orders
from ..control.own_orders import OwnOrders
from ..control.pause_orders import PauseOrders
from ..control.reschedule_orders import PriorityOrders, RescheduleOrders
from ..control.status_writer import StatusWriter
from ..control.worker_process import WorkerProcess


def make_takers(
    process: WorkerProcess, remover: OrderRemover, own_orders: OwnOrders, events_topic: str
) -> list[OrderTaker]:
    """Make the takers of orders about jobs; the control thread itself takes those about workers."""
    pauses, worker_id, publish = PauseOrders(process.pauses), process.worker_id, process.publish
    return [
        pauses,
        GuardPauses(process.guards, process.pauses, pauses, own_orders, publish, worker_id),
        BreakerOrders(process.breakers, own_orders, publish, worker_id, events_topic=events_topic),
        LimitOrders(process.limits),
        BlockOrders(process.pauses, process.cancels, process.end_cancelled_aside),
        RescheduleOrders(process.reschedules, remover),
        PriorityOrders(process.reschedules, remover),
        CancelOrders(process.cancels, process.end_cancelled, process.end_cancelled_aside, remover),
    ]


def make_control(
    pipeline: Pipeline,
    cluster: ClusterSettings,
    process: WorkerProcess,
    *,
    on_crash: Callable[[BaseException], None],
) -> ControlThread:
    """Make the thread; nothing is connected before it runs."""
    remover = OrderRemover(cluster, pipeline.control_topic, process.worker_id)
    own_orders = OwnOrders(cluster, pipeline, process.worker_id)
    return ControlThread(
        process,
        make_takers(process, remover, own_orders, pipeline.events_topic),
        partial(_make_feed, cluster, pipeline.control_topic, process.worker_id),
        StatusWriter(cluster, pipeline.workers_topic, process.worker_id),
        remover,
        clients=[own_orders],
        on_crash=on_crash,
    )


def _make_feed(cluster: ClusterSettings, topic: str, worker_id: str, orders: Orders) -> OrderFeed:
    options = {"fetch.wait.max.ms": END_MS}
    return OrderFeed(LogReader(cluster, topic, client_id=f"{worker_id}-control", options=options), orders)
